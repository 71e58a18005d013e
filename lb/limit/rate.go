package limit

import (
	"sync"
	"time"
)

// A Rate lets Most through in each second of the clock, and counts those it did not. It may be used from any goroutine.
type Rate struct {
	Most int // not changed after the first use

	mu      sync.Mutex // guards the fields below
	second  int64
	passed  int
	dropped int
}

// Allow reports whether one more may pass at now. The first call of a new second also returns how many were dropped
// since the last such call, else 0.
func (r *Rate) Allow(now time.Time) (ok bool, dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if second := now.Unix(); second != r.second {
		dropped = r.dropped
		r.second, r.passed, r.dropped = second, 0, 0
	}
	if r.passed >= r.Most {
		r.dropped++
		return false, dropped
	}
	r.passed++
	return true, dropped
}
