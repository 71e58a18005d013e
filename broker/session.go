package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
)

// A session is what is kept for a client identifier, with or without a connection:
//
//	             attach                      detach
//	(nothing) ───────────► connected ───────────────────► away ──┐
//	                        ▲  │  ▲                        │     │ expiry, or
//	                        └──┘  └────────────────────────┘     │ clean start
//	                      takeover          attach               ▼
//	                           └── clean start, expiry 0 ──► ended
//
// Locks are taken in this order: Broker.mu, session.mu, then that of the table or of a loop. An ended session
// stays ended; a new one with the same identifier is another object.
type session struct {
	b      *Broker
	id     string
	user   string // whose it is; "" = anonymous
	number uint64 // unique in the process, to order receivers by

	mu       sync.Mutex
	conn     *conn // nil while the client is away
	outgoing delivery.Outgoing
	incoming delivery.Incoming
	backlog  *route.Backlog // retained messages for new subscriptions, not yet sent; nil = none
	filters  route.Filters  // subscribed to
	will     *delivery.Will // of the connection, or of the last one until its delay is over
	expiry   time.Duration
	away     *absence // nil while the client is connected
	kept     bool     // in the store
	filtered bool     // not all that it subscribes to may be read: ask for each message
	ended    bool

	online atomic.Bool // as conn != nil, for choosing among shared subscribers: whatever lock is held
}

// absence is the time that a client is away, and that its session goes on.
type absence struct {
	expireAt time.Time
	willAt   time.Time // when the will is published; zero: there is none
	timer    *time.Timer
}

// ID returns the client identifier.
func (s *session) ID() string { return s.id }

// Number returns what sessions are ordered by.
func (s *session) Number() uint64 { return s.number }

// Online reports whether the client is connected.
func (s *session) Online() bool { return s.online.Load() }

// backlogStep is how many items may wait to be written when another one from the backlog is put in. It is small so that
// a hundred thousand retained messages do not fill the queue that live messages need.
const backlogStep = 64

// deliver gives the session a copy of a message. It never waits for the client.
func (s *session) deliver(c delivery.Copy, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended, !s.mayRead(c.Message.Topic):
	case c.QoS == 0 && s.conn == nil: // section 3.1.2.4 of MQTT 3.1.1 lets a server choose
	case s.backlog != nil:
		for _, older := range s.backlog.Take(c.Message.Topic) {
			s.deliverRetained(older.Copy(), now)
		}
		s.send(c, now)
		s.pump(now)
	case c.QoS == 0:
		s.deliverQoS0(c, now)
	default:
		s.deliverInOrder(c, now)
	}
}

// deliverInOrder sends a message of QoS 1 or 2, or lets it wait. s.mu is held.
func (s *session) deliverInOrder(c delivery.Copy, now time.Time) {
	if s.conn != nil && s.conn.maxPacket == 0 {
		if send, ok := s.outgoing.Begin(c); ok {
			s.conn.pass(send)
			return
		}
	}
	s.send(c, now)
	s.pump(now)
}

// push puts a packet in, to be written soon. session.mu is held.
func (c *conn) push(send delivery.Send) {
	c.out.Push(&c.b.batches, send)
	c.Wake()
}

// send puts a message in the queue, or where there is none for its QoS into the outbox. s.mu is held.
func (s *session) send(c delivery.Copy, now time.Time) {
	if c.QoS == 0 {
		s.deliverQoS0(c, now)
		return
	}
	expired, ok := s.outgoing.Add(c, now)
	s.b.stats.dropped[messageExpired].Add(uint64(expired))
	if !ok {
		s.b.stats.dropped[queueFull].Add(1)
	}
}

// deliverQoS0 sends or drops.
func (s *session) deliverQoS0(c delivery.Copy, now time.Time) {
	switch {
	case s.conn == nil:
	case s.tooLarge(c, now):
		s.b.stats.dropped[tooLarge].Add(1)
	case !s.conn.out.Room(c, s.b.queued.Messages, s.b.queued.Bytes):
		s.b.stats.dropped[clientSlow].Add(1)
	default:
		s.conn.push(delivery.Send{Copy: c})
	}
}

