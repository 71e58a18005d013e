package health

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func watched(maxFails int) Target {
	t := second("b/s")
	t.Passive = Passive{MaxFails: maxFails, FailTimeout: 30 * s}
	return t
}

// TestTrafficTakesOut: at once for whoever asks, once for OnChange and the log, until fail_timeout has passed.
func TestTrafficTakesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, watched(2))
		f.until(500 * ms)
		f.Report("b/s", refused)
		if !f.status(t, "b/s").Up {
			t.Error("out after one error of two")
		}
		f.Report("b/s", refused)
		if got := f.status(t, "b/s"); got.Up || !got.Out || !got.CheckUp {
			t.Errorf("right after the second error the status is %+v", got)
		}
		f.until(29 * s)
		want := []Change{{Key: "b/s", Cause: ByTraffic, CheckUp: true, Out: true,
			Reason: "connect errors of live traffic, the last: connection refused", At: f.began.Add(500 * ms)}}
		if got := f.takeChanges(); !slices.Equal(got, want) {
			t.Errorf("changes are %+v, want %+v", got, want)
		}
		f.until(30*s + 500*ms)
		want = []Change{{Key: "b/s", Cause: ByTraffic, Up: true, CheckUp: true,
			Reason: "may be tried again", At: f.began.Add(30*s + 500*ms)}}
		if got := f.takeChanges(); !slices.Equal(got, want) {
			t.Errorf("changes are %+v, want %+v", got, want)
		}
		wantLog(t, f,
			`level=WARN msg="server is taken out" server=b/s reason="connect errors of live traffic, the last: connection refused"`,
			`level=INFO msg="server is let in again" server=b/s reason="may be tried again"`)

		f.Report("b/s", refused) // on trial: one is enough
		if f.status(t, "b/s").Up {
			t.Error("up after an error on trial")
		}
		f.until(61 * s)
		f.Report("b/s", nil)
		f.Report("b/s", refused)
		if !f.status(t, "b/s").Up {
			t.Error("out after one error of two: the success has ended the trial")
		}
	})
}

// TestBothOpinions: the server is usable while neither is against it, and each change is told.
func TestBothOpinions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, watched(1))
		f.until(500 * ms)
		f.Report("b/s", refused) // out until 30.5
		f.answers(refused)       // down at 2
		f.until(32 * s)
		f.answers(nil) // up at 37
		f.until(40 * s)
		type told struct {
			by               Cause
			up, checkUp, out bool
			at               time.Duration
		}
		var got []told
		for _, c := range f.takeChanges() {
			got = append(got, told{c.Cause, c.Up, c.CheckUp, c.Out, c.At.Sub(f.began)})
		}
		want := []told{
			{ByTraffic, false, true, true, 500 * ms},
			{ByCheck, false, false, true, 2 * s},
			{ByTraffic, false, false, false, 30*s + 500*ms},
			{ByCheck, true, true, false, 37 * s},
		}
		if !slices.Equal(got, want) {
			t.Errorf("changes are %+v, want %+v", got, want)
		}
		if since := f.status(t, "b/s").Since; !since.Equal(f.began.Add(37 * s)) {
			t.Errorf("up since %v after the start, want 37s", since.Sub(f.began))
		}
	})
}

// TestTrafficIsToldWhileAProbeHangs: the probe has its goroutine, the news do not wait for it.
func TestTrafficIsToldWhileAProbeHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t)
		f.answersWith(func(ctx context.Context, _ Target) error {
			<-ctx.Done()
			return ctx.Err()
		})
		target := watched(1)
		target.Check.Timeout = time.Hour
		target.Passive.FailTimeout = 10 * s
		f.Set([]Target{target})
		f.until(1 * s)
		f.Report("b/s", refused)
		f.until(12 * s)
		got := f.takeChanges()
		if len(got) != 2 || !got[0].At.Equal(f.began.Add(s)) || !got[1].At.Equal(f.began.Add(11*s)) {
			t.Errorf("changes are %+v, want out at 1s and in at 11s", got)
		}
		wantTimes(t, f.takeTimes(), 0) // still the one that hangs
	})
}

func TestTrafficTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := sail(t, watched(1))
		f.until(500 * ms)
		f.Report("b/s", refused)
		synctest.Wait()
		f.Set([]Target{watched(1)})
		if f.status(t, "b/s").Up {
			t.Error("a reload that changes nothing lets the server in")
		}
		f.Set([]Target{second("b/s")})
		if !f.status(t, "b/s").Up {
			t.Error("out, although max_fails is 0 now")
		}
		f.Report("b/s", refused)
		f.until(2 * s)
		if c := f.takeChanges(); len(c) != 2 || !c[1].Up {
			t.Errorf("changes are %+v, want out and in", c)
		}
	})
}

// TestReportedBeforeRun: what traffic says before Run is known, and told when Run begins.
func TestReportedBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []Change // OnChange's goroutine, read after Run
		m := New(Options{OnChange: func(c Change) { changes = append(changes, c) }})
		m.probe = func(context.Context, Target) error { return nil }
		m.Set([]Target{watched(1)})
		m.Report("b/s", refused)
		if got, _ := m.Status("b/s"); got.Up {
			t.Error("up")
		}
		ctx, cancel := context.WithTimeout(t.Context(), s)
		defer cancel()
		m.Run(ctx)
		if len(changes) != 1 || changes[0].Up {
			t.Errorf("changes are %+v", changes)
		}
	})
}

// TestBlames: only what is the server's fault counts.
func TestBlames(t *testing.T) {
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	tests := []struct {
		err  error
		want bool
	}{
		{dial(syscall.ECONNREFUSED), true},
		{dial(syscall.EHOSTUNREACH), true},
		{&net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}, true},
		{&net.DNSError{Err: "no such host", Name: "emqx9", IsNotFound: true}, true},
		{fmt.Errorf("dial 127.0.0.1:1: %w", dial(syscall.ETIMEDOUT)), true},
		{dial(syscall.EMFILE), false},
		{dial(syscall.ENFILE), false},
		{dial(syscall.EADDRNOTAVAIL), false},
		{dial(syscall.ENOBUFS), false},
		{fmt.Errorf("client has gone: %w", context.Canceled), false},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			m := New(Options{})
			m.Set([]Target{watched(1)})
			m.Report("b/s", tt.err)
			if got, _ := m.Status("b/s"); got.Out != tt.want {
				t.Errorf("out is %v, want %v", got.Out, tt.want)
			}
		})
	}
}
