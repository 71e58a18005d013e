//go:build linux

package relay

import (
	"net"
	"slices"

	"github.com/mqttlb/mqttlb/lb/record"
)

// A detacher is a socket that can give its descriptor away (package socket).
type detacher interface{ Detach() (int, error) }

// A prefixed connection is another one with bytes in front that were read already (package listen).
type prefixed interface{ Under() (net.Conn, []byte) }

// An endpoint is what is left of a net.Conn when nobody waits in it any more.
type endpoint struct {
	fd    int // non-blocking; -1: the connection was closed before
	err   error
	tls   bool
	state record.State  // with tls
	cache *record.Cache // of state
	raw   []byte        // read from the socket, and not opened yet
	plain []byte        // opened, and not passed on yet
}

// detachable reports whether detach works for c.
func detachable(c net.Conn) bool {
	switch c := c.(type) {
	case *record.Conn:
		return detachable(c.NetConn())
	case prefixed:
		under, _ := c.Under()
		return detachable(under)
	}
	_, ok := c.(detacher)
	return ok
}

// detach takes c apart. It is for a connection that is detachable, and that nobody reads or writes.
func detach(c net.Conn) endpoint {
	switch c := c.(type) {
	case *record.Conn:
		r := c.Detach()
		e := detach(r.Under)
		e.tls, e.state, e.cache = true, r.State, r.Ciphers
		e.raw, e.plain = slices.Concat(r.Raw, e.plain), r.Plain
		return e
	case prefixed:
		under, rest := c.Under()
		e := detach(under)
		e.plain = slices.Concat(rest, e.plain)
		return e
	}
	fd, err := c.(detacher).Detach()
	if err != nil {
		return endpoint{fd: -1, err: err}
	}
	return endpoint{fd: fd}
}
