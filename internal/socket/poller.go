//go:build linux

package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Poller lets goroutines wait for sockets. Its methods may be called from anywhere.
type Poller struct {
	start   time.Time   // instants are counted from here
	waiters sync.Pool   // of *waiter, used by one wait at a time
	closed  atomic.Bool // nothing waits any more; written with mu
	epoll   *os.File    // watched by Go's poller
	fd      int         // epoll's descriptor, for epoll_ctl(2); valid with mu while not closed
	ended   chan struct{}

	mu    sync.Mutex // guards the fields below, and epoll_ctl
	slots []slot     // as many as were ever in use at once, 16 bytes each
	free  uint32     // the first unused slot; 0 = none
}

// A slot is one registration in the epoll instance. Slot 0 is never used.
type slot struct {
	conn       *Conn
	generation uint32 // of the registration: an event that carries another one is stale
	next       uint32 // unused slot after this one
}

// Open makes a Poller and starts its goroutine, which Close ends. It fails when the process has no descriptor
// left (EMFILE, ENFILE), or the user no epoll instance (fs.epoll).
func Open() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open an epoll instance for connections (is LimitNOFILE used up?): %w", err)
	}
	// Non-blocking is what makes os.NewFile hand the descriptor to Go's poller; epoll_wait(2) itself does not look at it.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make an epoll instance non-blocking: %w", err)
	}
	p := &Poller{
		start: time.Now(),
		epoll: os.NewFile(uintptr(fd), "epoll"),
		fd:    fd,
		ended: make(chan struct{}),
		slots: make([]slot, 1),
	}
	p.waiters.New = func() any { return &waiter{woken: make(chan struct{}, 1)} }
	// A file that Go's poller has not taken has no deadlines (os.ErrNoDeadline), and could not be waited for.
	if err := p.epoll.SetReadDeadline(time.Time{}); err != nil {
		p.epoll.Close()
		return nil, fmt.Errorf("let Go's poller watch an epoll instance: %w", err)
	}
	go p.run()
	return p, nil
}

// Close ends the Poller and waits for its goroutine. Connections that are still open fail with net.ErrClosed from then
// on, those that wait included; their descriptors are still their owners' to close. A second Close returns net.ErrClosed.
func (p *Poller) Close() error {
	p.end()
	err := p.epoll.Close()
	<-p.ended
	if errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close a poller: %w", net.ErrClosed)
	}
	return err
}

// end marks the Poller closed and wakes everybody.
func (p *Poller) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed.Store(true)
	for _, s := range p.slots {
		if s.conn != nil {
			s.conn.in.wake()
			s.conn.out.wake()
		}
	}
}

// run hands out events until the epoll instance is closed. Go's poller watches it edge-triggered, so each time it says
// that there are events they must be taken to the last.
func (p *Poller) run() {
	defer close(p.ended)
	defer p.end() // whatever ended it, nobody waits for events that no longer come
	raw, err := p.epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	var b batch
	raw.Read(func(fd uintptr) bool {
		for !p.closed.Load() {
			n := pollNow(int(fd), b.events[:])
			p.deliver(&b, n)
			if n < len(b.events) {
				return false // drained: what comes after it is a new edge
			}
		}
		return true
	})
}

// A batch is what one epoll_wait can return: as much as Go's own poller takes at once.
type batch struct {
	events [128]unix.EpollEvent
	conns  [128]*Conn
}

// deliver wakes who waits for the first n events. Only the look-up is done under the lock.
func (p *Poller) deliver(b *batch, n int) {
	p.mu.Lock()
	for i, e := range b.events[:n] {
		if s := &p.slots[e.Fd]; s.generation == uint32(e.Pad) {
			b.conns[i] = s.conn
		}
	}
	p.mu.Unlock()
	for i, e := range b.events[:n] {
		if c := b.conns[i]; c != nil {
			c.happened(e.Events)
			b.conns[i] = nil
		}
	}
}

// watch registers c, whose descriptor must be open, once. Edge-triggered registration reports at once what
// is ready already (epoll(7)), so nothing is missed between a system call's EAGAIN and it.
func (p *Poller) watch(c *Conn) error {
	if c.slot.Load() != 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed.Load():
		return net.ErrClosed
	case c.slot.Load() != 0: // the other direction was first
		return nil
	}
	i := p.take()
	// Fd and Pad are the two halves of epoll_data, which the kernel only carries: they hold slot and generation.
	e := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1),
		Fd:     int32(i),
		Pad:    int32(p.slots[i].generation),
	}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, int(c.fd), &e); err != nil {
		p.release(i)
		return os.NewSyscallError("epoll_ctl", err) // ENOSPC: fs.epoll.max_user_watches, ENOMEM
	}
	p.slots[i].conn = c
	c.slot.Store(i)
	return nil
}

// forget ends c's registration, and takes its descriptor out of the epoll instance when it lives on. A descriptor
// that is closed next leaves by itself; would a copy of it keep it in, its events meet a newer generation.
func (p *Poller) forget(c *Conn, livesOn bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := c.slot.Swap(0)
	if i == 0 {
		return nil
	}
	p.release(i)
	if !livesOn || p.closed.Load() {
		return nil
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, int(c.fd), nil))
}

// take returns an unused slot. The caller holds mu.
func (p *Poller) take() uint32 {
	if p.free == 0 {
		p.slots = append(p.slots, slot{})
		return uint32(len(p.slots) - 1)
	}
	i := p.free
	p.free = p.slots[i].next
	return i
}

// release makes slot i unused, and its events stale. The caller holds mu.
func (p *Poller) release(i uint32) {
	p.slots[i] = slot{generation: p.slots[i].generation + 1, next: p.free}
	p.free = i
}

// An instant is a moment in nanoseconds of the monotonic clock; 0 means never.
type instant int64

// past is before every moment at which anything is done.
const past instant = 1

// never is later than any deadline that can be reached: 292 years.
const never instant = 1<<63 - 1

func (p *Poller) now() instant { return past + instant(time.Since(p.start)) }

// instant converts a deadline as package net's SetDeadline takes it.
func (p *Poller) instant(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	left := instant(time.Until(t))
	if left <= 0 {
		return past
	}
	now := p.now()
	if left > never-now {
		return never
	}
	return now + left
}
