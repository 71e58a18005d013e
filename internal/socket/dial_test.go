//go:build linux

package socket

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

func TestDial(t *testing.T) {
	loopback6, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer loopback6.Close()
	ln := listen(t)
	number := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	tests := []struct {
		name, address string
		ln            net.Listener
		remote        string // host
	}{
		{"IPv4", ln.Addr().String(), ln, "127.0.0.1"},
		{"IPv6", loopback6.Addr().String(), loopback6, "::1"},
		{"IPv4 as IPv6", "[::ffff:127.0.0.1]:" + number, ln, "127.0.0.1"},
		{"a name whose first address may refuse", "localhost:" + number, ln, "127.0.0.1"},
		{"no host", ":" + number, ln, "127.0.0.1"},
		{"the unspecified address", "0.0.0.0:" + number, ln, "127.0.0.1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leaktest.Check(t)
			c := dial(t, open(t), test.address)
			peer := accepted(t, test.ln)
			remote := c.RemoteAddr().(*net.TCPAddr)
			if remote.IP.String() != test.remote || remote.String() != peer.LocalAddr().String() || c.LocalAddr().String() != peer.RemoteAddr().String() {
				t.Errorf("%v → %v here, %v → %v there", c.LocalAddr(), remote, peer.RemoteAddr(), peer.LocalAddr())
			}
			write(t, c, "x")
			if got := result(peer.Read(make([]byte, 2))); got != "1 ok" {
				t.Error(got)
			}
		})
	}
}

// refused is an address of this machine where nobody listens.
func refused(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return ln.Addr().String()
}

// full is a port whose queue is full, so that connecting takes until the end of patience: the kernel drops what comes (listen(2)).
func full(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := localAddr(fd)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c, err := net.DialTimeout("tcp", name.String(), 200*time.Millisecond)
		if err != nil {
			return name.String()
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("a port that nobody accepts from takes any number of connections")
	return ""
}

func TestDialFails(t *testing.T) {
	within := func(d time.Duration) func(testing.TB) context.Context {
		return func(t testing.TB) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
	}
	cancelled := func(after time.Duration) func(testing.TB) context.Context {
		return func(t testing.TB) context.Context {
			ctx, cancel := context.WithCancel(t.Context())
			if after == 0 {
				cancel()
			} else {
				time.AfterFunc(after, cancel)
			}
			return ctx
		}
	}
	refusing, filled := refused(t), full(t)
	tests := []struct {
		name, address string
		ctx           func(testing.TB) context.Context
		want          error // nil = any
		timeout       bool
	}{
		{"nobody listens", refusing, within(patience), syscall.ECONNREFUSED, false},
		{"a deadline passes", filled, within(50 * time.Millisecond), context.DeadlineExceeded, true},
		{"a deadline has passed", refusing, within(-time.Second), context.DeadlineExceeded, true},
		{"cancelled meanwhile", filled, cancelled(20 * time.Millisecond), context.Canceled, false},
		{"cancelled before", refusing, cancelled(0), context.Canceled, false},
		{"a name and no port", "localhost", within(patience), nil, false},
		{"a port too large", "127.0.0.1:65536", within(patience), nil, false},
		{"no such interface", "[fe80::1%no-such-interface]:1", within(patience), nil, false},
		{"not for this address", "127.0.0.1:0", within(patience), nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leaktest.Check(t)
			c, err := open(t).Dial(test.ctx(t), test.address, net.KeepAliveConfig{})
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			op := new(net.OpError)
			if !errors.As(err, &op) || op.Op != "dial" || op.Net != "tcp" {
				t.Errorf("%#v", err)
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if op.Timeout() != test.timeout {
				t.Errorf("Timeout is %v of %v", op.Timeout(), err)
			}
		})
	}
}

// TestDialShares has an address that does not answer before one that does: it must not use up all the time.
func TestDialShares(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	silent := netip.MustParseAddrPort(full(t))
	_, err := p.dialWithin(ctx, silent, 300, net.KeepAliveConfig{})
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("one address's share ended with %v, all of them with %v", err, ctx.Err())
	}
}

