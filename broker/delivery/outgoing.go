package delivery

import (
	"math"
	"slices"
	"time"
)

// The life of one message of QoS 1 or 2 towards a client:
//
//	           Next            Acked (QoS 1), Received with a failure
//	 waiting ───────► published ───────────────────────────────────► gone
//	                      │ Received (QoS 2)                          ▲
//	                      ▼                                           │
//	                  released ───────────────────────────────────────┘
//	                                 Completed
//
// A disconnect leaves each where it is. After it, Next gives published ones again with DUP, released
// ones as a PUBREL, before any that wait.

// Outgoing is the messages of QoS 1 and 2 for one client.
type Outgoing struct {
	flights []flight
	waiting *fifo // nil when empty
	limits  *Limits
	journal Journal // nil: nothing is kept
	last    uint64  // position
	next    int32   // flights before this one were sent on this connection; the others are to be sent again
	window  uint16  // most that may be on the way; 0 while the client is away
	lastID  uint16
}

// A Journal is told what changes in the queue of a session, so that it can be restored. Its methods do not block.
type Journal interface {
	// Enqueue: a message has come to the end of the queue, at its Position.
	Enqueue(c Copy)
	// Sent: the message has got a packet identifier.
	Sent(position uint64, id uint16)
	// Released: the PUBREC has come; only the identifier matters any more.
	Released(position uint64)
	// Done: the message is acknowledged, has expired, or cannot be sent.
	Done(position uint64)
}

// Limits bound what waits for one client. They are shared, and do not change.
type Limits struct {
	Messages int
	Bytes    int // of all of them, as Message.Size counts
}

// flight is a message on its way.
type flight struct {
	copy     Copy // zero once released: the message has arrived
	id       uint16
	released bool
}

// Send is what is to be sent: a PUBLISH, or a PUBREL when Release is set.
type Send struct {
	Copy
	ID      uint16
	Dup     bool // [MQTT-3.3.1-1]
	Release bool
}

// NewOutgoing returns the state for a new session. The client is away.
func NewOutgoing(l *Limits) Outgoing { return Outgoing{limits: l} }

// Keep has everything that changes from here on told to j.
func (o *Outgoing) Keep(j Journal) { o.journal = j }

// A Restored message is one that a Journal has kept.
type Restored struct {
	Copy            // with its Position; without a Message once released
	ID       uint16 // 0 = not sent yet
	Released bool
}

// Restore puts back what was in the queue, in its order; last is the highest position that was ever used. It is for one that is
// empty, before Keep.
func (o *Outgoing) Restore(queue []Restored, last uint64) {
	o.last = last
	for _, r := range queue {
		if r.ID == 0 {
			o.wait(r.Copy)
			continue
		}
		o.flights = append(o.flights, flight{copy: r.Copy, id: r.ID, released: r.Released})
		o.lastID = r.ID
	}
}

// Connected begins a connection on which window messages may be unacknowledged at a time,
// 1 … 65,535. Everything that the last connection left open will be sent again [MQTT-4.4.0-1].
func (o *Outgoing) Connected(window int) { o.window, o.next = uint16(window), 0 }

// Disconnected ends a connection: Next has nothing until the following one.
func (o *Outgoing) Disconnected() { o.window = 0 }

// Add puts a message of QoS 1 or 2 at the end of the queue. It is false when the queue is full. Before that it drops messages
// that expired while they waited, and tells how many: they take no room from those that somebody still wants.
func (o *Outgoing) Add(c Copy, now time.Time) (expired int, ok bool) {
	if !o.room(c) {
		if o.waiting != nil {
			expired = o.waiting.purge(now, o.done)
		}
		if !o.room(c) {
			return expired, false
		}
	}
	o.wait(o.number(c))
	return expired, true
}

func (o *Outgoing) wait(c Copy) {
	if o.waiting == nil {
		o.waiting = new(fifo)
	}
	o.waiting.push(c)
}

// number gives a message its place in the queue.
func (o *Outgoing) number(c Copy) Copy {
	if o.journal != nil {
		o.last++
		c.Position = o.last
		o.journal.Enqueue(c)
	}
	return c
}

// done tells the journal that a message has left the queue.
func (o *Outgoing) done(c Copy) {
	if o.journal != nil {
		o.journal.Done(c.Position)
	}
}

func (o *Outgoing) room(c Copy) bool {
	waits := 0
	if o.waiting != nil {
		waits = o.waiting.bytes
	}
	return o.Waiting() < o.limits.Messages && waits+c.Message.Size() <= o.limits.Bytes
}

// Open reports whether a message added now would be sent at once.
func (o *Outgoing) Open() bool {
	return o.Waiting() == 0 && int(o.next) == len(o.flights) && int(o.next) < int(o.window)
}

