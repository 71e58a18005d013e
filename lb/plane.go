package lb

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/mqttlb/mqttlb/internal/socket"
	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// cpus is how many CPUs the process may use: those of the machine, or of its cgroup.
func cpus() int { return min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) }

// eventLoops is how many there are for a configuration's workers: one for each CPU when it says 0.
func eventLoops(workers int) int {
	if workers == 0 {
		return cpus()
	}
	return workers
}

// openPlane opens what connections live on: sockets until hand-off, and loops after it. shut ends both; every connection has ended
// before. failed is called when an event loop, and with it all, has ended before that.
func (s *Server) openPlane(failed func(error)) (shut func(), err error) {
	if most := s.loops + (cpus()+1)/2; runtime.GOMAXPROCS(0) < most {
		runtime.GOMAXPROCS(most) // a loop that waits a moment for its next event keeps its P: handshakes have their own. With more, they are woken for nothing.
	}
	if s.sockets, err = socket.Open(); err != nil {
		return nil, fmt.Errorf("open the poller of new connections: %w", err)
	}
	if s.relay, err = relay.Open(s.loops); err != nil {
		s.sockets.Close()
		return nil, fmt.Errorf("open %d event loops: %w", s.loops, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.relay.Run(ctx); err != nil {
			failed(fmt.Errorf("an event loop has ended, and all connections with it: %w", err))
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

// arrivingPerCPU is how many connections may have a goroutine at once, for each CPU: one with a handshake on its stack needs 30 KB,
// of which the runtime never gives 480 B back, and more of them would only take longer each. The others wait in the kernel's queue.
const arrivingPerCPU = 96

// patience is how long a connection counts among those: who takes longer is slow, far away, or waits on purpose, and must not
// keep others out. So at least 320 a second are let in for each CPU, whatever those before them do, and of clients at 150 ms 640. With a
// third of it, twice as many are under way at once when thousands come, and 100 bytes stay for each connection of 8,000.
const patience = 300 * time.Millisecond

// hands are goroutines that serve one connection after the other, and end when there is none for a while: a handshake wants a
// stack of 16 KiB, and to grow a new one to that takes a thirtieth of the handshake's time.
type hands struct {
	idle chan func() // what to do next, for one that has nothing to do
	all  sync.WaitGroup
}

// handsWait is how long one waits for work.
const handsWait = 50 * time.Millisecond

// do has work done by somebody who has nothing to do, or by a new one.
func (h *hands) do(work func()) {
	select {
	case h.idle <- work:
	default:
		h.all.Go(func() { h.run(work) })
	}
}

func (h *hands) run(work func()) {
	wait := time.NewTimer(handsWait)
	defer wait.Stop()
	for work != nil {
		work()
		wait.Reset(handsWait)
		select {
		case work = <-h.idle: // nil after end
		case <-wait.C:
			return
		}
	}
}

// end waits until all have gone; do must not be called any more.
func (h *hands) end() {
	close(h.idle)
	h.all.Wait()
}

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
