//go:build linux

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/websocket"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// masked is a client's frame with any first byte (RFC 6455, section 5.2).
func masked(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i, v := range payload {
		b = append(b, v^mask[i%4])
	}
	return b
}

var (
	closeFrame  = masked(0x88, []byte{3, 0xe8})
	closeAnswer = []byte{0x88, 2, 3, 0xe8}
)

// A close frame is answered once, and is the end: what the client sends behind it does not count, and nothing is sent behind the answer.
func TestFramesAfterClose(t *testing.T) {
	for _, words := range [][]byte{nil, farewell} {
		leaktest.Check(t)
		nd := newNode(t, 1, Options{})
		p := newPeer(t)
		p.words, p.queue = words, [][]byte{pingresp}
		c := nd.connect(t, kinds[3], p, Start{})
		must(t, second(c.tcp.Write(joined(masked(0x82, connect), closeFrame, masked(0x82, pingreq), closeFrame, masked(0x89, nil)))))
		expect(t, c.tcp, closeAnswer)
		expectEnd(t, c.tcp)
		c.tcp.Close()
		expectError(t, p.end(t), io.EOF)
		if n := p.handled(); n != 1 {
			t.Errorf("%d packets, want the one before", n)
		}
	}
}

// When the node ends a connection its last frame is a close frame, behind the last words, whatever comes from the client meanwhile.
func TestCloseFrameIsLast(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	p := newPeer(t)
	p.words = farewell
	c := nd.connect(t, kinds[3], p, Start{})
	p.Finish()
	expect(t, c.tcp, joined([]byte{0x82, byte(len(farewell))}, farewell, closeAnswer))
	must(t, second(c.tcp.Write(joined(masked(0x89, nil), closeFrame))))
	p.Post(func() { p.Reply(pingresp); p.ReplyFirst(pingresp); p.Wake() })
	expectEnd(t, c.tcp)
	c.tcp.Close()
	expectError(t, p.end(t), nil)
}

// A frame that breaks the rules is answered with a close frame that says which; the packets before it are handled.
func TestBrokenFrames(t *testing.T) {
	tests := []struct {
		name   string
		frame  []byte
		status uint16
	}{
		{"text", masked(0x81, []byte("x")), 1003},
		{"not masked", []byte{0x82, 2, 0xc0, 0}, 1002},
		{"reserved bits", masked(0xc2, pingreq), 1002},
		{"a long ping", masked(0x89, make([]byte, 126)), 1002},
		{"a continuation of nothing", masked(0x80, pingreq), 1002},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			p := newPeer(t)
			p.words = farewell // there is nothing to say it in
			c := nd.connect(t, kinds[3], p, Start{})
			must(t, second(c.tcp.Write(joined(masked(0x82, connect), test.frame))))
			expect(t, c.tcp, binary.BigEndian.AppendUint16([]byte{0x88, 2}, test.status))
			expectEnd(t, c.tcp)
			c.tcp.Close()
			var broken *websocket.ProtocolError
			if err := p.end(t); !errors.As(err, &broken) || uint16(broken.Status) != test.status {
				t.Errorf("it ended with %v", err)
			}
			if n := p.handled(); n != 1 {
				t.Errorf("%d packets, want the one before", n)
			}
		})
	}
}

// Pings are answered, between the frames of a message too; a packet may be in several frames, and several in one.
func TestPingsAndFragments(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	p := newPeer(t)
	c := nd.connect(t, kinds[3], p, Start{})
	must(t, second(c.tcp.Write(joined(masked(0x02, connect[:5]), masked(0x89, []byte("are you there")), masked(0x00, nil),
		masked(0x80, joined(connect[5:], pingreq, pingreq[:1])), masked(0x82, joined(pingreq[1:], pingreq))))))
	expect(t, c.tcp, joined([]byte{0x8a, 13}, []byte("are you there")))
	eventually(t, "all packets", func() bool { return p.handled() == 4 })
	c.tcp.Close()
	expectError(t, p.end(t), io.EOF)
}

// Who pings and reads nothing is answered as long as the socket takes it: nobody can make a node hold pongs.
func TestPingsWhileFull(t *testing.T) {
	for _, k := range kinds[3:] {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{WriteTimeout: time.Hour})
			p := newPeer(t)
			c := nd.connect(t, k, p, Start{})
			must(t, second(c.Write(connect)))
			p.give(bytes.Repeat([]byte{'x'}, 16<<20))
			size := 0
			eventually(t, "it is full", func() (so bool) {
				p.on(t, func(l *loop) { size, so = len(l.held.Bytes(p.unsent)), p.unsent != 0 })
				return so
			})
			for range 100 {
				before := nd.in()
				ping := bytes.Repeat(masked(0x89, make([]byte, 125)), 10)
				must(t, second(c.under.Write(ping)))
				nd.arrived(t, before, len(ping))
			}
			p.on(t, func(l *loop) {
				if n := len(l.held.Bytes(p.unsent)); n > size {
					t.Errorf("%d bytes are held after 1,000 pings, %d before", n, size)
				}
			})
			c.tcp.Close()
			p.end(t)
		})
	}
}
