package health

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestHistoryFollowsTheKey: through reloads that change other servers, the address, the thresholds.
func TestHistoryFollowsTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, second("b/s"))
		f.answers(refused)
		f.until(5*s + 500*ms)
		if f.status(t, "b/s").Up {
			t.Fatal("up")
		}
		f.takeChanges()

		f.Set([]Target{second("b/new"), second("b/s")})
		if f.status(t, "b/s").Up || !f.status(t, "b/new").Up {
			t.Error("the old one is to stay down, the new one to begin up")
		}
		moved := second("b/s")
		moved.Address = "192.0.2.2:1883"
		moved.Check.Rise, moved.Check.Fall = 3, 4
		f.Set([]Target{moved})
		if got := f.status(t, "b/s"); got.Up || got.Last.Outcome != Refused {
			t.Errorf("after its address and thresholds changed the status is %+v", got)
		}
		if _, known := f.Status("b/new"); known {
			t.Error("a removed server is known")
		}
		f.answers(nil)
		f.until(9 * s) // checks at 5.5 (the reload), 6.5, 7.5
		if got := f.status(t, "b/s"); !got.Up || got.Health != 6 {
			t.Errorf("after three passes with rise 3 and fall 4 the status is %+v", got)
		}
		if c := f.takeChanges(); len(c) != 1 || !c[0].Up || c[0].Checks != 3 {
			t.Errorf("changes are %+v", c)
		}
	})
}

// TestThresholdsDoNotDisturbTheSchedule: a reload that changes nothing, or rise and fall only.
func TestThresholdsDoNotDisturbTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, second("b/s"))
		f.until(1*s + 500*ms)
		f.Set([]Target{second("b/s")})
		other := second("b/s")
		other.Check.Fall, other.Passive.MaxFails = 7, 3
		f.Set([]Target{other})
		f.until(3*s + 500*ms)
		wantTimes(t, f.takeTimes(), 0, 1*s, 2*s, 3*s)
		if got := f.status(t, "b/s").Health; got != 11 {
			t.Errorf("counter is %d, want 11: it was full", got)
		}
	})
}

func TestChangedCheckTakesEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := second("b/s")
		slow.Check.Interval = time.Hour
		f := sail(t, slow)
		f.until(10*s + 500*ms)
		f.Set([]Target{second("b/s")})
		f.until(12 * s)
		wantTimes(t, f.takeTimes(), 0, 10*s+500*ms, 11*s+500*ms)
		f.Set([]Target{slow})
		f.until(100 * s)
		wantTimes(t, f.takeTimes(), 12*s)
	})
}

func TestRemovedServerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, second("a"), second("b"))
		f.until(2 * s)
		f.takeProbes()
		f.Set([]Target{second("b")})
		f.until(4 * s)
		for _, p := range f.takeProbes() {
			if p.key == "a" {
				t.Errorf("a removed server is checked at %v", p.at)
			}
		}
		f.Set([]Target{second("a"), second("b")})
		if got := f.status(t, "a"); got.Health != 5 || !got.Last.At.IsZero() {
			t.Errorf("a server that came back has a history: %+v", got)
		}
	})
}

// TestStaleResultCountsForNothing: the probe is under way to the old address when a reload changes it.
func TestStaleResultCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t)
		cancelled := false
		f.answersWith(func(ctx context.Context, target Target) error {
			if target.Address != "old" {
				return nil
			}
			<-ctx.Done()
			f.note(func() { cancelled = true })
			time.Sleep(2 * s) // the bubble's: the next must wait for it all the same
			return refused
		})
		target := second("b/s")
		target.Address = "old"
		f.Set([]Target{target})
		f.until(500 * ms)
		target.Address = "new"
		f.Set([]Target{target})
		f.until(4 * s)
		if !cancelled {
			t.Error("the probe of the old address was not cancelled")
		}
		wantTimes(t, f.takeTimes(), 0, 2*s+500*ms, 3*s+500*ms)
		if c := f.takeChanges(); len(c) != 0 {
			t.Errorf("the old address took the server down: %+v", c)
		}
		if r := f.takeResults(); len(r) != 2 {
			t.Errorf("%d results, want the new address's two", len(r))
		}
	})
}

// TestPaused: checks stop, the state stays.
func TestPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, second("b/s"))
		f.answers(refused)
		f.until(3*s + 500*ms)
		f.takeTimes()
		paused := second("b/s")
		paused.Paused = true
		f.Set([]Target{paused})
		f.answers(nil)
		f.until(60 * s)
		wantTimes(t, f.takeTimes())
		if got := f.status(t, "b/s"); got.Up || got.Last.Outcome != Refused {
			t.Errorf("status of a paused server that was down is %+v", got)
		}
		f.Set([]Target{second("b/s")})
		f.until(62*s + 500*ms)
		wantTimes(t, f.takeTimes(), 60*s, 61*s, 62*s)
	})
}

// TestChecksTurnedOff: nobody would find the server up again, so it is.
func TestChecksTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, second("b/s"))
		f.answers(refused)
		f.until(3*s + 500*ms)
		f.takeTimes()
		f.takeChanges()
		f.takeLog()
		off := second("b/s")
		off.Check.Type = None
		f.Set([]Target{off})
		if got := f.status(t, "b/s"); !got.Up || !got.Last.At.IsZero() {
			t.Errorf("status without checks is %+v", got)
		}
		f.until(60 * s)
		wantTimes(t, f.takeTimes())
		if c := f.takeChanges(); len(c) != 1 || !c[0].Up || c[0].Cause != ByCheck {
			t.Errorf("changes are %+v, want one to up", c)
		}
		wantLog(t, f, `level=INFO msg="server is up" server=b/s reason="is no longer checked" checks=0 latency=0s`)
		f.Set([]Target{second("b/s")})
		f.until(60*s + ms)
		if f.status(t, "b/s").Up {
			t.Error("up: checked again, the first failure takes it down")
		}
	})
}

// TestSameKeyTwice: the last counts, and only one goroutine checks it.
func TestSameKeyTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, last := second("b/s"), second("b/s")
		last.Check.Interval = 10 * s
		f := sail(t, first, last)
		f.until(25 * s)
		if got := len(f.takeProbes()); got != 3 {
			t.Errorf("%d checks in 25s, want 3 at most 10s apart", got)
		}
	})
}
