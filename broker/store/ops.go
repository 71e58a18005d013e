package store

import (
	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/route"
)

// full is how many bytes a batch may hold before Run takes it although nobody waits for it.
const full = 1 << 20

// note counts an operation that holds so many bytes, and returns its place among those of the batch. s.mu is held.
func (s *Store) note(bytes int) (at uint32) {
	b := s.next
	b.ops++
	before := b.bytes
	b.bytes += opBytes + int64(bytes)
	s.pending.Add(b.bytes - before)
	if b.ops == 1 {
		signal(s.wake)
	}
	if before < full && b.bytes >= full {
		signal(s.hurry)
	}
	return b.ops
}

// signal puts into a channel of capacity 1 what it is for, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// PutSession keeps a session in the place of what was kept under its number. The will's message belongs to the store from here
// on, as one that was published.
func (s *Store) PutSession(v Session) {
	bytes := len(v.ClientID) + len(v.User)
	if v.Will != nil {
		bytes += v.Will.Message.Size()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.next.sessions = append(s.next.sessions, sessionOp{session: v, at: s.note(bytes)})
	}
}

// DeleteSession forgets a session with its subscriptions, its queue and its identifiers.
func (s *Store) DeleteSession(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.next.sessions = append(s.next.sessions, sessionOp{session: Session{Number: number}, remove: true, at: s.note(0)})
	}
}

// Subscribe keeps what a session wants of a filter, as the client wrote it, in the place of what it wanted before.
func (s *Store) Subscribe(session uint64, filter string, w route.Want) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.next.filters = append(s.next.filters, filterOp{session: session, filter: filter, want: w, at: s.note(len(filter))})
	}
}

// Unsubscribe forgets a subscription. There need not be one.
func (s *Store) Unsubscribe(session uint64, filter string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.next.filters = append(s.next.filters, filterOp{session: session, filter: filter, remove: true, at: s.note(len(filter))})
	}
}

// Enqueue keeps a message in the queue of a session. Positions give the order and are used once: each is higher
// than those before. Messages with the same body are written once; it is a number from NewBody, or 0 for a message that
// nobody else gets. c belongs to the store from here on, and must not change.
func (s *Store) Enqueue(session, position, body uint64, c delivery.Copy) {
	if body == 0 {
		body = s.NewBody()
	}
	bytes := c.Message.Size()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if body == s.next.lastBody {
		bytes = 0
	}
	s.next.lastBody = body
	s.next.queue = append(s.next.queue, queueOp{
		session: session, position: position, body: body,
		message: c.Message, ids: c.SubscriptionIDs, qos: c.QoS, retain: c.Retain,
		kind: written, at: s.note(bytes),
	})
}

// Sent keeps the packet identifier that a message has been given. A message has it until it is done.
func (s *Store) Sent(session, position uint64, id uint16) {
	s.queueOp(queueOp{session: session, position: position, kind: changed, id: id})
}

// Released notes that a message has arrived and that its PUBREL goes out: only its identifier is kept.
func (s *Store) Released(session, position uint64) {
	s.queueOp(queueOp{session: session, position: position, kind: changed, released: true})
}

// Done forgets a message that is out of a session's hands: acknowledged, expired, or dropped.
func (s *Store) Done(session, position uint64) {
	s.queueOp(queueOp{session: session, position: position, kind: removed})
}

func (s *Store) queueOp(o queueOp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		o.at = s.note(0)
		s.next.queue = append(s.next.queue, o)
	}
}

// Receive keeps the identifier of a message of QoS 2 that a client has sent, until Release.
func (s *Store) Receive(session uint64, id uint16) {
	s.incomingOp(incomingOp{session: session, id: id})
}

// Release forgets an identifier: the PUBREL has come, or the message was refused. It need not be known.
func (s *Store) Release(session uint64, id uint16) {
	s.incomingOp(incomingOp{session: session, id: id, release: true})
}

func (s *Store) incomingOp(o incomingOp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		o.at = s.note(0)
		s.next.incoming = append(s.next.incoming, o)
	}
}

// Retain keeps a message as the one that its topic retains. One without a payload means that there is none [MQTT-3.3.1-6]. The
// calls for one topic have to come in the order in which others see the messages. m must not change.
func (s *Store) Retain(m *delivery.Message) {
	if len(m.Payload) == 0 {
		s.Unretain(m.Topic)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.next.retained = append(s.next.retained, retainedOp{topic: m.Topic, message: m, at: s.note(m.Size())})
	}
}

// Unretain forgets what a topic retains. There need not be a message.
func (s *Store) Unretain(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.next.retained = append(s.next.retained, retainedOp{topic: topic, at: s.note(len(topic))})
	}
}
