//go:build linux

package reactor

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

func newTimer(t testing.TB, w *wheel, key uint32) uint32 {
	t.Helper()
	i, timer, err := w.timers.Alloc()
	if err != nil {
		t.Fatal(err)
	}
	timer.key = key
	return i
}

// drain pops everything that is due, with a small budget, so that every step is taken up again.
func drain(w *wheel, now int64, fired func(i uint32)) {
	for {
		budget := 3
		for {
			i := w.pop(now, &budget)
			if i == 0 {
				break
			}
			fired(i)
		}
		if budget > 0 {
			return
		}
	}
}

// checkLists compares the wheel's lists and bits with what its timers say of themselves.
func checkLists(t *testing.T, w *wheel, armed int) {
	t.Helper()
	n := 0
	for slot, head := range w.heads {
		if bit := w.occupied[slot/slots][slot%slots/wordBits]>>(slot%wordBits)&1 != 0; bit != (head != 0) {
			t.Fatalf("slot %d: bit %t, head %d", slot, bit, head)
		}
		prev := uint32(0)
		for i := head; i != 0; i = w.timers.At(i).next {
			tm := w.timers.At(i)
			if tm.prev != prev || int(tm.slot) != slot+1 || tm.deadline < w.cursor {
				t.Fatalf("slot %d at tick %d holds a broken timer: %+v, previous %d", slot, w.cursor, *tm, prev)
			}
			prev = i
			n++
		}
	}
	if n != armed {
		t.Fatalf("%d timers in the wheel, %d are armed", n, armed)
	}
}

// TestWheelAgainstMap drives the wheel and a map of deadlines with the same random steps: both must fire the same timers at the same
// moments, and next must never be after the first deadline.
func TestWheelAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		var w wheel
		defer w.timers.Close()
		model := make(map[uint32]int64)
		ids := make([]uint32, 300)
		for k := range ids {
			ids[k] = newTimer(t, &w, uint32(k))
		}
		now := int64(r.Uint64N(1 << 34))
		drain(&w, now, func(i uint32) { t.Fatalf("timer %d fired, none is armed", i) })
		for range 3000 {
			i := ids[r.IntN(len(ids))]
			switch r.IntN(8) {
			case 0:
				w.disarm(i)
				delete(model, i)
			case 1, 2:
				now += jump(r)
				fireBoth(t, &w, model, now)
			default:
				deadline := now + jump(r)
				w.arm(i, deadline)
				model[i] = max(deadline, w.cursor+1)
			}
			if next, some := w.next(); some != (len(model) > 0) || some && next > earliest(model) {
				t.Fatalf("seed %d: next is %d, %t; first deadline %d of %d", seed, next, some, earliest(model), len(model))
			}
		}
		checkLists(t, &w, len(model))
	}
}

// jump returns a number of ticks of any magnitude, often one at the border of a level.
func jump(r *rand.Rand) int64 {
	border := int64(1) << (slotBits * r.IntN(levels+1))
	switch r.IntN(3) {
	case 0:
		return border + int64(r.IntN(5)) - 2
	case 1:
		return r.Int64N(border + 1)
	default:
		return r.Int64N(600)
	}
}

func fireBoth(t *testing.T, w *wheel, model map[uint32]int64, now int64) {
	t.Helper()
	drain(w, now, func(i uint32) {
		deadline, armed := model[i]
		if !armed || deadline > now {
			t.Fatalf("timer %d fired at %d; armed: %t, for %d", i, now, armed, deadline)
		}
		delete(model, i)
	})
	for i, deadline := range model {
		if deadline <= now {
			t.Fatalf("timer %d did not fire at %d; it was armed for %d, and is %+v", i, now, deadline, *w.timers.At(i))
		}
	}
}

func earliest(model map[uint32]int64) int64 {
	first := int64(math.MaxInt64)
	for _, deadline := range model {
		first = min(first, deadline)
	}
	return first
}

// TestWheelWeeks steps from border to border, as the loop does: a timer of more than a year fires at its tick, and the wheel needs few
// wake-ups until then.
func TestWheelWeeks(t *testing.T) {
	for _, deadline := range []int64{1, 255, 256, 257, 65535, 65536, 1<<24 - 1, 1 << 24, 1<<32 - 1, 1 << 32, 1<<33 + 12345} {
		var w wheel
		defer w.timers.Close()
		i := newTimer(t, &w, 1)
		w.arm(i, deadline)
		fired, wakeUps := int64(-1), 0
		for fired < 0 {
			next, some := w.next()
			if wakeUps++; !some || wakeUps > 10 {
				t.Fatalf("deadline %d: after %d wake-ups the next is %d, %t", deadline, wakeUps, next, some)
			}
			drain(&w, next, func(uint32) { fired = next })
		}
		if fired != deadline {
			t.Errorf("deadline %d fired at %d", deadline, fired)
		}
	}
}

// TestMemoryOfTimers is invariant 10. The slab's own book-keeping is an eighth of a byte for each value.
func TestMemoryOfTimers(t *testing.T) {
	const many = 1_000_000
	if size := unsafe.Sizeof(timer{}); size > 24 {
		t.Errorf("a timer has %d bytes", size)
	}
	var w wheel
	defer w.timers.Close()
	before := heap()
	for k := range uint32(many) {
		w.arm(newTimer(t, &w, k), 128*int64(60+k%60))
	}
	if grown := heap() - before; grown > many {
		t.Errorf("the heap has grown by %d bytes for %d timers", grown, many)
	}
	fired := make(map[int64]int)
	for now := int64(0); now <= 128*120; now += 128 {
		drain(&w, now, func(i uint32) {
			fired[now]++
			if d := w.timers.At(i).deadline; d != now {
				t.Fatalf("deadline %d fired at %d", d, now)
			}
		})
	}
	if len(fired) != 60 || fired[128*60] != (many+59)/60 {
		t.Errorf("timers fired in %d different seconds, %d in the first; want 60 and %d", len(fired), fired[128*60], (many+59)/60)
	}
	checkLists(t, &w, 0)
}
