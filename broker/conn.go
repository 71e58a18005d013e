package broker

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/wire"
)

// conn is one connection of a client, and the wire's Peer: what that calls runs on the connection's loop, one call at a time. Others
// only put messages into out, with the session's lock, or call end.
type conn struct {
	wire.Conn
	b        *Broker
	l        *listener
	arriving atomic.Pointer[net.Conn] // nil once the connection is on its loop
	cause    atomic.Pointer[ending]   // why it ends; nil while it does not
	fresh    *newcomer                // nil once there is a session; see hear
	since    int64                    // when it was accepted, in nanoseconds since 1970

	// Set before the CONNACK, then constant:
	addr      netip.AddrPort // the client's, from the PROXY header where there is one
	session   *session
	maxPacket uint32 // bytes that the client takes; 0 = any [MQTT-3.1.2-24]
	keepAlive uint16 // seconds; 0 = none
	version   packet.Version
	clean     bool // CleanStart of the CONNECT
	proven    bool // a certificate has proved the user's name

	behind int32           // packets for out that wait for the disk; session.mu guards it
	out    delivery.Outbox // session.mu guards it

	// For the loop alone:
	expiring   bool              // the CONNECT asked for a session that outlives the connection
	connecting bool              // the session is open, the CONNACK waits for the disk
	greeted    bool              // the CONNACK was sent
	parting    bool              // the last words are still to be said
	numbers    *delivery.Aliases // of topics, ours to give; nil = none
	publishing *publisher        // nil while it has not published
	pending    *pending          // of a packet that is handled in parts
}

// newcomer is what a connection has until it has a session.
type newcomer struct {
	waits    *list.Element // in Broker.silent; Broker.mu guards it
	identity string        // the name that a certificate has proved to the load balancer; "" = none
	user     string        // that it has connected as; "" = anonymous
	login    *login        // while a password is verified
}

// publisher is what a connection has whose client publishes.
type publisher struct {
	open    delivery.Incoming // messages of QoS 2 that came on this connection, for Receive Maximum (section 4.9)
	aliases map[uint16]string // topics by the client's numbers, of this connection only [MQTT-3.3.2-7]
	topic   string            // of the last PUBLISH: most clients repeat themselves
}

// publisher returns what the connection has for publishing.
func (c *conn) publisher() *publisher {
	if c.publishing == nil {
		c.publishing = new(publisher)
	}
	return c.publishing
}

// pending is what is known of a packet whose handling goes on in another turn.
type pending struct {
	codes []byte // of a SUBSCRIBE or UNSUBSCRIBE, so far
}

// errEnded is what handling yields once the session is another connection's.
var errEnded = errors.New("the session was taken over")

// Packet implements wire.Peer.
func (c *conn) Packet(h packet.Header, body []byte) (verdict wire.Verdict, err error) {
	switch {
	case c.session == nil:
		verdict, err = c.connect(h, body)
	case c.connecting: // this is the CONNECT again
		verdict = c.greet()
		c.connecting = verdict != wire.Done
	default:
		verdict, err = c.handle(h, body)
	}
	if verdict == wire.Done && h.Type != packet.PUBLISH {
		c.b.stats.packets[h.Type].Add(1)
	}
	return verdict, err
}

// Fill implements wire.Peer.
func (c *conn) Fill(dst []byte, most int) ([]byte, bool) {
	more := false
	if s := c.session; s != nil && c.greeted {
		dst, more = c.write(s, dst, most)
	}
	if c.parting && !more {
		c.parting = false
		dst = c.lastWords(dst)
	}
	return dst, more
}