// pump sends what the window allows, then from the backlog what fits. s.mu is held.
func (s *session) pump(now time.Time) {
	if s.conn == nil {
		return
	}
	s.pumpQueue(now)
	if s.backlog == nil {
		return
	}
	step := min(backlogStep, s.b.config.Limits.MaxQueued) // there is room for as many
	for r, ok := s.backlog.First(); ok; r, ok = s.backlog.First() {
		c := r.Copy()
		if !s.conn.out.Room(c, step, s.b.queued.Bytes) || c.QoS > 0 && !s.outgoing.Open() {
			return
		}
		s.backlog.Pop()
		s.deliverRetained(c, now)
		s.pumpQueue(now)
	}
	s.backlog = nil
}

func (s *session) pumpQueue(now time.Time) {
	for {
		send, expired, ok := s.outgoing.Next(now)
		if expired > 0 {
			s.b.stats.dropped[messageExpired].Add(uint64(expired))
		}
		switch {
		case !ok:
			return
		case !send.Release && !s.mayRead(send.Message.Topic): // the rules have changed since it was put in
			s.outgoing.Drop(send.ID)
		case !send.Release && s.tooLarge(send.Copy, now): // [MQTT-3.1.2-25]
			s.outgoing.Drop(send.ID)
			s.b.stats.dropped[tooLarge].Add(1)
		default:
			s.conn.pass(send)
		}
	}
}

// pass is push for what the queue has. What the client must never see with another identifier, or again, waits for the disk, and
// what comes behind it as well. s.mu is held.
func (c *conn) pass(send delivery.Send) {
	if c.session.kept && (send.QoS == 2 || send.Release || c.behind > 0) {
		c.pushDurably(send)
		return
	}
	c.push(send)
}

// deliverRetained sends one retained message. One that has been replaced since the client subscribed is left out:
// its successor was, or will be, delivered.
func (s *session) deliverRetained(c delivery.Copy, now time.Time) {
	if !c.Message.Expired(now) && s.b.table.Retains(c.Message) && s.mayRead(c.Message.Topic) {
		s.send(c, now)
	}
}

// tooLarge reports whether the client does not take packets of this size [MQTT-3.1.2-24]. s.mu is held,
// and there is a connection.
func (s *session) tooLarge(c delivery.Copy, now time.Time) bool {
	if s.conn.maxPacket == 0 {
		return false
	}
	enc := delivery.Encoder{Version: s.conn.version}
	return !s.conn.takes(enc.Size(c, now))
}

// waiting returns how many messages wait that are not on their way. s.mu is held.
func (s *session) waiting() int {
	n := s.outgoing.Waiting()
	if s.backlog != nil {
		n += s.backlog.Len()
	}
	return n
}

// own calls f with the lock held, if the session is still that of this connection. After a takeover, packets that
// arrived on the old connection change nothing any more.
func (c *conn) own(f func(s *session)) error {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return errEnded
	}
	f(s)
	return nil
}

// acknowledged handles the packets that answer a PUBLISH of ours.
func (c *conn) acknowledged(p *packet.Ack) error {
	return c.own(func(s *session) {
		switch p.Type {
		case packet.PUBACK:
			s.outgoing.Acked(p.PacketID)
		case packet.PUBCOMP:
			s.outgoing.Completed(p.PacketID)
		case packet.PUBREC:
			known := s.outgoing.Received(p.PacketID, !p.Code.Failed())
			switch {
			case known && !p.Code.Failed():
				c.acknowledge(packet.PUBREL, p.PacketID, packet.Success) // [MQTT-4.3.3-4]
			case !known && !p.Code.Failed():
				c.reply(packet.PUBREL, p.PacketID, packet.PacketIDNotFound) // section 3.6.2.1
			}
		}
		if s.backlog != nil || s.outgoing.Ready() {
			s.pump(time.Now())
		}
	})
}
