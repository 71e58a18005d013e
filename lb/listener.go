package lb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mqttlb/mqttlb/internal/listen"
	"github.com/mqttlb/mqttlb/lb/config"
	"github.com/mqttlb/mqttlb/lb/limit"
)

// A port is an open listening socket and the goroutine that accepts from it. Which listener it
// belongs to is the current generation's to say: a renamed listener keeps its socket.
type port struct {
	key    string
	socket net.Listener
	cancel context.CancelFunc // ends accept
	ended  chan struct{}      // closed when accept has returned

	mu       sync.Mutex // guards the fields below
	owner    *door      // that the next connection comes through; nil before the first wait
	reselect func()     // ends the wait at owner's gate
}

// openPort opens the socket of f. Nothing is accepted before start.
func (s *Server) openPort(ctx context.Context, f *frontend) (*port, error) {
	tcp, err := listen.TCP(ctx, f.cfg.Listen, listen.Options{ReusePort: f.cfg.ReusePort})
	if err != nil {
		return nil, err
	}
	socket, err := s.sockets.Listener(tcp, keepAlive())
	if err != nil {
		tcp.Close()
		return nil, err
	}
	return &port{key: portKey(f.cfg), socket: socket, ended: make(chan struct{})}, nil
}

// start begins to accept; close ends it.
func (s *Server) start(p *port) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go s.accept(ctx, p)
}

// close stops accepting and waits until it has stopped. Newcomers in the kernel's queue are lost, as
// with every socket that is closed.
func (p *port) close() {
	p.cancel()
	p.socket.Close()
	<-p.ended
}

// accept takes connections until ctx is done. A connection's place and descriptors are reserved before accept(2), so
// that whoever is too many waits in the kernel's queue.
func (s *Server) accept(ctx context.Context, p *port) {
	defer close(p.ended)
	acceptor := listen.Acceptor{Listener: p.socket, OnPause: func(pause listen.Pause) { s.acceptFailed(p, pause) }}
	for {
		slot, err := s.admit(ctx, p)
		if err != nil {
			return
		}
		raw, err := acceptor.Accept(ctx)
		if err != nil {
			s.descriptors.Release()
			slot.Release()
			return
		}
		newcomer, err := s.arrivals.Enter(ctx)
		if err != nil { // the port closes: the client is the last that it let in
			newcomer = new(limit.Newcomer)
		}
		s.take(p, raw, slot, newcomer)
	}
}

// admit waits for a place at the gate of the door that p belongs to, and for descriptors. It fails only when ctx is done.
func (s *Server) admit(ctx context.Context, p *port) (*limit.Gate, error) {
	for {
		wait, cancel := context.WithCancel(ctx)
		d := p.enter(cancel, func() *door { return s.generation().byKey[p.key].door })
		s.noteFull(d)
		err := d.gate.Acquire(wait)
		cancel()
		switch {
		case ctx.Err() != nil && err == nil:
			d.gate.Release()
			return nil, ctx.Err()
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			continue // a reload gave the port to another listener
		}
		if err := s.descriptors.Acquire(ctx); err != nil {
			d.gate.Release()
			return nil, err
		}
		return &d.gate, nil
	}
}

// noteFull logs that a listener is full, once until it has been quiet for a while.
func (s *Server) noteFull(d *door) {
	now := time.Now().UnixNano()
	full := d.gate.Full() || s.descriptors.Full()
	if !full {
		return
	}
	if last := d.full.Swap(now); now-last > int64(fullPause) {
		s.log.Warn("listener is full: newcomers wait in the kernel's queue", "listener", d.name, "connections", d.connections.Load(),
			"try", "raise max_connections, or LimitNOFILE if that is not the limit")
	}
}

// fullPause is how long a listener must not have been full before a line says so again.
const fullPause = time.Minute

// enter remembers whose gate p is about to wait at, and what ends that wait.
func (p *port) enter(reselect func(), current func() *door) *door {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owner, p.reselect = current(), reselect
	return p.owner
}

// follow ends the wait at a gate that p no longer belongs to.
func (p *port) follow(d *door) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owner != nil && p.owner != d {
		p.reselect()
	}
}

// take begins the life of one connection, in a goroutine that stop waits for. The generation is the one of now,
// which may be newer than the one that waited for the connection; a reload removes a listener only after its port is
// closed, so there always is a frontend.
func (s *Server) take(p *port, raw net.Conn, slot *limit.Gate, newcomer *limit.Newcomer) {
	c := s.newConn(s.generation().byKey[p.key], raw, slot)
	ctx, cancel := context.WithCancel(context.Background())
	c.register(s.lastID.Add(1), cancel)
	s.hands.do(func() { defer newcomer.Leave(); c.serve(ctx) })
}

// acceptFailed notes that the listener accepts nobody for the moment, which /readyz tells, and logs the first failure of
// a series.
func (s *Server) acceptFailed(p *port, pause listen.Pause) {
	p.mu.Lock()
	d := p.owner
	p.mu.Unlock()
	d.failing.Store(time.Now().UnixNano())
	if pause.First {
		s.log.Error("accept failed: newcomers wait in the kernel's queue", "listener", d.name, "error", pause.Err,
			"try", "raise LimitNOFILE (ulimit -n) if descriptors ran out")
	}
}

// openPorts opens what g listens on and no port has yet. When one fails, none is left open.
func (s *Server) openPorts(ctx context.Context, g *generation) ([]*port, error) {
	var opened []*port
	var problems config.Problems
	for i, f := range g.frontends {
		if _, open := s.ports[portKey(f.cfg)]; open {
			continue
		}
		p, err := s.openPort(ctx, f)
		if err != nil {
			problems = append(problems, g.cfg.Problem(fmt.Sprintf("listeners[%d].listen", i), s.explainBusy(err, f)))
			continue
		}
		opened = append(opened, p)
	}
	if len(problems) > 0 {
		closeAll(opened)
		return nil, problems
	}
	return opened, nil
}

// closeAll closes ports that were never started.
func closeAll(opened []*port) {
	for _, p := range opened {
		p.socket.Close()
	}
}

// closePorts closes the ports that gone names, and waits until they accept nobody.
func (s *Server) closePorts(gone func(*port) bool) {
	s.mu.Lock()
	closing := slices.DeleteFunc(slices.Collect(maps.Values(s.ports)), func(p *port) bool { return !gone(p) })
	for _, p := range closing {
		delete(s.ports, p.key)
	}
	s.mu.Unlock()
	for _, p := range closing {
		p.close()
	}
}

// followPorts starts what a generation has opened, and lets the others wait at the gates that are theirs now.
func (s *Server) followPorts(g *generation, opened []*port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.ports {
		p.follow(g.byKey[key].door)
	}
	for _, p := range opened {
		s.ports[p.key] = p
		s.start(p)
	}
}

// explainBusy says of a port that cannot be opened what is different when it is this process that
// has it: a listener that moves to another address of the same port would need it twice.
func (s *Server) explainBusy(err error, f *frontend) string {
	_, want, _ := net.SplitHostPort(f.cfg.Listen)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		if _, have, _ := net.SplitHostPort(p.socket.Addr().String()); have == want && errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Sprintf("listen on %s: this process listens on %s until the reload is done, and the two exclude each other: "+
				"restart it, or reload twice, with another port in between", f.cfg.Listen, p.socket.Addr())
		}
	}
	return err.Error()
}
