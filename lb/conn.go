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
	"github.com/mqttlb/mqttlb/lb/relay"
)

// A conn is one connection of a client. Until hand-off it belongs to the goroutine in serve;
// after it, only close and relayed touch it.
type conn struct {
	s     *Server
	f     *frontend // of the generation that was current at accept
	slot  *gate     // whose place it holds
	id    uint64
	since time.Time

	client  net.Conn       // what to read from: the socket, or what TLS makes of it
	peer    netip.AddrPort // the other end of the socket
	source  netip.AddrPort // the client: peer, or who a trusted proxy says it is
	arrived netip.AddrPort // the address that the client connected to
	header  listen.Proxy   // of accept_proxy
	tls     *tls.ConnectionState
	mqtt    mqttClient
	first   []byte // what of the client's bytes was read already, and goes to the server first
	sent    uint64 // bytes of first that the server has
	server  net.Conn
	member  atomic.Pointer[member] // from the first pick on; whose session it is

	mu      sync.Mutex    // guards the fields below
	raw     net.Conn      // the client's socket
	cancel  func()        // ends what serve waits for
	session relay.Session // from hand-off on
	closing bool
	cause   Reason // why close was called
}

// newConn makes the conn of an accepted socket, which holds a place of slot.
func (s *Server) newConn(f *frontend, raw net.Conn, slot *gate) *conn {
	c := &conn{
		s: s, f: f, slot: slot, id: s.lastID.Add(1), since: time.Now(),
		client: raw, raw: raw,
		peer:    addrPort(raw.RemoteAddr()),
		arrived: addrPort(raw.LocalAddr()),
	}
	c.source = c.peer
	return c
}

// serve takes the connection from accept to hand-off. Each step has its own deadline.
func (c *conn) serve(ctx context.Context) {
	defer c.cancel()
	steps := [...]func(context.Context) error{c.readProxy, c.handshake, c.readConnect, c.connect}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			c.refused(err)
			return
		}
	}
	c.handOff()
}

// handOff gives both sockets to the relay, which calls relayed when they are closed.
func (c *conn) handOff() {
	m := c.member.Load()
	pair := relay.Pair{
		Client:        c.client,
		Server:        c.server,
		ClientTimeout: c.clientTimeout(),
		ServerTimeout: c.f.pool.cfg.ServerTimeout,
		Traffic:       []*relay.Traffic{&c.f.door.traffic, &m.traffic},
	}
	c.expectConnack(&pair)
	c.tls, c.first = nil, nil // certificates and all: nothing of it is needed any more
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = c.s.relay.Start(pair, c.relayed)
	if c.closing {
		c.session.Close()
	}
}

// close ends the connection from outside, in whatever step it is; the first cause counts. It may be
// called from any goroutine and does not wait.
func (c *conn) close(cause Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.closing, c.cause = true, cause
	if c.session != nil {
		c.session.Close()
		return
	}
	c.cancel()
	c.raw.Close()
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

// Keep-alive of both sockets finds peers that are gone without a word, where MQTT's keep alive is 0 or
// slower. Five minutes do not wake a sleeping radio more often than its own keep alive does.
var tcpKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: 30 * time.Second, Count: 4}

// addrPort returns the address of a TCP socket, IPv4 in IPv4's form.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return listen.Unmap(tcp.AddrPort())
}
