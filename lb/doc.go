// Package lb is the load balancer: the life of a connection and the life of a configuration.
//
//	srv, err := lb.New(lb.Options{Path: "mqttlb.yaml", Log: log}) // reads and checks everything, opens nothing
//	…
//	err = srv.Run(ctx) // serves until ctx is done, then drains
//
// # Life of a connection
//
// A port's goroutine accepts; from then on a connection has a goroutine of its own until hand-off (serve in conn.go):
//
//	accept      listener.go   a place of the listener and two descriptors first, then accept(2); plane.go: no more at once than help
//	proxy       proxy.go      accept_proxy: the header of a trusted proxy, or refused
//	handshake   handshake.go  TLS, with a gate on how many compute at once (package handshake)
//	first       first.go      protocol mqtt: the whole CONNECT, bounded
//	connect     connect.go    pick ► dial ► PROXY header (header.go) and CONNECT; the next server on failure
//	hand off    conn.go       both descriptors and the keys go to a loop of the relay; the goroutine is free
//	finish      finish.go     the one end: the reason (reason.go) counted and logged, every place given back
//
// A conn lies in a table (live.go) and is used again: who may still have one when it has ended has a handle. What sockets and
// loops there are is in plane.go.
//
// Every connection ends with exactly one Reason, which is the label of the metric and the attribute of the log line.
//
// # Life of a configuration
//
//	trigger     reload.go             a changed file, SIGHUP, the API: one after the other
//	load        package config
//	prepare     generation.go tls.go  may fail, changes nothing
//	open        listener.go           new ports; may fail, then none is left open
//	commit      reload.go             cannot fail
//
// What a reload replaces is one immutable generation behind one pointer. A connection keeps its listener's part from
// accept on, and takes its backend's when it is about to dial. What must survive reloads lives beside it and is found
// by name (registry.go):
//
//	in the file   in one generation   across reloads
//	listener      frontend            door; its socket is a port
//	backend       pool
//	server                            member
//
// What checks find out is in health.go, the end of the process in stop.go, what the outside is told in status.go.
//
// # Invariants
//
//   - A server sees the PROXY header first, once; with protocol mqtt, never a byte of a client that has not completed CONNECT.
//   - A refused reload changes nothing. An applied one ends no session of a listener or server that stays.
//   - Until hand-off a client has one deadline for all that it has to say, and each server connect_timeout; after it
//     client_timeout and server_timeout rule, and TCP's keep-alive where they are off.
//   - No goroutine that Run does not wait for.
//   - After hand-off a connection has no goroutine, and no memory of Go's heap but its conn and what names it.
//   - Nothing is served before handshake.SelfTest has passed.
//   - A listener survives EMFILE, and normally never meets it: connections beyond half the descriptors wait in the
//     kernel's queue, as those beyond max_connections do.
//
// # Why
//
// One goroutine up to the hand-off keeps the story readable and costs nothing that lasts: it
// ends when the relay takes over. Balancing asks a predicate and knows nothing of health; health
// knows nothing of sessions; this package is the only one that sees the configuration.
package lb
