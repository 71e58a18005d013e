//go:build linux

package relay

import "sync"

// A finisher tells the owners of the pairs of one loop, which has no time to wait for it.
type finisher struct {
	wake chan struct{} // capacity 1

	mu    sync.Mutex // guards the fields below
	ended []ending   // as many at most as there were pairs
	last  bool
}

type ending struct {
	owner  Owner
	result Result
}

func newFinisher() finisher { return finisher{wake: make(chan struct{}, 1)} }

// add may be called from anywhere; it does not wait.
func (f *finisher) add(o Owner, r Result) {
	f.mu.Lock()
	f.ended = append(f.ended, ending{o, r})
	f.mu.Unlock()
	f.signal()
}

// stop lets run return when it has told all.
func (f *finisher) stop() {
	f.mu.Lock()
	f.last = true
	f.mu.Unlock()
	f.signal()
}

func (f *finisher) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run tells the owner of each pair that ends, until stop.
func (f *finisher) run() {
	for {
		f.mu.Lock()
		batch, last := f.ended, f.last
		f.ended = nil
		f.mu.Unlock()
		for _, e := range batch {
			e.owner.Relayed(e.result)
		}
		if last && len(batch) == 0 {
			return
		}
		if !last {
			<-f.wake
		}
	}
}
