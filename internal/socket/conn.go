//go:build linux

package socket

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Conn is a TCP connection: a net.Conn that behaves like *net.TCPConn, and whose descriptor can be detached. Its methods may
// be called from anywhere; one Read and one Write may be under way at once, more of a kind follow one another.
// It must be closed or detached: nothing does so when it is forgotten.
type Conn struct {
	poller        *Poller
	local, remote netip.AddrPort
	in, out       direction
	mu            sync.Mutex    // held for system calls that are neither reading nor writing
	fd            int32         // used with mu, in.mu or out.mu, after a look at closed
	slot          atomic.Uint32 // in poller; 0 before the first wait; written with poller.mu
	closed        atomic.Bool
}

// Read reads what is there, up to len(p) bytes, and waits when nothing is. It returns io.EOF at the end of the stream; other
// errors are *net.OpError, around net.ErrClosed, os.ErrDeadlineExceeded or the errno of read(2).
func (c *Conn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	n, err := c.read(p)
	if err != nil && err != io.EOF {
		err = c.failure("read", err)
	}
	return n, err
}

func (c *Conn) read(p []byte) (int, error) {
	if len(p) == 0 { // as in package net: no error but that of being closed
		if c.closed.Load() {
			return 0, net.ErrClosed
		}
		return 0, nil
	}
	if _, err := c.left(&c.in); err != nil {
		return 0, err
	}
	for {
		c.in.begin()
		n, errno := receive(c.fd, p)
		switch {
		case errno == syscall.EAGAIN:
			if err := c.wait(&c.in); err != nil {
				return 0, err
			}
		case errno == syscall.EINTR:
		case errno != 0:
			return 0, os.NewSyscallError("read", errno)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write writes all of p, and waits while the socket is full. When it fails it tells how much was written before; errors
// are those of Read, with the errno of write(2). A broken connection raises no SIGPIPE.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	n, err := c.write(p)
	if err != nil {
		err = c.failure("write", err)
	}
	return n, err
}

func (c *Conn) write(p []byte) (int, error) {
	if _, err := c.left(&c.out); err != nil {
		return 0, err
	}
	sent := 0
	for sent < len(p) {
		c.out.begin()
		n, errno := send(c.fd, p[sent:])
		switch errno {
		case 0:
			sent += n
		case syscall.EAGAIN:
			if err := c.wait(&c.out); err != nil {
				return sent, err
			}
		case syscall.EINTR:
		default:
			return sent, os.NewSyscallError("write", errno)
		}
	}
	return sent, nil
}

// Close closes the connection. A Read or Write that is under way ends with net.ErrClosed before Close returns. A
// second Close, and one after Detach, returns net.ErrClosed. What was written is still sent, unless SetLinger says otherwise.
func (c *Conn) Close() error {
	if !c.leave() {
		return c.failure("close", net.ErrClosed)
	}
	c.poller.forget(c, false) // cannot fail: the descriptor leaves epoll by being closed
	// close(2) gives the descriptor free whatever it returns, EINTR included. It may wait for SO_LINGER: the scheduler is told.
	if err := unix.Close(int(c.fd)); err != nil {
		return c.failure("close", os.NewSyscallError("close", err))
	}
	return nil
}

// Detach takes the descriptor out: non-blocking, in no epoll instance, with all that was not read yet still in it. It is
// the caller's to close, and the Conn is closed for everybody. A Read or Write that is under way on another goroutine ends
// with net.ErrClosed before Detach returns, or with the bytes that it had moved already: whoever detaches must know
// what was read and written. It returns net.ErrClosed when the Conn was closed or detached before; in no other case
// of failure does the descriptor stay open.
func (c *Conn) Detach() (fd int, err error) {
	if !c.leave() {
		return -1, c.failure("detach", net.ErrClosed)
	}
	if err := c.poller.forget(c, true); err != nil {
		unix.Close(int(c.fd))
		return -1, c.failure("detach", err)
	}
	return int(c.fd), nil
}

// leave closes c for everybody but its caller and waits until nobody uses the descriptor. It reports false when that
// was done before. Whoever gets one of the locks later finds closed set, and leaves the descriptor alone.
func (c *Conn) leave() bool {
	if c.closed.Swap(true) {
		return false
	}
	c.in.wake()
	c.out.wake()
	c.in.mu.Lock() // its holder may wait, and was woken; system calls do not block
	defer c.in.mu.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return true
}

// CloseWrite sends the end of the stream; reading goes on. A Write that is under way, and all later ones, fail with EPIPE.
func (c *Conn) CloseWrite() error {
	return c.control("close", func(fd int) error {
		return os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR))
	})
}

// SetLinger says what Close does with data that was not sent yet: negative, the default, sends it later; zero throws it away,
// and the peer sees a reset; more waits for it in Close, so many seconds at most (SO_LINGER, socket(7)).
func (c *Conn) SetLinger(sec int) error {
	linger := unix.Linger{}
	if sec >= 0 {
		linger = unix.Linger{Onoff: 1, Linger: int32(sec)}
	}
	return c.control("set", func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger))
	})
}

// control calls f with the descriptor, which stays open meanwhile. f must not block.
func (c *Conn) control(op string, f func(fd int) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return c.failure(op, net.ErrClosed)
	}
	if err := f(int(c.fd)); err != nil {
		return c.failure(op, err)
	}
	return nil
}

// SetDeadline sets both deadlines. A Read or Write that is under way obeys; one that begins after the deadline fails with
// os.ErrDeadlineExceeded, even when there is something to read. The zero time means none.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.in, &c.out) }

// SetReadDeadline sets the deadline of Read: see SetDeadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.in) }

// SetWriteDeadline sets the deadline of Write: see SetDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.out) }

func (c *Conn) setDeadlines(t time.Time, directions ...*direction) error {
	if c.closed.Load() {
		return c.failure("set", net.ErrClosed)
	}
	at := c.poller.instant(t)
	for _, d := range directions {
		d.setDeadline(at)
	}
	return nil
}

// LocalAddr returns this end's address, a *net.TCPAddr that is the caller's; after Close, too.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns the peer's address, a *net.TCPAddr that is the caller's; after Close, too.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// failure is err as package net would return it.
func (c *Conn) failure(op string, err error) error {
	if op == "set" {
		return &net.OpError{Op: op, Net: "tcp", Addr: c.LocalAddr(), Err: err}
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
