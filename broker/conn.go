package broker

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/listen"
)

// conn is one connection of a client. Its goroutine runs serve: it reads, handles, and in the end cleans up. Others
// only put packets into out, or call end.
type conn struct {
	b     *Broker
	l     *listener
	tcp   *net.TCPConn // for deadlines, which TLS passes through
	out   *outbox
	since time.Time
	cause atomic.Pointer[ending] // why it ends; nil while it does not
	told  chan struct{}          // closed when end has done its work
	spoke bool                   // the client was told why; read it after told
	waits *list.Element          // in Broker.silent; Broker.mu guards it

	// Set by serve before the CONNACK, then constant:
	nc        net.Conn       // tcp behind the PROXY header and TLS
	addr      netip.AddrPort // the client's, from the PROXY header where there is one
	tlvs      []proxyproto.TLV
	version   packet.Version
	session   *session
	maxPacket int // bytes that the client takes; 0 = any [MQTT-3.1.2-24]

	// For serve alone:
	in       source
	expiring bool              // the CONNECT asked for a session that outlives the connection
	open     delivery.Incoming // messages of QoS 2 that came on this connection, for Receive Maximum (section 4.9)
	aliases  map[uint16]string // topics by the client's aliases, of this connection only [MQTT-3.3.2-7]
	topic    string            // of the last PUBLISH: most clients repeat themselves
}

// source reads from a connection, each time with the deadline of the moment.
type source struct {
	c     *conn
	until time.Time     // for the CONNECT; afterwards for the packet that is awaited
	idle  time.Duration // one and a half keep alives; 0 = for ever
	begun bool          // the first byte has been seen
	renew bool          // the client has shown that it is there: idle begins again with the next Read
	got   int           // bytes since until was set
}

// sign is how many bytes of a packet show that a client is there, as a whole packet does: single ones
// would keep a connection for ever [MQTT-3.1.2-22].
const sign = 4 << 10

// errEnded is what reading yields once the connection is to end; the cause is elsewhere.
var errEnded = errors.New("the connection is being closed")

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.renew {
		s.until, s.renew, s.got = time.Time{}, false, 0
		if s.idle > 0 {
			s.until = time.Now().Add(s.idle)
		}
	}
	if err := s.c.tcp.SetReadDeadline(s.until); err != nil {
		return 0, err
	}
	if s.c.cause.Load() != nil { // end set its deadline before ours, perhaps
		return 0, errEnded
	}
	n, err := s.c.nc.Read(p)
	s.got += n
	s.renew = s.got >= sign && s.c.session != nil
	if n > 0 && !s.begun {
		s.begun = true
		if p[0] != byte(packet.CONNECT)<<4 { // known at once, whatever else is to come [MQTT-3.1.0-1]
			return 0, &ending{reason: notMQTT, err: fmt.Errorf("the first byte is 0x%02x", p[0])}
		}
	}
	return n, err
}

// serve is the life of a connection.
func (c *conn) serve() {
	err := c.talk()
	if errors.Is(err, errEnded) {
		<-c.told // whoever has taken the session, or set the cause, is about to end the connection
	}
	while := keepAliveTimeout
	if c.session == nil {
		while = connectTimeout
	}
	c.finish(endingOf(err, while))
}

func (c *conn) talk() error {
	c.in.until = c.since.Add(c.b.connectTimeout)
	if err := c.identify(); err != nil {
		return err
	}
	if err := c.handshake(); err != nil {
		return err
	}
	r := packet.NewReader(&c.in, c.b.config.Limits.MaxPacketSize)
	if err := c.connect(r); err != nil {
		return err
	}
	for {
		c.in.renew = true // not earlier: handling may have taken its time
		h, body, err := r.Next()
		if err != nil {
			return err
		}
		if err := c.handle(h, body); err != nil {
			return err
		}
		c.out.pace()
	}
}

