//go:build !linux

package socket

import (
	"context"
	"net"
)

// A Poller makes connections of package net, which does the waiting.
type Poller struct{}

// Open makes a Poller. It never fails.
func Open() (*Poller, error) { return &Poller{}, nil }

// Close does nothing: there is nothing to end.
func (p *Poller) Close() error { return nil }

// Listener returns ln, whose connections get keepAlive. It never fails.
func (p *Poller) Listener(ln *net.TCPListener, keepAlive net.KeepAliveConfig) (net.Listener, error) {
	return &listener{ln, keepAlive}, nil
}

type listener struct {
	*net.TCPListener
	keepAlive net.KeepAliveConfig
}

// Accept returns a *net.TCPConn.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	if err := c.SetKeepAliveConfig(l.keepAlive); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Dial connects to host:port; the connection is a *net.TCPConn with keepAlive. Errors are net.Dialer's.
func (p *Poller) Dial(ctx context.Context, address string, keepAlive net.KeepAliveConfig) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, KeepAliveConfig: keepAlive} // negative: none, unless keepAlive is enabled
	return d.DialContext(ctx, "tcp", address)
}
