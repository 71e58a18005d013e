package store

import (
	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/route"
)

// batch is what has been asked for and is not on disk. Operations of each kind are a slice of their own; which of two
// was asked for first is told by at, which counts through all of them. It is filled under Store.mu, and belongs to Run from
// then on.
type batch struct {
	ops      uint32
	bytes    int64  // about what it holds in memory
	lastBody uint64 // that was counted: a message for many comes many times in a row

	queue    []queueOp
	incoming []incomingOp
	filters  []filterOp
	sessions []sessionOp
	retained []retainedOp
	after    []func()

	deleted []deletion // by number; of net
}

type queueOp struct {
	session, position uint64
	body              uint64
	message           *delivery.Message
	ids               []uint32
	at                uint32
	id                uint16
	kind              queueKind
	qos               byte
	retain            bool
	released          bool
}

// queueKind is what becomes of a record of the queue.
type queueKind byte

const (
	written queueKind = iota
	changed           // id and released are set in the one that is there
	removed
)

type incomingOp struct {
	session uint64
	at      uint32
	id      uint16
	release bool
}

type filterOp struct {
	session uint64
	filter  string
	want    route.Want
	at      uint32
	remove  bool
}

type sessionOp struct {
	session Session
	at      uint32
	remove  bool
}

type retainedOp struct {
	topic   string
	message *delivery.Message // nil: there is none any more
	at      uint32
}

// deletion is a session that is deleted. What was asked for it before is void.
type deletion struct {
	number uint64
	at     uint32
}

// opBytes is what an operation takes in memory, about, beside its strings and messages, in bytes.
const opBytes = 100

// keptOps bounds what a batch keeps of its memory from one commit to the next, in operations of each kind.
const keptOps = 16 << 10

// reset empties the batch and lets go of what it refers to.
func (b *batch) reset() {
	*b = batch{
		queue: emptied(b.queue), incoming: emptied(b.incoming), filters: emptied(b.filters),
		sessions: emptied(b.sessions), retained: emptied(b.retained), after: emptied(b.after),
		deleted: emptied(b.deleted),
	}
}

func emptied[T any](list []T) []T {
	if cap(list) > keptOps {
		return nil
	}
	clear(list) // behind it there is nothing: who shortens a list clears its end
	return list[:0]
}
