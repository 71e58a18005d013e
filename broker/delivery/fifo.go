package delivery

// fifo is a queue of copies. The zero value is empty and holds no memory.
type fifo struct {
	items []Copy
	head  int // of the first one within items
}

func (q *fifo) len() int { return len(q.items) - q.head }

func (q *fifo) push(c Copy) {
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, c)
}

// pop takes the first one out, which there must be.
func (q *fifo) pop() Copy {
	c := q.items[q.head]
	q.items[q.head] = Copy{} // let the message go
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = nil, 0
	}
	return c
}
