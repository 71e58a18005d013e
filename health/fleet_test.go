package health

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A fleet stands in for the servers, inside a synctest bubble: it answers the probes and remembers
// what the Monitor did.
type fleet struct {
	*Monitor
	began time.Time
	stop  func() // ends Run and waits for it

	mu      sync.Mutex // guards the fields below
	answer  func(ctx context.Context, t Target) error
	probes  []sighting
	changes []Change
	results []Result
	log     bytes.Buffer
}

// A sighting is one probe: of which server, when after the start of the test.
type sighting struct {
	key string
	at  time.Duration
}

// sail returns a fleet whose Monitor knows targets and runs. Every server answers well.
func sail(t *testing.T, targets ...Target) *fleet {
	t.Helper()
	f := &fleet{began: time.Now(), answer: func(context.Context, Target) error { return nil }}
	f.Monitor = New(Options{
		Log:      slog.New(slog.NewTextHandler(&f.log, nil)), // the handler locks
		OnChange: func(c Change) { f.note(func() { f.changes = append(f.changes, c) }) },
		OnResult: func(_ string, r Result) { f.note(func() { f.results = append(f.results, r) }) },
	})
	f.probe = func(ctx context.Context, target Target) error {
		var answer func(context.Context, Target) error
		f.note(func() {
			f.probes = append(f.probes, sighting{target.Key, time.Since(f.began)})
			answer = f.answer
		})
		return answer(ctx, target)
	}
	f.Set(targets)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(f.stop)
	synctest.Wait()
	return f
}

func (f *fleet) note(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
}

// answers makes every server answer with err from now on.
func (f *fleet) answers(err error) {
	f.note(func() { f.answer = func(context.Context, Target) error { return err } })
}

// answersWith makes every server behave like this from now on.
func (f *fleet) answersWith(answer func(context.Context, Target) error) {
	f.note(func() { f.answer = answer })
}

// until lets time pass up to d after the start, and everything happen that is due by then.
func (f *fleet) until(d time.Duration) {
	time.Sleep(d - time.Since(f.began)) // a bubble's clock: no real time passes
	synctest.Wait()
}

// takeProbes returns the probes since the last call.
func (f *fleet) takeProbes() []sighting {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.probes
	f.probes = nil
	return p
}

// takeTimes is takeProbes without the names.
func (f *fleet) takeTimes() []time.Duration {
	var times []time.Duration
	for _, s := range f.takeProbes() {
		times = append(times, s.at)
	}
	return times
}

func (f *fleet) takeChanges() []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.changes
	f.changes = nil
	return c
}

func (f *fleet) takeResults() []Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.results
	f.results = nil
	return r
}

// takeLog returns the log's lines since the last call, without their time.
func (f *fleet) takeLog() []string {
	var lines []string
	for line := range strings.Lines(f.log.String()) {
		_, line, _ = strings.Cut(line, " ")
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	f.log.Reset()
	return lines
}

func (f *fleet) status(t *testing.T, key string) Status {
	t.Helper()
	s, known := f.Status(key)
	if !known {
		t.Fatalf("%s is unknown", key)
	}
	return s
}

func wantTimes(t *testing.T, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("checks at %v, want %v", got, want)
	}
}

const refused = syscall.ECONNREFUSED

// second is a target with the check of the examples: every second, fall 2, rise 5.
func second(key string) Target {
	return Target{Key: key, Address: "192.0.2.1:1883", Check: Check{Interval: time.Second, Fall: 2, Rise: 5}}
}
