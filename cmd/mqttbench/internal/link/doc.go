// Package link is one MQTT connection on an event loop: packets in and out, over TCP or over TLS whose handshake is complete.
//
//	s := link.New(loop)
//	k := &link.Link{FD: fd}             // or link.Protected(fd, state, raw)
//	err := s.Add(k, key)
//	err = s.Receive(k, key, e, handler) // in Ready: handler.Packet is called for each packet
//	k.Queue(bytes); err = s.Flush(k)    // now, or once for all that the round has brought
//
// Everything belongs to the loop's goroutine. Invariants: a packet is handed on whole, or not at all; what is queued leaves in order; the
// descriptor is the Link's from Add until Close. Buffers stay with their Link, as large as the largest packet was: this is for load
// generators, whose own memory does not count.
//
// # Why
//
// The generator and the node behind the balancer share it, so that what is measured is the balancer: both spend one read and one
// write for all that one event brings. Records come from package record, which the balancer under test uses too; a
// mistake that both ends of it make would not be seen here, but is seen by other peers in its own tests.
package link
