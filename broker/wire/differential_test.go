//go:build linux

package wire

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// A script is what a client does: what it says, in which writes, where it waits until it was heard, and how it ends.
type script struct {
	stream []byte
	writes []int
	stalls []bool
	end    string
}

const scriptMost = 100_000

func newScript(rng *rand.Rand) script {
	s := script{stream: connect}
	for range rng.IntN(60) {
		if rng.IntN(4) == 0 {
			s.stream = append(s.stream[:len(s.stream):len(s.stream)], pingreq...)
			continue
		}
		s.stream = joined(s.stream, publish(rng.IntN(1<<(1+rng.IntN(16))), byte(rng.Uint32())))
	}
	switch rng.IntN(6) {
	case 0:
		s.stream = append(s.stream, publish(scriptMost, 'x')...) // too large
	case 1:
		s.stream = append(s.stream, 0xf1, 0) // reserved flags
	case 2:
		s.stream = s.stream[:rng.IntN(len(s.stream))]
	case 3:
		s.stream = joined(s.stream[:len(s.stream):len(s.stream)], []byte{0xe0, 0})
	}
	for left := len(s.stream); left > 0; {
		n := min(left, 1+rng.IntN(1<<(1+rng.IntN(17))))
		s.writes, s.stalls = append(s.writes, n), append(s.stalls, rng.IntN(5) == 0)
		left -= n
	}
	s.end = []string{"half-close", "close", "reset"}[rng.IntN(3)]
	return s
}

// play is the client's part of a script.
func (s *script) play(t *testing.T, nd *node, c *link) {
	rest := s.stream
	for i, n := range s.writes {
		before := nd.in()
		if _, err := c.Write(rest[:n]); err != nil {
			return // the node has ended it
		}
		if s.stalls[i] {
			again := time.NewTicker(time.Millisecond) // until it is read, or will never be
			for range 10 {
				if nd.in()-before >= uint64(n) {
					break
				}
				<-again.C
			}
			again.Stop()
		}
		rest = rest[n:]
	}
	switch client, secure := c.Conn.(*tls.Conn); {
	case s.end == "reset":
		must(t, c.tcp.SetLinger(0))
		c.tcp.Close()
	case secure:
		_ = client.CloseWrite() // it may be too late for that
	case s.end == "close" && c.held != nil:
		_, _ = c.under.Write(closeFrame)
	case s.end == "half-close" || c.held != nil:
		_ = c.tcp.CloseWrite()
	default:
		c.tcp.Close()
	}
}

// The same random scripts, whatever is between packets and socket, give the packets and the end that a reader of the same bytes has; a
// reset may take away what was not read before.
func TestAsReaderDoes(t *testing.T) {
	first := uint64(time.Now().UnixNano())
	for i := range uint64(12) {
		for _, k := range kinds {
			seed := first + i
			t.Run(fmt.Sprintf("%s, seed %d", k.name, seed), func(t *testing.T) {
				leaktest.Check(t)
				rng := rand.New(rand.NewPCG(seed, 0))
				s := newScript(rng)
				nd := newNode(t, 1, Options{MaxPacket: scriptMost})
				p := newPeer(t)
				var calls atomic.Uint64
				p.handle = func(packet.Header, []byte) (Verdict, error) {
					switch n := calls.Add(1) * seed; {
					case n%7 == 3:
						return Again, nil
					case n%11 == 5:
						go p.Resume()
						return Wait, nil
					}
					return Done, nil
				}
				c := nd.connect(t, k, p, Start{})
				s.play(t, nd, c)
				end := p.end(t)
				got := p.seen()
				want, wantEnd := packsOf(s.stream, scriptMost)
				if s.end == "reset" && (end == syscall.ECONNRESET || end == io.EOF) {
					want = want[:min(len(got), len(want))]
					end = wantEnd
				}
				if problem := differ(got, want); problem != "" {
					t.Errorf("%s: %s", s.end, problem)
				}
				if !sameEnd(end, wantEnd) {
					t.Errorf("%s: it ended with %v, the reader with %v", s.end, end, wantEnd)
				}
			})
		}
	}
}
