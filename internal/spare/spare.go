// Package spare says how much memory the heap may have: some to spare while much comes and goes, and none that the process has no
// use for any more.
//
//	g.Go(func() error { spare.Return(ctx, func() uint64 { return accepted.Load() }); return nil })
//	g.Go(func() error { spare.Pace(ctx); return nil })
//
// Invariants: nothing is collected on its behalf while the process is busy, nor again and again while it is not; what the
// operator says with GOGC counts.
//
// # Why
//
// When ten thousand devices come at once, their handshakes go through some hundred megabytes, and the heap is ten times
// what their connections need afterwards. Go's runtime keeps as much as is in use for the next collection, and gives the
// rest back over minutes; who counts bytes for each connection has to say that the storm is over.
//
// While the storm lasts little lives, and the runtime collects a heap of 4 MB forty times a second. Pace lets it have some more; to set
// GOGC instead, for good, would do the same for a million connections that live, where it would take gigabytes.
package spare

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// It is worth a collection when, at the end of a second in which less than busy came, more than least and an eighth of what
// lives could be given back. What was in use at the last collection counts as living, though some of it was of work that is done now: each
// piece of work that came since the last return counts as trace. Each time it is done twice: at the first the collector's own
// buffers are in use.
const (
	every = time.Second
	busy  = 50
	least = 1 << 20  // bytes
	trace = 16 << 10 // bytes
	times = 2
)

// Return gives memory back whenever it is quiet, until ctx is done; came is how much work has ever come.
func Return(ctx context.Context, came func() uint64) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	h := newHeap()
	last, left := came(), 0
	returned := last
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := came()
		quiet := now-last < busy
		last = now
		switch {
		case !quiet:
			left = 0
			continue
		case left == 0 && h.spare()+int64(now-returned)*trace > least:
			left, returned = times, now
		}
		if left > 0 {
			left--
			debug.FreeOSMemory()
		}
	}
}

// Now gives back what can be given back at once; it takes as long as some collections.
func Now() {
	for range times {
		debug.FreeOSMemory()
	}
}

// A heap tells how much memory of the Go heap is in vain.
type heap [3]metrics.Sample

func newHeap() *heap {
	return &heap{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
}

// spare is how many bytes could be given back, as far as that is worth it: what is free, and what may be garbage because it came
// after the last collection, less an eighth of what lives.
func (h *heap) spare() int64 {
	metrics.Read(h[:])
	free, objects, live := int64(h[0].Value.Uint64()), int64(h[1].Value.Uint64()), int64(h[2].Value.Uint64())
	return free + max(objects-live, 0) - live/8
}
