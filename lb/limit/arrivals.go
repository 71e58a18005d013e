package limit

import (
	"context"
	"sync"
	"time"
)

// Arrivals lets a number of newcomers in at once and makes the others wait; but a newcomer counts for no longer than Patience, so that
// those who are slow, or wait on purpose, keep nobody out for longer. It may be used from any goroutine; Limit, at least 1, and
// Patience are set before.
//
// Nothing runs while nobody waits: it is who wants to come in that looks for those whose time has passed.
type Arrivals struct {
	Limit    int
	Patience time.Duration

	mu    sync.Mutex // guards the fields below, and those of every newcomer
	count int        // newcomers that count
	queue []*Newcomer
	freed chan struct{} // holds a token when there may be room for somebody who waits; nil: nobody ever had to
}

// A Newcomer is somebody who was let in. The zero Newcomer was, without being counted.
type Newcomer struct {
	of    *Arrivals
	since time.Time
	out   bool // it does not count any more
}

// Enter waits for room, and takes it until Leave, or for Patience. It fails, with ctx's cause, only when ctx is done first.
func (a *Arrivals) Enter(ctx context.Context) (*Newcomer, error) {
	n, wait := a.enter()
	if n != nil {
		return n, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-a.freed:
		case <-ctx.Done():
			a.mu.Lock()
			defer a.mu.Unlock()
			a.tell() // whoever else waits, in case that the token was taken by who leaves now
			return nil, context.Cause(ctx)
		}
		if n, wait = a.enter(); n != nil {
			return n, nil
		}
		timer.Reset(wait)
	}
}

// enter lets somebody in, or tells how long it is until there is room at the latest.
func (a *Arrivals) enter() (*Newcomer, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for a.count >= a.Limit {
		first := a.queue[0] // it counts: those before it were dropped
		if left := a.Patience - now.Sub(first.since); left > 0 {
			if a.freed == nil {
				a.freed = make(chan struct{}, 1)
			}
			return nil, left
		}
		a.drop(first)
	}
	n := &Newcomer{of: a, since: now}
	a.queue = append(a.queue, n)
	if a.count++; a.count < a.Limit {
		a.tell()
	}
	return n, 0
}

// Leave is called once the newcomer has arrived, or has gone; more than once does no harm.
func (n *Newcomer) Leave() {
	if n.of == nil {
		return
	}
	n.of.mu.Lock()
	defer n.of.mu.Unlock()
	n.of.drop(n)
	n.of.tell()
}

// drop counts n no more, and forgets whoever is first and does not count. The caller holds mu.
func (a *Arrivals) drop(n *Newcomer) {
	if n.out {
		return
	}
	n.out = true
	a.count--
	gone := 0
	for gone < len(a.queue) && a.queue[gone].out {
		a.queue[gone] = nil
		gone++
	}
	if a.queue = a.queue[gone:]; len(a.queue) == 0 {
		a.queue = nil
	}
}

// tell wakes somebody who waits. The caller holds mu.
func (a *Arrivals) tell() {
	if a.freed == nil {
		return
	}
	select {
	case a.freed <- struct{}{}:
	default:
	}
}
