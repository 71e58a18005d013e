package health

import (
	"context"
	"log/slog"
	"time"
)

// A watcher is the goroutine of one target. Its fields are that goroutine's alone.
//
//	          due                       probe ends
//	WAITING ───────▶ PROBING (cancel ≠ nil) ───────▶ WAITING, due = now + pause
//	                    │ new generation: the probe is cancelled
//	                    └─────────────▶ WAITING, due as the generation says
//
// Probes run in a goroutine of their own, so that what live traffic reports is published without
// waiting for one.
type watcher struct {
	m          *Monitor
	t          *target
	generation int                // the target's, when it was last looked at
	due        time.Time          // of the next check; zero: none
	cancel     context.CancelFunc // of the probe in flight; nil: none
	ended      chan ending        // capacity 1: a probe never waits for us
	hampered   bool               // the last check could not be made, and that was logged
}

// An ending is what a probe leaves behind.
type ending struct {
	generation int
	result     Result
}

// watch checks t and publishes its changes until ctx ends or t is gone. No probe outlives it.
func (m *Monitor) watch(ctx context.Context, t *target) {
	w := &watcher{m: m, t: t, ended: make(chan ending, 1)}
	defer w.abandon()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		w.adopt(now)
		w.publish(now)
		w.arm(timer, now)
		select {
		case <-ctx.Done():
			return
		case <-t.gone:
			return
		case <-t.poke:
		case e := <-w.ended:
			w.finish(ctx, e)
		case <-timer.C:
			w.start(ctx)
		}
	}
}

// adopt takes over a new generation of the target, if there is one.
func (w *watcher) adopt(now time.Time) {
	generation, startIn, checked := w.t.plan()
	if generation == w.generation {
		return
	}
	w.generation = generation
	w.due = time.Time{}
	if checked {
		w.due = now.Add(startIn)
	}
	if w.cancel != nil {
		w.cancel()
	}
}

// publish tells what has changed.
func (w *watcher) publish(now time.Time) {
	for _, c := range w.t.news(now) {
		logChange(w.m.log, c)
		w.m.onChange(c)
	}
}

// arm sets the timer for the next thing that time alone brings about.
func (w *watcher) arm(timer *time.Timer, now time.Time) {
	next, out := w.t.outUntil(now)
	if w.cancel == nil && !w.due.IsZero() && (!out || w.due.Before(next)) {
		next = w.due
	} else if !out {
		timer.Stop()
		return
	}
	timer.Reset(next.Sub(now))
}

// start sends out a probe when one is due and none is on its way.
func (w *watcher) start(ctx context.Context) {
	now := time.Now()
	if w.cancel != nil || w.due.IsZero() || now.Before(w.due) {
		return
	}
	spec, current := w.t.job(w.generation)
	if !current {
		return // adopt is next
	}
	ctx, w.cancel = context.WithTimeout(ctx, spec.Check.Timeout)
	generation := w.generation
	go func() { // finish or abandon takes what it leaves
		err := w.m.probe(ctx, spec)
		w.ended <- ending{generation, result(err, now, time.Now())}
	}()
}

// finish takes in what a probe has left, and plans the next one. ctx is Run's: when it has ended,
// so has the probe because of it, and not because of the server.
func (w *watcher) finish(ctx context.Context, e ending) {
	w.cancel()
	w.cancel = nil
	if ctx.Err() != nil {
		return
	}
	pause, counts := w.t.record(e.generation, e.result)
	if !counts {
		return
	}
	w.due = time.Now().Add(pause)
	w.logResult(e.result)
	w.m.onResult(w.t.key, e.result)
}

// abandon ends the probe in flight and waits for it.
func (w *watcher) abandon() {
	if w.cancel != nil {
		w.cancel()
		<-w.ended
	}
}

// logResult keeps single checks at debug level, but for the first of a row that could not be made:
// that is this machine's trouble and nobody else will name it.
func (w *watcher) logResult(r Result) {
	if r.Outcome != Hampered {
		w.hampered = false
		w.m.log.Debug("server was checked", "server", w.t.key, "outcome", r.Outcome.String(),
			"reason", r.Reason, "latency", r.Latency)
		return
	}
	if !w.hampered {
		w.hampered = true
		w.m.log.Warn("server cannot be checked from this machine", "server", w.t.key, "reason", r.Reason)
	}
}

func logChange(log *slog.Logger, c Change) {
	switch {
	case c.Cause == ByTraffic && c.Out:
		log.Warn("server is taken out", "server", c.Key, "reason", c.Reason)
	case c.Cause == ByTraffic:
		log.Info("server is let in again", "server", c.Key, "reason", c.Reason)
	case c.CheckUp:
		log.Info("server is up", "server", c.Key, "reason", c.Reason, "checks", c.Checks, "latency", c.Latency)
	default:
		log.Warn("server is down", "server", c.Key, "reason", c.Reason, "checks", c.Checks, "latency", c.Latency)
	}
}
