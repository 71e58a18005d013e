package spare

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// Stride is how much may be allocated between two collections, whatever lives, in bytes; a percentage is more than that only
// where that much lives, and so it never takes more than GOGC=100 would from there on.
//
// Twelve megabytes are three times what Go's runtime lets a small heap grow to, and two hundred handshakes.
const Stride = 12 << 20

// The percentages that Pace sets: Go's own, and what makes the smallest heap that the runtime collects, of 4 MB at 100, one of Stride.
const (
	leastPercent = 100
	mostPercent  = 300
)

// Pace has garbage collected once for each Stride, while less than that lives, until ctx is done. A process that lives on little, and
// makes much garbage for a moment, would be collected forty times a second otherwise: it took a tenth of a handshake's time.
// What somebody has set with GOGC stays as it is.
func Pace(ctx context.Context) {
	if _, set := os.LookupEnv("GOGC"); set {
		<-ctx.Done()
		return
	}
	p := &pacer{percent: leastPercent}
	p.collected(struct{}{})
	<-ctx.Done()
	p.ended.Store(true)
	debug.SetGCPercent(leastPercent)
}

// A pacer looks at the heap after each collection.
type pacer struct {
	percent int // that is set
	ended   atomic.Bool
}

// collected is called after a collection, in a goroutine of the runtime's, and once at the beginning.
func (p *pacer) collected(struct{}) {
	if p.ended.Load() {
		return
	}
	roots := [...]metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(roots[:])
	base := uint64(1)
	for _, s := range roots {
		base += s.Value.Uint64()
	}
	if want := percentOf(base); want*4 > p.percent*5 || want*5 < p.percent*4 || (want != p.percent && want == leastPercent) {
		p.percent = want
		debug.SetGCPercent(want) // stops the world: not for little
	}
	runtime.AddCleanup(new(*pacer), p.collected, struct{}{})
}

// percentOf is what GOGC must be for Stride, when so much lives and is on stacks.
func percentOf(base uint64) int {
	return int(min(max(Stride*100/base, leastPercent), mostPercent))
}
