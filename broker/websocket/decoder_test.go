package websocket

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// rules has a row for each sentence of RFC 6455 and of MQTT 5 section 6 about what a client sends. A row without status
// does not end the connection.
var rules = []struct {
	name    string
	in      []byte
	payload string
	reply   []byte
	status  Status
	closed  bool // by the client
}{
	{name: "5.2 a frame", in: frame(binaryFrame, "hello"), payload: "hello"},
	{name: "5.2 an empty frame", in: frame(binaryFrame, "")},
	{name: "5.2 a length of 125", in: frame(binaryFrame, text(125)), payload: text(125)},
	{name: "5.2 a length of 126", in: frame(binaryFrame, text(126)), payload: text(126)},
	{name: "5.2 a length of 65535", in: frame(binaryFrame, text(65535)), payload: text(65535)},
	{name: "5.2 a length of 65536", in: frame(binaryFrame, text(65536)), payload: text(65536)},
	{name: "5.2 a length of 63 bits", in: sealed([]byte{binaryFrame, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255}, "begun"), payload: "begun"},
	{name: "5.2 a length of 64 bits", in: sealed([]byte{binaryFrame, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, "begun"), reply: refused, status: 1002},
	{name: "5.2 a short length in 2 bytes", in: sealed([]byte{binaryFrame, 0xfe, 0, 125}, text(125)), reply: refused, status: 1002},
	{name: "5.2 a short length in 8 bytes", in: sealed([]byte{binaryFrame, 0xff, 0, 0, 0, 0, 0, 0, 255, 255}, ""), reply: refused, status: 1002},
	{name: "5.2 RSV1", in: frame(binaryFrame|0x40, "hello"), reply: refused, status: 1002},
	{name: "5.2 RSV2", in: frame(binaryFrame|0x20, "hello"), reply: refused, status: 1002},
	{name: "5.2 RSV3 of a ping", in: frame(pingFrame|0x10, "hello"), reply: refused, status: 1002},
	{name: "5.2 opcode 3", in: frame(finBit|3, "hello"), reply: refused, status: 1002},
	{name: "5.2 opcode 7", in: frame(finBit|7, "hello"), reply: refused, status: 1002},
	{name: "5.2 opcode 11", in: frame(finBit|11, "hello"), reply: refused, status: 1002},
	{name: "5.2 opcode 15", in: frame(finBit|15, "hello"), reply: refused, status: 1002},
	{name: "5.1 not masked", in: []byte{binaryFrame, 5, 'h', 'e', 'l', 'l', 'o'}, reply: refused, status: 1002},
	{name: "5.1 a ping that is not masked", in: []byte{pingFrame, 0}, reply: refused, status: 1002},
	{name: "MQTT-6.0.0-1 text", in: frame(finBit|opText, "hello"), reply: []byte{closeFrame, 2, 3, 235}, status: 1003},
	{name: "MQTT-6.0.0-1 text in parts", in: frame(opText, "hello"), reply: []byte{closeFrame, 2, 3, 235}, status: 1003},
	{name: "MQTT-6.0.0-2 packets of two frames", in: join(frame(binaryFrame, "\x30\x04\x00"), frame(binaryFrame, "\x01ax\xc0"), frame(binaryFrame, "\x00")),
		payload: "\x30\x04\x00\x01ax\xc0\x00"},

	{name: "5.4 three parts", in: join(frame(firstPart, "he"), frame(nextPart, "ll"), frame(lastPart, "o")), payload: "hello"},
	{name: "5.4 empty parts", in: join(frame(firstPart, ""), frame(nextPart, ""), frame(lastPart, ""), frame(binaryFrame, "x")), payload: "x"},
	{name: "5.4 a ping between parts", in: join(frame(firstPart, "he"), frame(pingFrame, "?"), frame(lastPart, "llo")), payload: "hello", reply: []byte{pongFrame, 1, '?'}},
	{name: "5.4 a continuation of nothing", in: frame(lastPart, "hello"), reply: refused, status: 1002},
	{name: "5.4 a continuation after the last", in: join(frame(firstPart, "a"), frame(lastPart, "b"), frame(lastPart, "c")), payload: "ab", reply: refused, status: 1002},
	{name: "5.4 a message within a message", in: join(frame(firstPart, "a"), frame(binaryFrame, "b")), payload: "a", reply: refused, status: 1002},

	{name: "5.5 a ping in fragments", in: frame(opPing, "a"), reply: refused, status: 1002},
	{name: "5.5 a ping of 126 bytes", in: frame(pingFrame, text(126)), reply: refused, status: 1002},
	{name: "5.5.2 a ping", in: frame(pingFrame, text(125)), reply: append([]byte{pongFrame, 125}, text(125)...)},
	{name: "5.5.2 an empty ping", in: frame(pingFrame, ""), reply: []byte{pongFrame, 0}},
	{name: "5.5.3 a pong that nobody asked for", in: join(frame(pongFrame, "x"), frame(pongFrame, ""), frame(binaryFrame, "y")), payload: "y"},
	{name: "5.5.1 a close frame without a status", in: frame(closeFrame, ""), reply: []byte{closeFrame, 0}, status: 1005, closed: true},
	{name: "5.5.1 a close frame", in: frame(closeFrame, "\x03\xe8bye"), reply: []byte{closeFrame, 2, 3, 232}, status: 1000, closed: true},
	{name: "5.5.1 a long close frame", in: frame(closeFrame, "\x03\xe9"+text(123)), reply: []byte{closeFrame, 2, 3, 233}, status: 1001, closed: true},
	{name: "5.5.1 nothing counts behind it", in: join(frame(binaryFrame, "\xe0\x00"), frame(closeFrame, ""), frame(binaryFrame, "x"), frame(pingFrame, "x")),
		payload: "\xe0\x00", reply: []byte{closeFrame, 0}, status: 1005, closed: true},
	{name: "5.5.1 of one byte", in: frame(closeFrame, "\x03"), reply: refused, status: 1002},
	{name: "5.5.1 a reason that is not UTF-8", in: frame(closeFrame, "\x03\xe8\xff"), reply: []byte{closeFrame, 2, 3, 239}, status: 1007},
	{name: "7.4 status 999", in: frame(closeFrame, "\x03\xe7"), reply: refused, status: 1002},
	{name: "7.4.1 status 1003", in: frame(closeFrame, "\x03\xeb"), reply: []byte{closeFrame, 2, 3, 235}, status: 1003, closed: true},
	{name: "7.4.1 status 1004", in: frame(closeFrame, "\x03\xec"), reply: refused, status: 1002},
	{name: "7.4.1 status 1005", in: frame(closeFrame, "\x03\xed"), reply: refused, status: 1002},
	{name: "7.4.1 status 1006", in: frame(closeFrame, "\x03\xee"), reply: refused, status: 1002},
	{name: "7.4.1 status 1007", in: frame(closeFrame, "\x03\xef"), reply: []byte{closeFrame, 2, 3, 239}, status: 1007, closed: true},
	{name: "7.4.1 status 1014", in: frame(closeFrame, "\x03\xf6"), reply: []byte{closeFrame, 2, 3, 246}, status: 1014, closed: true},
	{name: "7.4.1 status 1015", in: frame(closeFrame, "\x03\xf7"), reply: refused, status: 1002},
	{name: "7.4.2 status 2999", in: frame(closeFrame, "\x0b\xb7"), reply: refused, status: 1002},
	{name: "7.4.2 status 3000", in: frame(closeFrame, "\x0b\xb8"), reply: []byte{closeFrame, 2, 11, 184}, status: 3000, closed: true},
	{name: "7.4.2 status 4999", in: frame(closeFrame, "\x13\x87"), reply: []byte{closeFrame, 2, 19, 135}, status: 4999, closed: true},
	{name: "7.4.2 status 5000", in: frame(closeFrame, "\x13\x88"), reply: refused, status: 1002},
}

var refused = []byte{closeFrame, 2, 3, 234} // 1002

func text(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }

func join(frames ...[]byte) []byte { return slices.Concat(frames...) }

func TestRules(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			var d Decoder
			payload, reply, err := d.Decode(slices.Clone(r.in), nil)
			if string(payload) != r.payload || !bytes.Equal(reply, r.reply) {
				t.Errorf("payload %.80q, reply % x; want %.80q, % x", payload, reply, r.payload, r.reply)
			}
			checkEnd(t, err, event{status: r.status, closed: r.closed})
			for at := range min(len(r.in), 20) {
				agree(t, r.in, at, at+1)
			}
		})
	}
}

