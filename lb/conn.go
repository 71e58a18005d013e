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

// A conn is one connection of a client. Until hand-off it belongs to the goroutine in serve; after it, only close, evict
// and relayed touch it.
type conn struct {
	s     *Server
	f     *frontend   // of the generation that was current at accept
	slot  *limit.Gate // whose place it holds
	id    uint64
	since time.Time
	raw   net.Conn           // the client's socket
	ends  context.CancelFunc // ends what serve waits for

	client  net.Conn       // what to read from: raw, or what TLS makes of it
	peer    netip.AddrPort // the other end of the socket
	source  netip.AddrPort // the client: peer, or who a trusted proxy says it is
	arrived netip.AddrPort // the address that the client connected to
	header  listen.Header  // of accept_proxy
	tls     *tls.ConnectionState
	mqtt    mqttClient
	first   []byte // what of the client's bytes was read already, and goes to the server first
	sent    uint64 // bytes of first that the server has
	pool    *pool  // of the generation that was current when a server was picked
	server  net.Conn
	member  atomic.Pointer[member] // from the first pick on; whose session it is

	mu      sync.Mutex         // guards the fields below
	attempt context.CancelFunc // ends the attempt to reach a server; nil when there is none
	evicted bool               // the server of this attempt is not to be used
	why     Reason             // with evicted
	session relay.Session      // from hand-off on
	closing bool
	cause   Reason // why close was called
}

// newConn makes the conn of an accepted socket, which holds a place of slot.
func (s *Server) newConn(f *frontend, raw net.Conn, slot *limit.Gate) *conn {
	c := &conn{
		s: s, f: f, slot: slot, id: s.lastID.Add(1), since: time.Now(),
		raw: raw, client: raw,
		peer:    addrPort(raw.RemoteAddr()),
		arrived: addrPort(raw.LocalAddr()),
	}
	c.source = c.peer
	return c
}

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
func (c *conn) deadline() time.Time { return c.since.Add(c.f.timeout) }

// handOff gives both sockets to the relay, which calls relayed when they are closed.
func (c *conn) handOff() {
	m := c.member.Load()
	pair := relay.Pair{
		Client:        c.client,
		Server:        c.server,
		ClientTimeout: c.clientTimeout(),
		ServerTimeout: c.pool.cfg.ServerTimeout,
		Traffic:       []*relay.Traffic{&c.f.door.traffic, &m.traffic},
	}
	c.expectConnack(&pair)
	c.tls, c.first, c.header = nil, nil, listen.Header{} // certificates and all: nothing of it is needed any more
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = c.s.relay.Start(pair, c.relayed)
	if c.evicted && !c.closing {
		c.closing, c.cause = true, c.why
	}
	if c.closing {
		c.session.Close()
	}
}

// close ends the connection from outside, in whatever step it is; the first cause counts. It may be called from any
// goroutine and does not wait.
func (c *conn) close(cause Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked(cause)
}

func (c *conn) closeLocked(cause Reason) {
	if c.closing {
		return
	}
	c.closing, c.cause = true, cause
	if c.session != nil {
		c.session.Close()
		return
	}
	c.ends()
	c.raw.Close()
}

// evict takes the connection off a server that is not to be used any more: a session ends, an attempt to reach it goes on
// with the next server. It may be called from any goroutine.
func (c *conn) evict(m *member, cause Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.session != nil:
		c.closeLocked(cause)
	case c.member.Load() == m && c.attempt != nil:
		c.evicted, c.why = true, cause
		c.attempt()
	}
}

// closedFor returns why close was called, and false when it was not.
func (c *conn) closedFor() (Reason, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause, c.closing
}

// name identifies the connection in logs and in the PROXY header's unique-id: unique among all
// processes, printable, within the 128 bytes that the extension may have (PROXY protocol, section 2.2.5).
func (c *conn) name() string { return fmt.Sprintf("%s-%x", c.s.nonce, c.id) }

// keepAlive is TCP's, on both sockets: it finds peers that are gone without a word. A device that pings within five
// minutes never sees a probe; a quieter one is asked after five, and given up after seven (5 min + 4 × 30 s).
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: 30 * time.Second, Count: 4}
}

// addrPort returns the address of a TCP socket, IPv4 in IPv4's form.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return listen.Unmap(tcp.AddrPort())
}
