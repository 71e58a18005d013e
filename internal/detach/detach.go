// Package detach takes connections apart for event loops, which want descriptors and keys instead of a net.Conn.
//
//	if detach.Possible(c) {
//		e := detach.Conn(c) // e.FD is the caller's now; c is closed for everybody else
//	}
//
// It understands what a connection of ours may consist of: a socket of package socket, one with bytes in front that were read already
// (package listen), and the record layer of package record over either.
//
// Invariants: nothing that was read is lost, and its order stays; after Conn the descriptor has one owner, the caller.
//
// # Why
//
// The balancer's relay and the node's event loops begin where a handshake on a goroutine ended, with the same three layers. What
// has no descriptor to give, a tls.Conn or a socket of package net, is told by Possible beforehand.
package detach

import (
	"net"
	"slices"

	"github.com/mqttlb/mqttlb/lb/record"
)

// A Socket can give its descriptor away: what package socket makes on Linux.
type Socket interface {
	// Detach returns the descriptor, non-blocking, which is the caller's from then on, and closes the connection for everybody else.
	Detach() (int, error)
}

// A prefixed connection is another one with bytes in front that were read already (package listen).
type prefixed interface{ Under() (net.Conn, []byte) }

// An Endpoint is what is left of a net.Conn when nobody waits in it any more.
type Endpoint struct {
	FD    int // non-blocking; -1: the connection was closed before
	Err   error
	TLS   bool
	State record.State  // with TLS
	Cache *record.Cache // of State
	Raw   []byte        // read from the socket, and not opened yet
	Plain []byte        // opened, and not passed on yet: it comes before what is in Raw
}

// Possible reports whether Conn works for c.
func Possible(c net.Conn) bool {
	switch c := c.(type) {
	case *record.Conn:
		return Possible(c.NetConn())
	case prefixed:
		under, _ := c.Under()
		return Possible(under)
	}
	_, ok := c.(Socket)
	return ok
}

// Conn takes c apart. It is for a connection for which Possible is true, and that nobody reads or writes.
func Conn(c net.Conn) Endpoint {
	switch c := c.(type) {
	case *record.Conn:
		r := c.Detach()
		e := Conn(r.Under)
		e.TLS, e.State, e.Cache = true, r.State, r.Ciphers
		e.Raw, e.Plain = slices.Concat(r.Raw, e.Plain), r.Plain
		return e
	case prefixed:
		under, rest := c.Under()
		e := Conn(under)
		e.Plain = slices.Concat(rest, e.Plain)
		return e
	}
	fd, err := c.(Socket).Detach()
	if err != nil {
		return Endpoint{FD: -1, Err: err}
	}
	return Endpoint{FD: fd}
}