// agree decodes in three parts and compares with the reference after each.
func agree(t *testing.T, in []byte, cut1, cut2 int) {
	t.Helper()
	agreeParts(t, in[:cut1], in[cut1:cut2], in[cut2:])
}

// agreeParts holds Decode against the reference, part by part, until the end of the connection or the last of them.
func agreeParts(t *testing.T, parts ...[]byte) {
	t.Helper()
	var d Decoder
	var r reference
	for i, part := range parts {
		var want event // of the part
		var data, pong []byte
		for _, c := range part {
			switch e := r.step(c); {
			case e.end():
				want = e
			case e.ping:
				pong = AppendPong(nil, e.data)
			default:
				data = append(data, e.data...)
			}
			if want.end() {
				pong = AppendClose(pong, want.status)
				break
			}
		}
		room := append(slices.Clone(part), "not his"...)
		payload, reply, err := d.Decode(room[:len(part)], []byte("before"))
		if !bytes.Equal(payload, data) || string(reply) != "before"+string(pong) {
			t.Fatalf("part %d of %d, % .64x:\npayload % .64x, reply % x; want % .64x, % x", i, len(parts), part, payload, reply, data, pong)
		}
		if len(payload) > 0 && &payload[0] != &room[0] || string(room[len(part):]) != "not his" {
			t.Fatalf("part %d: the payload is elsewhere than at the front of the buffer, or bytes behind it have changed", i)
		}
		checkEnd(t, err, want)
		if err != nil {
			payload, reply, err = d.Decode(frame(binaryFrame, "x"), nil)
			if len(payload) != 0 || len(reply) != 0 || err == nil {
				t.Fatalf("after the end: %q, % x, %v", payload, reply, err)
			}
			return
		}
	}
}

