package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Options say how a port is opened; the zero value is an ordinary port.
type Options struct {
	ReusePort bool // SO_REUSEPORT: several processes may share the port (socket(7))
}

// TCP opens a TCP port. An address without a host (":8883") means every address, IPv4 and
// IPv6. The caller closes the listener.
func TCP(ctx context.Context, address string, o Options) (*net.TCPListener, error) {
	// Keep-alive is set by who owns the connection; Go's default of 15 s would wake a million idle devices' radios.
	lc := net.ListenConfig{KeepAlive: -1}
	if o.ReusePort {
		lc.Control = reusePort
	}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		cause := err
		if op := new(net.OpError); errors.As(err, &op) {
			cause = op.Err // without "listen tcp ADDRESS", which is said already
		}
		return nil, fmt.Errorf("listen on %s: %w%s", address, cause, hint(err))
	}
	return ln.(*net.TCPListener), nil
}

// hint says what an operator can do about an address that cannot be opened.
func hint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return " (the port is taken: find by whom with `ss -tanp`; outgoing connections take ports of net.ipv4.ip_local_port_range, too)"
	case errors.Is(err, syscall.EACCES):
		return " (ports below 1024 need CAP_NET_BIND_SERVICE)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return " (this machine has no such address: see `ip address`)"
	}
	return ""
}

// The pauses after a failed accept, doubled from the first to the last: net/http's values.
// One second bounds how long a free descriptor goes unnoticed.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// An Acceptor takes connections from a listener and survives whatever accept(2) reports:
// EMFILE, ENFILE, ENOBUFS, ECONNABORTED. It is used by one goroutine.
type Acceptor struct {
	Listener net.Listener

	// OnPause, when set, is told of each failure and of the pause that follows it. The first of a
	// series has the shortest pause (First), so that a log can have one line a series.
	OnPause func(Pause)

	pause time.Duration
}

// A Pause is one failed accept.
type Pause struct {
	Err   error
	For   time.Duration
	First bool // of a series of failures
}

// Accept returns the next connection. It fails only when the listener was closed (net.ErrClosed)
// or ctx is done (its cause); ctx is looked at between attempts, so whoever cancels it
// must close the listener too.
func (a *Acceptor) Accept(ctx context.Context) (net.Conn, error) {
	for {
		conn, err := a.Listener.Accept()
		if err == nil {
			a.pause = 0
			return conn, nil
		}
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err := a.wait(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (a *Acceptor) wait(ctx context.Context, err error) error {
	first := a.pause == 0
	a.pause = min(max(2*a.pause, firstPause), lastPause)
	if a.OnPause != nil {
		a.OnPause(Pause{Err: err, For: a.pause, First: first})
	}
	t := time.NewTimer(a.pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
