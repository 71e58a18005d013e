package health

// A Counter is the health of one server as its checks see it, by HAProxy's rule
// (src/check.c, set_server_check_status; configuration manual, "rise" and "fall").
//
//	0 … rise−1              DOWN: so many checks have passed in a row
//	rise … rise+fall−1      UP: so many failures, less rise−1, are left
//
//	           pass: to max once rise is reached
//	   ┌──────────────────────────────────────────────┐
//	   │                                              ▼
//	[ 0, 1, … rise−1 ]                [ rise, … rise+fall−1 ]
//	   ▲                                              │
//	   └──────────────────────────────────────────────┘
//	           fail: to 0 once below rise
//
// It is a value: methods return the new one. rise and fall are at least 1.
type Counter int

// NewCounter returns the counter of a server that was never checked: UP, and the first failed
// check takes it DOWN.
func NewCounter(rise int) Counter { return Counter(rise) }

// After returns the counter after one more check.
func (c Counter) After(ok bool, rise, fall int) Counter {
	switch {
	case ok && c+1 >= Counter(rise):
		return full(rise, fall)
	case ok:
		return c + 1
	case c-1 < Counter(rise):
		return 0
	default:
		return c - 1
	}
}

// Up reports whether the checks call the server usable.
func (c Counter) Up(rise int) bool { return c >= Counter(rise) }

// Rescale returns the counter for other thresholds: UP stays UP, DOWN stays DOWN, a full counter
// stays full, and otherwise the failures left, or the passes had, are kept as far as they fit.
// A server that is UP after its Rescale needs at least one failure to go DOWN, one that is DOWN at
// least one pass to come UP.
func (c Counter) Rescale(oldRise, oldFall, rise, fall int) Counter {
	switch {
	case c == full(oldRise, oldFall):
		return full(rise, fall)
	case c.Up(oldRise):
		return min(c-Counter(oldRise)+Counter(rise), full(rise, fall))
	default:
		return min(c, Counter(rise-1))
	}
}

// full is the counter of a server whose last check passed while it was UP.
func full(rise, fall int) Counter { return Counter(rise + fall - 1) }
