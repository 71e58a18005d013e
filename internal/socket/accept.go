//go:build linux

package socket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A listener accepts from a duplicate of a net.TCPListener's descriptor. The original is of no use: package net gives nobody
// but its own Accept a way to wait for it (the Read of its SyscallConn returns EINVAL).
type listener struct {
	poller *Poller
	file   *os.File
	raw    syscall.RawConn // of file
	addr   net.Addr
}

// Listener takes ln over: its port stays open until the returned listener is closed, ln itself is closed. Accept returns *Conn,
// and fails with *net.OpError around net.ErrClosed, or around the errno of accept4(2), EMFILE say, after which
// it may be called again. TCP_NODELAY and keepAlive are set once here: on Linux accepted sockets inherit them. Zero
// and negative fields of keepAlive mean what they mean to net.TCPConn.SetKeepAliveConfig.
//
// It fails when the process has no descriptor left for the moment in which there are two, or when the system refuses
// keepAlive (tcp(7): at most 32,767 seconds, 127 probes); ln is unchanged then but for the options, and the caller's.
func (p *Poller) Listener(ln *net.TCPListener, keepAlive net.KeepAliveConfig) (net.Listener, error) {
	file, err := ln.File()
	if err != nil {
		return nil, fmt.Errorf("duplicate the listening socket of %s: %w", ln.Addr(), err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("use the listening socket of %s: %w", ln.Addr(), err)
	}
	var setErr error
	if err := raw.Control(func(fd uintptr) { setErr = setOptions(int(fd), keepAlive) }); err != nil || setErr != nil {
		file.Close()
		return nil, fmt.Errorf("set options of the listening socket of %s: %w", ln.Addr(), errors.Join(setErr, err))
	}
	l := &listener{poller: p, file: file, raw: raw, addr: ln.Addr()}
	if err := ln.Close(); err != nil {
		file.Close()
		return nil, fmt.Errorf("take over the listening socket of %s: %w", ln.Addr(), err)
	}
	return l, nil
}

// Accept waits in Go's own poller, as net.TCPListener does.
func (l *listener) Accept() (net.Conn, error) {
	var fd int
	var peer syscall.Sockaddr
	var failed error
	err := l.raw.Read(func(listening uintptr) bool {
		fd, peer, failed = accept(int(listening))
		return failed != syscall.EAGAIN
	})
	switch {
	case err != nil: // os.ErrClosed: nothing else ends the wait for a file without deadline
		return nil, l.failure("accept", net.ErrClosed)
	case failed != nil:
		return nil, l.failure("accept", os.NewSyscallError("accept4", failed))
	}
	c := &Conn{poller: l.poller, fd: int32(fd), remote: addrPort(peer)}
	if c.local, err = localAddr(fd); err != nil {
		unix.Close(fd)
		return nil, l.failure("accept", err)
	}
	return c, nil
}

// accept is accept4(2) (that of golang.org/x/sys asks each socket for its protocol as well), repeated when it was interrupted, or when who is next has gone already (ECONNABORTED).
func accept(listening int) (int, syscall.Sockaddr, error) {
	for {
		fd, peer, err := syscall.Accept4(listening, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != syscall.EINTR && err != syscall.ECONNABORTED {
			return fd, peer, err
		}
	}
}

// Close closes the port. An Accept that waits fails with net.ErrClosed, as a second Close does.
func (l *listener) Close() error {
	if err := l.file.Close(); errors.Is(err, os.ErrClosed) {
		return l.failure("close", net.ErrClosed)
	} else if err != nil {
		return l.failure("close", err)
	}
	return nil
}

// Addr returns the address of the port.
func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) failure(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: l.addr, Err: err}
}

// localAddr is the address of this end of a connection.
func localAddr(fd int) (netip.AddrPort, error) {
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	return addrPort(name), nil
}

// What package net takes for zero fields of a net.KeepAliveConfig: its documentation says so.
const (
	defaultIdle     = 15 * time.Second
	defaultInterval = 15 * time.Second
	defaultCount    = 9
)

// setOptions sets TCP_NODELAY, as package net does for each connection, and keepAlive.
func setOptions(fd int, keepAlive net.KeepAliveConfig) error {
	type option struct {
		level, name, value int
	}
	list := []option{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}}
	if !keepAlive.Enable {
		list = append(list, option{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0})
	} else {
		list = append(list, option{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1})
		for _, o := range []option{
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(keepAlive.Idle, defaultIdle)},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(keepAlive.Interval, defaultInterval)},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, orDefault(keepAlive.Count, defaultCount)},
		} {
			if o.value >= 0 { // negative: the system's
				list = append(list, o)
			}
		}
	}
	for _, o := range list {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// seconds rounds d up to whole seconds, which is what the kernel counts in.
func seconds(d, zero time.Duration) int {
	d = orDefault(d, zero)
	if d < 0 {
		return -1
	}
	return int((d + time.Second - 1) / time.Second)
}

func orDefault[T int | time.Duration](v, zero T) T {
	if v == 0 {
		return zero
	}
	return v
}
