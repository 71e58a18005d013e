//go:build linux

package wire

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/websocket"
	"github.com/mqttlb/mqttlb/internal/detach"
	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A fed connection is on a loop that the test itself drives, one event after the other.
type fed struct {
	t     testing.TB
	loops *Loops
	l     *loop
	p     *peer
	far   int // the client's descriptor
}

func newFed(t testing.TB, most int, webSocket bool, state *record.State) *fed {
	t.Helper()
	loops, err := Open(1, Options{MaxPacket: most})
	must(t, err)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	f := &fed{t: t, loops: loops, l: loops.loops[0], p: newPeer(t), far: pair[1]}
	f.p.loop, f.p.peer = f.l, f.p
	if webSocket {
		f.p.frames = new(frames)
	}
	e := detach.Endpoint{FD: pair[0]}
	if state != nil {
		e.TLS, e.State = true, *state
	}
	f.l.adopt(&f.p.Conn, &e, &Start{Peer: f.p, Timeout: time.Hour})
	return f
}

// send is one segment of the client, and all turns that it brings about.
func (f *fed) send(b []byte) {
	n, err := syscall.Write(f.far, b)
	if err != nil && len(f.p.ended) == 0 || err == nil && n != len(b) {
		f.t.Fatalf("send %d bytes: %d, %v", len(b), n, err)
	}
	f.turns(reactor.Readable | reactor.Writable)
	for buf := make([]byte, 4096); ; { // what is not read resets the connection when it is closed
		if n, err := syscall.Read(f.far, buf); n <= 0 || err != nil {
			return
		}
	}
}

func (f *fed) turns(e reactor.Events) {
	for range 1000 {
		if f.p.stage == closed {
			return
		}
		f.l.Ready(f.p.key, e)
		e = reactor.Resumed
		f.l.attendAll()
		if f.p.flags&(waiting|readable) == 0 && f.p.stage == open {
			return
		}
	}
	f.t.Fatalf("it does not come to rest: stage %d, flags %b", f.p.stage, f.p.flags)
}

// finish closes the client, and returns why the connection has ended.
func (f *fed) finish() error {
	syscall.Close(f.far)
	f.turns(reactor.Readable | reactor.HangUp)
	if !f.p.over {
		f.t.Fatal("Closed was not called")
	}
	if n := f.l.held.Used(); n != 0 {
		f.t.Errorf("%d buffers are held for nobody", n)
	}
	f.loops.Close()
	return f.p.ended[0]
}

// cut is pieces of b, as long as sizes say.
func cut(b, sizes []byte) (list [][]byte) {
	for i := 0; len(b) > 0; i++ {
		n := len(b)
		if len(sizes) > 0 {
			n = min(n, 1+int(sizes[i%len(sizes)])*(1+i%7))
		}
		list = append(list, b[:n])
		b = b[n:]
	}
	return list
}

// wrapped is what a client sends for a stream of MQTT in frames and records.
func wrapped(stream, sizes []byte, webSocket bool, state *record.State) []byte {
	var out []byte
	if webSocket {
		for _, piece := range cut(stream, sizes) {
			out = append(out, masked(0x82, piece)...)
		}
		stream = out
	}
	if state == nil {
		return stream
	}
	out = nil
	ciphers := record.NewCache(2)
	for _, piece := range cut(stream, sizes) {
		for len(piece) > 0 {
			n := min(len(piece), record.MaxPlaintext)
			buf := make([]byte, n+state.Overhead())
			copy(buf[state.Prefix():], piece[:n])
			out, piece = append(out, state.Seal(ciphers, buf, n)...), piece[n:]
		}
	}
	return out
}

