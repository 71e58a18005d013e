//go:build linux

package reactor

import (
	"fmt"
	"math"
	"time"
)

const (
	// tick is how fine timers are: a 128th of a second, so that whole seconds are whole ticks, and the borders at which the
	// wheel has work to do of its own are whole seconds as well.
	tick           = time.Second / ticksPerSecond
	ticksPerSecond = 128

	// roundFrom is the duration from which deadlines are rounded up to whole seconds: a million timers of that length wake the
	// loop once a second, and are at most an eighth late.
	roundFrom = 8 * time.Second
)

// A Timer of a Loop. Zero is none.
type Timer uint32

// NewTimer makes a timer, which is not armed. It takes 24 bytes, outside of Go's heap, until FreeTimer. The error is that there is no
// memory. For the loop's goroutine, or before Run.
func (l *Loop) NewTimer(key uint32) (Timer, error) {
	i, t, err := l.wheel.timers.Alloc()
	if err != nil {
		return 0, fmt.Errorf("make a timer: %w", err)
	}
	t.key = key
	return Timer(i), nil
}

// Arm has Expired called once when d has gone by since Now: never earlier, and later by a 128th of a second at most if the loop has its turn;
// by one second at most if d is 8 s or more. A timer that is armed is armed anew. Arm and Disarm take the same time however
// many timers there are. For the loop's goroutine, or before Run.
func (l *Loop) Arm(t Timer, d time.Duration) {
	if !l.wheel.timers.Has(uint32(t)) {
		return
	}
	d = max(0, min(d, math.MaxInt64-l.now-time.Second))
	deadline := int64((l.now + d + tick - 1) / tick)
	if d >= roundFrom {
		deadline = (deadline + ticksPerSecond - 1) / ticksPerSecond * ticksPerSecond
	}
	l.wheel.arm(uint32(t), deadline)
}

// Disarm takes back what Arm asked for, also when the timer is due in the round in hand. For the loop's goroutine, or before Run.
func (l *Loop) Disarm(t Timer) {
	if l.wheel.timers.Has(uint32(t)) {
		l.wheel.disarm(uint32(t))
	}
}

// FreeTimer disarms a timer and gives its memory back: the Timer may then be another's. For the loop's goroutine, or before Run.
func (l *Loop) FreeTimer(t Timer) {
	if l.wheel.timers.Has(uint32(t)) {
		l.wheel.disarm(uint32(t))
		l.wheel.timers.Free(uint32(t))
	}
}

// expire tells the handler of timers that are due, as many as a round has steps for.
func (l *Loop) expire(h Handler) {
	now := int64(l.now / tick)
	if now == l.wheel.cursor && !l.behind {
		return // as in the round before: nothing can have become due
	}
	steps := wheelSteps
	for {
		i := l.wheel.pop(now, &steps)
		if i == 0 {
			break
		}
		h.Expired(l.wheel.timers.At(i).key)
	}
	l.behind = steps == 0
}
