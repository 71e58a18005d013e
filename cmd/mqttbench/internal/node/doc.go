// Package node is a stand-in for a broker that answers at once: what is measured in front of it is the balancer, and nothing else.
//
//	n, err := node.Listen("127.0.0.1:1883", node.Optional) // PROXY headers
//	log.Info("listening", "address", n.Addr())
//	err = n.Run(ctx)
//
// CONNECT is answered by CONNACK, SUBSCRIBE by SUBACK with the QoS that it asks for or 1, UNSUBSCRIBE, PINGREQ, PUBLISH of QoS 1 by their answers;
// a PUBLISH goes to the subscribers of exactly its topic, and whether they acknowledge it does not matter. DISCONNECT closes the connection. There are no
// wildcards, no retained messages, no sessions, no wills, no keep alive, no QoS 2: a client that wants one of these is closed.
//
// Invariants: one goroutine accepts, one loop does everything else; whatever a round has queued for a connection leaves in one write at its
// end; a connection that does not read loses messages once a bound is reached, and nobody else waits for it.
//
// # Why
//
// Any real broker costs several times what a balancer does for the same message, and its jitter would be in every figure. That answers
// are at hand as soon as the request is parsed makes the balancer the larger part of each round trip. Writes are
// collected for a round because a fan-out of several messages at a time should reach the balancer the way that a good broker sends it.
package node