// FuzzInput: whatever a client sends, cut by the network, by frames and by records in whatever way, with a peer that handles it at once or by and
// by, the packets and the end are those of the reader for streams that block.
func FuzzInput(f *testing.F) {
	good := joined(connect, pingreq, publish(3, 'x'), publish(300, 'y'), []byte{0xe0, 0})
	f.Add(good, []byte{0}, []byte{1}, uint8(0))
	f.Add(good, []byte{7, 1}, []byte{3, 200}, uint8(1))
	f.Add(good[:len(good)-100], []byte{2}, []byte{}, uint8(2+4))
	f.Add(joined(connect, publish(3000, 'x')), []byte{90}, []byte{9}, uint8(3+8))
	f.Add([]byte("GET / HTTP/1.1\r\n"), []byte{1}, []byte{1}, uint8(0))
	f.Add(joined(connect, []byte{0xc0, 1}), []byte{}, []byte{}, uint8(12))
	f.Add(joined(connect, []byte{0x30, 0xff, 0xff, 0xff, 0xff}), []byte{}, []byte{}, uint8(0))
	f.Add(joined(connect, bytes.Repeat(pingreq, 1000)), []byte{255}, []byte{255}, uint8(1+8))
	f.Fuzz(func(t *testing.T, stream, layers, network []byte, how uint8) {
		const most = 2000
		if len(stream) > 1<<14 {
			return
		}
		client, server := states(t)
		mine, its := &client, &server
		if how&1 == 0 {
			mine, its = nil, nil
		}
		fed := newFed(t, most, how&2 != 0, its)
		calls := 0
		fed.p.handle = func(packet.Header, []byte) (Verdict, error) {
			calls++
			switch {
			case how&4 != 0 && calls%3 == 1:
				return Again, nil
			case how&8 != 0 && calls%4 == 2:
				fed.p.Resume()
				return Wait, nil
			}
			return Done, nil
		}
		raw := wrapped(stream, layers, how&2 != 0, mine)
		for _, piece := range cut(raw, network) {
			if fed.send(piece); len(fed.p.ended) > 0 {
				break
			}
		}
		end := fed.finish()
		want, wantEnd := packsOf(stream, most)
		if problem := differ(fed.p.packs, want); problem != "" {
			t.Error(problem)
		}
		if !sameEnd(end, wantEnd) {
			t.Errorf("it ended with %v, the reader with %v", end, wantEnd)
		}
	})
}

// sameEnd compares reasons by what callers tell apart.
func sameEnd(a, b error) bool {
	for _, kind := range []error{io.EOF, ErrNotMQTT, packet.ErrTooLarge} {
		if errors.Is(a, kind) || errors.Is(b, kind) {
			return errors.Is(a, kind) && errors.Is(b, kind)
		}
	}
	var x, y *packet.Error
	return errors.As(a, &x) && errors.As(b, &y) && *x == *y
}

// FuzzFrames: whatever bytes a client of a WebSocket sends, cut in whatever way, the packets are those in the payload of its frames, and the
// end is that of the frames, or of the packets if that comes before.
func FuzzFrames(f *testing.F) {
	f.Add(joined(masked(0x82, connect), masked(0x89, []byte("x")), masked(0x02, pingreq), masked(0x80, pingreq), closeFrame), []byte{1})
	f.Add(joined(masked(0x82, connect), masked(0x81, nil)), []byte{9, 3})
	f.Add(joined(masked(0x82, publish(3, 0)), closeFrame), []byte{})
	f.Add(masked(0x82, joined(connect, publish(200, 'x'), []byte{0})), []byte{30})
	f.Fuzz(func(t *testing.T, raw, network []byte) {
		const most = 2000
		if len(raw) > 1<<14 {
			return
		}
		fed := newFed(t, most, true, nil)
		for _, piece := range cut(raw, network) {
			if fed.send(bytes.Clone(piece)); len(fed.p.ended) > 0 {
				break
			}
		}
		end := fed.finish()
		var decoder websocket.Decoder
		payload, _, err := decoder.Decode(bytes.Clone(raw), nil)
		want, wantEnd := packsOf(payload, most)
		if broken := new(websocket.ProtocolError); wantEnd == io.EOF && errors.As(err, &broken) {
			want = want[:min(len(want), len(fed.p.packs))] // what waits for its turn is not waited for
			if got := new(websocket.ProtocolError); !errors.As(end, &got) || *got != *broken {
				t.Errorf("it ended with %v, the frames with %v", end, broken)
			}
		} else if !sameEnd(end, wantEnd) {
			t.Errorf("it ended with %v, the reader with %v", end, wantEnd)
		}
		if problem := differ(fed.p.packs, want); problem != "" {
			t.Error(problem)
		}
	})
}
