// Package handshake does TLS handshakes for a server that must not suffer from its clients.
//
//	var computing limit.Gate
//	computing.Set(handshake.PerCPU * runtime.NumCPU())
//	cfg := handshake.Prepare(&tls.Config{…})
//	cfg.SetSessionTicketKeys(tickets.Keys(trust, time.Now()))
//	stream, state, err := handshake.Server(ctx, socket, cfg, &computing)
//	var failed *handshake.Error
//	if errors.As(err, &failed) { count(failed.Failure) }
//
// What comes out is a connection of package record: crypto/tls does the handshake, gives the keys away through KeyLogWriter and reads not a byte
// beyond it (records.go, secrets.go). With cipher suites without AEAD it is the *tls.Conn. SelfTest does all of it once, at the start of a
// process, against crypto/tls's own client.
//
// Invariants: no more handshakes compute at once than the gate lets in, and no client holds a place by being slow; every
// failure is one of a closed list; after the handshake, what TLS itself writes never waits longer than its deadline.
//
// # Why
//
// crypto/tls is left alone: the hook GetConfigForClient says when a ClientHello is complete, the first write when our
// answer is. Its errors are mostly texts, so a failure is told by types, by the side of an alert, and by how far the handshake
// had come. It writes inside Read, to answer a KeyUpdate, where nobody expects it and no deadline of the caller's is set:
// a client that asks and never reads held a connection, its two descriptors and the end of the process for as long as
// it liked. That is for connections that stay with crypto/tls; package record writes only when it is told to.
package handshake
