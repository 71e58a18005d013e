//go:build linux

package reactor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mqttlb/mqttlb/internal/slab"
	"golang.org/x/sys/unix"
)

const (
	// Budget is how many bytes one Ready should move before it asks for its next turn with Again. With 256 KiB, four full
	// buffers, the system calls are a small part of the work, and a turn takes some 200 µs when every byte is
	// decrypted and encrypted again: no more than a neighbour would lose to the system's scheduler anyway.
	Budget = 256 << 10

	// BufferSize is the length of Buffer in bytes: 64 KiB, beyond which a larger read is no longer cheaper by the byte, and
	// 4 KiB for what framing adds to that.
	BufferSize = 64<<10 + 4<<10

	// turns bounds one round: so many descriptors that the kernel reports, so many that asked to come again, and four
	// times so many steps of the timer wheel, which are shorter.
	turns      = 256
	wheelSteps = 4 * turns
)

// Events says what a descriptor is ready for.
type Events uint8

const (
	// Readable: a read would return something, or the end.
	Readable Events = 1 << iota
	// Writable: there is room again.
	Writable
	// HangUp: the peer has shut down its side, or both are down, or an error is pending (EPOLLRDHUP, EPOLLHUP, EPOLLERR). Read to
	// the end to learn which.
	HangUp
	// Resumed: the turn that Again asked for. Other bits come with it when the kernel reported something meanwhile.
	Resumed
)

// A Handler is whoever owns the descriptors of a Loop. Both methods run on the loop's goroutine, one call at a time, and must not
// block: they use descriptors that are non-blocking, and leave to other goroutines what takes long.
type Handler interface {
	// Ready tells that the descriptor registered under key is ready. Readiness is told once: read until EAGAIN, or until a
	// read was short, or ask with Again.
	Ready(key uint32, e Events)
	// Expired tells that the timer made for key is due.
	Expired(key uint32)
}

// A Loop tells a Handler when its descriptors are ready and its timers due. See the package's comment for which goroutine may
// call what.
type Loop struct {
	epoll, wakeup int // descriptors
	start         time.Time

	// The following belong to the loop's goroutine.
	now        time.Duration
	events     [turns]unix.EpollEvent
	regs       slab.Slab[registration]
	generation uint32
	ready      fifo   // registrations that asked for another turn
	removed    uint32 // first of the registrations whose places are given back when the round is over; 0 is none
	wheel      wheel
	behind     bool // the wheel has more to do that is due
	eager      bool // wait next without telling Go's scheduler
	stopped    bool
	scratch    []byte
	calls      []func() // emptied; to change places with queue
	notices    uint64   // how often the loop found that it had been woken
	rounds     uint64

	state  atomic.Uint32 // awake, asleep, woken
	woke   atomic.Uint64 // how often a write to wakeup was over
	posted atomic.Bool   // queue has something

	mu    sync.Mutex // guards the fields below
	queue []func()
	ended bool
}

// New opens what a Loop needs: two descriptors, an epoll instance and an eventfd. Run closes them when it returns; a Loop that is
// never run needs Close.
func New() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open an epoll instance for an event loop%s: %w", hint(err), err)
	}
	wakeup, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("open an eventfd for an event loop%s: %w", hint(err), err)
	}
	// Edge-triggered: each write is told once, and the counter need never be read. It would take 2⁶⁴-1 writes to
	// fill it (eventfd(2)).
	in := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wakeup, &in); err != nil {
		unix.Close(wakeup)
		unix.Close(epoll)
		return nil, fmt.Errorf("watch the eventfd of an event loop%s: %w", hint(err), err)
	}
	return &Loop{epoll: epoll, wakeup: wakeup, start: time.Now(), scratch: make([]byte, BufferSize)}, nil
}

// Run serves until ctx is done and everything that was posted before has run; then it closes the loop's own descriptors, gives back its
// memory and returns nil. Descriptors that are still registered remain open: they are the caller's. The error is one of waiting,
// which a sound system does not give, or that the loop had ended before.
//
// It locks its goroutine to its thread meanwhile. A panic of the handler or of a posted function is not recovered.
func (l *Loop) Run(ctx context.Context, h Handler) error {
	if l.hasEnded() {
		return errors.New("run an event loop: it has ended; make a new one")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		l.Post(func() { l.stopped = true })
	})
	defer func() {
		if !stop() {
			<-done
		}
	}()
	defer l.Close()

	for !l.stopped {
		n, err := l.wait()
		if err != nil {
			return fmt.Errorf("wait for events of %d descriptors: %w", l.regs.Len(), err)
		}
		l.round(h, n)
	}
	l.runCalls(l.end())
	return nil
}

// Close ends a Loop that is not run: functions that were posted do not run. After Run, and a second time, it does nothing.
func (l *Loop) Close() {
	l.end()
	if l.epoll < 0 {
		return
	}
	// Whoever found the loop asleep may still be about to write to the eventfd, and the number must not be another's by
	// then. There is no waiting in that write.
	for l.woke.Load() != l.notices {
		runtime.Gosched()
	}
	unix.Close(l.wakeup)
	unix.Close(l.epoll)
	l.epoll, l.wakeup = -1, -1
	l.ready, l.removed = fifo{}, 0
	l.regs.Close()
	l.wheel.timers.Close()
}

// round gives everybody one turn: what the kernel reported, what asked to come again, timers, posted functions.
func (l *Loop) round(h Handler, n int) {
	l.now = time.Since(l.start)
	l.rounds++
	resumed := min(turns, l.ready.len)
	for i := range n {
		l.dispatch(h, &l.events[i])
	}
	for range resumed {
		l.resume(h)
	}
	l.expire(h)
	if l.posted.Load() {
		l.runCalls(l.takeCalls())
	}
	l.giveBack()
}

// Now returns the time since New, by the monotonic clock, as it was when this round began. For the loop's goroutine.
func (l *Loop) Now() time.Duration { return l.now }

// Buffer returns BufferSize bytes of scratch that all share who run on this loop. What is in it is good until the Ready, Expired or
// posted function that uses it returns. For the loop's goroutine.
func (l *Loop) Buffer() []byte { return l.scratch }

// hint says which limit an errno of opening or watching a descriptor speaks of.
func hint(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return " (raise the limit of open files, RLIMIT_NOFILE)"
	case errors.Is(err, syscall.ENFILE):
		return " (raise fs.file-max)"
	case errors.Is(err, syscall.ENOSPC):
		return " (raise fs.epoll.max_user_watches)"
	default:
		return ""
	}
}
