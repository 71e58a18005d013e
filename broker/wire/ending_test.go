//go:build linux

package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

var errPeer = errors.New("the peer does not like it")

// A parting is a way in which a connection ends.
type parting struct {
	name  string
	end   func(t *testing.T, nd *node, p *peer, c *link)
	want  error
	words bool // the client can hear the last ones
}

var partings = []parting{
	{"half-close", func(t *testing.T, _ *node, _ *peer, c *link) { must(t, c.tcp.CloseWrite()) }, io.EOF, true},
	{"close", func(t *testing.T, _ *node, _ *peer, c *link) { c.tcp.Close() }, io.EOF, false},
	{"reset", func(t *testing.T, _ *node, _ *peer, c *link) { must(t, c.tcp.SetLinger(0)); c.tcp.Close() }, syscall.ECONNRESET, false},
	{"Finish", func(_ *testing.T, _ *node, p *peer, _ *link) { p.Finish(); p.Finish() }, nil, true},
	{"an error of Packet", func(t *testing.T, _ *node, _ *peer, c *link) {
		must(t, second(c.Write(joined(pingreq, publish(0, 0), pingreq))))
	}, errPeer, true},
	{"too large", func(t *testing.T, _ *node, _ *peer, c *link) { must(t, second(c.Write(publish(5000, 0)[:9]))) }, packet.ErrTooLarge, true},
	{"silent", func(_ *testing.T, _ *node, p *peer, _ *link) { p.Post(func() { p.SetIdle(time.Millisecond) }) }, ErrIdle, true},
	{"end of the loops", func(_ *testing.T, nd *node, _ *peer, _ *link) { nd.stop() }, net.ErrClosed, false},
}

// In whatever way a connection ends, Ended is called once, with the reason, then the descriptor is closed, then Closed is called (which
// all harness_test.go's peer looks at). The last words arrive if there are any, and the client is not reset.
func TestEndings(t *testing.T) {
	for _, k := range kinds {
		for _, e := range partings {
			for _, words := range [][]byte{nil, farewell} {
				name := k.name + ", " + e.name
				if words != nil {
					name += ", last words"
				}
				t.Run(name, func(t *testing.T) {
					leaktest.Check(t)
					nd := newNode(t, 2, Options{MaxPacket: 4000})
					p := newPeer(t)
					p.words = words
					p.handle = func(h packet.Header, _ []byte) (Verdict, error) {
						if h.Type == packet.PUBLISH {
							return Done, errPeer
						}
						return Done, nil
					}
					c := nd.connect(t, k, p, Start{})
					must(t, second(c.Write(connect)))
					eventually(t, "the first packet", func() bool { return p.handled() == 1 })
					e.end(t, nd, p, c)
					if e.words {
						expect(t, c, words)
						if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
							t.Errorf("the client's stream ends with %v", err)
						}
						c.Close()
					}
					expectError(t, p.end(t), e.want)
				})
			}
		}
	}
}

// Last words arrive at a client that goes on sending: what it sends is read, and thrown away.
func TestLastWordsOfOneWhoSends(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{Goodbye: time.Hour})
			p := newPeer(t)
			p.words = farewell
			p.handle = func(h packet.Header, _ []byte) (Verdict, error) {
				if h.Type == packet.PUBLISH {
					return Wait, nil
				}
				return Done, nil
			}
			c := nd.connect(t, k, p, Start{})
			must(t, second(c.Write(joined(connect, publish(100_000, 'x'), publish(100_000, 'y')))))
			eventually(t, "a packet waits", func() (so bool) {
				p.on(t, func(*loop) { so = p.flags&paused != 0 })
				return so
			})
			p.Finish()
			for range 5 { // not so much that nobody would take it
				must(t, second(c.tcp.Write(make([]byte, 1000))))
			}
			expect(t, c, farewell)
			if _, err := io.Copy(io.Discard, c.tcp); err != nil {
				t.Errorf("after the last words: %v", err)
			}
			c.tcp.Close()
			expectError(t, p.end(t), nil)
		})
	}
}

// Who has been told to go and does not, whatever he does instead, is closed.
func TestWhoDoesNotGo(t *testing.T) {
	tests := []struct {
		name    string
		goodbye time.Duration
		do      func(t *testing.T, p *peer, c *link)
	}{
		{"does nothing", 20 * time.Millisecond, func(*testing.T, *peer, *link) {}},
		{"sends for ever", time.Hour, func(t *testing.T, p *peer, c *link) {
			expect(t, c, farewell)
			for {
				if _, err := c.tcp.Write(make([]byte, 10_000)); err != nil {
					return
				}
			}
		}},
		{"resets", time.Hour, func(t *testing.T, _ *peer, c *link) {
			expect(t, c, farewell)
			must(t, c.tcp.SetLinger(0))
			c.tcp.Close()
		}},
		{"has never read", 20 * time.Millisecond, func(_ *testing.T, p *peer, _ *link) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{Goodbye: test.goodbye})
			p := newPeer(t)
			p.words = farewell
			c := nd.connect(t, kinds[0], p, Start{})
			if test.name == "has never read" {
				p.give(bytes.Repeat([]byte{'x'}, 16<<20))
				eventually(t, "it is full", func() (so bool) {
					p.on(t, func(*loop) { so = p.unsent != 0 })
					return so
				})
			}
			p.Finish()
			test.do(t, p, c)
			expectError(t, p.end(t), nil)
		})
	}
}

