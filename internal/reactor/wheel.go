//go:build linux

package reactor

import (
	"math/bits"

	"github.com/mqttlb/mqttlb/internal/slab"
)

// Timers wait in a hierarchical wheel. A slot of level 0 is one tick wide, a slot of each next level as wide as the whole level below:
//
//	level 0   256 slots of 1 tick          2 s
//	level 1   256 slots of 2 s             8.5 min
//	level 2   256 slots of 8.5 min         36 h
//	level 3   256 slots of 36 h            388 days
//
// A timer lies in the lowest level that reaches its deadline, in the slot that contains it. The cursor is the tick whose timers fire. When it comes to
// the beginning of a slot of a higher level, the timers of that slot are filed again, now one level lower at least. A deadline
// beyond the last level is filed as far as it reaches, and again from there.
const (
	levels    = 4
	slotBits  = 8
	slots     = 1 << slotBits
	wordBits  = 64
	farthest  = 1<<(levels*slotBits) - 1 // ticks
	noneAhead = slots                    // of distance
)

// A wheel holds timers by deadline, in ticks. The zero value is empty and stands at tick 0.
type wheel struct {
	cursor   int64 // its timers fire; all that are earlier have
	timers   slab.Slab[timer]
	heads    [levels * slots]uint32 // first timer of each slot
	occupied [levels][slots / wordBits]uint64
}

// A timer is 24 bytes, in memory that the collector does not see.
type timer struct {
	deadline   int64
	next, prev uint32 // in its slot
	key        uint32
	slot       uint16 // 1 + index in heads; 0: not armed
}

// arm sets a timer, whether it is armed or not. A deadline that has passed becomes the next tick.
func (w *wheel) arm(i uint32, deadline int64) {
	t := w.timers.At(i)
	t.deadline = max(deadline, w.cursor+1)
	if slot := w.place(t.deadline); t.slot != slot+1 {
		w.unlink(i, t)
		w.link(i, t, slot)
	}
}

// disarm takes a timer out of the wheel, if it is in it.
func (w *wheel) disarm(i uint32) { w.unlink(i, w.timers.At(i)) }

// pop returns the next timer that is due at a tick, disarmed; 0 when there is none. Each step, a timer that fires, one that is filed again or
// a move of the cursor, takes one from the budget; when nothing is left of it there may be more that is due.
func (w *wheel) pop(now int64, budget *int) uint32 {
	for *budget > 0 {
		*budget--
		if w.refile() {
			continue
		}
		if i := w.heads[w.cursor%slots]; i != 0 {
			w.unlink(i, w.timers.At(i))
			return i
		}
		next, some := w.next()
		if !some || next > now {
			w.cursor = max(w.cursor, now)
			return 0
		}
		w.cursor = next
	}
	return 0
}

// next returns the first tick after the cursor at which there is something to do: timers that fire, or that have to be filed again.
func (w *wheel) next() (int64, bool) {
	var first int64
	some := false
	for level := range levels {
		after := w.cursor>>(level*slotBits) + 1
		d := w.distance(level, uint(after%slots))
		if d == noneAhead {
			continue
		}
		if at := (after + int64(d)) << (level * slotBits); !some || at < first {
			first, some = at, true
		}
	}
	return first, some
}

// refile moves one timer of a slot that begins at the cursor to a lower level, if there is one. Such a slot takes no newcomers while the
// cursor stands there: what is as far as to come back to it is filed one level higher.
func (w *wheel) refile() bool {
	for level := 1; level < levels && w.cursor%(1<<(level*slotBits)) == 0; level++ {
		i := w.heads[level*slots+int(w.cursor>>(level*slotBits)%slots)]
		if i == 0 {
			continue
		}
		t := w.timers.At(i)
		w.unlink(i, t)
		w.link(i, t, w.place(t.deadline))
		return true
	}
	return false
}

// place returns the slot for a deadline that is not before the cursor.
func (w *wheel) place(deadline int64) uint16 {
	ahead := min(deadline-w.cursor, farthest)
	level := (bits.Len64(uint64(ahead)|1) - 1) / slotBits
	return uint16(level*slots) + uint16((w.cursor+ahead)>>(level*slotBits)%slots)
}

func (w *wheel) link(i uint32, t *timer, slot uint16) {
	t.slot, t.prev, t.next = slot+1, 0, w.heads[slot]
	if t.next != 0 {
		w.timers.At(t.next).prev = i
	}
	w.heads[slot] = i
	w.occupied[slot/slots][slot%slots/wordBits] |= 1 << (slot % wordBits)
}

func (w *wheel) unlink(i uint32, t *timer) {
	if t.slot == 0 {
		return
	}
	slot := t.slot - 1
	if t.next != 0 {
		w.timers.At(t.next).prev = t.prev
	}
	if t.prev != 0 {
		w.timers.At(t.prev).next = t.next
	} else if w.heads[slot] = t.next; t.next == 0 {
		w.occupied[slot/slots][slot%slots/wordBits] &^= 1 << (slot % wordBits)
	}
	t.slot, t.next, t.prev = 0, 0, 0
}

// distance returns how many slots of a level lie between one and the first that is occupied from there, round the level if need be.
func (w *wheel) distance(level int, from uint) int {
	words := &w.occupied[level]
	start := from / wordBits
	if v := words[start] >> (from % wordBits); v != 0 {
		return bits.TrailingZeros64(v)
	}
	d := wordBits - int(from%wordBits)
	for i := uint(1); i <= uint(len(words)); i++ {
		if v := words[(start+i)%uint(len(words))]; v != 0 {
			return d + bits.TrailingZeros64(v)
		}
		d += wordBits
	}
	return noneAhead
}
