// Package delivery knows which messages are on their way to a client, which wait, and which have
// arrived, for as long as a session lives. It does no I/O and takes no locks.
//
//	out := delivery.NewOutgoing(&delivery.Limits{Messages: 1000, Bytes: 4 << 20}) // what may wait
//	out.Connected(32)                          // as many may be on the way
//	_, ok := out.Add(delivery.Copy{Message: m, QoS: 1}, now) // false: the queue is full
//	for s, _, ok := out.Next(now); ok; s, _, ok = out.Next(now) { send(s) }
//	out.Acked(id)                              // then Next again
//
// Invariants:
//
//   - Messages go out in the order in which they were added, each exactly once on a connection; after
//     a reconnect those not acknowledged go first, in their old order and with their old
//     identifiers [MQTT-4.4.0-1] [MQTT-4.6.0-1].
//   - Never more than the window are on their way, after a reconnect neither [MQTT-3.3.4-9].
//   - Identifiers of the two directions know nothing of each other: [Outgoing] gives its own
//     out, [Incoming] remembers the client's (section 2.2.1).
//   - A Message never changes once a Copy of it was made; everything else belongs to whoever
//     holds the session's lock.
//
// # Why
//
// The rules about identifiers, order, windows and reconnects are where brokers go wrong, and where tests
// over sockets see little. Here they are two small state machines that a test can drive through
// a million random steps. Messages of QoS 0 are not in it: they are sent or dropped, and
// wait for nothing. Flights are kept in a slice in the order of sending: acknowledgements come in that order but for a few, so
// looking one up is one step, and a session without traffic holds no memory for it.
package delivery
