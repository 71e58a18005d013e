package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/websocket"
	"github.com/mqttlb/mqttlb/broker/wire"
	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/internal/detach"
	"github.com/mqttlb/mqttlb/internal/listen"
	"github.com/mqttlb/mqttlb/lb/handshake"
)

// listener is an open port.
type listener struct {
	config.Listener
	ln  net.Listener
	tls *tls.Config // nil = plain
}

func (b *Broker) open(l config.Listener, t *tls.Config) (*listener, error) {
	tcp, err := listen.TCP(context.Background(), l.Listen, listen.Options{})
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	ln, err := b.sockets.Listener(tcp, keepAlive())
	if err != nil {
		tcp.Close()
		return nil, fmt.Errorf("listener %s: %w", l.Name, err)
	}
	return &listener{Listener: l, ln: ln, tls: t}, nil
}

// keepAlive is TCP's. Clients have a keep alive of their own; those who have chosen none are found to be gone after a quarter of an hour.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 10 * time.Minute, Interval: time.Minute, Count: 5}
}

func tlsConfig(t *config.TLS) (*tls.Config, error) {
	set, err := certs.Load([]certs.Pair{{Cert: t.Cert, Key: t.Key}}, time.Now())
	if err != nil {
		return nil, err
	}
	return handshake.Prepare(&tls.Config{GetCertificate: set.Get, MinVersion: tls.VersionTLS12, CipherSuites: suites()}), nil
}

// suites are those of TLS 1.2 that package record goes on with after the handshake: what RFC 9325, section 4.2, recommends. TLS 1.3 has no others.
func suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
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
		c := b.register(l, nc)
		switch {
		case c == nil:
			b.stats.ended[tooMany].Add(1)
			nc.Close()
		case l.direct():
			c.settle(nc, nil)
		default:
			go c.arrive() // unregister, which Run waits for, comes at its end or later
		}
	}
}

// direct reports whether nothing comes before MQTT that wants a goroutine.
func (l *listener) direct() bool { return l.tls == nil && l.Transport != config.WebSocket }

// proxied reports whether a PROXY header may come first.
func (l *listener) proxied() bool {
	return l.ProxyProtocol != config.ProxyNone && l.ProxyProtocol != ""
}

// Preface implements wire.Prefacer: the PROXY header of a connection without TLS or WebSocket.
func (c *conn) Preface(b []byte) (used int, more bool, err error) {
	header, used, err := listen.ParseProxy(b)
	if errors.Is(err, listen.ErrShort) {
		return 0, true, nil
	}
	return used, false, c.identify(header, err)
}

// arrive is the beginning of a connection: whatever comes before MQTT, with one deadline for all.
func (c *conn) arrive() {
	nc := *c.arriving.Load()
	settled, rest, err := c.introduce(nc)
	if err != nil {
		c.over(nc, err)
		return
	}
	c.settle(settled, rest)
}

// settle gives the connection to a loop; rest was read of it already.
func (c *conn) settle(nc net.Conn, rest []byte) {
	if !detach.Possible(nc) {
		c.over(nc, &ending{reason: tlsHandshake, err: errors.New("its cipher suite is not one that is served")})
		return
	}
	err := c.b.loops.Adopt(&c.Conn, nc, wire.Start{
		Peer: c, Timeout: time.Until(c.deadline()), Preface: c.l.direct() && c.l.proxied(), WebSocket: c.l.Transport == config.WebSocket, Rest: rest,
	})
	if err != nil {
		c.over(nc, err)
		return
	}
	c.arriving.Store(nil)
	if c.cause.Load() != nil { // end saw that it was arriving
		c.Finish()
	}
}

// over ends a connection that never came to a loop.
func (c *conn) over(nc net.Conn, err error) {
	c.account(endingOf(err, connectTimeout))
	nc.Close()
	c.Closed()
}

// deadline is when the CONNECT must have come.
func (c *conn) deadline() time.Time { return time.Unix(0, c.since).Add(c.b.connectTimeout) }

