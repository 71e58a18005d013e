package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// TestChangeIsToldOnce: a change of state, not each failing check, with its reason.
func TestChangeIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, second("b/s"))
		f.until(2*s + 500*ms)
		if c := f.takeChanges(); len(c) != 0 {
			t.Errorf("changes without a change: %+v", c)
		}
		before := f.status(t, "b/s")
		if !before.Up || before.Health != 6 || !before.Last.OK || before.Last.Outcome != Passed || !before.Since.Equal(f.began) {
			t.Errorf("status of a good server is %+v", before)
		}

		f.answers(refused)
		f.until(10*s + 500*ms)
		want := []Change{{Key: "b/s", Cause: ByCheck, Reason: "connection refused", Checks: 2, At: f.began.Add(4 * s)}}
		if got := f.takeChanges(); !slices.Equal(got, want) {
			t.Errorf("changes are %+v, want %+v", got, want)
		}
		down := f.status(t, "b/s")
		if down.Up || down.Health != 0 || down.Last.Outcome != Refused || !down.Since.Equal(f.began.Add(4*s)) ||
			!down.Last.At.Equal(f.began.Add(10*s)) {
			t.Errorf("status of a dead server is %+v", down)
		}

		f.answers(nil)
		f.until(20*s + 500*ms)
		want = []Change{{Key: "b/s", Cause: ByCheck, Up: true, CheckUp: true, Reason: "checks pass", Checks: 5, At: f.began.Add(15 * s)}}
		if got := f.takeChanges(); !slices.Equal(got, want) {
			t.Errorf("changes are %+v, want %+v", got, want)
		}
		if got := len(f.takeResults()); got != 21 {
			t.Errorf("%d results, want one for each of 21 checks", got)
		}
		wantLog(t, f,
			`level=WARN msg="server is down" server=b/s reason="connection refused" checks=2 latency=0s`,
			`level=INFO msg="server is up" server=b/s reason="checks pass" checks=5 latency=0s`)
	})
}

func wantLog(t *testing.T, f *fleet, want ...string) {
	t.Helper()
	if got := f.takeLog(); !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
}

// TestHampered: what fails on this machine counts for nothing, and is logged once in a row.
func TestHampered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, second("b/s"))
		f.until(500 * ms)
		f.answers(&failure{Hampered, "too many open files", syscall.EMFILE})
		f.until(10*s + 500*ms)
		if got := f.status(t, "b/s"); !got.Up || got.Health != 6 || got.Last.Outcome != Hampered || got.Last.OK {
			t.Errorf("status is %+v", got)
		}
		wantLog(t, f, `level=WARN msg="server cannot be checked from this machine" server=b/s reason="too many open files"`)
		f.answers(nil)
		f.until(11*s + 500*ms)
		f.answers(refused)
		f.until(15*s + 500*ms)
		if c := f.takeChanges(); len(c) != 1 || c[0].Checks != 2 {
			t.Errorf("changes are %+v, want one after two failures", c)
		}
	})
}

func TestUnknownKey(t *testing.T) {
	m := New(Options{})
	if _, known := m.Status("nobody"); known {
		t.Error("a key that was never set is known")
	}
	m.Report("nobody", refused) // no effect, no panic
}

// TestCallbacksHoldNoLock: they may use the Monitor, even to forget the target they are about.
func TestCallbacksHoldNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t)
		var m *Monitor
		m = New(Options{
			OnChange: func(c Change) {
				if s, _ := m.Status(c.Key); s.Up {
					t.Error("Status is behind OnChange")
				}
				m.Report(c.Key, refused)
				m.Set(nil)
			},
			OnResult: func(key string, _ Result) { m.Status(key) },
		})
		m.probe = func(context.Context, Target) error { return refused }
		m.Set([]Target{second("b/s")})
		ctx, cancel := context.WithTimeout(t.Context(), 10*s)
		defer cancel()
		m.Run(ctx)
		if _, known := m.Status("b/s"); known {
			t.Error("the target is still known")
		}
		f.stop()
	})
}

// TestRunEndsWithProbesInFlight: Run returns only when they have.
func TestRunEndsWithProbesInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t)
		ended := 0
		f.answersWith(func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			time.Sleep(s) // the bubble's: the probe takes its time to go
			f.note(func() { ended++ })
			return ctx.Err()
		})
		a, b := second("a"), second("b")
		f.Set([]Target{a, b})
		f.until(700 * ms)
		f.stop()
		if ended != 2 {
			t.Errorf("Run returned when %d of 2 probes had ended", ended)
		}
		if r := f.takeResults(); len(r) != 0 {
			t.Errorf("cancelled probes count: %+v", r)
		}
		if got := f.status(t, "a"); !got.Up {
			t.Error("the state is not readable after Run, or a cancelled probe has changed it")
		}
	})
}

// TestCancelledProbesCountForNothing: neither the end of Run nor the removal of a target is the server's failure,
// even when its goroutine learns of both ends at once, because it was busy telling something else.
func TestCancelledProbesCountForNothing(t *testing.T) {
	ends := map[string]func(*fleet){
		"Run ends": func(f *fleet) { go f.stop() },
		"removed":  func(f *fleet) { f.Set(nil) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			for range 20 { // which of the two is seen first is up to chance
				synctest.Test(t, func(t *testing.T) {
					f := sail(t)
					f.answersWith(func(ctx context.Context, _ Target) error {
						<-ctx.Done()
						return ctx.Err()
					})
					told, goOn := make(chan Change, 10), make(chan struct{})
					f.onChange = func(c Change) {
						told <- c
						<-goOn
					}
					target := watched(1)
					target.Check.Timeout = 10 * s
					f.Set([]Target{target})
					f.until(100 * ms) // a probe is in flight
					f.Report("b/s", refused)
					synctest.Wait() // the goroutine is telling
					end(f)
					f.until(11 * s) // the probe has ended
					close(goOn)
					f.stop()
					if r := f.takeResults(); len(r) != 0 || len(told) != 1 {
						t.Errorf("results %+v, and %d changes", r, len(told))
					}
				})
			}
		})
	}
}

// TestManyAtOnce has every method called at once, for the race detector and the leak check.
func TestManyAtOnce(t *testing.T) {
	leaktest.Check(t)
	m := New(Options{OnChange: func(Change) {}, OnResult: func(string, Result) {}})
	m.probe = func(_ context.Context, target Target) error {
		if target.Address == "bad" {
			return refused
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			for round := range 200 {
				var targets []Target
				for i := range 20 {
					if (i+round+caller)%5 == 0 {
						continue
					}
					targets = append(targets, Target{Key: fmt.Sprint(i), Address: [...]string{"good", "bad"}[(i+round)%2],
						Check: Check{Interval: ms, Rise: 1 + round%3, Fall: 1 + round%2}, Passive: Passive{MaxFails: round % 3}})
				}
				m.Set(targets)
				for i := range 20 {
					m.Report(fmt.Sprint(i), errors.New("no"))
					m.Status(fmt.Sprint(i))
				}
			}
		})
	}
	callers.Wait()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
