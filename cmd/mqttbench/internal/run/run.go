//go:build linux

package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/proc"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

// Options say what to run.
type Options struct {
	Plan      load.Plan
	Processes int                                 // that share the load; 0 and 1: this one
	Command   func(ctx context.Context) *exec.Cmd // makes a process that calls Worker; for more than one
	PIDs      []int                               // the program under test, with all children that it has at the beginning; none: only the load is measured
	Progress  io.Writer                           // gets a line each second; nil: none
}

// A reading is what was measured at a stage.
type reading struct {
	reached time.Time // by the last one
	use     proc.Use  // zero without a program under test
}

// An event is what a worker tells.
type event struct {
	from  *worker
	stage string
	pause time.Duration
	tally *load.Tally // of one that is done
	err   error       // the same
}

// A worker is one that drives load: a goroutine of this process, or a process.
type worker struct {
	progress load.Progress
	events   chan<- event // of all workers
	goOn     func() error // from the stage that it has reached
}

// A conductor leads workers from stage to stage.
type conductor struct {
	options  Options
	pids     []int
	workers  []*worker
	readings map[string]reading
	tally    *load.Tally
	started  time.Time
}

// Run runs the plan. The result is complete, or there is an error.
func Run(ctx context.Context, o Options) (report.Result, error) {
	if err := o.Plan.Check(); err != nil {
		return report.Result{}, err
	}
	c := &conductor{options: o, readings: make(map[string]reading), tally: load.NewTally(), started: time.Now()}
	for _, pid := range o.PIDs {
		tree, err := proc.Tree(pid)
		if err != nil {
			return report.Result{}, err
		}
		c.pids = append(c.pids, tree...)
	}
	outer := ctx
	ctx, stop := context.WithCancel(outer)
	defer stop()
	n := max(1, o.Processes)
	events := make(chan event, 2*n) // each has at most one under way, and its last
	var all sync.WaitGroup
	for i := range n {
		w := &worker{events: events}
		c.workers = append(c.workers, w)
		if n == 1 {
			w.here(ctx, &all, o.Plan)
		} else if err := w.process(ctx, &all, o.Command(ctx), o.Plan.Share(i, n)); err != nil {
			stop()
			all.Wait()
			return report.Result{}, err
		}
	}
	err := c.conduct(ctx, events)
	stop()
	all.Wait()
	if err != nil && outer.Err() != nil {
		err = context.Cause(outer) // and not what came of it
	}
	if err != nil {
		return report.Result{}, err
	}
	return c.result()
}

// conduct leads the workers until all are done, or one has failed.
func (c *conductor) conduct(ctx context.Context, events <-chan event) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	arrived, done := 0, 0
	var units int64
	for done < len(c.workers) {
		select {
		case <-second.C:
			units = c.show(units)
		case e := <-events:
			switch {
			case e.err != nil:
				return e.err
			case e.tally != nil:
				done++
				if err := c.tally.Merge(e.tally); err != nil {
					return err
				}
			default:
				if arrived++; arrived < len(c.workers) {
					continue
				}
				arrived = 0
				if err := c.read(ctx, e.stage, e.pause); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// read measures at a stage, after a pause, and lets all go on.
func (c *conductor) read(ctx context.Context, stage string, pause time.Duration) error {
	r := reading{reached: time.Now()}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if len(c.pids) > 0 {
		var err error
		if r.use, err = proc.Read(c.pids); err != nil {
			return err
		}
	}
	r.use.At = time.Now()
	c.readings[stage] = r
	var failed error
	for _, w := range c.workers {
		failed = errors.Join(failed, w.goOn())
	}
	return failed
}

// show writes a line of progress, and returns how many units there are.
func (c *conductor) show(before int64) (units int64) {
	var open int64
	for _, w := range c.workers {
		open += w.progress.Open.Load()
		units += w.progress.Units.Load()
	}
	if c.options.Progress != nil {
		fmt.Fprintf(c.options.Progress, "%4.0fs  %s: %d connections open, %d units, %d/s\n", time.Since(c.started).Seconds(), c.options.Plan.Scenario, open, units, units-before)
	}
	return units
}

// here runs the plan in this process.
func (w *worker) here(ctx context.Context, all *sync.WaitGroup, p load.Plan) {
	next := make(chan struct{})
	w.goOn = func() error {
		select {
		case next <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	all.Go(func() {
		tally, err := p.Run(ctx, &stages{w, next}, &w.progress)
		w.events <- event{from: w, tally: tally, err: err}
	})
}

// stages are those of a plan in this process.
type stages struct {
	w    *worker
	next <-chan struct{}
}

// Reach waits for the conductor.
func (s *stages) Reach(ctx context.Context, name string, pause time.Duration) error {
	s.w.events <- event{from: s.w, stage: name, pause: pause}
	select {
	case <-s.next:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
