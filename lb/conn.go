package lb

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/internal/listen"
	"github.com/mqttlb/mqttlb/lb/limit"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// A conn is one connection of a client. Until hand-off it belongs to the goroutine in serve; after it, only handles
// and Relayed touch it. What is needed before hand-off alone is in its arrival: a million of them live for days.
type conn struct {
	place   uint32        // in the liveSet, whose memory it is
	closing bool          // here, where there is room, and guarded by mu
	cause   Reason        // why it was closed; guarded by mu
	id      atomic.Uint64 // 0: it has ended, or does not begin yet. Set with mu held.

	*arrival // nil from hand-off on, and guarded by mu for who is not serve

	s      *Server
	f      *frontend              // of the generation that was current at accept
	slot   *limit.Gate            // whose place it holds
	came   time.Duration          // after the server was started
	source netip.AddrPort         // the client: the other end of the socket, or who a trusted proxy says it is
	proxy  *netip.AddrPort        // the other end of the socket where that is another
	client string                 // the client identifier; "" where there is none, or no MQTT
	sent   uint64                 // bytes that the server had before hand-off
	member atomic.Pointer[member] // from the first pick on; whose session it is

	mu      sync.Mutex    // guards the fields below
	session relay.Session // from hand-off on
}

// An arrival is what a connection has on its way to a server, in the hands of serve.
type arrival struct {
	ends   context.CancelFunc // ends what serve waits for
	raw    net.Conn           // the client's socket
	stream net.Conn           // what to read from: raw, or what TLS makes of it
	server net.Conn

	peer    netip.AddrPort // the other end of the socket
	arrived netip.AddrPort // the address that the client connected to
	header  listen.Header  // of accept_proxy
	tls     *tls.ConnectionState
	mqtt    mqttClient
	pool    *pool  // of the generation that was current when a server was picked
	first   []byte // what of the client's bytes was read already, and goes to the server first

	attempt context.CancelFunc // ends the attempt to reach a server; nil when there is none. Guarded by mu, as what follows.
	evicted bool               // the server of this attempt is not to be used
	why     Reason             // with evicted
}

// newConn makes the conn of an accepted socket, which holds a place of slot.
func (s *Server) newConn(f *frontend, raw net.Conn, slot *limit.Gate) *conn {
	c := s.live.add()
	c.mu.Lock() // for who still has a handle of the connection that was here before
	defer c.mu.Unlock()
	c.arrival = &arrival{
		raw: raw, stream: raw,
		peer:    addrPort(raw.RemoteAddr()),
		arrived: addrPort(raw.LocalAddr()),
	}
	c.s, c.f, c.slot, c.came = s, f, slot, time.Since(s.started)
	c.source = c.peer
	return c
}

// register makes c known to whoever may end it.
func (c *conn) register(id uint64, ends context.CancelFunc) {
	c.f.door.connections.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends = ends
	c.id.Store(id)
}

// reset makes c what add returns, once it has ended. Whoever has a handle finds another id, or none.
func (c *conn) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id.Store(0)
	c.arrival, c.s, c.f, c.slot, c.proxy = nil, nil, nil, nil, nil
	c.session = relay.Session{}
	c.came, c.sent, c.source, c.client = 0, 0, netip.AddrPort{}, ""
	c.closing, c.cause = false, 0
	c.member.Store(nil)
}

// since is when the connection was accepted.
func (c *conn) since() time.Time { return c.s.started.Add(c.came) }

// serve takes the connection from accept to hand-off. The client has one deadline for all that it has to say before a
// server is dialled.
func (c *conn) serve(ctx context.Context) {
	defer c.ends()
	steps := [...]func(context.Context) error{c.readProxy, c.handshake, c.readConnect, c.connect}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			c.refused(err)
			return
		}
	}
	c.handOff()
}

// deadline is until when the client must have completed CONNECT (HAProxy: timeout client-hs).
func (c *conn) deadline() time.Time { return c.since().Add(c.f.timeout) }

// handOff gives both sockets to the relay, which calls Relayed when they are closed.
func (c *conn) handOff() {
	m := c.member.Load()
	pair := relay.Pair{
		Client:        c.stream,
		Server:        c.server,
		ClientTimeout: c.clientTimeout(),
		ServerTimeout: c.pool.cfg.ServerTimeout,
		Traffic:       [2]*relay.Traffic{&c.f.door.traffic, &m.traffic},
	}
	c.expectConnack(&pair)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = c.s.relay.Start(pair, c)
	if c.evicted && !c.closing {
		c.closing, c.cause = true, c.why
	}
	c.arrival = nil
	if c.closing {
		c.session.Close()
	}
}

// closeIf ends the connection from outside, in whatever step it is, unless it has ended and this is another; the first cause counts.
// It may be called from any goroutine and does not wait.
func (c *conn) closeIf(id uint64, cause Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id.Load() == id {
		c.closeLocked(cause)
	}
}

func (c *conn) closeLocked(cause Reason) {
	if c.closing {
		return
	}
	c.closing, c.cause = true, cause
	if c.session.Started() {
		c.session.Close()
		return
	}
	c.ends()
	c.raw.Close()
}

// evict takes a connection off a server that is not to be used any more: a session ends, an attempt to reach it goes on
// with the next server. It may be called from any goroutine.
func (h handle) evict(m *member, cause Reason) {
	c := h.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.id.Load() != h.id:
	case c.session.Started():
		c.closeLocked(cause)
	case c.member.Load() == m && c.attempt != nil:
		c.evicted, c.why = true, cause
		c.attempt()
	}
}

// closedFor returns why the connection was closed from outside, and false when it was not.
func (c *conn) closedFor() (Reason, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause, c.closing
}

// name identifies the connection in logs and in the PROXY header's unique-id: unique among all
// processes, printable, within the 128 bytes that the extension may have (PROXY protocol, section 2.2.5).
func (c *conn) name() string { return fmt.Sprintf("%s-%x", c.s.nonce, c.id.Load()) }

// addrPort returns the address of a TCP socket, IPv4 in IPv4's form.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return listen.Unmap(tcp.AddrPort())
}