// identify finds out who the client is: the peer, or whom the PROXY header names. A LOCAL header, which
// health checks have, names nobody (PROXY protocol, section 2.2).
func (c *conn) identify() error {
	c.nc = c.tcp
	if peer, ok := c.tcp.RemoteAddr().(*net.TCPAddr); ok {
		c.addr = listen.Unmap(peer.AddrPort())
	}
	if c.l.ProxyProtocol == config.ProxyNone || c.l.ProxyProtocol == "" {
		return nil
	}
	header, rest, err := listen.ReadProxy(c.tcp, c.in.until)
	c.nc = rest
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
	c.tlvs = header.TLVs
	return nil
}

// quiet reports whether err is nothing but a client that left or said nothing: a probe of the port, say.
func quiet(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET)
}

func (c *conn) handshake() error {
	if c.l.tls == nil {
		return nil
	}
	t := tls.Server(c.nc, c.l.tls)
	c.nc = t
	if err := c.tcp.SetDeadline(c.in.until); err != nil {
		return err
	}
	if err := t.Handshake(); err != nil {
		if quiet(err) {
			return err
		}
		return &ending{reason: tlsHandshake, err: err}
	}
	return nil
}

// writePiece is how many bytes have to go out within the write timeout: a megabyte over a slow radio link
// takes minutes, and is no sign of a lost client.
const writePiece = 64 << 10

// write writes on behalf of the outbox.
func (c *conn) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writePiece)
		if err := c.writeNow(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (c *conn) writeNow(b []byte) error {
	now := time.Now()
	if err := c.tcp.SetWriteDeadline(now.Add(c.b.writeTimeout)); err != nil {
		return err
	}
	if c.cause.Load() != nil { // end set its deadline before ours, perhaps
		if err := c.tcp.SetWriteDeadline(now.Add(goodbye)); err != nil {
			return err
		}
	}
	_, err := c.nc.Write(b)
	return err
}

// end makes the connection end, for the first reason that is given. It may be called from anywhere and does not
// wait: a client that is not reading cannot hold up whoever takes its session over.
func (c *conn) end(e *ending) {
	if !c.cause.CompareAndSwap(nil, e) {
		return
	}
	defer close(c.told)
	spoke, greeted := c.out.close(e)
	c.spoke = spoke
	if (e.reason == stopped || e.reason == tooMany) && !greeted {
		c.tcp.Close() // those who read header and handshake set deadlines of their own
		return
	}
	now := time.Now()
	c.tcp.SetWriteDeadline(now.Add(goodbye)) // fails only when it is closed
	c.tcp.SetReadDeadline(now)
}

// finish cleans up after the connection, in its own goroutine.
func (c *conn) finish(e *ending) {
	c.end(e)
	<-c.told // by now by whoever was first
	e = c.cause.Load()
	c.b.detach(c, e)
	c.out.wait()
	if c.spoke {
		c.linger()
	}
	c.b.stats.ended[e.reason].Add(1)
	c.logEnd(e)
	c.nc.Close()
	c.tcp.Close()
}

// logEnd writes the one line that a connection has, at debug: a node sees thousands of them a second after an
// outage, and the health checks of load balancers all day.
func (c *conn) logEnd(e *ending) {
	ctx := context.Background()
	if !c.b.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("listener", c.l.Name), slog.String("client", c.addr.String()), slog.String("reason", e.reason.String())}
	if c.session != nil {
		attrs = append(attrs, slog.String("client_id", c.session.id))
	}
	if e.code.Failed() {
		attrs = append(attrs, slog.String("code", e.code.String()))
	}
	if e.err != nil {
		attrs = append(attrs, slog.Any("error", e.err))
	}
	c.b.log.LogAttrs(ctx, slog.LevelDebug, "connection ended", attrs...)
}

// lingerBytes bounds what a client that has been told to go may still send.
const lingerBytes = 256 << 10

// linger reads what the client is still sending, until it has closed: a socket that is closed with unread data
// resets the connection, and the reset overtakes the packet that says why (RFC 1122, section 4.2.2.13).
func (c *conn) linger() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		if half.CloseWrite() != nil {
			return
		}
	}
	if c.tcp.SetReadDeadline(time.Now().Add(goodbye)) == nil {
		io.CopyN(io.Discard, c.tcp, lingerBytes)
	}
}
