//go:build linux

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// However the network cuts what a client sends, the packets are the same: cut once, at every byte, and into single bytes.
func TestSplit(t *testing.T) {
	stream := [][]byte{connect, pingreq, publish(0, 0), publish(130, 'x'), {0xe0, 0}}
	want, _ := packsOf(joined(stream...), 0)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			size := 0
			for at := 0; at == 0 || at < size; at++ {
				p := newPeer(t)
				c := nd.connect(t, k, p, Start{})
				raw := c.wire(t, stream...)
				size = len(raw)
				for _, piece := range [][]byte{raw[:at], raw[at:]} {
					nd.deliver(t, c, piece)
				}
				eventually(t, "all packets", func() bool { return p.handled() == len(want) })
				p.check(t, want)
				c.tcp.Close()
				p.end(t)
			}
			p := newPeer(t)
			c := nd.connect(t, k, p, Start{})
			for _, b := range c.wire(t, stream...) {
				nd.deliver(t, c, []byte{b})
			}
			p.check(t, want)
			c.tcp.Close()
			p.end(t)
		})
	}
}

// deliver sends bytes over a client's socket, and waits until they are read.
func (nd *node) deliver(t testing.TB, c *link, raw []byte) {
	t.Helper()
	before := nd.in()
	must(t, second(c.tcp.Write(raw)))
	nd.arrived(t, before, len(raw))
}

// What came with the handshake is handled first, whatever it is in.
func TestRest(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			p := newPeer(t)
			var rest []byte
			if k.webSocket {
				rest = masked(0x82, connect)
			} else {
				rest = connect
			}
			c := nd.connect(t, k, p, Start{Rest: rest[:len(rest):len(rest)]})
			must(t, second(c.Write(pingreq)))
			eventually(t, "both packets", func() bool { return p.handled() == 2 })
			want, _ := packsOf(joined(connect, pingreq), 0)
			p.check(t, want)
			c.tcp.Close()
			p.end(t)
		})
	}
}

// A packet may have as many bytes as are allowed, and not one more; what comes before one that is too large is handled.
func TestPacketLimit(t *testing.T) {
	const most = 1000
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{MaxPacket: most})
			p := newPeer(t)
			p.words = farewell
			c := nd.connect(t, k, p, Start{})
			stream := joined(connect, publish(most-3, 'x'), publish(most-2, 'y')[:3])
			must(t, second(c.Write(stream)))
			expect(t, c, farewell)
			c.tcp.Close()
			expectError(t, p.end(t), packet.ErrTooLarge)
			want, _ := packsOf(stream, most)
			if len(want) != 2 {
				t.Fatalf("the reader has %d packets", len(want))
			}
			p.check(t, want)
		})
	}
}

// A stranger's packets have a limit of their own until SetIdle was called, and who goes while his first one waits is gone: nothing is
// held for him.
func TestStrangers(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{MaxPacket: 1 << 20})
	for _, known := range []bool{false, true} {
		p := newPeer(t)
		p.keep = !known
		c := nd.connect(t, kinds[0], p, Start{})
		must(t, second(c.Write(joined(connect, publish(mostFirst-4, 'x')))))
		eventually(t, "as much as is allowed", func() bool { return p.handled() == 2 })
		must(t, second(c.Write(publish(mostFirst-3, 'x')[:4])))
		if known {
			must(t, second(c.Write(publish(mostFirst-3, 'x')[4:])))
			eventually(t, "more is allowed", func() bool { return p.handled() == 3 })
			c.Close()
			expectError(t, p.end(t), io.EOF)
			continue
		}
		expectError(t, p.end(t), packet.ErrTooLarge)
	}
	p := newPeer(t)
	p.keep = true
	p.handle = func(packet.Header, []byte) (Verdict, error) { return Wait, nil }
	c := nd.connect(t, kinds[0], p, Start{})
	must(t, second(c.Write(connect)))
	c.Close()
	expectError(t, p.end(t), io.EOF)
}

// A header that announces the largest packet there is costs nothing until that comes.
func TestAnnouncedIsNotAllocated(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			p := newPeer(t)
			c := nd.connect(t, k, p, Start{})
			raw := c.wire(t, connect, []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, bytes.Repeat([]byte{'x'}, 5000))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			nd.deliver(t, c, raw)
			p.on(t, func(l *loop) {
				if n := len(l.held.Bytes(p.partial)); n != 5005 {
					t.Errorf("%d bytes are kept of 5005", n)
				}
			})
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%d bytes were allocated", n)
			}
			c.tcp.Close()
			expectError(t, p.end(t), io.EOF)
		})
	}
}

