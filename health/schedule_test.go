package health

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const s, ms = time.Second, time.Millisecond

// TestPauses: HAProxy's three intervals, one row of checks.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, Target{Key: "b/s", Check: Check{
			Interval: 10 * s, FastInterval: 2 * s, DownInterval: 5 * s, Fall: 2, Rise: 3}})
		f.until(15 * s)
		wantTimes(t, f.takeTimes(), 0, 10*s) // full after the first

		f.answers(refused)
		f.until(28 * s)
		wantTimes(t, f.takeTimes(), 20*s, 22*s, 27*s) // shaken: fast; down: down

		f.answers(nil)
		f.until(50 * s)
		wantTimes(t, f.takeTimes(), 32*s, 34*s, 36*s, 46*s) // rising: fast; full: interval
	})
}

func TestFastIntervalWhileNotYetFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, Target{Key: "b/s", Check: Check{Interval: 10 * s, FastInterval: 1 * s, Fall: 3, Rise: 2}})
		f.answers(refused)
		f.until(35 * s)
		// The first passed (full), then two failures shake it, the third takes it down.
		wantTimes(t, f.takeTimes(), 0, 10*s, 11*s, 12*s, 22*s, 32*s)
	})
}

// TestDefaults: the intervals that follow from others, and the configuration's other defaults.
func TestDefaults(t *testing.T) {
	if got := fmt.Sprint(TCP, MQTT, None, Type(9), ByCheck, ByTraffic); got != "tcp mqtt none unknown check traffic" {
		t.Errorf("names are %s", got)
	}
	got := Target{Key: "b/s"}.withDefaults()
	want := Target{Key: "b/s",
		Check: Check{Type: TCP, Interval: 10 * s, FastInterval: 10 * s, DownInterval: 10 * s,
			Timeout: 5 * s, Rise: 5, Fall: 2},
		Passive: Passive{MaxFails: 0, FailTimeout: 30 * s}}
	if got != want {
		t.Errorf("defaults are %+v, want %+v", got, want)
	}
}

// TestSpread: checks of different servers are spread over the interval.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets []Target
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			targets = append(targets, Target{Key: key, Check: Check{Interval: 10 * s}})
		}
		off := Target{Key: "unchecked", Check: Check{Type: None}}
		f := sail(t, append([]Target{off}, targets...)...)
		f.until(19 * s)
		want := []sighting{{"a", 0}, {"b", 2 * s}, {"c", 4 * s}, {"d", 6 * s}, {"e", 8 * s},
			{"a", 10 * s}, {"b", 12 * s}, {"c", 14 * s}, {"d", 16 * s}, {"e", 18 * s}}
		if got := f.takeProbes(); !slices.Equal(got, want) {
			t.Errorf("checks are %v, want %v", got, want)
		}

		// Two more at a reload: theirs are spread, the others' go on as they were.
		f.Set(append(targets, Target{Key: "x", Check: Check{Interval: 10 * s}}, Target{Key: "y", Check: Check{Interval: 4 * s}}))
		f.until(25 * s)
		want = []sighting{{"x", 19 * s}, {"a", 20 * s}, {"y", 21 * s}, {"b", 22 * s}, {"c", 24 * s}, {"y", 25 * s}}
		if got := f.takeProbes(); !slices.Equal(got, want) {
			t.Errorf("after the reload checks are %v, want %v", got, want)
		}
	})
}

// TestSpreadBeginsWithRun: targets that were set long before Run do not all start at once.
func TestSpreadBeginsWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var times []time.Duration // appended to by one probe at a time: the bubble's clock separates them
		m := New(Options{})
		m.probe = func(context.Context, Target) error {
			times = append(times, time.Since(began))
			return nil
		}
		m.Set([]Target{{Key: "a", Check: Check{Interval: 10 * s}}, {Key: "b", Check: Check{Interval: 10 * s}}})
		time.Sleep(100 * s) // the bubble's
		ctx, cancel := context.WithTimeout(t.Context(), 9*s)
		defer cancel()
		if err := m.Run(ctx); err != nil {
			t.Fatal(err)
		}
		wantTimes(t, times, 100*s, 105*s)
	})
}

// TestDownAndUpAgain: with {interval: 1s, fall: 2, rise: 5} a killed server is down after 1 to 2 s, and
// up again 4 to 5 s after its return, at whatever moment of the interval it dies and returns.
func TestDownAndUpAgain(t *testing.T) {
	for phase := 50 * ms; phase < s; phase += 100 * ms {
		synctest.Test(t, func(t *testing.T) {
			f := sail(t, second("b/s"))
			killed := 10*s + phase
			f.until(killed)
			f.answers(refused)
			f.until(killed + 1*s - ms)
			if !f.status(t, "b/s").Up {
				t.Error("down within 1 s")
			}
			f.until(killed + 2*s)
			if f.status(t, "b/s").Up {
				t.Error("still up after 2 s")
			}
			returned := 20*s + phase
			f.until(returned)
			f.answers(nil)
			f.until(returned + 4*s - ms)
			if f.status(t, "b/s").Up {
				t.Error("up within 4 s")
			}
			f.until(returned + 5*s)
			if !f.status(t, "b/s").Up {
				t.Error("not up after 5 s")
			}
		})
	}
}

// TestSlowProbeDelaysTheNext: never two at once.
func TestSlowProbeDelaysTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t)
		inFlight := 0
		f.answersWith(func(context.Context, Target) error {
			f.note(func() { inFlight++ })
			defer f.note(func() { inFlight-- })
			if inFlight > 1 {
				t.Error("two probes of one server at once")
			}
			time.Sleep(3 * s) // the bubble's
			return nil
		})
		f.Set([]Target{second("b/s")})
		f.until(9 * s)
		wantTimes(t, f.takeTimes(), 0, 4*s, 8*s)
	})
}

func TestProbeThatNeverEndsTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t)
		f.answersWith(func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			return ctx.Err()
		})
		target := second("b/s")
		target.Check.Timeout = 3 * s
		f.Set([]Target{target})
		f.until(7*s + ms)
		wantTimes(t, f.takeTimes(), 0, 4*s)
		results := f.takeResults()
		if len(results) != 2 || results[0].Outcome != Timeout || results[0].Latency != 3*s || results[0].OK {
			t.Errorf("results are %+v, want two timeouts of 3s", results)
		}
		if f.status(t, "b/s").Up {
			t.Error("up")
		}
		f.until(8*s + ms) // the next is in flight when Run ends
	})
}
