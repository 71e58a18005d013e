//go:build linux

package reactor

import (
	"context"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patienceOfTests bounds every wait; a test that passes never comes near it.
const patienceOfTests = 60 * time.Second

// A script is a Handler of functions. One that is nil ignores the call.
type script struct {
	ready   func(key uint32, e Events)
	expired func(key uint32)
}

func (s *script) Ready(key uint32, e Events) {
	if s.ready != nil {
		s.ready(key, e)
	}
}

func (s *script) Expired(key uint32) {
	if s.expired != nil {
		s.expired(key)
	}
}

func open(t testing.TB) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// start runs a loop until the test's end.
func start(t testing.TB, l *Loop, h Handler) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := await(t, ended); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// do runs f on the loop and waits for it.
func do(t testing.TB, l *Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { defer close(done); f() }) {
		t.Fatal("Post: the loop has ended")
	}
	await(t, done)
}

func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patienceOfTests):
		stacks := make([]byte, 1<<16)
		t.Fatalf("nothing came within %v\n%s", patienceOfTests, stacks[:runtime.Stack(stacks, true)])
		panic("not reached")
	}
}

// pair returns both ends of a stream, non-blocking, closed at the test's end.
func pair(t testing.TB) (int, int) {
	t.Helper()
	a, b := openPair(t)
	t.Cleanup(func() {
		unix.Close(a)
		unix.Close(b)
	})
	return a, b
}

// openPair returns both ends of a stream, which the caller closes.
func openPair(t testing.TB) (int, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

func add(t testing.TB, l *Loop, fd int, key uint32) Ref {
	t.Helper()
	ref, err := l.Add(fd, key)
	if err != nil {
		t.Error(err)
	}
	return ref
}

func send(t testing.TB, fd int, s string) {
	t.Helper()
	if n, err := Write(fd, []byte(s)); n != len(s) || err != nil {
		t.Errorf("write %q: %d, %v", s, n, err)
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
