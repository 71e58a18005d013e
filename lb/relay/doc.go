// Package relay moves bytes between two connected sockets until both sides are done.
//
//	s := relay.Copy{}.Start(relay.Pair{Client: c, Server: s, ClientTimeout: time.Minute}, func(r relay.Result) {
//		log.Info("session ended", "end", r.End, "in", r.In, "out", r.Out)
//	})
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
// Invariants: from Start on both sockets belong to the relay, which closes both exactly once; done is called exactly
// once, after that, and never from inside Start; the first cause names the end, what follows from it does not.
//
// # Why
//
// Copy spends two goroutines and two 4 KiB buffers a pair, and in return is short enough to be
// believed. It is the only relay so far, and will be the oracle of a faster one: the same script of writes, stalls,
// half-closes and resets must give the same bytes and the same end. io.Copy is not used because it can tell neither
// which of the two sockets failed nor when the last byte came.
package relay
