// Package lb is the load balancer: the life of a connection and the life of a configuration.
//
//	srv, err := lb.New(lb.Options{Path: "mqttlb.yaml", Log: log}) // reads and checks everything, opens nothing
//	…
//	err = srv.Run(ctx) // serves until ctx is done, then drains
//
// # Life of a connection
//
// One goroutine takes a connection from accept to hand-off (conn.go, top to bottom):
//
//	accept      listener.go   a slot of the listener and two descriptors first, then accept(2)
//	proxy       proxy.go      accept_proxy: the header of a trusted proxy, or refused
//	handshake   handshake.go  TLS, one deadline, a gate on how many compute at once
//	first       first.go      protocol mqtt: the whole CONNECT, bounded, one deadline
//	connect     connect.go    pick ► dial ► PROXY header and CONNECT; the next server on failure
//	hand off    conn.go       both sockets go to the relay; the goroutine ends
//	finish      finish.go     the only place that counts, logs and releases
//
// Every connection ends with exactly one Reason, which is the label of the metric and the attribute of the log line.
//
// # Life of a configuration
//
//	trigger ► Load ► prepare (may fail, changes nothing) ► commit (cannot fail)
//
// What a reload replaces is one immutable generation behind one pointer; a connection loads it
// once, after accept, and keeps it to its end. What must survive reloads lives beside it and is found by
// name: a member (server) with its counters, its sessions and its health, a door (listener) with its counters.
//
// # Invariants
//
//   - A server sees the PROXY header first, once, and never a byte of a client that has not completed CONNECT.
//   - A refused reload changes nothing. An applied one ends no session of a listener or server that stays.
//   - No wait without a deadline; no goroutine that Run does not wait for.
//   - The listener survives EMFILE, and normally never meets it: connections beyond half the
//     descriptors wait in the kernel's queue, as those beyond max_connections do.
//
// # Why
//
// One goroutine up to the hand-off keeps the story readable and costs nothing that lasts: it
// ends when the relay takes over. Balancing asks a predicate and knows nothing of health; health
// knows nothing of sessions; this package is the only one that sees the configuration.
package lb
