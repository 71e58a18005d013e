//go:build linux

package socket

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A direction is one half of a connection. At most one goroutine is at work in it, the one that holds mu; it may hold it
// while it waits. Everything else may be touched by anyone.
type direction struct {
	mu       sync.Mutex
	waiter   atomic.Pointer[waiter] // of the goroutine that waits; nil = none
	deadline atomic.Int64           // an instant
	ready    atomic.Bool            // an event came since the last system call was begun
}

// A waiter is what one goroutine sleeps on. It is used again by others: a wake-up that is late finds somebody who
// looks around and sleeps on, which is why sleepers always look.
type waiter struct {
	woken chan struct{} // one place: a wake-up before the sleep is not lost
	timer *time.Timer   // nil before the first wait with a deadline; running only during one
}

func (w *waiter) wake() {
	select {
	case w.woken <- struct{}{}:
	default: // is being woken
	}
}

// sleep returns after a wake-up, or when left has passed; never means for good.
func (w *waiter) sleep(left instant) {
	switch {
	case left == never:
		<-w.woken
		return
	case w.timer == nil:
		w.timer = time.AfterFunc(time.Duration(left), w.wake)
	default:
		w.timer.Reset(time.Duration(left))
	}
	<-w.woken
	w.timer.Stop()
}

// wake lets the goroutine that waits, if one does, look around.
func (d *direction) wake() {
	if w := d.waiter.Load(); w != nil {
		w.wake()
	}
}

// begin must be called before each system call that may find nothing to do.
func (d *direction) begin() {
	if d.ready.Load() {
		d.ready.Store(false)
	}
}

// happened tells c of events. EPOLLERR and EPOLLHUP end both waits: the system call says what it was (epoll_ctl(2)).
func (c *Conn) happened(events uint32) {
	const (
		failed = unix.EPOLLERR | unix.EPOLLHUP
		input  = unix.EPOLLIN | unix.EPOLLRDHUP | failed
		output = unix.EPOLLOUT | failed
	)
	if events&input != 0 {
		c.in.ready.Store(true)
		c.in.wake()
	}
	if events&output != 0 {
		c.out.ready.Store(true)
		c.out.wake()
	}
}

// wait returns nil after an event in direction d, one since its begin included, or tells why nobody should wait
// any more: see left. The caller holds d.mu.
func (c *Conn) wait(d *direction) error {
	if err := c.poller.watch(c); err != nil {
		return err
	}
	w := c.poller.waiters.Get().(*waiter)
	defer c.poller.waiters.Put(w)
	d.waiter.Store(w)
	defer d.waiter.Store(nil)
	for !d.ready.Load() {
		left, err := c.left(d)
		if err != nil {
			return err
		}
		w.sleep(left)
	}
	return nil
}

// left is how long direction d may still wait; never means without limit. It fails with net.ErrClosed when the
// connection or its Poller is closed, with os.ErrDeadlineExceeded when the deadline has passed.
func (c *Conn) left(d *direction) (instant, error) {
	if c.closed.Load() || c.poller.closed.Load() {
		return 0, net.ErrClosed
	}
	deadline := instant(d.deadline.Load())
	if deadline == 0 || deadline == never {
		return never, nil
	}
	left := deadline - c.poller.now()
	if left <= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return left, nil
}

// setDeadline applies to the wait that is going on, too.
func (d *direction) setDeadline(at instant) {
	d.deadline.Store(int64(at))
	d.wake()
}