// Whose time is over without last words is closed at once, also with a full socket.
func TestNothingToSay(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{Goodbye: time.Hour, WriteTimeout: time.Hour})
	p := newPeer(t)
	p.give0(bytes.Repeat([]byte{'x'}, 16<<20))
	nd.connect(t, kinds[0], p, Start{})
	p.Wake()
	eventually(t, "it is full", func() (so bool) {
		p.on(t, func(*loop) { so = p.unsent != 0 })
		return so
	})
	p.Finish()
	expectError(t, p.end(t), nil)
}

// give0 is give for a peer that is nowhere yet.
func (p *peer) give0(list ...[]byte) { p.queue = append(p.queue, list...) }

// A reset that only a write can find out ends the connection as well.
func TestResetWhileFull(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{WriteTimeout: time.Hour})
	p := newPeer(t)
	c := nd.connect(t, kinds[0], p, Start{})
	p.give(bytes.Repeat([]byte{'x'}, 16<<20))
	eventually(t, "it is full", func() (so bool) {
		p.on(t, func(*loop) { so = p.unsent != 0 })
		return so
	})
	must(t, c.tcp.SetLinger(0))
	c.tcp.Close()
	if err := p.end(t); err != syscall.ECONNRESET && err != syscall.EPIPE {
		t.Errorf("it ended with %v", err)
	}
}

// A connection that was closed before, or comes when the loops have ended, leaves nothing behind.
func TestAdoptTooLate(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	p := newPeer(t)
	_, nc, _ := nd.accept(t, kinds[0])
	nc.Close()
	must(t, nd.loops.Adopt(&p.Conn, nc, Start{Peer: p, Timeout: time.Hour}))
	if err := p.end(t); err == nil {
		t.Error("a closed connection ended without an error")
	}
	p.Wake()
	p.Finish()

	for _, k := range kinds {
		c, nc, rest := nd.accept(t, k)
		if k == kinds[len(kinds)-1] {
			nd.stop()
		}
		p := newPeer(t)
		err := nd.loops.Adopt(&p.Conn, nc, Start{Peer: p, Timeout: time.Hour, WebSocket: k.webSocket, Rest: rest})
		if k == kinds[len(kinds)-1] {
			expectError(t, err, net.ErrClosed)
			if len(p.ended) != 0 || p.over {
				t.Error("the peer was told")
			}
			if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the client's stream ends with %v", err)
			}
			continue
		}
		must(t, err)
		p.Finish()
		c.tcp.Close()
		p.end(t)
	}
}

// Loops that were never run have nothing but what Close closes.
func TestNeverRun(t *testing.T) {
	leaktest.Check(t)
	loops, err := Open(3, Options{})
	must(t, err)
	loops.Close()
}

// Who says nothing at all, or no whole packet, has until the time of Start.
func TestFirstPacketInTime(t *testing.T) {
	for _, k := range kinds {
		for _, sent := range [][]byte{nil, connect[:5]} {
			t.Run(k.name, func(t *testing.T) {
				leaktest.Check(t)
				nd := newNode(t, 1, Options{})
				p := newPeer(t)
				c := nd.connect(t, k, p, Start{Timeout: 20 * time.Millisecond})
				_, _ = c.Write(sent) // if there is time
				expectError(t, p.end(t), ErrIdle)
			})
		}
	}
}

// Single bytes of a packet do not keep a connection, nor does anything before the peer has said how long it may be silent.
func TestTrickle(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	p := newPeer(t)
	p.handle = func(packet.Header, []byte) (Verdict, error) { p.SetIdle(100 * time.Millisecond); return Done, nil }
	c := nd.connect(t, kinds[0], p, Start{})
	must(t, second(c.Write(connect)))
	more := publish(1<<20, 'x')
	for at := 0; ; at++ {
		if _, err := c.Write(more[at : at+1]); err != nil {
			break
		}
		select {
		case <-p.closed:
		case <-time.After(time.Millisecond): // the pace of a client
			continue
		}
		break
	}
	expectError(t, p.end(t), ErrIdle)
}

// What counts as a sign of life: whole packets, and parts of one that are as large as sign, once SetIdle was called.
func TestSigns(t *testing.T) {
	tests := []struct {
		name    string
		settled bool
		send    int // bytes of a packet
		want    bool
	}{
		{"too few", true, sign - 1, false},
		{"enough", true, sign, true},
		{"before SetIdle", false, 3 * sign, false},
		{"the whole packet", true, 5 * sign, true},
	}
	for _, k := range kinds {
		for _, test := range tests {
			t.Run(k.name+", "+test.name, func(t *testing.T) {
				leaktest.Check(t)
				nd := newNode(t, 1, Options{})
				p := newPeer(t)
				p.keep = true
				c := nd.connect(t, k, p, Start{})
				must(t, second(c.Write(connect)))
				eventually(t, "the first packet", func() bool { return p.handled() == 1 })
				var old tick
				p.on(t, func(*loop) {
					if test.settled {
						p.SetIdle(time.Hour)
					}
					p.heard -= ticks(time.Minute)
					old = p.heard
				})
				b := publish(5*sign-4, 'x')
				for at := 0; at < test.send; at += 512 {
					nd.deliver(t, c, c.wire(t, b[at:min(at+512, test.send)]))
				}
				p.on(t, func(*loop) {
					if got := p.heard != old; got != test.want {
						t.Errorf("%d bytes are a sign of life: %v", test.send, got)
					}
				})
				c.tcp.Close()
				p.end(t)
			})
		}
	}
}
