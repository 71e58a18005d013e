//go:build linux

package relay

import "slices"

// An overflow has what could not be sent, and records that are not complete: the only bytes of connections that are held
// between turns. Its owner is one loop.
type overflow struct {
	held []held   // by buffer
	free []buffer // indexes of held that nobody has
	used int
	idle [classes][][]byte // to be used again
}

// A buffer names bytes that an overflow holds; 0 = none.
type buffer uint32

type held struct {
	room []byte // of a class's size
	from int    // what is before it was sent
	to   int
}

// The sizes of buffers: each four times the one before. The third takes a record of any size, the last all that one
// write to a client can leave over (recordsPerWrite).
const (
	smallest = 1088
	classes  = 4
)

// mostIdle is how many buffers of a class are kept for reuse until the next sweep, 1.5 MB of all classes.
const mostIdle = 16

// classOf is the class of the smallest buffers that n bytes fit into, and their size; classes when there is none.
func classOf(n int) (class, size int) {
	for size = smallest; size < n && class < classes; size *= 4 {
		class++
	}
	return class, size
}

// keep holds a copy of b.
func (o *overflow) keep(b []byte) buffer {
	class, size := classOf(len(b))
	var room []byte
	switch {
	case class == classes:
		room = make([]byte, len(b))
	case len(o.idle[class]) > 0:
		n := len(o.idle[class])
		room = o.idle[class][n-1]
		o.idle[class] = o.idle[class][:n-1]
	default:
		room = make([]byte, size)
	}
	i := o.index()
	o.held[i] = held{room: room, to: copy(room, b)}
	o.used++
	return i
}

// add holds b behind what a buffer holds.
func (o *overflow) add(i *buffer, b []byte) {
	old := *i
	*i = o.keep(slices.Concat(o.bytes(old), b))
	o.drop(&old)
}

// index is a free place of held.
func (o *overflow) index() buffer {
	if n := len(o.free); n > 0 {
		i := o.free[n-1]
		o.free = o.free[:n-1]
		return i
	}
	if len(o.held) == 0 {
		o.held = append(o.held, held{}) // buffer 0 is none
	}
	o.held = append(o.held, held{})
	return buffer(len(o.held) - 1)
}

// bytes are what is held; nil for none. They may be used until the buffer is dropped.
func (o *overflow) bytes(i buffer) []byte {
	if i == 0 {
		return nil
	}
	h := &o.held[i]
	return h.room[h.from:h.to]
}

// skip forgets the first n bytes, and the buffer with the last one.
func (o *overflow) skip(i *buffer, n int) {
	h := &o.held[*i]
	if h.from += n; h.from == h.to {
		o.drop(i)
	}
}

// drop forgets a buffer, if there is one.
func (o *overflow) drop(i *buffer) {
	if *i == 0 {
		return
	}
	h := &o.held[*i]
	clear(h.room[:h.to]) // another connection will have it
	if class, _ := classOf(len(h.room)); class < classes && len(o.idle[class]) < mostIdle {
		o.idle[class] = append(o.idle[class], h.room)
	}
	*h = held{}
	o.free = append(o.free, *i)
	o.used--
	*i = 0
}

// sweep gives back what nobody has, and reports whether anybody has something.
func (o *overflow) sweep() bool {
	o.idle = [classes][][]byte{}
	if o.used == 0 {
		o.held, o.free = nil, nil
	}
	return o.used > 0
}
