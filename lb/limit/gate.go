package limit

import (
	"container/list"
	"context"
	"sync"
)

// A Gate lets a number of holders in and makes the others wait their turn. The zero Gate lets everybody in. It may be
// used from any goroutine.
type Gate struct {
	mu      sync.Mutex // guards the fields below
	used    int
	limit   int       // 0 = none
	waiting list.List // of chan struct{}, in the order of arrival; closed when let in
}

// Set changes how many may be in; 0 = no limit. Holders beyond it stay; newcomers wait until they have left.
func (g *Gate) Set(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
	g.admit()
}

// Acquire waits for a place, which Release gives back. It fails, with ctx's cause, only when ctx is done first.
func (g *Gate) Acquire(ctx context.Context) error {
	turn, place := g.enter()
	if turn == nil {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		g.leave(turn, place)
		return context.Cause(ctx)
	}
}

// Full reports whether whoever comes next has to wait.
func (g *Gate) Full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting.Len() > 0 || g.full()
}

// Release gives a place back to whoever is next.
func (g *Gate) Release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used--
	g.admit()
}

// enter takes a place, or one in the queue.
func (g *Gate) enter() (turn chan struct{}, place *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting.Len() == 0 && !g.full() {
		g.used++
		return nil, nil
	}
	turn = make(chan struct{})
	return turn, g.waiting.PushBack(turn)
}

// leave gives up waiting.
func (g *Gate) leave(turn chan struct{}, place *list.Element) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-turn: // let in meanwhile
		g.used--
		g.admit()
	default:
		g.waiting.Remove(place)
	}
}

// admit lets in who is next, while there are places. The caller holds mu.
func (g *Gate) admit() {
	for first := g.waiting.Front(); first != nil && !g.full(); first = g.waiting.Front() {
		g.used++
		close(g.waiting.Remove(first).(chan struct{}))
	}
}

func (g *Gate) full() bool { return g.limit > 0 && g.used >= g.limit }