func TestDialWithoutDescriptors(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	ln := port(t, p)
	restore := noDescriptors(t)
	c, err := p.Dial(t.Context(), ln.Addr().String(), net.KeepAliveConfig{})
	restore()
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("got %v", err)
	}
	dial(t, p, ln.Addr().String())
}

func TestSpurious(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	ordinary, _ := pair(t, p, port(t, p))

	// The kernel chooses a port, and the socket connects to that very port: to itself.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	itself := &Conn{poller: p, fd: int32(fd)}
	defer itself.Close()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := itself.connect(t.Context(), own, net.KeepAliveConfig{}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		c    *Conn
		err  error
		want bool
	}{
		{"connected", ordinary, nil, false},
		{"connected to itself", itself, nil, true},
		{"no port", nil, syscall.EADDRNOTAVAIL, true},
		{"refused", nil, syscall.ECONNREFUSED, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := spurious(test.c, test.err); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestDialOptions(t *testing.T) {
	leaktest.Check(t)
	ln := listen(t)
	c, err := open(t).Dial(t.Context(), ln.Addr().String(), net.KeepAliveConfig{Enable: true, Idle: 301 * time.Second, Interval: 29500 * time.Millisecond, Count: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	checkOptions(t, c.(*Conn), options{noDelay: 1, keepAlive: 1, idle: 301, interval: 30, count: 4})
}

func TestAddresses(t *testing.T) {
	tests := []struct {
		name string
		from netip.AddrPort
		want syscall.Sockaddr
		back string
	}{
		{"IPv4", netip.MustParseAddrPort("192.0.2.1:80"), &syscall.SockaddrInet4{Port: 80, Addr: [4]byte{192, 0, 2, 1}}, "192.0.2.1:80"},
		{"IPv6", netip.MustParseAddrPort("[::1]:65535"), &syscall.SockaddrInet6{Port: 65535, Addr: [16]byte{15: 1}}, "[::1]:65535"},
		{"zone by name", netip.MustParseAddrPort("[fe80::1%lo]:1"), &syscall.SockaddrInet6{Port: 1, ZoneId: 1, Addr: [16]byte{0: 0xfe, 1: 0x80, 15: 1}}, "[fe80::1%lo]:1"},
		{"zone by number", netip.MustParseAddrPort("[fe80::1%1]:1"), &syscall.SockaddrInet6{Port: 1, ZoneId: 1, Addr: [16]byte{0: 0xfe, 1: 0x80, 15: 1}}, "[fe80::1%lo]:1"},
		{"zone without interface", netip.MustParseAddrPort("[fe80::1%99999]:1"), &syscall.SockaddrInet6{Port: 1, ZoneId: 99999, Addr: [16]byte{0: 0xfe, 1: 0x80, 15: 1}}, "[fe80::1%99999]:1"},
		{"mapped", netip.MustParseAddrPort("[::ffff:192.0.2.1]:80"), &syscall.SockaddrInet6{Port: 80, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 192, 14: 2, 15: 1}}, "192.0.2.1:80"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, _, err := sockaddr(test.from)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := got, test.want; !equal(a, b) {
				t.Errorf("got %+v, want %+v", a, b)
			}
			if back := addrPort(got); back.String() != test.back {
				t.Errorf("back: %v", back)
			}
		})
	}
	if got := addrPort(&syscall.SockaddrUnix{Name: "x"}); got.IsValid() {
		t.Errorf("a Unix socket has the address %v", got)
	}
}

func equal(a, b syscall.Sockaddr) bool {
	if a, ok := a.(*syscall.SockaddrInet4); ok {
		b, ok := b.(*syscall.SockaddrInet4)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	}
	x, y := a.(*syscall.SockaddrInet6), b.(*syscall.SockaddrInet6)
	return x.Port == y.Port && x.Addr == y.Addr && x.ZoneId == y.ZoneId
}
