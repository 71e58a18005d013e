//go:build linux

package socket

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects to host:port; the connection, a *Conn, has TCP_NODELAY and keepAlive. A name is looked up with
// net.DefaultResolver, its addresses are tried in order, each with an equal share of the time that ctx leaves; an empty host is
// localhost. ctx has no influence on the connection afterwards.
//
// Errors are *net.OpError, around the first address's errno (ECONNREFUSED; EMFILE when there is no descriptor; EADDRNOTAVAIL
// when there is no port), or around context.Canceled, context.DeadlineExceeded (Timeout is true), *net.DNSError.
func (p *Poller) Dial(ctx context.Context, address string, keepAlive net.KeepAliveConfig) (net.Conn, error) {
	addrs, err := resolve(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	var first error
	for i, a := range addrs {
		c, err := p.dialWithin(ctx, a, len(addrs)-i, keepAlive)
		if err == nil {
			return c, nil
		}
		if gone := ctx.Err(); gone != nil {
			return nil, dialFailure(a, gone)
		}
		if first == nil {
			first = dialFailure(a, err)
		}
	}
	return nil, first
}

func dialFailure(a netip.AddrPort, err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(a), Err: err}
}

// dialWithin dials a within its share of ctx's time, of which there are as many as addresses left.
func (p *Poller) dialWithin(ctx context.Context, a netip.AddrPort, shares int, keepAlive net.KeepAliveConfig) (*Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && shares > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(shares))
		defer cancel()
	}
	const attempts = 3
	for i := 1; ; i++ {
		c, err := p.dial(ctx, a, keepAlive)
		if i == attempts || !spurious(c, err) {
			return c, err
		}
		if err == nil {
			c.Close()
		}
	}
}

// spurious tells results that come from the port that the kernel chose. It may be the very port that is dialled, on this
// machine, and the socket is connected to itself; or one that is taken by now. Neither is what was meant, both pass.
func spurious(c *Conn, err error) bool {
	if err != nil {
		return errors.Is(err, syscall.EADDRNOTAVAIL)
	}
	return c.local == c.remote
}

// dial makes one attempt.
func (p *Poller) dial(ctx context.Context, a netip.AddrPort, keepAlive net.KeepAliveConfig) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if p.closed.Load() {
		return nil, net.ErrClosed
	}
	to, family, err := sockaddr(a)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c := &Conn{poller: p, fd: int32(fd)}
	if err := c.connect(ctx, to, keepAlive); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connect takes c from a new socket to a connected one. c is not shared yet.
func (c *Conn) connect(ctx context.Context, to syscall.Sockaddr, keepAlive net.KeepAliveConfig) error {
	if err := setOptions(int(c.fd), keepAlive); err != nil {
		return err
	}
	// EINPROGRESS, EINTR: it goes on in the background, interrupted or not (connect(2)). On the loopback, and in a fast network, it has
	// come to its end by the time that it is asked for: to look costs a tenth of what it costs to wait.
	if err := syscall.Connect(int(c.fd), to); err != nil && err != syscall.EINPROGRESS && err != syscall.EINTR {
		return os.NewSyscallError("connect", err)
	}
	if peer, err := syscall.Getpeername(int(c.fd)); err == nil {
		c.remote = addrPort(peer)
	} else if err := c.connected(ctx); err != nil {
		return err
	}
	var err error
	c.local, err = localAddr(int(c.fd))
	return err
}

// connected waits until the socket is connected, or ctx is done.
func (c *Conn) connected(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.out.setDeadline(past) })
	err := c.established()
	if !stop() { // ctx was done, and the deadline is, or will be, set: a connection that came meanwhile is spoilt
		return ctx.Err()
	}
	return err
}

// established waits for connect(2)'s end: the socket is writable then, and SO_ERROR says how it went.
func (c *Conn) established() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	for {
		if err := c.wait(&c.out); err != nil {
			return err
		}
		c.out.begin()
		failure, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		if failure != 0 {
			return os.NewSyscallError("connect", syscall.Errno(failure))
		}
		if peer, err := syscall.Getpeername(int(c.fd)); err == nil { // not only woken, but connected
			c.remote = addrPort(peer)
			return nil
		}
	}
}
