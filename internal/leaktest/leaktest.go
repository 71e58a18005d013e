// Package leaktest fails a test that leaves goroutines or file descriptors behind.
//
//	func TestServer(t *testing.T) {
//		leaktest.Check(t) // first line: its clean-up then runs last
//		…
//	}
//
// Tests that use it must not run in parallel with others of their package: the counts are the
// whole process's.
package leaktest

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"testing"
	"time"
)

// settle bounds how long a test's last goroutines and descriptors may take to go. It is long
// because a loaded machine under the race detector is slow; a test without a leak never waits for it.
const settle = 20 * time.Second

// Check remembers how many goroutines and descriptors the process has, and fails t at its end
// when there are more.
func Check(t testing.TB) {
	t.Helper()
	settleRuntime()
	goroutines, fds := runtime.NumGoroutine(), descriptors()
	t.Cleanup(func() {
		deadline := time.Now().Add(settle)
		for runtime.NumGoroutine() > goroutines || len(descriptors()) > len(fds) {
			if time.Now().After(deadline) {
				t.Errorf("leak: %d goroutines at the start, %d at the end; descriptors left open: %s\n%s",
					goroutines, runtime.NumGoroutine(), strings.Join(newcomers(fds, descriptors()), ", "), stacks())
				return
			}
			time.Sleep(5 * time.Millisecond) // nothing tells when a descriptor closes: this is the deadline loop
		}
	})
}

// Copy is [io.Copy] by read and write. Between two TCP sockets io.Copy uses splice(2) when bytes wait, through pipes that package
// net keeps for others until the collector comes by: they would look left behind.
func Copy(dst io.Writer, src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{dst}, struct{ io.Reader }{src})
}

// settleRuntime starts what the runtime starts at first use and never ends: its poller, and the goroutine of
// os/signal, which fuzzing needs.
func settleRuntime() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	signal.Stop(c)
}

// descriptors returns what each open descriptor of the process is, by number; empty where the
// system has no /proc.
func descriptors() map[string]string {
	open := make(map[string]string)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return open
	}
	for _, e := range entries {
		// The descriptor that reads the folder itself is gone by now: its link cannot be read.
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			open[e.Name()] = target
		}
	}
	return open
}

func newcomers(before, after map[string]string) []string {
	var names []string
	for fd, target := range after {
		if before[fd] != target {
			names = append(names, fmt.Sprintf("%s → %s", fd, target))
		}
	}
	return names
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}
