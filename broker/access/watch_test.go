package access

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// A watched is a running Watcher for the files users and acl of a folder.
type watched struct {
	t      *testing.T
	folder string
	told   chan []string
}

// watch runs a Watcher that looks only when something was reported.
func watch(t *testing.T, folder string, log slog.Handler) *watched {
	t.Helper()
	leaktest.Check(t)
	w := &watched{t, folder, make(chan []string, 100)}
	watcher, err := NewWatcher(slog.New(log), func(files []string) { w.told <- files }, w.path("users"), "", w.path("acl"))
	if err != nil {
		t.Fatal(err)
	}
	watcher.settle, watcher.patience, watcher.rounds = 10*time.Millisecond, 100*time.Millisecond, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- watcher.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

func (w *watched) path(name string) string { return filepath.Join(w.folder, name) }

// tells waits until a change of the file was told. Meanwhile others may be told that are named in also.
func (w *watched) tells(what, name string, also ...string) {
	w.t.Helper()
	for {
		select {
		case files := <-w.told:
			for _, file := range files {
				if !slices.Contains(append(also, name), filepath.Base(file)) {
					w.t.Errorf("%s: told of %s", what, file)
				}
			}
			if slices.Contains(files, w.path(name)) {
				return
			}
		case <-time.After(waiting):
			w.t.Fatalf("%s: not told", what)
		}
	}
}

// put writes a file in one step.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, os.Rename(path+".new", path))
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	folder := t.TempDir()
	put(t, filepath.Join(folder, "users"), "one")
	w := watch(t, folder, slog.DiscardHandler)
	put(t, w.path("users"), "two")
	w.tells("renamed over", "users")
	do(t, os.WriteFile(w.path("users"), []byte("three"), 0o600))
	w.tells("written", "users")
	put(t, w.path("acl"), "one")
	w.tells("appeared", "acl", "users") // users: between truncating and writing it was empty
	do(t, os.Remove(w.path("users")))
	w.tells("gone", "users")
}

// What happened between New and Run is told.
func TestWatchFromTheBeginning(t *testing.T) {
	leaktest.Check(t)
	path := filepath.Join(t.TempDir(), "users")
	put(t, path, "one")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := false
	w, err := NewWatcher(slog.New(slog.DiscardHandler), func([]string) { told = true; cancel() }, path)
	do(t, err)
	put(t, path, "two")
	if err := w.Run(ctx); err != nil || !told {
		t.Errorf("told %v, %v", told, err)
	}
}

// What holds the same as before has not changed, however often it was written.
func TestWatchSameContent(t *testing.T) {
	folder := t.TempDir()
	put(t, filepath.Join(folder, "users"), "one")
	put(t, filepath.Join(folder, "acl"), "one")
	w := watch(t, folder, slog.DiscardHandler)
	put(t, w.path("users"), "one")
	do(t, os.Chtimes(w.path("users"), time.Now(), time.Now().Add(time.Hour)))
	put(t, w.path("other"), "one")
	put(t, w.path("acl"), "two")
	w.tells("written, after the other was written with what it held", "acl") // and of no other
}

// Kubernetes has the files in a folder of their own, and turns a link to the next one.
func TestWatchKubernetes(t *testing.T) {
	folder := t.TempDir()
	put(t, filepath.Join(folder, "..1/users"), "one")
	do(t, os.Symlink("..1", filepath.Join(folder, "..data")))
	do(t, os.Symlink("..data/users", filepath.Join(folder, "users")))
	w := watch(t, folder, slog.DiscardHandler)
	for _, next := range []string{"..2", "..3"} {
		put(t, w.path(next+"/users"), next)
		do(t, os.Symlink(next, w.path("..data_tmp")))
		do(t, os.Rename(w.path("..data_tmp"), w.path("..data")))
		w.tells("link turned to "+next, "users")
	}
	put(t, w.path("..3/users"), "in place")
	w.tells("written at the end of the links", "users")
}

// A folder that is not there yet, goes and comes again.
func TestWatchFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a/b")
	w := watch(t, folder, slog.DiscardHandler)
	for _, text := range []string{"one", "two"} {
		put(t, w.path("users"), text)
		w.tells("folder and file came", "users")
		do(t, os.RemoveAll(filepath.Dir(folder)))
		w.tells("folder went", "users")
	}
}

// Without notifications the rounds find what has changed, and the log says why it takes longer.
func TestWatchRounds(t *testing.T) {
	leaktest.Check(t)
	path := filepath.Join(t.TempDir(), "users")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0
	w, err := NewWatcher(slog.New(slog.DiscardHandler), func([]string) {
		if looks++; looks == 3 {
			cancel()
			return
		}
		put(t, path, time.Duration(looks).String())
	}, path)
	do(t, err)
	w.rounds = time.Millisecond
	put(t, path, "zero")
	if err := w.run(ctx, nil, nil); err != nil || looks != 3 {
		t.Errorf("told %d times, %v", looks, err)
	}
}

func TestTrail(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	do(t, err)
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("real/deep/file"), "")
	do(t, os.Symlink("real", at("folder")))
	do(t, os.Symlink(at("folder/deep"), at("absolute")))
	do(t, os.Symlink("absolute/../deep/file", at("users")))
	do(t, os.Symlink("loop", at("loop")))
	tests := []struct {
		path string
		want []string
	}{
		{"real/deep/file", []string{"real/deep/file"}},
		{"folder/deep/file", []string{"folder", "real/deep/file"}},
		{"users", []string{"users", "absolute", "folder", "real/deep/file"}},
		{"real/none", []string{"real/none"}},
		{"none/file", []string{"none"}},
		{"absolute/none", []string{"absolute", "folder", "real/deep/none"}},
	}
	for _, test := range tests {
		for i := range test.want {
			test.want[i] = at(test.want[i])
		}
		if got := trail(at(test.path)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.path, got, test.want)
		}
	}
	if got := trail(at("loop")); len(got) != maxLinks+1 {
		t.Errorf("a link to itself: %d entries, want %d", len(got), maxLinks+1)
	}
}
