// Package wire carries MQTT packets between clients and a node on event loops: a connection has no goroutine.
//
//	loops, err := wire.Open(runtime.NumCPU(), wire.Options{MaxPacket: 1 << 20})
//	go loops.Run(ctx)
//	type client struct { wire.Conn; … }                 // with the methods of a Peer
//	err = loops.Adopt(&c.Conn, socket, wire.Start{Peer: c, Timeout: 15 * time.Second})
//	c.Wake()                                            // from anywhere: Fill will be asked for what there is to say
//
// The life of a connection is drawn in conn.go. loops.go is how connections come and go, read.go how bytes become packets, write.go
// how packets become bytes; secure.go and frames.go are the layers that may be between: TLS records, frames of a WebSocket.
//
// Invariants:
//
//   - All methods of a Peer run on the goroutine of its loop, one at a time. Wake, Finish, Resume and Post may be called from anywhere, and
//     never wait.
//   - Whatever is said to a connection in one round of its loop is one write, of up to 64 KiB.
//   - A turn is bounded in work (turnWork): nobody keeps the others of a loop waiting by sending much at once.
//   - A connection that is idle holds no buffer. What it holds otherwise is bounded: by the packet limit for what is not complete, by one write
//     for what the socket did not take, by fullOfReplies and the answers to one turn for replies.
//   - Nothing is allocated for bytes that have not arrived.
//   - Every connection has a deadline: for its first packet, by its keep alive, for a socket that takes nothing, for its end.
//   - Ended is called exactly once, Closed exactly once and last, and the descriptor is closed by then.
//
// # Why
//
// A goroutine for each of a million idle clients is 7 kB of memory for each; a Conn and its registration are a tenth of that with all that a session
// has beside. A message for a thousand subscribers was a thousand wake-ups of goroutines; here it is a thousand entries in queues and one pass over
// them at the end of the round, so that ten messages for the same subscribers are still a thousand writes. Peers pull (Fill) instead of being pushed to,
// because only then is it known what is left of a message's expiry, and because what a slow client is owed stays with its session, where the bounds are.
package wire
