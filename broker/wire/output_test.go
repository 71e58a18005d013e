//go:build linux

package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// narrow takes much of the room from the sockets of a connection, in the direction to the client.
func (p *peer) narrow(t testing.TB, c *link) {
	t.Helper()
	must(t, c.tcp.SetReadBuffer(64<<10))
	var err error
	p.on(t, func(*loop) { err = syscall.SetsockoptInt(int(p.fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 16<<10) })
	must(t, err)
}

func (p *peer) fillings() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.fills)
}

// What goes out in one write: answers that go first, with those before them, then what Fill has, then other answers.
func TestOrder(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			p := newPeer(t)
			c := nd.connect(t, k, p, Start{})
			p.on(t, func(*loop) {
				p.Reply(publish(1, '1'))
				p.ReplyFirst(publish(1, '2'))
				p.Reply(publish(1, '4'))
				p.give(publish(1, '3'))
				p.ReplyFirst(nil) // brings 4 forward
				p.Reply(publish(1, '5'))
			})
			var want []byte
			for _, n := range []byte("12435") {
				want = append(want, publish(1, n)...)
			}
			expect(t, c, want)
			if n := p.fillings(); n != 1 {
				t.Errorf("Fill was called %d times", n)
			}
			c.tcp.Close()
			p.end(t)
		})
	}
}

// However often, and by however many, a connection is woken in one round, it is asked once.
func TestOneFillForManyWakes(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	p := newPeer(t)
	c := nd.connect(t, kinds[3], p, Start{}) // a frame is a write
	hold, held := make(chan struct{}), make(chan struct{})
	p.Post(func() { close(held); <-hold })
	<-held
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				p.give(pingresp)
				p.Resume()
			}
		})
	}
	all.Wait()
	close(hold)
	want := bytes.Repeat(pingresp, 400)
	got := make([]byte, len(want)+1)
	if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], want) {
		// NetConn returns from Read what is in a message as far as it has it: a part is possible, another message is not.
		expect(t, c, want[n:])
	}
	p.on(t, func(*loop) {})
	if n := p.fillings(); n != 1 {
		t.Errorf("Fill was called %d times for 400 packets in one round", n)
	}
	c.tcp.Close()
	p.end(t)
}

// All that Fill has arrives, in order, more than a write of it and single packets larger than that as well.
func TestFillMoreThanAChunk(t *testing.T) {
	var list [][]byte
	for i := range 300 {
		list = append(list, publish(1000+i, byte(i)))
	}
	list = append(list, publish(200_000, 'x'), pingresp, publish(sealedChunk, 'y'), publish(plainChunk, 'z'), pingresp)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			p := newPeer(t)
			c := nd.connect(t, k, p, Start{})
			p.give(list...)
			expect(t, c, joined(list...))
			p.on(t, func(*loop) { p.Reply(publish(100_000, 'r')); p.give(pingresp) })
			expect(t, c, joined(pingresp, publish(100_000, 'r')))
			p.on(t, func(*loop) {}) // they are counted after the write
			if _, out := nd.loops.Bytes(); out < 700_000 {
				t.Errorf("%d bytes are counted", out)
			}
			c.tcp.Close()
			p.end(t)
		})
	}
}

// Whoever does not read is sent one write more than the socket takes, and the rest when he reads.
func TestSlowReader(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{WriteTimeout: time.Hour})
			p := newPeer(t)
			c := nd.connect(t, k, p, Start{})
			const n = 10 << 10
			var want []byte
			for i := range n {
				b := binary.BigEndian.AppendUint32([]byte{0x30, 0x80, 0x08}, uint32(i))
				want = append(want, append(b, make([]byte, 1020)...)...)
			}
			for i := range n {
				p.queue = append(p.queue, want[i*1027:(i+1)*1027])
			}
			p.Wake()
			calls := -1
			for calm := 0; calm < 3; { // until nothing moves
				p.on(t, func(l *loop) {
					if now := p.fillings(); now != calls || p.unsent == 0 {
						calls, calm = now, 0
					} else {
						calm++
					}
					if held := len(l.held.Bytes(p.unsent)); held > plainChunk+2048 {
						t.Errorf("%d bytes are held for a client that does not read", held)
					}
				})
			}
			expect(t, c, want)
			eventually(t, "nothing is held", func() (so bool) {
				p.on(t, func(l *loop) { so = p.unsent == 0 && p.flags&stalled == 0 && l.held.Used() == 0 })
				return so
			})
			c.tcp.Close()
			p.end(t)
		})
	}
}

