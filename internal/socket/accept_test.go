//go:build linux

package socket

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// options are what the tests look at in a socket; times in seconds.
type options struct{ noDelay, keepAlive, idle, interval, count int }

func checkOptions(t *testing.T, c *Conn, want options) {
	t.Helper()
	var got options
	for _, o := range []struct {
		level, name int
		value       *int
	}{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, &got.noDelay},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, &got.keepAlive},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, &got.idle},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, &got.interval},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, &got.count},
	} {
		v, err := unix.GetsockoptInt(int(c.fd), o.level, o.name)
		if err != nil {
			t.Fatal(err)
		}
		*o.value = v
	}
	if got != want {
		t.Errorf("options %+v, want %+v", got, want)
	}
	if flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("file flags %#x, %v: not non-blocking", flags, err)
	}
	if flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: a child would inherit it", flags, err)
	}
}

func TestAcceptedOptions(t *testing.T) {
	// A plain socket's, as the system has them.
	system := options{idle: 7200, interval: 75, count: 9}
	tests := []struct {
		name string
		set  net.KeepAliveConfig
		want options
	}{
		{"off", net.KeepAliveConfig{Idle: time.Second}, options{1, 0, system.idle, system.interval, system.count}},
		{"as given", net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: 30 * time.Second, Count: 4}, options{1, 1, 300, 30, 4}},
		{"Go's defaults", net.KeepAliveConfig{Enable: true}, options{1, 1, 15, 15, 9}},
		{"the system's", net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}, options{1, 1, system.idle, system.interval, system.count}},
		{"rounded up", net.KeepAliveConfig{Enable: true, Idle: time.Millisecond, Interval: 1001 * time.Millisecond, Count: 1}, options{1, 1, 1, 2, 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leaktest.Check(t)
			ln, err := open(t).Listener(listen(t), test.set)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			dialNet(t, ln.Addr().String())
			checkOptions(t, accepted(t, ln).(*Conn), test.want)
		})
	}
}

func TestListener(t *testing.T) {
	leaktest.Check(t)
	tcp := listen(t)
	address := tcp.Addr().String()
	queued := dialNet(t, address) // before the listener is taken over
	ln, err := open(t).Listener(tcp, net.KeepAliveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tcp.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener that was taken over is not closed: %v", err)
	}
	if ln.Addr().String() != address {
		t.Errorf("address %v, not %v", ln.Addr(), address)
	}
	c := accepted(t, ln)
	if c.RemoteAddr().String() != queued.LocalAddr().String() || c.LocalAddr().String() != address {
		t.Errorf("%v → %v is not %v → %v", c.RemoteAddr(), c.LocalAddr(), queued.LocalAddr(), address)
	}

	var waiting []<-chan string
	for range 2 {
		waiting = append(waiting, later(func() string {
			_, err := ln.Accept()
			return describe(err)
		}))
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range waiting {
		if got := get(t, w); got != "accept closed" {
			t.Error(got)
		}
	}
	if got := describe(ln.Close()); got != "close closed" {
		t.Error(got)
	}
	if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port is still open: %v, %v", c, err)
	}
}

func TestListenerIPv6(t *testing.T) {
	leaktest.Check(t)
	both, err := net.ListenTCP("tcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := open(t).Listener(both, net.KeepAliveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, number, _ := net.SplitHostPort(ln.Addr().String())
	for _, host := range []string{"127.0.0.1", "::1"} {
		peer := dialNet(t, net.JoinHostPort(host, number))
		c := accepted(t, ln)
		if c.RemoteAddr().String() != peer.LocalAddr().String() || c.LocalAddr().String() != peer.RemoteAddr().String() {
			t.Errorf("%v → %v here, %v → %v there", c.RemoteAddr(), c.LocalAddr(), peer.LocalAddr(), peer.RemoteAddr())
		}
	}
}

func TestListenerRefusesOptions(t *testing.T) {
	leaktest.Check(t)
	tcp := listen(t)
	p := open(t)
	if _, err := p.Listener(tcp, net.KeepAliveConfig{Enable: true, Idle: 32768 * time.Second}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("got %v", err)
	}
	peer := dialNet(t, tcp.Addr().String())
	defer peer.Close()
	accepted(t, tcp) // it is still the caller's
	tcp.Close()
	if _, err := p.Listener(tcp, net.KeepAliveConfig{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
}

func TestAcceptWithoutDescriptors(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	ln := port(t, p)
	peer := dialNet(t, ln.Addr().String())
	restore := noDescriptors(t)
	c, err := ln.Accept()
	_, openErr := Open()
	restore()
	if err == nil {
		c.Close()
	}
	if op := new(net.OpError); !errors.Is(err, syscall.EMFILE) || !errors.As(err, &op) || op.Op != "accept" {
		t.Errorf("got %v", err)
	}
	if !errors.Is(openErr, syscall.EMFILE) {
		t.Errorf("Open: %v", openErr)
	}
	c = accepted(t, ln)
	if c.RemoteAddr().String() != peer.LocalAddr().String() {
		t.Errorf("accepted %v, not %v", c.RemoteAddr(), peer.LocalAddr())
	}
}
