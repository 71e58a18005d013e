package packet_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// FuzzDecode reads any bytes as any version. What is accepted is written again, no longer than it
// was, and means the same when it is read back.
func FuzzDecode(f *testing.F) {
	for _, r := range rows() {
		f.Add(byte(r.v), wire(f, r.wire))
	}
	for _, part := range faults {
		for _, c := range part {
			body := wire(f, c.body)
			f.Add(byte(c.v), append([]byte{c.first, byte(len(body))}, body...))
		}
	}
	f.Fuzz(func(t *testing.T, level byte, raw []byte) {
		v := versions[int(level)%len(versions)]
		before := bytes.Clone(raw)
		p, need, err := decode(v, raw)
		if !bytes.Equal(raw, before) {
			t.Fatal("decoding changed the packet")
		}
		var e *packet.Error
		if err != nil && (!errors.As(err, &e) || !e.Code.Failed() || e.What == "") {
			t.Fatalf("error %#v", err)
		}
		if err != nil || need {
			return
		}
		again := p.Append(nil, v)
		if len(again) == 0 || len(again) > len(raw) {
			t.Fatalf("read    % x\nwritten % x", raw, again)
		}
		if a, b := describe(p), describe(mustDecode(t, v, again)); a != b {
			t.Fatalf("read  %s\nagain %s", a, b)
		}
		if q, ok := p.(*packet.Publish); ok {
			checkPublish(t, q, v, again)
		}
	})
}

// checkPublish holds the other ways to write a PUBLISH against Append.
func checkPublish(t *testing.T, p *packet.Publish, v packet.Version, want []byte) {
	if n := p.Size(v); n != len(want) {
		t.Fatalf("size %d, want %d", n, len(want))
	}
	if got := p.Encode(nil, v).Append(nil, p.PacketID, p.Dup); !bytes.Equal(got, want) {
		t.Fatalf("encoded  % x\nappended % x", got, want)
	}
	on := &packet.Publish{Topic: []byte("t"), Payload: p.Payload}
	on.Properties.AddForwarded(p.Properties)
	got := mustDecode(t, packet.V5, on.Append(nil, packet.V5)).(*packet.Publish)
	for _, id := range []packet.BytesProperty{packet.ContentType, packet.ResponseTopic, packet.CorrelationData} {
		if !bytes.Equal(got.Properties.Bytes(id), p.Properties.Bytes(id)) {
			t.Fatalf("%#02x was not forwarded", byte(id))
		}
	}
}

// portions returns a stream in reads of the sizes that it is told, each one more than a byte's value.
type portions struct {
	stream []byte
	sizes  []byte
	next   int
}

func (p *portions) Read(b []byte) (int, error) {
	if len(p.stream) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(p.sizes) > 0 {
		n += int(p.sizes[p.next%len(p.sizes)])
		p.next++
	}
	n = copy(b, p.stream[:min(n, len(p.stream))])
	p.stream = p.stream[n:]
	return n, nil
}

// FuzzReader cuts any stream into packets, under any limit and in any portions, and compares with
// ParseHeader on the whole.
func FuzzReader(f *testing.F) {
	all, _ := stream(5, packet.V5, 12)
	f.Add(all, []byte{}, uint16(0))
	f.Add(all, []byte{0, 200, 3}, uint16(100))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1}, []byte{1}, uint16(1000))
	f.Add(slices.Concat(bytes.Repeat([]byte{0xc0, 0}, 400), all), []byte{255, 255, 1}, uint16(0))
	f.Fuzz(func(t *testing.T, stream, sizes []byte, limit uint16) {
		src := &portions{stream: stream, sizes: sizes}
		r := packet.NewReader(src, int(limit))
		most := int(limit)
		if most == 0 {
			most = packet.MaxRemaining + packet.MaxHeader
		}
		for rest := stream; ; {
			h, n, headerErr := packet.ParseHeader(rest)
			got, body, err := r.Next()
			if err != nil {
				checkEnd(t, err, headerErr, n+h.Remaining > most, n > 0 && n+h.Remaining <= len(rest))
				if back := append(bytes.Clone(r.Buffered()), src.stream...); !bytes.Equal(back, rest) {
					t.Fatalf("% x and later % x, want % x", r.Buffered(), src.stream, rest)
				}
				return
			}
			whole := n + h.Remaining
			if headerErr != nil || got != h || whole > most || !bytes.Equal(r.Packet(), rest[:whole]) || !bytes.Equal(body, rest[n:whole]) {
				t.Fatalf("%+v % x from % x", got, r.Packet(), rest)
			}
			rest = rest[whole:]
		}
	})
}

// checkEnd: each end of a stream has its error.
func checkEnd(t *testing.T, err, headerErr error, tooLarge, whole bool) {
	var e *packet.Error
	switch {
	case headerErr != nil:
		if !errors.As(err, &e) {
			t.Fatalf("%v, want %v", err, headerErr)
		}
	case tooLarge:
		if !errors.Is(err, packet.ErrTooLarge) {
			t.Fatalf("%v, want too large", err)
		}
	case whole || err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF):
		t.Fatalf("%v though a packet is there", err)
	}
}
