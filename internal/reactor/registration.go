//go:build linux

package reactor

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Ref is a descriptor's registration with a Loop: its index and its generation, as in the data that epoll carries. Zero is none.
type Ref uint64

// A registration is what a Loop knows of a descriptor. Its place is given back when the round is over in which it was removed
// (and it has left the queue of those that come again): an event in the batch in hand finds generation 0 there, nobody's.
type registration struct {
	fd         int32
	key        uint32
	generation uint32 // 0: removed
	next       uint32 // in the queue of those that come again, or among the removed
	queued     bool
	pending    Events // reported while queued
}

// A fifo is a queue of registrations, linked by next.
type fifo struct {
	first, last uint32
	len         int
}

// interest is edge-triggered, and so registered once and never changed: no epoll_ctl(2) between Add and Remove.
const interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET

// Add watches a descriptor, which must be non-blocking and stays the caller's. Whatever it is ready for at this moment is told in the next
// round; a socket without traffic is at least Writable. Key comes back in Ready. The error is the system's (epoll_ctl(2)): EEXIST
// for a descriptor that is registered, EPERM for a file, ENOSPC at the limit of watches. For the loop's goroutine, or before Run.
func (l *Loop) Add(fd int, key uint32) (Ref, error) {
	i, reg, err := l.regs.Alloc()
	if err != nil {
		return 0, fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	l.generation++
	if l.generation == 0 {
		l.generation = 1
	}
	*reg = registration{fd: int32(fd), key: key, generation: l.generation}
	event := unix.EpollEvent{Events: interest, Fd: int32(i), Pad: int32(reg.generation)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		l.regs.Free(i)
		return 0, fmt.Errorf("watch descriptor %d beside %d others%s: %w", fd, l.regs.Len(), hint(err), err)
	}
	return Ref(reg.generation)<<32 | Ref(i), nil
}

// Remove ends a registration: no Ready for it after this returns, not even from the batch in hand. Call it before the descriptor
// is closed. It takes the descriptor out of the epoll instance instead of leaving that to close(2), which does so only when no duplicate is left
// (epoll(7)): one that was passed to another process, or that a child holds until it executes. A Ref that was
// removed before, or after the loop has ended, is ignored. For the loop's goroutine, or before Run.
func (l *Loop) Remove(r Ref) {
	if reg := l.lookup(r); reg != nil {
		// The only errors are for a descriptor that is not registered (any more): the caller closed it too early.
		_, _, _ = syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(l.epoll), unix.EPOLL_CTL_DEL, uintptr(reg.fd), 0, 0, 0)
		l.forget(r, reg)
	}
}

// Forget is Remove for a descriptor that its owner closes at once, and knows to be the only one of its socket: close(2) takes
// it out of the epoll instance then (epoll(7)), which saves a system call for each connection that ends. Were
// there a duplicate after all, its events would meet another generation, and be dropped.
func (l *Loop) Forget(r Ref) {
	if reg := l.lookup(r); reg != nil {
		l.forget(r, reg)
	}
}

func (l *Loop) forget(r Ref, reg *registration) {
	reg.generation = 0
	if !reg.queued {
		l.retire(uint32(r), reg)
	}
}

// Again asks for Ready(key, Resumed) in a later round, after all others had their turn: for a handler that has used up its Budget, or that has
// more to do than the kernel knows of. The next round does not wait. To ask twice is to ask once; a Ref that was removed is ignored.
// For the loop's goroutine, or before Run.
func (l *Loop) Again(r Ref) {
	if reg := l.lookup(r); reg != nil && !reg.queued {
		reg.queued = true
		l.push(uint32(r), reg)
	}
}

// lookup returns the registration of a Ref, nil for one that was removed.
func (l *Loop) lookup(r Ref) *registration {
	i, generation := uint32(r), uint32(r>>32)
	if !l.regs.Has(i) {
		return nil
	}
	if reg := l.regs.At(i); reg.generation == generation && generation != 0 {
		return reg
	}
	return nil
}

// dispatch hands on one event of the kernel, unless the registration was removed since. Index 0, nobody's, is the eventfd, which says
// nothing but that the wait is over.
func (l *Loop) dispatch(h Handler, event *unix.EpollEvent) {
	reg := l.lookup(Ref(uint32(event.Pad))<<32 | Ref(uint32(event.Fd)))
	if reg == nil {
		return
	}
	e := told(event.Events)
	if reg.queued {
		reg.pending |= e // one turn in a round
		return
	}
	h.Ready(reg.key, e)
}

// resume gives the first of those that asked to come again its turn.
func (l *Loop) resume(h Handler) {
	i := l.ready.first
	reg := l.regs.At(i)
	l.ready.first = reg.next
	l.ready.len--
	reg.queued = false
	if reg.generation == 0 {
		l.retire(i, reg)
		return
	}
	e := reg.pending | Resumed
	reg.pending = 0
	h.Ready(reg.key, e)
}

func (l *Loop) push(i uint32, reg *registration) {
	reg.next = 0
	if l.ready.len == 0 {
		l.ready.first = i
	} else {
		l.regs.At(l.ready.last).next = i
	}
	l.ready.last = i
	l.ready.len++
}

// retire puts a removed registration among those whose places giveBack frees.
func (l *Loop) retire(i uint32, reg *registration) {
	reg.next = l.removed
	l.removed = i
}

// giveBack frees the places of removed registrations, when no event of the batch can mean them any more.
func (l *Loop) giveBack() {
	for l.removed != 0 {
		i := l.removed
		l.removed = l.regs.At(i).next
		l.regs.Free(i)
	}
}

// told translates the kernel's bits (epoll_ctl(2)).
func told(bits uint32) Events {
	var e Events
	if bits&unix.EPOLLIN != 0 {
		e |= Readable
	}
	if bits&unix.EPOLLOUT != 0 {
		e |= Writable
	}
	if bits&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		e |= HangUp
	}
	return e
}