// write appends what waits in out.
func (c *conn) write(s *session, dst []byte, most int) (out []byte, more bool) {
	enc := delivery.Encoder{Version: c.version, Aliases: c.numbers, Most: int(c.maxPacket)}
	var now time.Time // when it matters: asking for it is a hundredth of what a message costs
	var sent [3]uint64
	var expired uint64
	for more = true; more && len(dst) < most; {
		var batch *delivery.Batch
		if batch, more = c.take(s); batch == nil {
			break
		}
		for _, send := range batch.Sends() {
			if m := send.Message; m != nil && !m.Expires.IsZero() && now.IsZero() {
				now = time.Now()
			}
			switch {
			case send.Release:
				ack := packet.Ack{Type: packet.PUBREL, PacketID: send.ID}
				dst = ack.Append(dst, c.version)
			case send.QoS == 0 && send.Message.Expired(now): // others have an identifier that must be used up
				expired++
			default:
				sent[send.QoS]++
				dst = enc.Append(dst, send.Copy, send.ID, send.Dup, now)
			}
		}
		c.b.batches.Release(batch)
	}
	c.b.stats.count(&sent, expired)
	return dst, more
}

// take takes a batch out, and tells whether there is another.
func (c *conn) take(s *session) (batch *delivery.Batch, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch = c.out.Take()
	if c.out.Len() == 0 && s.conn == c && s.backlog != nil && c.pending == nil { // else a SUBSCRIBE of many filters is not done
		s.pump(time.Now())
		if batch == nil {
			batch = c.out.Take()
		}
	}
	return batch, c.out.Len() > 0
}

// reply sends an acknowledgement.
func (c *conn) reply(typ packet.Type, id uint16, code packet.ReasonCode) {
	var room [8]byte
	ack := packet.Ack{Type: typ, PacketID: id, Code: code}
	c.Reply(ack.Append(room[:0], c.version))
}

// end makes the connection end, for the first reason that is given. It may be called from anywhere and does not
// wait: a client that is not reading cannot hold up whoever takes its session over.
func (c *conn) end(e *ending) {
	if !c.cause.CompareAndSwap(nil, e) {
		return
	}
	if nc := c.arriving.Load(); nc != nil {
		(*nc).Close() // who reads header and handshake finds out
	} else {
		c.Finish()
	}
}

// Ended implements wire.Peer.
func (c *conn) Ended(err error) (speak bool) {
	if err == nil { // end was called
		err = c.cause.Load()
	}
	while := keepAliveTimeout
	if c.session == nil {
		while = connectTimeout
	}
	if c.fresh != nil && c.fresh.login != nil {
		c.fresh.login.cancel() // a password that nobody waits for is not computed
	}
	e := c.account(endingOf(err, while))
	c.b.detach(c, e)
	c.parting = e.code.Failed() && c.version != 0 && len(c.lastWords(nil)) > 0
	return c.parting
}

// lastWords appends what an ending has to say to this client.
func (c *conn) lastWords(dst []byte) []byte {
	e, n := c.cause.Load(), len(dst)
	switch {
	case !c.greeted:
		dst = (&packet.Connack{Code: e.code}).Append(dst, c.version)
	case c.version == packet.V5: // no version before has a DISCONNECT from the server
		dst = (&packet.Disconnect{Code: e.code}).Append(dst, c.version)
	}
	if !c.takes(len(dst) - n) {
		return dst[:n]
	}
	return dst
}

// takes reports whether the client takes a packet of so many bytes [MQTT-3.1.2-24]. All that have no list in them are shorter than
// the CONNACK.
func (c *conn) takes(n int) bool { return c.maxPacket == 0 || n <= int(c.maxPacket) }

// account counts the end, before the client can see it, and returns why it is: e unless there was a reason before.
func (c *conn) account(e *ending) *ending {
	c.cause.CompareAndSwap(nil, e)
	e = c.cause.Load()
	c.b.stats.ended[e.reason].Add(1)
	c.logEnd(e)
	return e
}

// Closed implements wire.Peer.
func (c *conn) Closed() {
	if s := c.session; s != nil {
		s.mu.Lock()
		c.out.Drop(&c.b.batches)
		s.mu.Unlock()
	}
	c.b.unregister(c) // Run waits for it
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
