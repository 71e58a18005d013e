package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/internal/listen"
)

// listener is an open port.
type listener struct {
	config.Listener
	ln  *net.TCPListener
	tls *tls.Config // nil = plain
}

func open(l config.Listener, t *tls.Config) (*listener, error) {
	ln, err := listen.TCP(context.Background(), l.Listen, listen.Options{})
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	return &listener{Listener: l, ln: ln, tls: t}, nil
}

func tlsConfig(t *config.TLS) (*tls.Config, error) {
	set, err := certs.Load([]certs.Pair{{Cert: t.Cert, Key: t.Key}}, time.Now())
	if err != nil {
		return nil, err
	}
	return &tls.Config{GetCertificate: set.Get, MinVersion: tls.VersionTLS12}, nil
}

// accept takes connections until the port is closed. Nothing that accept(2) reports ends it earlier.
func (b *Broker) accept(ctx context.Context, l *listener) {
	acceptor := listen.Acceptor{Listener: l.ln, OnPause: func(p listen.Pause) {
		if p.First {
			b.log.Warn("cannot accept connections; going on when that changes", slog.String("listener", l.Name), slog.Any("error", p.Err))
		}
	}}
	for {
		nc, err := acceptor.Accept(ctx)
		if err != nil {
			return
		}
		b.stats.accepted.Add(1)
		c := b.register(l, nc.(*net.TCPConn))
		if c == nil {
			b.stats.ended[tooMany].Add(1)
			nc.Close()
			continue
		}
		go func() {
			defer b.unregister(c) // Run waits for it
			c.serve()
		}()
	}
}

// sayNo is how many connections beyond max_connections are heard, to be told that there are too many.
const sayNo = 64

// register makes a connection known; nil when there is no room. Whoever has connected and said nothing makes room
// for those who come later, so that such connections keep nobody from being served.
func (b *Broker) register(l *listener, tcp *net.TCPConn) *conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := b.config.Limits.MaxConnections + sayNo
	limited := most > sayNo
	if b.stopping || limited && len(b.conns) >= most+sayNo { // they are slow to go
		return nil
	}
	if limited && len(b.conns) >= most {
		oldest := b.silent.Front()
		if oldest == nil {
			return nil
		}
		c := oldest.Value.(*conn)
		b.hear(c)
		c.end(&ending{reason: tooMany})
	}
	c := &conn{b: b, l: l, tcp: tcp, since: time.Now(), told: make(chan struct{})}
	c.out = newOutbox(c)
	c.in.c = c
	c.waits = b.silent.PushBack(c)
	b.conns[c] = struct{}{}
	b.running.Add(1)
	return c
}

// hear notes that a connection has said something, or goes. b.mu is held.
func (b *Broker) hear(c *conn) {
	if c.waits != nil {
		b.silent.Remove(c.waits)
		c.waits = nil
	}
}

func (b *Broker) unregister(c *conn) {
	b.mu.Lock()
	b.hear(c)
	delete(b.conns, c)
	b.mu.Unlock()
	b.running.Done()
}