// Who does not speak MQTT is told to go at the first byte: no more of it is waited for.
func TestNotMQTT(t *testing.T) {
	for _, k := range kinds {
		for _, first := range []byte{0, 0x16, 'G', 0x1f, 0x20, 0xc0, 0xff} {
			t.Run(fmt.Sprintf("%s, 0x%02x", k.name, first), func(t *testing.T) {
				leaktest.Check(t)
				nd := newNode(t, 1, Options{})
				p := newPeer(t)
				c := nd.connect(t, k, p, Start{})
				write(t, c, first)
				expectError(t, p.end(t), ErrNotMQTT)
				if n := p.handled(); n != 0 {
					t.Errorf("%d packets", n)
				}
			})
		}
	}
}

// A header that no version has ends the connection, after what came before it was handled.
func TestMalformed(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	p := newPeer(t)
	c := nd.connect(t, kinds[0], p, Start{})
	write(t, c, joined(connect, pingreq, []byte{0x00})...)
	var broken *packet.Error
	if err := p.end(t); !errors.As(err, &broken) {
		t.Errorf("it ended with %v", err)
	}
	if p.handled() != 2 {
		t.Errorf("%d packets before", p.handled())
	}
}

// A packet that is handled in parts comes again with the same bytes, and what is behind it waits: with Again until others
// had their turn, with Wait until Resume.
func TestVerdicts(t *testing.T) {
	for _, k := range kinds {
		for _, verdict := range []Verdict{Again, Wait} {
			t.Run(fmt.Sprintf("%s, %d", k.name, verdict), func(t *testing.T) {
				leaktest.Check(t)
				nd := newNode(t, 1, Options{})
				p := newPeer(t)
				var tries atomic.Int32
				p.handle = func(h packet.Header, body []byte) (Verdict, error) {
					if h.Type != packet.PUBLISH || tries.Add(1)%3 == 0 {
						return Done, nil
					}
					return verdict, nil
				}
				c := nd.connect(t, k, p, Start{})
				stream := joined(connect, publish(5, 'a'), pingreq, publish(70_000, 'b'), publish(0, 0), pingreq)
				must(t, second(c.Write(stream)))
				for n := int32(1); n <= 9; n++ {
					if verdict == Wait && n%3 != 0 {
						eventually(t, "the packet is tried", func() bool { return tries.Load() == n })
						p.Resume()
					}
				}
				want, _ := packsOf(stream, 0)
				eventually(t, "all packets", func() bool { return p.handled() == len(want) })
				p.check(t, want)
				if tries.Load() != 9 {
					t.Errorf("packets were tried %d times, want 9", tries.Load())
				}
				c.tcp.Close()
				expectError(t, p.end(t), io.EOF)
			})
		}
	}
}

// While a packet waits, neither it nor anything behind it is touched, and no deadline runs; Resume may come before the verdict.
func TestWait(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	p, other := newPeer(t), newPeer(t)
	early, counting := true, false
	p.handle = func(h packet.Header, body []byte) (Verdict, error) {
		switch {
		case h.Type == packet.CONNECT:
		case early:
			early = false
			p.Resume()
			return Wait, nil
		case len(body) == 1:
			if !counting { // not with each attempt, which would hide what Resume does
				counting = true
				p.SetIdle(50 * time.Millisecond)
			}
			return Wait, nil
		}
		return Done, nil
	}
	c := nd.connect(t, kinds[0], p, Start{})
	write(t, c, joined(connect, publish(0, 0))...)
	eventually(t, "Resume counts that came before the verdict", func() bool { return p.handled() == 2 })
	write(t, c, joined(publish(1, 'x'), pingreq)...)
	eventually(t, "the packet waits", func() bool {
		var so bool
		p.on(t, func(*loop) { so = p.flags&paused != 0 })
		return so
	})
	// A neighbour with the same time goes by, twice.
	for range 2 {
		other = newPeer(t)
		other.handle = func(packet.Header, []byte) (Verdict, error) { other.SetIdle(100 * time.Millisecond); return Done, nil }
		write(t, nd.connect(t, kinds[0], other, Start{}), connect...)
		expectError(t, other.end(t), ErrIdle)
	}
	if n := p.handled(); n != 2 {
		t.Errorf("%d packets are handled while one waits", n)
	}
	p.on(t, func(*loop) { p.handle = nil })
	p.Resume() // now its time runs again
	expectError(t, p.end(t), ErrIdle)
	if n := p.handled(); n != 4 {
		t.Errorf("%d packets in the end, want 4", n)
	}
	p.Resume() // nobody is there
	p.Finish()
	p.Wake()
}

