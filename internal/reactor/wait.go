//go:build linux

package reactor

import (
	"errors"
	"math"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eagerness is how long the loop waits without telling Go's scheduler: less than the 10 ms for which sysmon lets a goroutine keep its
// P (forcePreemptNS in runtime/proc.go), so that a loop without traffic is not preempted but goes over to the patient wait.
const eagerness = 8 * time.Millisecond

// States of a loop, for Post.
const (
	awake  = iota // it looks into the queue before it waits
	asleep        // it waits, or is about to: the first to post wakes it
	woken         // somebody writes, or has written, to the eventfd
)

// wait returns how many events the kernel has. It waits for one, for a timer or for a posted function, unless somebody
// asked to come again. The first wait after an event is eager, in the thread, with Go's scheduler none the wiser; when it was in vain the
// next is patient, and the scheduler gives the P to others.
func (l *Loop) wait() (int, error) {
	timeout := l.patience()
	if timeout != 0 {
		l.state.Store(asleep)
		if l.posted.Load() {
			timeout = 0
		}
	}
	var n int
	var errno error
	eager := l.eager || timeout == 0
	if eager {
		n, errno = l.waitEager(min(uint(timeout), uint(eagerness.Milliseconds()))) // -1, for ever, is the largest
	} else {
		n, errno = unix.EpollWait(l.epoll, l.events[:], timeout)
	}
	if l.state.Swap(awake) == woken {
		l.notices++
	}
	switch {
	case errors.Is(errno, syscall.EINTR):
		// A signal, most often the scheduler's own, which wants the goroutine to stop: it does at the next function
		// that looks at the size of its stack, and the round has many.
		return 0, nil
	case errno != nil:
		return 0, errno
	case n == 0 && timeout != 0:
		l.eager = false
	case n > 0 && !l.eager:
		// With a single P an eager wait would keep all other goroutines from running.
		l.eager = runtime.GOMAXPROCS(0) > 1
	}
	return n, nil
}

// waitEager waits for some milliseconds in a raw system call. It is sound because it is bounded: whoever has to stop the goroutine, for the
// collector or for others that want the P, sends a signal, which ends the wait. Neither stack nor events move: Go's
// heap does not, and a raw call passes no point where a stack grows.
func (l *Loop) waitEager(milliseconds uint) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])),
		uintptr(len(l.events)), uintptr(milliseconds), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// patience returns for how many milliseconds the loop may wait: 0 not at all, -1 for ever.
func (l *Loop) patience() int {
	if l.ready.len > 0 || l.behind {
		return 0
	}
	next, some := l.wheel.next()
	if !some {
		return -1
	}
	left := time.Duration(next)*tick - l.now
	if !l.eager || left < 2*eagerness { // else it does not matter how long the round was: the wait is cut short
		left = time.Duration(next)*tick - time.Since(l.start)
	}
	milliseconds := (left + time.Millisecond - 1) / time.Millisecond
	return int(max(0, min(milliseconds, math.MaxInt32)))
}
