//go:build linux

package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds each wait of a test. One that passes never waits so long.
const patience = time.Minute

// aTick is how often a test looks again for what nothing tells it of.
const aTick = time.Millisecond

func open(t testing.TB) *Poller {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("close the poller: %v", err)
		}
	})
	return p
}

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// port is a listener of p on a port of its own.
func port(t testing.TB, p *Poller) net.Listener {
	t.Helper()
	ln, err := p.Listener(listen(t), net.KeepAliveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func dial(t testing.TB, p *Poller, address string) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := p.Dial(ctx, address, net.KeepAliveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

func dialNet(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func accepted(t testing.TB, ln net.Listener) net.Conn {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A conn is what *Conn and *net.TCPConn have in common.
type conn interface {
	net.Conn
	CloseWrite() error
	SetLinger(sec int) error
}

// kinds are the ways to a connection that must all behave the same.
var kinds = []struct {
	name string
	make func(t testing.TB) (c conn, peer *net.TCPConn)
}{
	{"net", func(t testing.TB) (conn, *net.TCPConn) {
		ln := listen(t)
		peer := dialNet(t, ln.Addr().String())
		return accepted(t, ln).(conn), peer
	}},
	{"accepted", func(t testing.TB) (conn, *net.TCPConn) {
		ln := port(t, open(t))
		peer := dialNet(t, ln.Addr().String())
		return accepted(t, ln).(conn), peer
	}},
	{"dialled", func(t testing.TB) (conn, *net.TCPConn) {
		ln := listen(t)
		c := dial(t, open(t), ln.Addr().String())
		return c, accepted(t, ln).(*net.TCPConn)
	}},
}

// pair is two connected Conns of p.
func pair(t testing.TB, p *Poller, ln net.Listener) (a, b *Conn) {
	t.Helper()
	a = dial(t, p, ln.Addr().String())
	return a, accepted(t, ln).(*Conn)
}

// eventually waits until done.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); <-time.After(aTick) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// parked waits until somebody waits in c for input or output. Package net does not tell; there the test may find
// the call not yet begun, and must come out the same.
func parked(t testing.TB, c net.Conn, output bool) {
	t.Helper()
	own, ok := c.(*Conn)
	if !ok {
		<-time.After(10 * aTick)
		return
	}
	d := &own.in
	if output {
		d = &own.out
	}
	eventually(t, "a goroutine waits in the connection", func() bool { return d.waiter.Load() != nil })
}

// describe is what callers can tell of an error.
func describe(err error) string {
	op := new(net.OpError)
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case err == io.EOF:
		return "EOF"
	case !errors.As(err, &op):
		return fmt.Sprintf("not a net.OpError: %v", err)
	case errors.Is(err, net.ErrClosed) && !op.Timeout():
		return op.Op + " closed"
	case errors.Is(err, os.ErrDeadlineExceeded) && op.Timeout():
		return op.Op + " timeout"
	case errors.As(err, &errno):
		return op.Op + " " + unix.ErrnoName(errno)
	}
	return fmt.Sprintf("%s: %v", op.Op, err)
}

// result is what a Read or Write returned.
func result(n int, err error) string { return fmt.Sprintf("%d %s", n, describe(err)) }

// later runs f on a goroutine of its own.
func later(f func() string) <-chan string {
	c := make(chan string, 1)
	go func() { c <- f() }()
	return c
}

// get is what later's goroutine returned.
func get(t testing.TB, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(patience):
		t.Fatalf("a call has not returned after %v", patience)
		return ""
	}
}

func write(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

// unread waits until n bytes can be read from fd.
func unread(t testing.TB, fd, n int) {
	t.Helper()
	eventually(t, "data is there", func() bool {
		have, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		return have >= n
	})
}

// noDescriptors lets every attempt to open one fail, until the function that it returns is called: the limit is then the lowest
// number that is free, and all below it are taken (getrlimit(2)).
func noDescriptors(t testing.TB) (restore func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	first, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(first)
	low := limit
	low.Cur = uint64(first)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(restore)
	return restore
}
