//go:build linux

package relay

import (
	"sync"
	"time"
)

// A session is what a pair has that the collector must know.
type session struct {
	owner   Owner
	traffic [2]*Traffic
	watch   func([]byte) (time.Duration, bool) // nil once it has seen enough
	slot    uint32                             // of the pair; 0 before it is adopted
	use     uint32                             // tells it from those that had its place before; 0: none has it
}

// sessions has the sessions of one loop, close to each other, whatever came and went between. Whoever starts a pair adds one; what
// is in it then belongs to the loop, but for use.
type sessions struct {
	mu     sync.Mutex // guards the fields below, and use of every session
	chunks []*[64]session
	free   []uint32 // places that nobody has
	uses   uint32
}

// add gives s a place, and returns what names it for who may still ask for it when it has ended.
func (t *sessions) add(s session) (ref uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) == 0 {
		t.grow()
	}
	place := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	if t.uses++; t.uses == 0 {
		t.uses++
	}
	s.use = t.uses
	t.chunks[place/64][place%64] = s
	return uint64(s.use)<<32 | uint64(place)
}

// grow adds a chunk, and its places to the free ones. The caller holds mu.
func (t *sessions) grow() {
	base := uint32(len(t.chunks)) * 64
	t.chunks = append(t.chunks, new([64]session))
	for i := range uint32(64) {
		t.free = append(t.free, base+63-i)
	}
}

// find returns a session by its reference; nil when it has ended.
func (t *sessions) find(ref uint64) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	place := uint32(ref)
	if place/64 >= uint32(len(t.chunks)) {
		return nil
	}
	if s := &t.chunks[place/64][place%64]; s.use == uint32(ref>>32) {
		return s
	}
	return nil
}

// view is the table as it is; it grows behind the view's end.
func (t *sessions) view() []*[64]session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.chunks
}

// slots are those of all pairs.
func (t *sessions) slots() []uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []uint32
	for _, chunk := range t.chunks {
		for i := range chunk {
			if slot := chunk[i].slot; slot != 0 {
				list = append(list, slot)
			}
		}
	}
	return list
}

// remove takes a place back. With the last one all memory goes, but for that of the first few who come next: then reset is true, and
// whoever has a view lets go of it.
func (t *sessions) remove(place uint32) (reset bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.chunks[place/64][place%64] = session{}
	t.free = append(t.free, place)
	if reset = len(t.free) == 64*len(t.chunks) && len(t.chunks) > 1; reset {
		t.chunks, t.free = nil, nil
		t.grow()
	}
	return reset
}
