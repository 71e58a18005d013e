package health

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Monitor needs from its surroundings. The zero value works: silent, asked by
// Status alone.
//
// OnChange and OnResult are called on the goroutine of the target they are about: one call at a
// time for a target, at the same time for different ones, and with no lock held, so they may call
// any method but Run. The target's checks wait until they return, and so does Run. A call about a
// target that Set has just removed may still be on its way when Set returns.
type Options struct {
	Log      *slog.Logger               // nil: none
	OnChange func(Change)               // each change of either opinion; nil: nobody wants to know
	OnResult func(key string, r Result) // each finished check that counts; nil: nobody wants to know
}

// A Change is one opinion about one server that has changed.
type Change struct {
	Key     string
	Cause   Cause  // whose opinion it is
	Up      bool   // the server is usable now: CheckUp and not Out
	CheckUp bool   // what the checks say now
	Out     bool   // live traffic has taken the server out
	Reason  string // for the log: "connection refused"
	At      time.Time
	Checks  int           // ByCheck: how many in a row have passed, or failed
	Latency time.Duration // ByCheck: of the last one
}

// A Cause is one of the two who have an opinion.
type Cause uint8

// The causes of a Change.
const (
	ByCheck   Cause = iota // the counter crossed Rise, or checks were turned off
	ByTraffic              // MaxFails was reached, or FailTimeout has passed
)

// String returns "check" or "traffic".
func (c Cause) String() string {
	if c == ByTraffic {
		return "traffic"
	}
	return "check"
}

// Status is what is known of a server at one moment.
type Status struct {
	Up      bool      // usable: CheckUp and not Out
	CheckUp bool      // the counter is at least Rise
	Out     bool      // taken out by live traffic for the moment
	Health  Counter   // 0 … Rise+Fall−1
	Last    Result    // of the last check; zero before the first
	Since   time.Time // when Up last changed; before that, when the server became known
}

// A Monitor watches servers. Its methods may be called from any goroutine.
type Monitor struct {
	log      *slog.Logger                        // immutable
	onChange func(Change)                        // immutable, never nil
	onResult func(string, Result)                // immutable, never nil
	probe    func(context.Context, Target) error // immutable; the seam of the tests
	nonce    string                              // immutable, part of the client ids

	targets atomic.Pointer[map[string]*target] // an immutable map; replaced under mu

	mu   sync.Mutex    // lets one Set at a time at the targets, and Run at their watched fields
	news chan struct{} // capacity 1: there may be targets that nobody watches
}

// New returns a Monitor with no targets. It starts nothing.
func New(o Options) *Monitor {
	m := &Monitor{
		log:      o.Log,
		onChange: o.OnChange,
		onResult: o.OnResult,
		nonce:    rand.Text(),
		news:     make(chan struct{}, 1),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.onChange == nil {
		m.onChange = func(Change) {}
	}
	if m.onResult == nil {
		m.onResult = func(string, Result) {}
	}
	m.probe = m.probeServer
	m.targets.Store(&map[string]*target{})
	return m
}

// Set makes targets the servers to watch, before Run or during it. A key that was known keeps its
// counter, its last result and what live traffic thinks, whatever else of it has changed; a new
// one is UP, one failed check from DOWN; one that is missing is forgotten. Keys are to be
// distinct: the last of several counts.
//
// The first checks of the new servers, and of those whose address or check has changed, are spread:
// of n, number i starts after i/n of its interval (HAProxy's start_checks), the first at once.
func (m *Monitor) Set(targets []Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.targets.Load()
	edits, next := compare(old, targets)
	apply(edits)
	m.targets.Store(&next)
	for key, t := range old {
		if next[key] == nil {
			t.remove()
		}
	}
	m.wake()
}

// An edit is what one Set has to say about one target.
type edit struct {
	target  *target
	spec    Target // with its defaults
	restart bool   // its checks begin anew
}

// compare finds out what the wanted targets change in the old ones, and returns the new set with it.
func compare(old map[string]*target, wanted []Target) (edits []edit, next map[string]*target) {
	next = make(map[string]*target, len(wanted))
	for _, spec := range wanted {
		e := edit{target: next[spec.Key], spec: spec.withDefaults()}
		if e.target == nil {
			e.target = old[spec.Key]
		}
		if e.target == nil {
			e.target = newTarget(e.spec, time.Now())
			e.restart = true
		} else {
			e.restart = e.target.reschedules(e.spec)
		}
		next[spec.Key] = e.target
		edits = append(edits, e)
	}
	return edits, next
}

// apply carries out edits, and starts the checks that begin anew as far from each other as their
// intervals allow.
func apply(edits []edit) {
	starts := 0
	for _, e := range edits {
		if e.starts() {
			starts++
		}
	}
	i := 0
	for _, e := range edits {
		switch {
		case e.starts():
			e.target.restart(e.spec, e.spec.Check.Interval/time.Duration(starts)*time.Duration(i))
			i++
		case e.restart:
			e.target.restart(e.spec, 0)
		default:
			e.target.update(e.spec)
		}
		e.target.wake()
	}
}

// starts reports whether a first check is to be planned.
func (e edit) starts() bool { return e.restart && e.spec.checked() }

// wake makes Run look for targets that nobody watches.
func (m *Monitor) wake() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// Run checks the targets until ctx ends, then returns nil when every probe and goroutine is gone.
// It is called once. What was found out stays readable.
func (m *Monitor) Run(ctx context.Context) error {
	var watchers sync.WaitGroup
	defer watchers.Wait()
	for {
		for _, t := range m.unwatched() {
			watchers.Go(func() { m.watch(ctx, t) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.news:
		}
	}
}

// unwatched returns the targets that have no goroutine yet; the caller gives them one.
func (m *Monitor) unwatched() []*target {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*target
	for _, t := range *m.targets.Load() {
		if !t.watched {
			t.watched = true
			list = append(list, t)
		}
	}
	return list
}

// Report tells the Monitor how a connect of live traffic to a server ended. With Passive.MaxFails
// set, errors count; those of this machine and context.Canceled do not. Unknown keys are ignored. It
// does not block, and on success it costs a look-up and an uncontended lock.
func (m *Monitor) Report(key string, err error) {
	t, known := (*m.targets.Load())[key]
	if !known || err != nil && !blames(err) {
		return
	}
	if t.report(time.Now(), err) {
		t.wake()
	}
}

// Status returns what is known of a server, and false when the key is unknown. It is never behind
// OnChange, and may be a moment ahead of it.
func (m *Monitor) Status(key string) (Status, bool) {
	t, known := (*m.targets.Load())[key]
	if !known {
		return Status{}, false
	}
	return t.status(time.Now()), true
}
