package balance

import "sync/atomic"

// least chooses the member with the lowest (sessions + 1) / weight: what its load would be with
// the newcomer, so that among idle members the heaviest comes first. Among equals it is the one whose
// last turn is the longest ago.
type least struct {
	candidates []candidate
	active     func(int) int

	clock  atomic.Uint64   // counts picks
	turned []atomic.Uint64 // by position: the clock at its last turn
}

func newLeast(candidates []candidate, active func(int) int) *least {
	return &least{candidates: candidates, active: active, turned: make([]atomic.Uint64, len(candidates))}
}

func (l *least) pick(usable func(int) bool) int {
	best, sessions, turned := none, 0, uint64(0)
	for k := range l.candidates {
		c := &l.candidates[k]
		n := l.active(c.index) + 1
		if best != none {
			mine, lowest := n*l.candidates[best].weight, sessions*c.weight
			if mine > lowest || mine == lowest && l.turned[k].Load() >= turned {
				continue
			}
		}
		if usable(c.index) {
			best, sessions, turned = k, n, l.turned[k].Load()
		}
	}
	if best == none {
		return none
	}
	l.turned[best].Store(l.clock.Add(1))
	return l.candidates[best].index
}
