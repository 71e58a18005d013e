package lb

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/mqttlb/mqttlb/internal/listen"
)

// A port is an open listening socket and the goroutine that accepts from it. Which listener it
// belongs to is the current generation's to say: a renamed listener keeps its socket.
type port struct {
	key    string
	socket net.Listener
	owner  atomic.Pointer[door] // the door that newcomers come through
	cancel context.CancelFunc   // ends accept
	ended  chan struct{}        // closed when accept has returned
}

// openPort opens the socket of f. Nothing is accepted before start.
func openPort(ctx context.Context, f *frontend) (*port, error) {
	socket, err := listen.TCP(ctx, f.cfg.Listen, listen.Options{ReusePort: f.cfg.ReusePort})
	if err != nil {
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

// accept takes connections until ctx is done. A connection's slot and descriptors are reserved
// before accept(2), so that whoever is too many waits in the kernel's queue.
func (s *Server) accept(ctx context.Context, p *port) {
	defer close(p.ended)
	acceptor := listen.Acceptor{Listener: p.socket, OnPause: func(pause listen.Pause) { s.acceptFailed(p, pause) }}
	for {
		d := s.generation().byKey[p.key].door
		p.owner.Store(d)
		if d.gate.acquire(ctx) != nil {
			return
		}
		if s.descriptors.acquire(ctx) != nil {
			d.gate.release()
			return
		}
		raw, err := acceptor.Accept(ctx)
		if err != nil {
			s.descriptors.release()
			d.gate.release()
			return
		}
		d.paused.Store(false)
		s.take(p, raw, &d.gate)
	}
}

// take begins the life of one connection, in a goroutine that stop waits for. The generation is
// the one of now, which may be newer than the one that waited for the connection; a reload
// removes a listener only after its port is closed, so there always is a frontend.
func (s *Server) take(p *port, raw net.Conn, slot *gate) {
	c := s.newConn(s.generation().byKey[p.key], raw, slot)
	if tcp, ok := raw.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(tcpKeepAlive)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.f.door.connections.Add(1)
	s.live.add(c)
	go c.serve(ctx)
}

// acceptFailed logs the first of a series of failures, and what ends it.
func (s *Server) acceptFailed(p *port, pause listen.Pause) {
	d := p.owner.Load()
	d.paused.Store(true)
	if pause.First {
		s.log.Error("accept failed: newcomers wait in the kernel's queue", "listener", d.name, "error", pause.Err,
			"try", "raise LimitNOFILE (ulimit -n) if descriptors ran out")
	}
}
