package lb

import (
	"context"
	"sync"
)

// A gate lets a number of holders in and makes the others wait. The zero gate lets everybody in. It
// may be used from any goroutine.
type gate struct {
	mu    sync.Mutex // guards the fields below
	free  sync.Cond  // on mu; set up by the first who waits
	used  int
	limit int // 0 = none
}

// setLimit changes the limit. Holders beyond it stay; newcomers wait until they have left.
func (g *gate) setLimit(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = n
	g.wakeAll()
}

// acquire waits for a place; it fails only when ctx is done.
func (g *gate) acquire(ctx context.Context) error {
	if g.tryAcquire() {
		return nil
	}
	stop := context.AfterFunc(ctx, g.wake)
	defer stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free.L = &g.mu
	for g.full() && ctx.Err() == nil {
		g.free.Wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	g.used++
	return nil
}

func (g *gate) tryAcquire() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.full() {
		return false
	}
	g.used++
	return true
}

// release gives one place back.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used--
	g.wakeAll()
}

func (g *gate) wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wakeAll()
}

// wakeAll wakes who waits. The caller holds mu.
func (g *gate) wakeAll() {
	if g.free.L != nil {
		g.free.Broadcast()
	}
}

func (g *gate) full() bool { return g.limit > 0 && g.used >= g.limit }
