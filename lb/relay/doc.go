// Package relay moves bytes between two connected sockets until both sides are done.
//
//	loops, err := relay.Open(runtime.NumCPU())
//	go loops.Run(ctx)
//	s := loops.Start(relay.Pair{Client: c, Server: s, ClientTimeout: time.Minute}, relay.Func(func(r relay.Result) {
//		log.Info("session ended", "end", r.End, "in", r.In, "out", r.Out)
//	}))
//	…
//	s.Close() // from anywhere: both sockets end now
//
// Life of a pair, for each of its two directions:
//
//	        bytes                     bytes
//	      ┌───────┐                 ┌───────┐
//	      ▼       │   end of file   ▼       │      both directions shut
//	┌──────────┐──┘ ──────────▶ ┌─────────────┐──┘ ───────────────────▶ done
//	│   open   │                │ shut        │
//	└──────────┘                └─────────────┘
//	      │  reset, timeout, Close, write that failed
//	      └──────────────────────────────────────────────────────────▶ done
//
// An end of file is passed on (FIN, or close_notify on TLS), and the other direction may
// go on for as long as it moves bytes at least every linger; anything else ends the pair at once.
//
// Loops relays on event loops, a pair on each being a plain value (pair.go begins with its states): turn.go is what a loop does
// at one event, ending.go how pairs end, loop.go how they come and go, overflow (package overflow) has the only bytes that are held between
// events. Copy (copy.go) relays with two goroutines a pair, on any system.
//
// Invariants: from Start on both sockets belong to the relay, which closes both exactly once; the owner is told exactly
// once, after that, and never from inside Start; the first cause names the end, what follows from it does not. On a loop
// no pair holds more than what one turn left over for a side that takes nothing, 70 KiB, and half a record; none has a turn
// longer than its budget.
//
// # Why
//
// A connection that is idle for days should cost what its state is: keys, counters, two descriptors. Two goroutines with a
// tls.Conn are 40 to 55 KB, and 1.4 times the CPU of a message. So Loops takes the descriptors and the keys out of what
// did the handshake, and goes on by itself: whatever is readable is read once, opened or sealed where it lies, and
// written once. The memory of pairs is not the collector's: marking a million of them took it a second of CPU each cycle.
//
// Copy is short enough to be believed. It relays what has no descriptor and no keys to give: clients with CBC cipher
// suites, and other systems than Linux. And it is the oracle: the same script of writes, stalls, half-closes and resets must give the
// same bytes and the same end (differential_test.go). io.Copy is not used because it can tell neither which of the two sockets
// failed nor when the last byte came.
package relay
