//go:build linux

package relay

// A pair is two sides, and two directions between them; each direction goes through
//
//	            bytes (and back to open when unsent is empty)
//	          ┌─────────┐
//	          ▼         │ the other side takes nothing: unsent
//	      ┌────────┐ ───┴──▶ ┌─────────┐
//	      │  open  │         │ stalled │   not read: the sender meets TCP's own window
//	      └────────┘ ◀────── └─────────┘
//	          │ end of file       │
//	          ▼                   │ reset, timeout, Close, bad record
//	      ┌────────┐  unsent      │
//	      │ ended  │  is empty    │
//	      └────────┘ ─────▶ shut ─┼──▶ both shut: done
//	                              └──▶ done
//
// Rules, each with a test of its own in pair_test.go:
//
//   - A side's unsent bytes go first, and while it has some the other side is not read: so much is held, and no more.
//   - An edge-triggered descriptor that was not read to its end stays readable, whatever comes first: room on the other
//     side, or the next turn.
//   - What was opened goes on before the pair ends for what came after it.
//   - Only data keeps a side alive: records without any, and half a record, do not count.
//   - A side that is shut has been sent all, close_notify behind it on TLS (RFC 8446, section 6.1).

import (
	"time"

	"github.com/mqttlb/mqttlb/internal/overflow"
	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A pair is the state of one connection: a plain value, in memory that the collector does not know.
type pair struct {
	tls            record.State // of the client, with encrypted
	client, server side
	in, out        uint64 // bytes that came from the client, from the server
	serverTimeout  ticks  // the server's once it has said something
	timer          reactor.Timer
	partial        overflow.Handle // the beginning of a record of the client
	place          uint32          // of its session
	end            End             // with known: the first cause
	flags          flags
}

// A side is one of the two sockets.
type side struct {
	ref     reactor.Ref
	timeout ticks // how long it may say nothing; 0 = no limit
	heard   ticks // when data came last, or when it began to be waited for
	stalled ticks // when it last took some of unsent
	fd      int32
	unsent  overflow.Handle // what it did not take yet
	flags   flags
}

// ticks are time in a pair: 128 to a second, as the loop's timers have them. Points in time count from when the loop was made and
// wrap after 388 days; only their differences mean something, and are below half of that.
type ticks uint32

const (
	tick    = time.Second / 128
	longest = 1<<31 - 1
)

// ticksOf is d in ticks, rounded up, and one more, for the time that it counts from is rounded down: a timeout is never early.
func ticksOf(d time.Duration) ticks {
	if d == 0 {
		return 0
	}
	return ticks(min((d+tick-1)/tick+1, longest))
}

// now is the loop's time.
func (l *loop) now() ticks { return ticks(l.Now() / tick) }

// The keys of a pair's descriptors are twice its slot, and one of these.
const (
	clientKey = 0
	serverKey = 1
)

type flags uint8

// The flags of a side.
const (
	readable flags = 1 << iota // there may be something to read: no read has said the contrary since the last event
	hungUp                     // an end of file, or an error, is behind what is to be read
	ended                      // nothing comes any more
	shut                       // nothing is sent to it any more
	waiting                    // of the client: what is held of it has not been looked at
)

// The flags of a pair.
const (
	encrypted flags = 1 << iota // the client speaks TLS
	known                       // end is set
	truncated                   // the client's stream ended without close_notify
)

func (f flags) has(x flags) bool { return f&x != 0 }

func (s *side) set(x flags)   { s.flags |= x }
func (s *side) clear(x flags) { s.flags &^= x }

// flows reports whether the direction from s has something to move, as far as is known.
func (s *side) flows(to *side) bool {
	return s.flags&(readable|waiting) != 0 && !s.flags.has(ended) && to.unsent == 0 && !to.flags.has(shut)
}

// cause records why the pair ends; the first counts.
func (p *pair) cause(e End) {
	if !p.flags.has(known) {
		p.flags |= known
		p.end = e
	}
}