// checkEnd compares the error with how the connection should have ended.
func checkEnd(t *testing.T, err error, want event) {
	t.Helper()
	var closed *CloseError
	var wrong *ProtocolError
	got := event{}
	switch {
	case errors.As(err, &closed):
		got = event{status: closed.Status, closed: true}
	case errors.As(err, &wrong):
		got = event{status: wrong.Status}
	case err != nil:
		t.Fatalf("error %v of another type", err)
	}
	if got.status != want.status || got.closed != want.closed {
		t.Fatalf("%v; want status %d, closed by the client %t", err, want.status, want.closed)
	}
}

// TestEverySplit cuts what has every kind of frame in three at all places.
func TestEverySplit(t *testing.T) {
	in := join(
		frame(binaryFrame, "\x10\x0c connect"), frame(pingFrame, "are you there"), frame(firstPart, "a"), frame(pongFrame, "unasked"), frame(nextPart, ""),
		frame(pingFrame, ""), frame(lastPart, text(40)), frame(pingFrame, "and now"), frame(binaryFrame, "\xe0\x00"), frame(closeFrame, "\x03\xe8bye"))
	for i := range in {
		for j := i; j <= len(in); j++ {
			agree(t, in, i, j)
		}
	}
	for _, size := range []int{126, 65536} {
		in := join(frame(binaryFrame, text(size)), frame(pingFrame, "?"), frame(binaryFrame, "x"))
		for i := range 20 {
			agree(t, in, i, i+1)
			agree(t, in, i, len(in)-i)
		}
	}
}

// TestRandomFrames decodes frames, and frames with some bytes changed, in random parts.
func TestRandomFrames(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		in := randomFrames(rnd, 1+rnd.IntN(20))
		if rnd.IntN(2) == 0 {
			for range 1 + rnd.IntN(3) {
				in[rnd.IntN(len(in))] ^= 1 << rnd.IntN(8)
			}
		}
		agreeParts(t, cut(rnd, in)...)
	}
}

// cut cuts b at random, often or seldom.
func cut(rnd *rand.Rand, b []byte) [][]byte {
	var parts [][]byte
	for most := 1 + rnd.IntN(1+rnd.IntN(400)); len(b) > 0; {
		n := min(rnd.IntN(most+1), len(b))
		parts, b = append(parts, b[:n]), b[n:]
	}
	return parts
}

func FuzzDecode(f *testing.F) {
	for i, r := range rules {
		if len(r.in) < 1000 {
			f.Add(r.in, uint64(i))
		}
	}
	f.Add(randomFrames(rand.New(rand.NewPCG(1, 2)), 20), uint64(7))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		agreeParts(t, in)
		agreeParts(t, cut(rand.New(rand.NewPCG(seed, 0)), in)...)
	})
}