// What is asked for between Adopt and the loop's first look is not forgotten, whatever the loop has in hand meanwhile.
func TestAskedBeforeAdoption(t *testing.T) {
	for _, what := range []string{"Finish", "Wake", "Resume"} {
		t.Run(what, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			first, p := newPeer(t), newPeer(t)
			p.words, p.queue = farewell, [][]byte{pingresp}
			nd.connect(t, kinds[0], first, Start{})
			first.on(t, func(*loop) {})
			l, nc, _ := nd.accept(t, kinds[0])
			hold, held := make(chan struct{}), make(chan struct{})
			first.Post(func() { close(held); <-hold })
			<-held
			first.Wake() // so that the loop is to look at those with something to say before it hears of p
			must(t, nd.loops.Adopt(&p.Conn, nc, Start{Peer: p, Timeout: time.Hour}))
			switch what {
			case "Finish":
				p.Finish()
			case "Wake":
				p.Wake()
			case "Resume":
				p.Resume()
			}
			close(hold)
			expect(t, l, pingresp)
			if what == "Finish" {
				expect(t, l, farewell)
				expectEnd(t, l)
				l.Close()
				expectError(t, p.end(t), nil)
			}
		})
	}
}

// A turn ends, whatever a client sends: many packets, one that is not complete, nothing but what layers below are for. All that lies
// settle handles every packet, and makes a client that has connected one of whom more than a CONNECT is read.
func (p *peer) settle(h packet.Header, _ []byte) (Verdict, error) {
	if h.Type == packet.CONNECT {
		p.SetIdle(time.Hour)
	}
	return Done, nil
}

// ready comes in pieces between which others have theirs.
func TestTurnIsBounded(t *testing.T) {
	pings := bytes.Repeat(pingreq, 1<<20)
	tests := []struct {
		name string
		k    kind
		send []byte
	}{
		{"packets", kinds[0], pings},
		{"a packet that is not complete", kinds[0], joined([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, pings)},
		{"pongs", kinds[3], bytes.Repeat(masked(0x8a, make([]byte, 125)), 1<<14)},
	}
	const most = 16*turnWork + 1<<17
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			p := newPeer(t)
			p.silent = true
			p.handle = p.settle
			c := nd.connect(t, test.k, p, Start{})
			must(t, second(c.Write(connect)))
			eventually(t, "the first packet", func() bool { return p.handled() == 1 })
			hold, held := make(chan struct{}), make(chan struct{})
			p.Post(func() { close(held); <-hold })
			<-held
			must(t, c.tcp.SetWriteDeadline(time.Now().Add(time.Second))) // as much as the kernel takes
			sent, _ := c.tcp.Write(test.send)
			if sent < 2*most {
				t.Fatalf("the kernel takes %d bytes, too few for this test", sent)
			}
			// Posted functions run at the end of each round.
			last, worst, handled, packets := nd.in(), uint64(0), 1, 0
			enough := make(chan struct{})
			var look func()
			look = func() {
				now, done := nd.in(), p.handled()
				worst, last = max(worst, now-last), now
				packets, handled = max(packets, done-handled), done
				if now < uint64(sent) && p.stage == open {
					p.Post(look)
				} else {
					close(enough)
				}
			}
			p.Post(look)
			close(hold)
			<-enough
			if nd.in() < uint64(sent) {
				t.Error("the connection has ended before")
			}
			if worst > most || packets > turnWork/packetWork {
				t.Errorf("%d bytes and %d packets in one turn, want %d and %d at most", worst, packets, most, turnWork/packetWork)
			}
			c.tcp.Close()
			p.end(t)
		})
	}
}

// Spend counts: a peer whose packets cost much has few of them in a turn.
func TestSpend(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	p := newPeer(t)
	var perTurn, most, spent int
	p.handle = func(packet.Header, []byte) (Verdict, error) {
		if perTurn == 0 {
			p.Post(func() { most, perTurn = max(most, perTurn), 0 })
		}
		perTurn++
		p.Spend(turnWork / 4)
		if p.Spent() {
			spent++
		}
		return Done, nil
	}
	c := nd.connect(t, kinds[0], p, Start{})
	write(t, c, joined(connect, bytes.Repeat(pingreq, 39))...)
	eventually(t, "all packets", func() bool { return p.handled() == 40 })
	p.on(t, func(*loop) {
		if most > 4 || spent < 10 {
			t.Errorf("up to %d packets in a turn, want 4; %d turns were spent", most, spent)
		}
	})
	c.Close()
	p.end(t)
}
