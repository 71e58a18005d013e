package lb

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/mqttlb/mqttlb/internal/socket"
	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// cpus is how many CPUs the process may use: those of the machine, or of its cgroup.
func cpus() int { return min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) }

// openPlane opens what connections live on: sockets until hand-off, and loops after it, one for each CPU when workers is
// 0. shut ends both; every connection has ended before.
func (s *Server) openPlane(workers int) (shut func(), err error) {
	if workers == 0 {
		workers = cpus()
	}
	if most := workers + cpus(); runtime.GOMAXPROCS(0) < most {
		runtime.GOMAXPROCS(most) // a loop that waits a moment for its next event keeps its P: handshakes have their own
	}
	if s.sockets, err = socket.Open(); err != nil {
		return nil, fmt.Errorf("open the poller of new connections: %w", err)
	}
	if s.relay, err = relay.Open(workers); err != nil {
		s.sockets.Close()
		return nil, fmt.Errorf("open %d event loops: %w", workers, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.relay.Run(ctx); err != nil {
			s.log.Error("an event loop has failed: its connections are gone", "error", err)
		}
	}()
	return func() {
		cancel()
		<-ended
		s.sockets.Close()
	}, nil
}

// keepAlive is TCP's, on both sockets: it finds peers that are gone without a word. A device that pings within five
// minutes never sees a probe; a quieter one is asked after five, and given up after seven (5 min + 4 × 30 s).
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: 30 * time.Second, Count: 4}
}

// mostArriving is how many connections have a goroutine at once, while they are fast: a goroutine with a handshake on its stack
// is 30 KB, of which the runtime never gives 450 B back. Newcomers beyond wait in the kernel's queue.
const mostArriving = 128

// patience is how long a connection counts among those: who takes longer waits for the network, or on purpose, and must not
// keep others out. Then goroutines are bounded by the descriptors alone.
const patience = 125 * time.Millisecond

// rotateTickets gives every listener new keys for session tickets, when it is time, until ctx is done.
func (s *Server) rotateTickets(ctx context.Context) {
	every := time.NewTicker(handshake.RotateEvery)
	defer every.Stop()
	for {
		select {
		case now := <-every.C:
			s.setTickets(s.generation(), now)
		case <-ctx.Done():
			return
		}
	}
}

// setTickets gives the listeners of g the keys of now.
func (s *Server) setTickets(g *generation, now time.Time) {
	for _, f := range g.frontends {
		if f.tls != nil {
			f.tls.SetSessionTicketKeys(s.tickets.Keys(f.clientTrust, now))
		}
	}
}
