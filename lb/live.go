package lb

import (
	"math/bits"
	"sync"
)

// A liveSet is the connections that are open, and the memory that they are in: chunks of 64, so that those that stay for
// days lie close together, whatever came and went beside them. A conn is used again after remove: whoever may still have
// one when it has ended has a handle. It may be used from any goroutine; the zero set is empty.
type liveSet struct {
	mu     sync.Mutex // guards the fields below
	chunks []*chunk   // nil where none is in use
	first  int        // no chunk before it has room
	used   int
	empty  chan struct{} // closed when the last is gone; nil: nobody waits
}

type chunk struct {
	conns [64]conn
	used  uint64 // a bit for each
}

// A handle names a connection for who does not know whether it has ended.
type handle struct {
	c  *conn
	id uint64
}

// close ends a connection that may have ended already.
func (h handle) close(cause Reason) { h.c.closeIf(h.id, cause) }

// add returns a conn that nobody has, all zero but for its place.
func (l *liveSet) add() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; l.first < len(l.chunks); l.first++ {
		if k := l.chunks[l.first]; k == nil || k.used != ^uint64(0) {
			break
		}
	}
	if l.first == len(l.chunks) {
		l.chunks = append(l.chunks, nil)
	}
	k := l.chunks[l.first]
	if k == nil {
		k = new(chunk)
		l.chunks[l.first] = k
	}
	i := bits.TrailingZeros64(^k.used)
	k.used |= 1 << i
	l.used++
	c := &k.conns[i]
	c.place = uint32(l.first*64 + i)
	return c
}

// remove takes c back; the caller has reset it, and does not touch it again.
func (l *liveSet) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := int(c.place / 64)
	k := l.chunks[at]
	k.used &^= 1 << (c.place % 64)
	l.first = min(l.first, at)
	if k.used == 0 && at > 0 { // the first is kept: few come and go
		l.chunks[at] = nil
	}
	if l.used--; l.used > 0 {
		return
	}
	l.first = 0
	if len(l.chunks) > 1 {
		l.chunks = []*chunk{l.chunks[0]}
	}
	if l.empty != nil {
		close(l.empty)
		l.empty = nil
	}
}

func (l *liveSet) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used
}

func (l *liveSet) all() []handle { return l.of(nil) }

// of returns the connections that a member has; all for nil.
func (l *liveSet) of(m *member) []handle {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []handle
	for _, k := range l.chunks {
		if k == nil {
			continue
		}
		for left := k.used; left != 0; left &= left - 1 {
			c := &k.conns[bits.TrailingZeros64(left)]
			if id := c.id.Load(); id != 0 && (m == nil || c.member.Load() == m) {
				list = append(list, handle{c, id})
			}
		}
	}
	return list
}

// drained returns a channel that is closed when no connection is open. It is called once, when no
// newcomer can come any more.
func (l *liveSet) drained() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	empty := make(chan struct{})
	if l.used == 0 {
		close(empty)
		return empty
	}
	l.empty = empty
	return empty
}
