//go:build linux

package reactor

import "golang.org/x/sys/unix"

// keepCalls is the capacity that a queue of posted functions may keep when it is empty: 8 bytes each.
const keepCalls = 4096

// Post has f run on the loop's goroutine, after the batch in hand, in the order in which functions were posted. It returns false when the loop
// has ended: f will not run. A function that is posted by another that was posted runs in the next round, without a wait.
//
// It may be called from anywhere, before Run as well; nothing posted to a Loop that is closed instead of run does run. It never waits
// for the loop: who posts without bound is to bound it himself. A loop that waits is woken by one write to its eventfd, however
// many post meanwhile; one that is awake costs no system call.
func (l *Loop) Post(f func()) bool {
	if !l.enqueue(f) {
		return false
	}
	if l.state.Load() == asleep && l.state.CompareAndSwap(asleep, woken) {
		l.wake()
	}
	return true
}

func (l *Loop) enqueue(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.queue = append(l.queue, f)
	l.posted.Store(true)
	return true
}

// wake ends the wait. One bit of a counter of 64 cannot be refused (eventfd(2)), and Close waits for woke.
func (l *Loop) wake() {
	one := [8]byte{1}
	for {
		if _, err := unix.Write(l.wakeup, one[:]); err != unix.EINTR {
			break
		}
	}
	l.woke.Add(1)
}

// takeCalls returns what was posted up to now.
func (l *Loop) takeCalls() []func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.queue
	l.queue = l.calls[:0]
	l.posted.Store(false)
	return calls
}

// runCalls runs functions and keeps their slice for others, unless it has grown too large.
func (l *Loop) runCalls(calls []func()) {
	for i, f := range calls {
		calls[i] = nil
		f()
	}
	l.calls = calls[:0]
	if cap(calls) > keepCalls {
		l.calls = nil
	}
}

// end makes Post return false from now on and returns what was posted before.
func (l *Loop) end() []func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.queue
	l.queue, l.ended = nil, true
	return calls
}

func (l *Loop) hasEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}
