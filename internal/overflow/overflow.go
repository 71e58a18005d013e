// Package overflow holds the bytes of connections that must wait between two turns of an event loop: what a socket did not take,
// and the beginning of what has not come completely.
//
//	var held overflow.Buffers
//	h := held.Keep(rest)          // a copy
//	held.Add(&h, more)            // behind it
//	n := write(held.Bytes(h))
//	held.Skip(&h, n)              // with the last byte, h is 0 again
//
// A connection that has nothing to wait for holds nothing: its Handle is 0, four bytes without a pointer.
//
// Invariants: a buffer holds no more than was put into it, or twice that when it grows; it is wiped before another connection gets it; what is
// kept for reuse is bounded, and given back by Sweep.
//
// # Why
//
// Buffers come and go with each burst, and a burst hits thousands of connections at once: from Go's heap they would bring the collector
// forward each time. Handles instead of slices keep the state of a connection small, and free of pointers where it lies in memory
// that the collector does not see.
package overflow

// Buffers has the buffers of one event loop. The zero value has none. One goroutine uses it.
type Buffers struct {
	held []held   // by Handle
	free []Handle // indexes of held that nobody has
	used int
	idle [classes][][]byte // to be used again
}

// A Handle names bytes that Buffers hold; 0 = none.
type Handle uint32

type held struct {
	room []byte // of a class's size, or larger than all
	from int    // what is before it was skipped
	to   int
}

// The sizes of buffers: each four times the one before. The third takes a TLS record of any size, the last all that one
// write of four of them can leave over.
const (
	smallest = 1088
	classes  = 4
)

// mostIdle is how many buffers of a class are kept for reuse until the next Sweep, 1.5 MB of all classes.
const mostIdle = 16

// classOf is the class of the smallest buffers that n bytes fit into, and their size; classes when there is none.
func classOf(n int) (class, size int) {
	for size = smallest; size < n && class < classes; size *= 4 {
		class++
	}
	return class, size
}

// Keep holds a copy of p, and nothing when it is empty.
func (b *Buffers) Keep(p []byte) Handle {
	if len(p) == 0 {
		return 0
	}
	room := b.room(len(p))
	i := b.index()
	b.held[i] = held{room: room, to: copy(room, p)}
	b.used++
	return i
}

// room returns a buffer for n bytes.
func (b *Buffers) room(n int) []byte {
	class, size := classOf(n)
	switch {
	case class == classes:
		return make([]byte, n)
	case len(b.idle[class]) == 0:
		return make([]byte, size)
	}
	last := len(b.idle[class]) - 1
	room := b.idle[class][last]
	b.idle[class] = b.idle[class][:last]
	return room
}

// Add holds p behind what a buffer holds. Beyond the largest class it makes room for twice as much, so that what comes in many pieces is
// not copied for each of them.
func (b *Buffers) Add(i *Handle, p []byte) {
	if *i == 0 {
		*i = b.Keep(p)
		return
	}
	h := &b.held[*i]
	if len(h.room)-h.to >= len(p) {
		h.to += copy(h.room[h.to:], p)
		return
	}
	have := h.to - h.from
	need := have + len(p)
	if class, _ := classOf(need); class == classes {
		need = max(need, 2*have)
	}
	room := b.room(need)
	n := copy(room, h.room[h.from:h.to])
	n += copy(room[n:], p)
	b.giveBack(h)
	*h = held{room: room, to: n}
}

// index is a free place of held.
func (b *Buffers) index() Handle {
	if n := len(b.free); n > 0 {
		i := b.free[n-1]
		b.free = b.free[:n-1]
		return i
	}
	if len(b.held) == 0 {
		b.held = append(b.held, held{}) // Handle 0 is none
	}
	b.held = append(b.held, held{})
	return Handle(len(b.held) - 1)
}

// Bytes are what is held; nil for none. They may be used, and changed in place, until the buffer is changed or dropped.
func (b *Buffers) Bytes(i Handle) []byte {
	if i == 0 {
		return nil
	}
	h := &b.held[i]
	return h.room[h.from:h.to]
}

// Skip forgets the first n bytes, and the buffer with the last one.
func (b *Buffers) Skip(i *Handle, n int) {
	if *i == 0 {
		return
	}
	h := &b.held[*i]
	if h.from += n; h.from == h.to {
		b.Drop(i)
	}
}

// Drop forgets a buffer, if there is one.
func (b *Buffers) Drop(i *Handle) {
	if *i == 0 {
		return
	}
	h := &b.held[*i]
	b.giveBack(h)
	*h = held{}
	b.free = append(b.free, *i)
	b.used--
	*i = 0
}

// giveBack lets others use the memory of a buffer.
func (b *Buffers) giveBack(h *held) {
	clear(h.room[:h.to])
	if class, _ := classOf(len(h.room)); class < classes && len(b.idle[class]) < mostIdle {
		b.idle[class] = append(b.idle[class], h.room)
	}
}

// Used returns how many buffers are held.
func (b *Buffers) Used() int { return b.used }

// Sweep gives back what was kept for reuse, and reports whether anybody has something. Its owner calls it every second
// or so while it is true.
func (b *Buffers) Sweep() bool {
	b.idle = [classes][][]byte{}
	if b.used == 0 {
		b.held, b.free = nil, nil
	}
	return b.used > 0
}
