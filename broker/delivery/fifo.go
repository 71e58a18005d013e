package delivery

import "time"

// fifo is a queue of copies. The zero value is empty and holds no memory.
type fifo struct {
	items  []Copy
	head   int       // of the first one within items
	bytes  int       // of the messages within
	expiry time.Time // none within expires before; zero = none expires
}

func (q *fifo) len() int { return len(q.items) - q.head }

func (q *fifo) push(c Copy) {
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, c)
	q.bytes += c.Message.Size()
	if at := c.Message.Expires; !at.IsZero() && (q.expiry.IsZero() || at.Before(q.expiry)) {
		q.expiry = at
	}
}

// pop takes the first one out, which there must be.
func (q *fifo) pop() Copy {
	c := q.items[q.head]
	q.items[q.head] = Copy{} // let the message go
	q.head++
	q.bytes -= c.Message.Size()
	if q.head == len(q.items) {
		*q = fifo{}
	}
	return c
}

// purge takes out those that have expired, tells gone of each, and returns how many. It looks at them only when one has.
func (q *fifo) purge(now time.Time, gone func(Copy)) (expired int) {
	if q.expiry.IsZero() || now.Before(q.expiry) {
		return 0
	}
	old := *q
	*q = fifo{}
	for _, c := range old.items[old.head:] {
		if c.Message.Expired(now) {
			expired++
			gone(c)
		} else {
			q.push(c)
		}
	}
	return expired
}
