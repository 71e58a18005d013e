package store

import (
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/route"
)

// Session is a session by itself. Times and intervals are kept in milliseconds.
type Session struct {
	Number   uint64 // unique among all sessions in the file; not to be used again
	ClientID string
	User     string        // whose it is; "" = anonymous
	Expiry   time.Duration // after the connection has ended
	Away     time.Time     // since when there is no connection; zero: there is one
	Will     *Will         // still to be published; nil = none
}

// ended reports whether the session is over when there is no connection now.
func (s *Session) ended(now time.Time) bool {
	if s.Away.IsZero() { // the node has ended under it
		return s.Expiry == 0
	}
	return !now.Before(s.Away.Add(s.Expiry))
}

// Will is a will that has not been published.
type Will struct {
	Message  *delivery.Message // without Expires
	Delay    time.Duration     // from the end of the connection (MQTT 5 section 3.1.3.2.2)
	Due      time.Time         // zero while there is a connection
	Expires  bool              // the message expires, after Lifetime
	Lifetime time.Duration     // from its publication on (section 3.1.3.2.4)
}

// State is what Open has found. Messages that several sessions wait for are one. It belongs to the caller.
type State struct {
	Sessions []Kept
	Retained []*delivery.Message

	// Ended are sessions that ended while the node was away, with wills that are due for that [MQTT-3.1.3-9]. They have nothing
	// else, and are forgotten with DeleteSession when the will is published.
	Ended []Session

	LastSession uint64  // the highest number of a session that the file has
	Expired     int     // messages that expired while the node was away, or had been forgotten by their session
	Damaged     int     // records that cannot be read
	Damage      []error // about the first of them
}

// Kept is a session with all that belongs to it.
type Kept struct {
	Session
	Subscriptions []Subscription
	Queue         []Queued // in their order: those that were sent or released come first, if they were sent in that order
	Incoming      []uint16 // identifiers of QoS 2 that wait for their PUBREL
	LastPosition  uint64   // the highest in use
}

// Subscription is what a session wants of a filter.
type Subscription struct {
	Filter string // as the client wrote it
	Want   route.Want
}

// Queued is a message in the queue of a session.
type Queued struct {
	Position uint64
	Body     uint64 // for Enqueue, should another session get the same message; 0 when released
	ID       uint16 // packet identifier; 0 = not sent yet
	Released bool   // the PUBREC has come: the Copy has no message
	Copy     delivery.Copy
}
