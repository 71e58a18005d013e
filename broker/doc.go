// Package broker is one MQTT node: it accepts clients, keeps their sessions and delivers their messages.
//
//	c := config.Default()
//	c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0", ProxyProtocol: config.ProxyRequire}}
//	b, err := broker.New(broker.Options{Config: c, Log: slog.Default()}) // the port is open
//	go dial(b.Addr("mqtt"))
//	err = b.Run(ctx) // until ctx is done and everybody has gone
//
// It speaks MQTT 3.1, 3.1.1 and 5 with QoS 0, 1 and 2. The story of a connection is in conn.go: accept, PROXY header,
// TLS, CONNECT, packets, end. That of a session is in session.go and registry.go, that of
// a message in handle.go and the package route. Rules are tagged with the normative statement
// that they implement, such as [MQTT-3.1.2-6]: those of MQTT 5 unless "of 3.1.1" is said.
//
// Invariants:
//
//   - Delivering never waits for a client. Each connection has an outbox that is bounded: by the window for QoS
//     1 and 2, by max_queued for QoS 0, by not reading from a client that does not read the answers to its own
//     packets. A write that takes longer than the write timeout ends the connection.
//   - What waits for a client is bounded in messages, by max_queued, and in bytes, by 4 KiB for each of those or
//     eight of the largest packets, whichever is more; what it subscribes to, by what that takes in memory.
//   - A client identifier has at most one connection, whoever comes last, and never waits for the one before.
//   - No wait is without a deadline, and nothing is allocated for bytes that have not arrived.
//   - Locks are taken in the order Broker.mu, session.mu, then that of the table or outbox.mu, and no message
//     is published while one is held.
//   - What a client sends never ends the process; it ends, at most, its connection.
//
// # Why
//
// Sessions and delivery know connections only through the outbox, and the outbox only through conn.write:
// an event loop can take the place of the two goroutines without a change to the rules of MQTT. The
// writing goroutine exists only while there is something to write, so that an idle client is one goroutine:
// 7.7 kB of resident memory with a subscription. Packets wait as references to shared messages and are encoded by the
// writer, because only then is it known what is left of a message's expiry; a message for many is encoded once for each
// form that it has, and copied. A delivery of 128 bytes from one to 1,000 costs 5.9 µs of CPU (2-core x86 virtual
// machine; mosquitto 2.0.11 in the same run: 7.8 µs, and 0.9 kB for a client).
//
// A retained message is sent from a backlog that goes on as the client reads and acknowledges, instead of through the
// queue, which a subscription to everything would overflow at once. Live messages do not wait behind it; one that comes for
// a topic whose retained message is still in it takes that along, so that the older never arrives last.
//
// The library mochi-mqtt was tried in its place and put aside: a client could end the process with
// one packet, concurrent connections with one identifier stayed alive side by side, and an idle
// connection cost 25 to 35 kB.
package broker
