//go:build linux

package wire

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A hundred clients and more come and go, say and hear something, while others wake, resume and finish their connections at any
// moment: nothing is left, and everybody is told of his end once (which harness_test.go's peer looks at). Half of the last ones are left to
// the end of the loops.
func TestStress(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 2, Options{WriteTimeout: 100 * time.Millisecond, Goodbye: 20 * time.Millisecond})
	const at1, rounds = 200, 4
	var dialing sync.Mutex // Accept has the next one, whoever dialled
	var all sync.WaitGroup
	peers := make(chan *peer, at1*rounds)
	for worker := range at1 {
		rng := rand.New(rand.NewPCG(uint64(worker), uint64(time.Now().UnixNano())))
		all.Go(func() {
			for round := range rounds {
				dialing.Lock()
				client, err := net.Dial("tcp", nd.ln.Addr().String())
				var nc net.Conn
				if err == nil {
					nc, err = nd.ln.Accept()
				}
				dialing.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				client.SetDeadline(time.Now().Add(patience))
				var c net.Conn = client
				if worker%3 == 0 {
					mine, its := states(t)
					c, nc = record.NewConn(client, mine, nil), record.NewConn(nc, its, nil)
				}
				p := stressPeer(t)
				if err := nd.loops.Adopt(&p.Conn, nc, Start{Peer: p, Timeout: time.Hour}); err != nil {
					t.Error(err)
					return
				}
				peers <- p
				last := round == rounds-1 && worker%2 == 0
				if disturb(p, c, rng, last); last {
					return
				}
				p.Finish() // if nothing else has ended it
				<-p.closed
				client.Close()
			}
		})
	}
	all.Wait()
	nd.stop()
	for range len(peers) {
		(<-peers).end(t)
	}
}

// stressPeer answers, lets wait, and has something to say.
func stressPeer(t *testing.T) *peer {
	p := newPeer(t)
	p.silent = true
	if rand.IntN(2) == 0 {
		p.words = farewell
	}
	calls := rand.IntN(10)
	p.handle = func(packet.Header, []byte) (Verdict, error) {
		switch calls++; {
		case calls%5 == 0:
			return Again, nil
		case calls%7 == 0:
			go p.Resume()
			return Wait, nil
		case calls%2 == 0:
			p.ReplyFirst(pingresp)
		}
		p.Reply(pingresp)
		return Done, nil
	}
	return p
}

// disturb is the life of one connection, and what others do to it meanwhile.
func disturb(p *peer, c net.Conn, rng *rand.Rand, last bool) {
	var all sync.WaitGroup
	seed, ends := rng.Uint64(), rng.IntN(4)
	all.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 1))
		for range 40 {
			switch rng.IntN(4) {
			case 0:
				p.Wake()
			case 1:
				p.Resume()
			case 2:
				p.give(publish(rng.IntN(5000), 'x'))
			default:
				p.Post(func() { p.SetIdle(time.Hour); p.Reply(pingresp) })
			}
		}
		if ends == 0 && !last {
			p.Finish()
		}
	})
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		_, _ = io.CopyN(io.Discard, c, int64(seed%(1<<17)))
	}()
	if _, err := c.Write(connect); err == nil {
		for range rng.IntN(30) {
			if _, err := c.Write(joined(publish(rng.IntN(3000), 'y'), pingreq)); err != nil {
				break
			}
		}
	}
	all.Wait()
	if last {
		_ = c.SetReadDeadline(time.Now())
		<-stop
		return
	}
	switch ends {
	case 1:
		c.Close()
	case 2:
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
			tcp.Close()
		}
	}
	p.Finish()
	<-p.closed
	c.Close()
	<-stop
}
