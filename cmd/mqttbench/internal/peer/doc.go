// Package peer starts the programs that are compared, load balancers and brokers, and the brokers behind load balancers, on loopback ports.
//
//	p, err := peer.Find(peer.HAProxy, "") // its path and version; an error wraps exec.ErrNotFound where it is not installed
//	run, err := p.Start(ctx, peer.Setup{Dir: dir, Listen: "127.0.0.1:8883", Node: "127.0.0.1:1883", Certificate: "server.pem", CPUs: 2})
//	… run.PID() …
//	err = run.Stop()
//
// Invariants: Start returns when the program accepts connections, or with what it has said before it ended; after Stop neither
// the program nor a child of it runs. Files are written to Dir only.
//
// # Why
//
// HAProxy's and nginx's configurations are those that operators of MQTT brokers have used for years, with every limit raised that would be what
// is measured otherwise: HAProxy's maxconn, nginx's queue of newcomers. None is given anything that the others are not:
// as many threads, the same certificate with its key, tickets for resumption, timeouts that end nobody. Brokers keep everything in
// memory, log nothing, and bound no queue below what is in flight; mosquitto has one thread because it knows no more.
package peer
