package spare

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// stride is how much may be allocated between two collections while less than that lives, in bytes: three times what Go's runtime
// lets a small heap grow to, and two hundred handshakes. With more, memory stays in use when the
// storm is over: with 16 MiB that of a thousand connections, with no gain that could be measured.
const stride = 12 << 20

// The percentages that Pace sets are between what is enough where stacks are four times what lives, and what makes the smallest heap
// that the runtime collects, of 4 MB at 100, one of stride.
const (
	mostPercent  = 300
	leastPercent = 20
)

// Pace has garbage collected once for each 12 MiB, while less than that lives, until ctx is done. A process that lives on little, and
// makes much garbage for a moment, would be collected forty times a second otherwise: it took a tenth of a handshake's time.
// What somebody has set with GOGC stays as it is. The pace is the process's: one Pace at a time.
func Pace(ctx context.Context) {
	if _, set := os.LookupEnv("GOGC"); set {
		<-ctx.Done()
		return
	}
	before := debug.SetGCPercent(mostPercent)
	p := &pacer{percent: mostPercent}
	p.collected(struct{}{})
	<-ctx.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	debug.SetGCPercent(before)
}

// A pacer looks at the heap after each collection.
type pacer struct {
	mu      sync.Mutex // guards the fields below
	percent int        // that is set
	ended   bool
}

// collected is called after a collection, in a goroutine of the runtime's, and once at the beginning.
func (p *pacer) collected(struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	heap := [...]metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(heap[:])
	want := percentOf(heap[0].Value.Uint64(), heap[1].Value.Uint64()+heap[2].Value.Uint64())
	if want != p.percent {
		p.percent = want
		debug.SetGCPercent(want)
	}
	runtime.AddCleanup(new(*pacer), p.collected, struct{}{}) // a pointer: what has none may share a block with what lives longer
}

// percentOf is what GOGC must be, so that stride may be allocated, or as much as lives in the heap if that is more. The runtime takes the
// percentage of stacks and globals as well.
func percentOf(live, roots uint64) int {
	return int(min(max(100*max(stride, live)/max(live+roots, 1), leastPercent), mostPercent))
}
