package health

import (
	"fmt"
	"sync"
	"time"
)

// A target is one server under watch: its specification and what is known of it. Set and Report
// write to it from any goroutine, its own goroutine (watch.go) records results and publishes changes.
type target struct {
	key  string
	poke chan struct{} // capacity 1: something below changed, look again
	gone chan struct{} // closed by Set when the target is no longer wanted

	watched bool // guarded by Monitor.mu: Run has started its goroutine

	mu         sync.Mutex    // guards the fields below
	spec       Target        // with its defaults filled in
	generation int           // of what is probed: results of an older one are dropped
	startIn    time.Duration // from the moment its goroutine learns of this generation to the first check
	health     Counter
	streak     int // checks that passed in a row, or, below 0, that failed
	last       Result
	traffic    traffic
	lastError  string  // of live traffic
	told       opinion // what OnChange knows
	since      time.Time
}

// An opinion is whether a server is usable, and who thinks otherwise.
type opinion struct {
	checkUp bool
	out     bool
}

func (o opinion) up() bool { return o.checkUp && !o.out }

// newTarget returns a target that nobody watches yet; restart gives it its first generation.
func newTarget(spec Target, now time.Time) *target {
	return &target{
		key:    spec.Key,
		poke:   make(chan struct{}, 1),
		gone:   make(chan struct{}),
		spec:   spec,
		health: NewCounter(spec.Check.Rise),
		told:   opinion{checkUp: true},
		since:  now,
	}
}

// wake makes the target's goroutine look at it again. It never blocks.
func (t *target) wake() {
	select {
	case t.poke <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

// reschedules reports whether the checks begin anew under spec: all but the thresholds counts.
func (t *target) reschedules(spec Target) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.spec
	old.Check.Rise, old.Check.Fall, old.Passive = spec.Check.Rise, spec.Check.Fall, spec.Passive
	return old != spec
}

// update gives the target a new specification while its checks go on. What is known of the server
// is kept as far as it still means something.
func (t *target) update(spec Target) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.adapt(spec)
}

// restart is update, and begins a new generation: a probe in flight counts for nothing, and the
// next check comes after delay.
func (t *target) restart(spec Target, delay time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.adapt(spec)
	t.generation++
	t.startIn = delay
}

// remove ends the watch: a probe in flight counts for nothing.
func (t *target) remove() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.generation++
	close(t.gone)
}

// adapt fits what is known to spec. The caller holds mu.
func (t *target) adapt(spec Target) {
	old := t.spec.Check
	t.spec = spec
	t.health = t.health.Rescale(old.Rise, old.Fall, spec.Check.Rise, spec.Check.Fall)
	if spec.Check.Type == None { // nobody would ever find it up again
		t.health, t.streak, t.last = NewCounter(spec.Check.Rise), 0, Result{}
	}
	if spec.Passive.MaxFails == 0 {
		t.traffic = traffic{}
	}
}

// plan returns the current generation, the delay of its first check, and whether there are to be checks.
func (t *target) plan() (generation int, startIn time.Duration, checked bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.generation, t.startIn, t.spec.checked()
}

// job returns what to probe, and false when the generation is no longer that one.
func (t *target) job(generation int) (spec Target, current bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spec, generation == t.generation
}

// report takes in one connect of live traffic and tells whether the goroutine has to look.
func (t *target) report(now time.Time, err error) (look bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.spec.Passive.MaxFails == 0 {
		return false
	}
	if err == nil {
		t.traffic.worked(now)
		return false
	}
	t.lastError = classify(err).reason
	t.traffic.failed(now, t.spec.Passive)
	return t.traffic.out(now)
}

// record takes in the result of a check of the given generation. It returns the pause before
// the next one, and false when the result came too late to count.
func (t *target) record(generation int, r Result) (pause time.Duration, counts bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if generation != t.generation {
		return 0, false
	}
	c := t.spec.Check
	t.last = r
	switch {
	case r.Outcome == Hampered:
		return c.pause(t.health), true
	case r.OK:
		t.streak = max(t.streak, 0) + 1
	default:
		t.streak = min(t.streak, 0) - 1
	}
	t.health = t.health.After(r.OK, c.Rise, c.Fall)
	return c.pause(t.health), true
}

// news compares what is known now with what OnChange knows, and takes the difference for told.
func (t *target) news(now time.Time) []Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.told
	var changes []Change
	if up := t.health.Up(t.spec.Check.Rise); up != t.told.checkUp {
		t.told.checkUp = up
		changes = append(changes, t.change(ByCheck, now))
	}
	if out := t.traffic.out(now); out != t.told.out {
		t.told.out = out
		changes = append(changes, t.change(ByTraffic, now))
	}
	if t.told.up() != before.up() {
		t.since = now
	}
	return changes
}

// change describes what told has just become. The caller holds mu.
func (t *target) change(by Cause, now time.Time) Change {
	c := Change{
		Key: t.key, Cause: by, At: now,
		Up: t.told.up(), CheckUp: t.told.checkUp, Out: t.told.out,
	}
	if by == ByCheck {
		c.Checks, c.Latency = max(t.streak, -t.streak), t.last.Latency
	}
	switch {
	case by == ByTraffic && t.told.out:
		c.Reason = fmt.Sprintf("connect errors of live traffic, the last: %s", t.lastError)
	case by == ByTraffic:
		c.Reason = "may be tried again"
	case t.spec.Check.Type == None:
		c.Reason = "is no longer checked"
	case t.told.checkUp:
		c.Reason = "checks pass"
	default:
		c.Reason = t.last.Reason
	}
	return c
}

// status returns what is known now.
func (t *target) status(now time.Time) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	is := opinion{checkUp: t.health.Up(t.spec.Check.Rise), out: t.traffic.out(now)}
	return Status{Up: is.up(), CheckUp: is.checkUp, Out: is.out, Health: t.health, Last: t.last, Since: t.since}
}

// outUntil returns when the server may be tried again, and false when it is not out.
func (t *target) outUntil(now time.Time) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.traffic.until, t.traffic.out(now)
}
