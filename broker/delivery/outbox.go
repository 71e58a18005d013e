package delivery

import "sync"

// An Outbox is what waits to be written to one connection, in its order. The zero value is empty and holds no memory but two
// pointers. It belongs to whoever holds the session's lock.
type Outbox struct {
	first, last *Batch
	n           int32
	bytes       int64 // of the messages of QoS 0 within, as Message.Size counts them
}

// A Batch is some of it, at the front. Its sends are valid until Release.
type Batch struct {
	sends    [batchSends]Send
	from, to uint8
	next     *Batch
}

// batchSends is how many sends one piece of memory has room for: 400 bytes, of which a session with a single message that waits uses an eighth. More
// would make a fan-out touch more memory, fewer a burst take more pieces.
const batchSends = 8

// A Pool has batches to be used again. From any goroutine; the zero value is ready.
type Pool struct{ pool sync.Pool }

func (p *Pool) get() *Batch {
	if b, ok := p.pool.Get().(*Batch); ok {
		return b
	}
	return new(Batch)
}

// Release gives a batch back that was taken out; its messages are let go.
func (p *Pool) Release(b *Batch) {
	clear(b.sends[b.from:b.to])
	b.from, b.to, b.next = 0, 0, nil
	p.pool.Put(b)
}

// Len returns how many sends wait.
func (o *Outbox) Len() int { return int(o.n) }

// Room reports whether a message of QoS 0 may be put in where so many sends may wait, and messages of QoS 0 of so many bytes.
func (o *Outbox) Room(c Copy, most, bytes int) bool {
	return int(o.n) < most && int(o.bytes)+c.Message.Size() <= bytes
}

// Push puts one at the end.
func (o *Outbox) Push(p *Pool, s Send) {
	b := o.last
	if b == nil || b.to == batchSends {
		b = p.get()
		if o.last == nil {
			o.first = b
		} else {
			o.last.next = b
		}
		o.last = b
	}
	b.sends[b.to] = s
	b.to++
	o.n++
	if s.Message != nil && s.QoS == 0 {
		o.bytes += int64(s.Message.Size())
	}
}

// Take takes the batch at the front out; nil when nothing waits.
func (o *Outbox) Take() *Batch {
	b := o.first
	if b == nil {
		return nil
	}
	if o.first = b.next; o.first == nil {
		o.last = nil
	}
	b.next = nil
	o.n -= int32(b.to - b.from)
	if o.bytes > 0 {
		for i := range b.Sends() {
			if s := &b.sends[int(b.from)+i]; s.Message != nil && s.QoS == 0 {
				o.bytes -= int64(s.Message.Size())
			}
		}
	}
	return b
}

// Sends returns what is in the batch.
func (b *Batch) Sends() []Send { return b.sends[b.from:b.to] }

// Drop lets go of everything.
func (o *Outbox) Drop(p *Pool) {
	for b := o.Take(); b != nil; b = o.Take() {
		p.Release(b)
	}
}