// introduce reads what comes before MQTT, and returns the connection that is left, with what was read of it already.
func (c *conn) introduce(nc net.Conn) (net.Conn, []byte, error) {
	var err error
	if c.l.proxied() {
		var header listen.Header
		header, nc, err = listen.ReadProxy(nc, c.deadline())
		if err = c.identify(header, err); err != nil {
			return nil, nil, err
		}
	}
	if c.l.tls != nil {
		if nc, err = c.handshake(nc); err != nil {
			return nil, nil, err
		}
	}
	if c.l.Transport != config.WebSocket {
		return nc, nil, nil
	}
	rest, err := websocket.Upgrade(nc, websocket.Options{Path: cmp.Or(c.l.Path, "/mqtt")}, c.deadline())
	if err != nil && !quiet(err) {
		err = &ending{reason: upgrade, err: err}
	}
	return nc, rest, err
}

// identify finds out who the client is: the peer, or whom the PROXY header names. A LOCAL header, which
// health checks have, names nobody (PROXY protocol, section 2.2).
func (c *conn) identify(header listen.Header, err error) error {
	switch {
	case errors.Is(err, listen.ErrNoProxy):
		if c.l.ProxyProtocol == config.ProxyRequire {
			return &ending{reason: proxyHeader, err: err}
		}
	case quiet(err):
		return err
	case err != nil:
		return &ending{reason: proxyHeader, err: err}
	case header.Source.IsValid():
		c.addr = header.Source
	}
	c.fresh.identity = identity(header.TLVs)
	return nil
}

// identity is the common name of the client certificate that the load balancer has verified, as its header says (PROXY protocol,
// section 2.2.6); "" when it says nothing.
func identity(tlvs []proxyproto.TLV) string {
	ssl, there := tlvparse.FindSSL(tlvs)
	if !there || !ssl.Verified() || !ssl.ClientCertConn() && !ssl.ClientCertSess() {
		return ""
	}
	name, _ := ssl.ClientCN()
	return name
}

// quiet reports whether err is nothing but a client that left or said nothing: a probe of the port, say.
func quiet(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET)
}

func (c *conn) handshake(nc net.Conn) (net.Conn, error) {
	ctx, cancel := context.WithDeadline(context.Background(), c.deadline())
	defer cancel()
	stream, _, err := handshake.Server(ctx, nc, c.l.tls, &c.b.computing)
	switch {
	case err == nil:
		return stream, nil
	case quiet(err):
		return nil, err
	}
	return nil, &ending{reason: tlsHandshake, err: err}
}

// sayNo is how many connections beyond max_connections are heard, to be told that there are too many.
const sayNo = 64

// register makes a connection known; nil when there is no room. Whoever has connected and said nothing makes room
// for those who come later, so that such connections keep nobody from being served.
func (b *Broker) register(l *listener, nc net.Conn) *conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := b.config.Limits.MaxConnections + sayNo
	limited := most > sayNo
	if b.stopping || limited && b.connections >= most+sayNo { // they are slow to go
		return nil
	}
	if limited && b.connections >= most {
		oldest := b.silent.Front()
		if oldest == nil {
			return nil
		}
		c := oldest.Value.(*conn)
		b.hear(c)
		c.end(&ending{reason: tooMany})
	}
	c := &conn{b: b, l: l, since: time.Now().UnixNano(), fresh: new(newcomer)}
	if peer, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.addr = listen.Unmap(peer.AddrPort())
	}
	c.arriving.Store(&nc)
	c.fresh.waits = b.silent.PushBack(c)
	b.connections++
	b.running.Add(1)
	return c
}

// hear notes that a connection has said something, or goes. b.mu is held.
func (b *Broker) hear(c *conn) {
	if c.fresh != nil && c.fresh.waits != nil {
		b.silent.Remove(c.fresh.waits)
		c.fresh.waits = nil
	}
}

func (b *Broker) unregister(c *conn) {
	b.mu.Lock()
	b.hear(c)
	b.connections--
	b.mu.Unlock()
	b.running.Done()
}
