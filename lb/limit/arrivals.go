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

	mu      sync.Mutex // guards the fields below, and those of every newcomer
	count   int        // newcomers that count
	queue   []*Newcomer
	waiting int           // in Enter, without a place
	freed   chan struct{} // holds a token when there may be room for somebody who waits. Made before anybody does, and the same ever after
}

// A Newcomer is somebody who was let in. The zero Newcomer was, without being counted.
type Newcomer struct {
	of    *Arrivals
	since time.Time
	out   bool // it does not count any more
}

// Enter waits for room, and takes it until Leave, or for Patience. It fails, with ctx's cause, only when ctx is done first.
func (a *Arrivals) Enter(ctx context.Context) (*Newcomer, error) {
	n, wait := a.enter(false)
	if n != nil {
		return n, nil
	}
	defer a.waited()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-a.freed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if n, wait = a.enter(true); n != nil {
			return n, nil
		}
		timer.Reset(wait)
	}
}

// enter lets somebody in, or tells how long it is until there is room at the latest. Who has waited goes before who comes: that one is
// made to wait as well.
func (a *Arrivals) enter(waited bool) (*Newcomer, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	left := a.Patience
	for len(a.queue) > 0 {
		if left = a.Patience - now.Sub(a.queue[0].since); left > 0 {
			break
		}
		a.drop(a.queue[0])
	}
	if a.count >= a.Limit || a.waiting > 0 && !waited {
		if !waited {
			a.waiting++
		}
		if a.freed == nil {
			a.freed = make(chan struct{}, 1)
		}
		return nil, left
	}
	n := &Newcomer{of: a, since: now}
	a.queue = append(a.queue, n)
	if a.count++; a.count < a.Limit {
		a.tell()
	}
	return n, 0
}

// waited counts one less that waits.
func (a *Arrivals) waited() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting--
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
