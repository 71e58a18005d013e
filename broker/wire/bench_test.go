//go:build linux

package wire

import (
	"context"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A quiet peer has nothing but what it is told to say once.
type quiet struct {
	Conn
	message []byte
	closed  chan<- struct{}
}

func (q *quiet) Packet(packet.Header, []byte) (Verdict, error) { return Done, nil }
func (q *quiet) Fill(dst []byte, _ int) ([]byte, bool) {
	dst, q.message = append(dst, q.message...), nil
	return dst, false
}
func (q *quiet) Ended(error) bool { return false }
func (q *quiet) Closed()          { q.closed <- struct{}{} }

// A descriptor is a connection with nothing around it.
type descriptor struct {
	net.Conn
	fd int
}

func (d descriptor) Detach() (int, error) { return d.fd, nil }

// crowd adopts n connections, and returns the clients' descriptors; stop ends them all.
func crowd(b *testing.B, n int, secure bool) (peers []*quiet, far []int, stop func()) {
	b.Helper()
	loops, err := Open(1, Options{})
	must(b, err)
	closed := make(chan struct{}, n)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- loops.Run(ctx) }()
	stop = func() {
		cancel()
		must(b, <-ended)
		if len(closed) != n {
			b.Errorf("%d connections of %d were closed", len(closed), n)
		}
		for _, fd := range far {
			syscall.Close(fd)
		}
	}
	for range n {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		must(b, err)
		q := &quiet{closed: closed}
		var nc net.Conn = descriptor{fd: pair[0]}
		if secure {
			_, its := states(b)
			nc = record.NewConn(nc, its, nil)
		}
		must(b, loops.Adopt(&q.Conn, nc, Start{Peer: q, Timeout: time.Hour}))
		peers, far = append(peers, q), append(far, pair[1])
	}
	on(peers[0], func() {})
	return peers, far, stop
}

// on runs f on the loop of a peer, and waits for the round.
func on(q *quiet, f func()) {
	done := make(chan struct{})
	q.Post(f)
	q.Post(func() { q.Post(func() { close(done) }) }) // behind attendAll
	<-done
}

// BenchmarkFanout is one message for a thousand clients in one round, of which each is a write: ns/delivery.
func BenchmarkFanout(b *testing.B) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		b.Run(name, func(b *testing.B) {
			const n = 1000
			peers, far, stop := crowd(b, n, secure)
			defer stop()
			message, buf := publish(128, 'x'), make([]byte, 4096)
			b.ReportAllocs()
			for b.Loop() {
				on(peers[0], func() {
					for _, q := range peers {
						q.message = message
						q.Wake()
					}
				})
				b.StopTimer()
				for _, fd := range far {
					if got, err := syscall.Read(fd, buf); err != nil || got < len(message) {
						b.Fatalf("%d bytes arrive, %v", got, err)
					}
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/delivery")
		})
	}
}

// BenchmarkIdle is what an idle connection takes of user memory: of Go's heap, with a Peer of five words, and in all.
func BenchmarkIdle(b *testing.B) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		b.Run(name, func(b *testing.B) {
			const n = 4000
			var heap, all float64
			for b.Loop() {
				heap0, all0 := memory(b)
				peers, _, stop := crowd(b, n, secure)
				heap1, all1 := memory(b)
				heap, all = float64(heap1-heap0)/n, float64(all1-all0)/n
				runtime.KeepAlive(peers)
				stop()
			}
			b.ReportMetric(heap, "heap-B/conn")
			b.ReportMetric(all, "B/conn")
		})
	}
}

// memory is what is in use of the heap, and what the process has of its own (RssAnon, proc_pid_status(5)).
func memory(b *testing.B) (heap, all int64) {
	b.Helper()
	for range 2 {
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	text, err := os.ReadFile("/proc/self/status")
	must(b, err)
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	kB, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	must(b, err)
	return int64(m.HeapAlloc), kB << 10
}
