// Package broker is one MQTT node: it accepts clients, keeps their sessions and delivers their messages.
//
//	c := config.Default()
//	c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0", ProxyProtocol: config.ProxyRequire}}
//	b, err := broker.New(broker.Options{Config: c, Log: slog.Default()}) // the port is open
//	go dial(b.Addr("mqtt"))
//	err = b.Run(ctx) // until ctx is done and everybody has gone
//
// It speaks MQTT 3.1, 3.1.1 and 5 with QoS 0, 1 and 2, over TCP, TLS and WebSocket, with a PROXY header in front of each. The story of a
// connection is in listener.go (accept, PROXY header, TLS, WebSocket), connect.go and conn.go; what carries it is package wire, an event loop for
// each CPU. That of a session is in session.go and registry.go, that of a message in handle.go and the package route. access.go says who may do
// what, keep.go what survives the process, inspect.go and operate.go what an operator sees and does. Rules are tagged with the normative statement
// that they implement, such as [MQTT-3.1.2-6]: those of MQTT 5 unless "of 3.1.1" is said; docs/conformance.md has the test of each.
//
// Invariants:
//
//   - Delivering never waits for a client. Each connection has an outbox that is bounded: by the window for QoS
//     1 and 2, by max_queued for QoS 0; a client that does not read the answers to its own packets is not read from. One that
//     takes nothing for as long as the write timeout is ended.
//   - What waits for a client is bounded in messages, by max_queued, and in bytes, by 4 KiB for each of those or
//     eight of the largest packets, whichever is more; what it subscribes to, by what that takes in memory.
//   - A client identifier has at most one connection, whoever comes last, and never waits for the one before.
//   - No wait is without a deadline, and nothing is allocated for bytes that have not arrived. No password is computed on a loop.
//   - With a data_dir, nothing is acknowledged that is not on disk, for sessions that outlive their connection.
//   - Locks are taken in the order Broker.mu, session.mu, then that of the table or of a loop, and no message
//     is published while one is held.
//   - What a client sends never ends the process; it ends, at most, its connection.
//
// # Why
//
// A connection has no goroutine: an idle client with a subscription takes 1.0 kB of memory, where it took 7.7 with one (mosquitto 2.0.11: 1.8). What comes
// for a client in one round of its loop is one write, so that a delivery of 128 bytes from one to 1,000 costs 0.44 of mosquitto's CPU, and 0.15 when ten
// messages are under way at once (docs/performance.md). Sessions stay under locks of their own instead of belonging to a loop: a message goes to sessions of all
// loops, and one lock, an entry in a queue and, for the first of a round, a note to the loop is less than a letter to another loop for each receiver.
// Packets wait as references to shared messages and are encoded when they are written, because only then is it known what is left of a message's expiry; a
// message for many is encoded once for each form that it has, and copied.
//
// A retained message is sent from a backlog that goes on as the client reads and acknowledges, instead of through the
// queue, which a subscription to everything would overflow at once. Live messages do not wait behind it; one that comes for
// a topic whose retained message is still in it takes that along, so that the older never arrives last.
//
// The library mochi-mqtt was tried in its place and put aside: a client could end the process with
// one packet, concurrent connections with one identifier stayed alive side by side, and an idle
// connection cost 25 to 35 kB.
package broker