// Begin is Add and Next at once for a message that Open would send at once; false when it would not.
func (o *Outgoing) Begin(c Copy) (Send, bool) {
	if !o.Open() {
		return Send{}, false
	}
	return o.begin(o.number(c)), true
}

func (o *Outgoing) begin(c Copy) Send {
	id := o.newID()
	o.flights = append(o.flights, flight{copy: c, id: id})
	o.next++
	if o.journal != nil {
		o.journal.Sent(c.Position, id)
	}
	return Send{Copy: c, ID: id}
}

// Ready reports whether Next may have something: asking for the time of day for nothing is most of what an acknowledgement costs here.
func (o *Outgoing) Ready() bool { return o.waiting != nil || int(o.next) < len(o.flights) }

// Waiting returns how many messages have not been sent.
func (o *Outgoing) Waiting() int {
	if o.waiting == nil {
		return 0
	}
	return o.waiting.len()
}

// InFlight returns how many messages were sent and are not fully acknowledged.
func (o *Outgoing) InFlight() int { return len(o.flights) }

// Next returns what is to be sent next, if anything may be. It drops messages that expired
// while they waited, and tells how many.
func (o *Outgoing) Next(now time.Time) (s Send, expired int, ok bool) {
	if int(o.next) >= int(o.window) && !o.releaseNext() {
		return Send{}, 0, false
	}
	if int(o.next) < len(o.flights) {
		f := &o.flights[o.next]
		o.next++
		return Send{Copy: f.copy, ID: f.id, Dup: !f.released, Release: f.released}, 0, true
	}
	for o.waiting != nil {
		c := o.waiting.pop()
		if o.waiting.len() == 0 {
			o.waiting = nil
		}
		if c.Message.Expired(now) { // before its delivery began [MQTT-3.3.2-5]
			expired++
			o.done(c)
			continue
		}
		return o.begin(c), expired, true
	}
	return Send{}, expired, false
}

// releaseNext reports whether a PUBREL is due, which no window holds back: it asks for nothing more.
func (o *Outgoing) releaseNext() bool {
	return o.window > 0 && int(o.next) < len(o.flights) && o.flights[o.next].released
}

// newID returns the next identifier that is not on its way, in turn, so that one is not used
// again soon [MQTT-2.2.1-3] [MQTT-2.2.1-4]. There is one: a window is at most 65,535, and a flight more is only
// begun when there are fewer. The search is of one step unless the counter has come round.
func (o *Outgoing) newID() uint16 {
	for range math.MaxUint16 {
		o.lastID++
		if o.lastID != 0 && o.find(o.lastID) < 0 {
			return o.lastID
		}
	}
	panic("delivery: a window of more than 65,535 messages")
}

func (o *Outgoing) find(id uint16) int {
	return slices.IndexFunc(o.flights, func(f flight) bool { return f.id == id })
}

// Acked handles a PUBACK. It is false for an identifier that is not that of a message of QoS 1 on its way.
func (o *Outgoing) Acked(id uint16) bool {
	i := o.find(id)
	if i < 0 || o.flights[i].released || o.flights[i].copy.QoS != 1 {
		return false
	}
	o.remove(i)
	return true
}

// Received handles a PUBREC. With ok it is to be answered by a PUBREL; a client that refuses the message ends its way
// [MQTT-4.3.3-4]. It is false for an identifier that is not that of a message of QoS 2 on its way.
func (o *Outgoing) Received(id uint16, ok bool) bool {
	i := o.find(id)
	switch {
	case i < 0 || !o.flights[i].released && o.flights[i].copy.QoS != 2:
		return false
	case ok:
		position := o.flights[i].copy.Position
		if o.journal != nil && !o.flights[i].released {
			o.journal.Released(position)
		}
		o.flights[i].copy, o.flights[i].released = Copy{Position: position}, true
	default:
		o.remove(i)
	}
	return true
}

// Completed handles a PUBCOMP. It is false for an identifier that no PUBREL was sent for.
func (o *Outgoing) Completed(id uint16) bool {
	i := o.find(id)
	if i < 0 || !o.flights[i].released {
		return false
	}
	o.remove(i)
	return true
}

// Drop ends the way of a message that cannot be sent to this client, as if it had been [MQTT-3.1.2-25].
func (o *Outgoing) Drop(id uint16) {
	if i := o.find(id); i >= 0 {
		o.remove(i)
	}
}

func (o *Outgoing) remove(i int) {
	o.done(o.flights[i].copy)
	if i < int(o.next) {
		o.next--
	}
	o.flights = slices.Delete(o.flights, i, i+1)
	if len(o.flights) == 0 {
		o.flights = nil // a session without traffic holds no memory for it
	}
}