// TestPingFlood: one answer to all pings of one read, which is what RFC 6455 section 5.5.3 allows.
func TestPingFlood(t *testing.T) {
	flood := bytes.Repeat(frame(pingFrame, text(125)), 1000)
	flood = append(flood, frame(pingFrame, "the last")...)
	var d Decoder
	payload, reply, err := d.Decode(slices.Concat(flood, frame(binaryFrame, "x")), []byte("out"))
	if string(payload) != "x" || string(reply) != "out\x8a\x08the last" || err != nil {
		t.Errorf("%q, %.300q, %v", payload, reply, err)
	}
	_, reply, err = d.Decode(slices.Concat(flood, frame(closeFrame, "")), nil)
	if string(reply) != "\x8a\x08the last\x88\x00" || err == nil {
		t.Errorf("before a close frame: %.300q, %v", reply, err)
	}
}

// TestSmall: the state of an idle connection, and no allocation for whatever a client announces or sends.
func TestSmall(t *testing.T) {
	if size := reflect.TypeFor[Decoder]().Size(); size > 40 {
		t.Errorf("a Decoder has %d bytes", size)
	}
	data := join(frame(binaryFrame, text(130)), frame(pingFrame, text(125)), frame(binaryFrame, text(5)))
	begun := sealed([]byte{binaryFrame, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255}, text(500))
	buf, reply := make([]byte, 1000), make([]byte, 0, 131)
	var whole, parts, announced Decoder
	for name, c := range map[string]struct {
		most float64
		run  func()
	}{
		"frames":       {0, func() { mustDecode(t, &whole, buf[:copy(buf, data)], reply) }},
		"a long frame": {0, func() { mustDecode(t, &announced, buf[:copy(buf, begun)], reply); announced = Decoder{} }},
		"a ping in half": {1, func() {
			n := copy(buf, data)
			mustDecode(t, &parts, buf[:200], reply)
			mustDecode(t, &parts, buf[200:n], reply)
		}},
	} {
		if n := testing.AllocsPerRun(100, c.run); n > c.most {
			t.Errorf("%s: %v allocations, %v are allowed", name, n, c.most)
		}
	}
	if parts.partial != nil {
		t.Error("a complete ping has left its buffer behind")
	}
}

func mustDecode(t *testing.T, d *Decoder, b, reply []byte) {
	if payload, _, err := d.Decode(b, reply); err != nil || len(payload) == 0 {
		t.Fatalf("%d bytes of payload, %v", len(payload), err)
	}
}

// TestUnmask compares with one byte at a time, for all small sizes, distances and alignments.
func TestUnmask(t *testing.T) {
	mask := [4]byte{1, 2, 4, 8}
	for size := range 100 {
		for distance := range 20 {
			for from := range 9 {
				b := []byte(text(from + distance + size))
				src, dst := b[from+distance:], b[from:]
				var want []byte
				for i, c := range src {
					want = append(want, c^mask[i%4])
				}
				next := unmask(dst, src, 0x08040201)
				if !bytes.Equal(dst[:size], want) {
					t.Fatalf("%d bytes from %d to %d: % x, want % x", size, from+distance, from, dst[:size], want)
				}
				if byte(next) != mask[size%4] {
					t.Fatalf("after %d bytes the mask is %08x", size, next)
				}
			}
		}
	}
}

// TestAppend has gobwas/ws read what a server sends.
func TestAppend(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 20, 1 << 40} {
		b := AppendHeader(nil, n)
		h, err := ws.ReadHeader(bytes.NewReader(b))
		if want := (ws.Header{Fin: true, OpCode: ws.OpBinary, Length: int64(n)}); err != nil || h != want || ws.HeaderSize(h) != len(b) || len(b) > MaxHeader {
			t.Errorf("%d: % x is %+v, %v", n, b, h, err)
		}
	}
	for _, c := range []struct{ got, want []byte }{
		{AppendPong([]byte("x"), nil), ws.MustCompileFrame(ws.NewPongFrame(nil))},
		{AppendPong([]byte("x"), []byte(text(125))), ws.MustCompileFrame(ws.NewPongFrame([]byte(text(125))))},
		{AppendClose([]byte("x"), StatusNone), ws.MustCompileFrame(ws.NewCloseFrame(nil))},
		{AppendClose([]byte("x"), StatusGoingAway), ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "")))},
	} {
		if string(c.got) != "x"+string(c.want) {
			t.Errorf("% x, want % x", c.got, c.want)
		}
	}
}