// Whoever takes nothing at all has to go when his time is over; what is said to him last does not hold that up.
func TestStalled(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{WriteTimeout: 50 * time.Millisecond, Goodbye: 50 * time.Millisecond})
			p := newPeer(t)
			p.words = farewell
			p.fill = func(dst []byte, most int) ([]byte, bool) { return append(dst, publish(60_000, 'x')...), true }
			nd.connect(t, k, p, Start{})
			p.Wake()
			expectError(t, p.end(t), ErrStalled)
		})
	}
}

// Who asks and does not read the answers is not read, so that they are bounded; he has not become silent thereby, as far as anybody knows. When
// he reads he has them all.
func TestFullOfReplies(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{WriteTimeout: time.Hour})
			p := newPeer(t)
			p.silent = true
			answer := publish(60, 'r')
			p.handle = func(h packet.Header, _ []byte) (Verdict, error) { p.Reply(answer); return Done, nil }
			c := nd.connect(t, k, p, Start{})
			p.narrow(t, c)
			const asked = 200_000
			written := make(chan error, 1)
			go func() { // it waits in this until somebody reads
				written <- second(c.Write(joined(connect, bytes.Repeat(pingreq, asked-1))))
			}()
			before := 0
			for calm := 0; calm < 3; { // until nothing moves
				p.on(t, func(l *loop) {
					if now := p.handled(); now != before || !p.blocked() {
						before, calm = now, 0
					} else {
						calm++
					}
					if n := len(l.held.Bytes(p.replies)); n > fullOfReplies+turnWork/packetWork*len(answer) {
						t.Errorf("%d bytes of answers wait", n)
					}
				})
			}
			if before >= asked {
				t.Error("all packets are handled of one who does not read")
			}
			p.on(t, func(l *loop) {
				p.SetIdle(time.Minute)
				p.heard -= ticks(2 * time.Minute)
				if left, _ := p.left(l.tick(), l.options); left == 0 {
					t.Error("one who is not read has been silent for too long")
				}
				p.SetIdle(0)
			})
			expect(t, c, bytes.Repeat(answer, asked))
			must(t, <-written)
			c.tcp.Close()
			p.end(t)
		})
	}
}

// Who is sent more than he reads, always, still has his answers.
func TestAnswersBehindAFlood(t *testing.T) {
	for _, k := range []kind{kinds[0], kinds[1]} {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{WriteTimeout: time.Hour})
			p := newPeer(t)
			message := publish(1000, 'x')
			p.fill = func(dst []byte, most int) ([]byte, bool) {
				for len(dst) < most {
					dst = append(dst, message...)
				}
				return dst, true
			}
			c := nd.connect(t, k, p, Start{})
			p.narrow(t, c)
			p.Wake()
			r := packet.NewReader(c, 0)
			p.on(t, func(*loop) { p.Reply(pingresp) })
			for n := 0; ; n++ {
				h, _, err := r.Next()
				must(t, err)
				if h.Type == packet.PINGRESP {
					break
				}
				if n > 10_000 {
					t.Fatal("10 MB arrive, and the answer is not among them")
				}
			}
			c.tcp.Close()
			p.end(t)
		})
	}
}

// Both ways at once, large packets and small ones.
func TestBulk(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{WriteTimeout: time.Hour})
			p := newPeer(t)
			c := nd.connect(t, k, p, Start{})
			up, down := [][]byte{connect}, [][]byte(nil)
			for i, size := 0, 0; size < 10<<20; i++ {
				b := publish(i*i*37%150_000, byte(i))
				size += len(b)
				up, down = append(up, b), append(down, b)
			}
			var both sync.WaitGroup
			both.Go(func() {
				for _, b := range up {
					if _, err := c.Write(b); err != nil {
						t.Errorf("write: %v", err)
						return
					}
				}
			})
			both.Go(func() {
				for _, b := range down {
					p.give(b)
				}
			})
			got := make([]byte, len(joined(down...)))
			if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, joined(down...)) {
				t.Errorf("%d of %d bytes, or others: %v", n, len(got), err)
			}
			both.Wait()
			want, _ := packsOf(joined(up...), 0)
			eventually(t, "all packets", func() bool { return p.handled() == len(want) })
			p.check(t, want)
			c.tcp.Close()
			p.end(t)
		})
	}
}
