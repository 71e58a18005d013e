package config

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// deadline bounds every wait of these tests; none takes that long unless something is broken.
const deadline = 20 * time.Second

// minimal is a configuration that names a certificate and a servers file.
const minimal = `
listeners: [{name: a, listen: ":1", backend: b, tls: {certificates: [{cert: certs/one.pem}]}}]
backends: [{name: b, servers_file: servers.yaml}]
`

// A watched is a running Watcher and what it looked at.
type watched struct {
	*Watcher
	t     *testing.T
	path  string
	looks chan string // why, at each look
}

// Enabled lets every record through.
func (w *watched) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs returns the handler itself.
func (w *watched) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup returns the handler itself.
func (w *watched) WithGroup(string) slog.Handler { return w }

// Handle learns from the log at what the Watcher has looked.
func (w *watched) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "why" {
			return true
		}
		select {
		case w.looks <- a.Value.String():
		default: // nobody waits for so many
		}
		return false
	})
	return nil
}

// watch loads a configuration and runs a Watcher for it that never looks without a report. It
// returns when the Watcher has looked for the first time.
func watch(t *testing.T, path string) *watched {
	t.Helper()
	leaktest.Check(t)
	w := &watched{t: t, path: path, looks: make(chan string, 100)}
	w.Watcher = NewWatcher(slog.New(w), load(t, path))
	w.settle, w.patience, w.rounds = 20*time.Millisecond, 200*time.Millisecond, time.Hour
	started(t, w.Run)
	w.looked("follow")
	return w
}

// started calls run until the test ends.
func started(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// inFolder is watch for the minimal configuration in a new folder.
func inFolder(t *testing.T) (w *watched, folder string) {
	t.Helper()
	folder = t.TempDir()
	write(t, filepath.Join(folder, "certs/one.pem"), "one")
	write(t, filepath.Join(folder, "servers.yaml"), "[]")
	write(t, filepath.Join(folder, "mqttlb.yaml"), minimal)
	return watch(t, filepath.Join(folder, "mqttlb.yaml")), folder
}

// looked waits for a look.
func (w *watched) looked(why string) {
	w.t.Helper()
	for {
		select {
		case got := <-w.looks:
			if got == why {
				return
			}
		case <-time.After(deadline):
			w.t.Fatalf("no look because of a %s", why)
		}
	}
}

// tells waits until the Watcher tells of a change, loads and follows as lb does.
func (w *watched) tells(what string) {
	w.t.Helper()
	select {
	case <-w.Changed():
	case <-time.After(deadline):
		w.t.Fatalf("not told: %s", what)
	}
	w.Follow(Load(w.path))
	w.lookNow()
	select {
	case <-w.Changed(): // from between two steps of the change: Load has read what is there now
	default:
	}
}

// lookNow makes the Watcher look.
func (w *watched) lookNow() {
	w.t.Helper()
	for len(w.looks) > 0 {
		<-w.looks
	}
	signal(w.follow)
	w.looked("follow")
}

// silent fails when the Watcher tells of a change that none has made.
func (w *watched) silent(what string) {
	w.t.Helper()
	w.lookNow()
	select {
	case <-w.Changed():
		w.t.Errorf("told without a change: %s", what)
	default:
	}
}

// do fails the test with err.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchWrite(t *testing.T) {
	w, folder := inFolder(t)
	write(t, w.path, minimal+"workers: 1\n")
	w.tells("configuration written")
	write(t, filepath.Join(folder, "certs/one.pem"), "two")
	w.tells("certificate written")
	write(t, filepath.Join(folder, "servers.yaml"), "[{name: s, address: 's:1'}]")
	w.tells("servers file written")
	w.silent("after three changes and three reloads")
}

// Vim and most others write a new file and rename it over the old one; some rename the old one first.
func TestWatchRename(t *testing.T) {
	w, _ := inFolder(t)
	for _, text := range []string{"workers: 1\n", "workers: 2\n", "workers: 3\n"} {
		write(t, w.path+".new", minimal+text)
		do(t, os.Rename(w.path+".new", w.path))
		w.tells("renamed over")
	}
	do(t, os.Rename(w.path, w.path+"~"))
	write(t, w.path, minimal)
	w.tells("old one renamed away")
}

func TestWatchDelete(t *testing.T) {
	w, folder := inFolder(t)
	cert := filepath.Join(folder, "certs/one.pem")
	do(t, os.Remove(cert))
	w.tells("deleted")
	write(t, cert, "one") // the text as it was: the refused configuration is good again
	w.tells("created")
	do(t, os.RemoveAll(filepath.Dir(cert)))
	w.tells("folder deleted")
	write(t, cert, "three")
	w.tells("folder created")
	write(t, cert, "four")
	w.tells("written in the folder that was created")
}

// What nobody changed is not told: touched, written again with the same words, or another file.
func TestWatchTouch(t *testing.T) {
	w, folder := inFolder(t)
	now := time.Now().Add(time.Minute)
	w.lookNow() // nothing from before is left
	do(t, os.Chtimes(w.path, now, now))
	w.looked("report")
	w.silent("touched")
	write(t, w.path+".new", minimal)
	do(t, os.Rename(w.path+".new", w.path))
	w.looked("report")
	w.silent("the same words")
	write(t, filepath.Join(folder, "another.log"), "line")
	write(t, w.path, minimal+"workers: 1\n")
	w.tells("changed at last")
	w.silent("once is enough")
}

// kubernetes makes a folder as the kubelet's atomic writer does: the names lead through the link
// ..data to a folder with the time in its name.
func kubernetes(t *testing.T, folder, stamp string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		write(t, filepath.Join(folder, stamp, name), text)
	}
	do(t, os.Symlink(stamp, filepath.Join(folder, "..data_tmp")))
	old, _ := os.Readlink(filepath.Join(folder, "..data"))
	do(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	if old != "" {
		do(t, os.RemoveAll(filepath.Join(folder, old)))
		return
	}
	for name := range files {
		do(t, os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name)))
	}
}

func TestWatchKubernetes(t *testing.T) {
	config, secret := t.TempDir(), t.TempDir()
	text := strings.ReplaceAll(minimal, "certs/one.pem", filepath.Join(secret, "tls.crt"))
	kubernetes(t, secret, "..2026_01_01", map[string]string{"tls.crt": "one"})
	kubernetes(t, config, "..2026_01_01", map[string]string{"mqttlb.yaml": text, "servers.yaml": "[]"})
	w := watch(t, filepath.Join(config, "mqttlb.yaml"))
	for i, stamp := range []string{"..2026_01_02", "..2026_01_03", "..2026_01_04"} {
		kubernetes(t, config, stamp, map[string]string{"mqttlb.yaml": text, "servers.yaml": strings.Repeat(" ", i) + "[]"})
		if i == 0 {
			w.looked("report")
			w.silent("the same texts in a new folder")
			continue
		}
		w.tells("config map " + stamp)
		kubernetes(t, secret, stamp, map[string]string{"tls.crt": stamp})
		w.tells("secret " + stamp)
	}
}

// A reload can bring new files; those that are no longer named are not watched.
func TestWatchOtherFiles(t *testing.T) {
	w, folder := inFolder(t)
	other := filepath.Join(t.TempDir(), "two.pem")
	write(t, other, "two")
	write(t, w.path, strings.ReplaceAll(minimal, "certs/one.pem", other))
	w.tells("another certificate named")
	write(t, other, "three")
	w.tells("the other certificate written")
	if folders := w.notify.WatchList(); slices.Contains(folders, filepath.Join(folder, "certs")) {
		t.Errorf("still watched: %q", folders)
	}
}

// A refused configuration is tried again when the file appears that it lacked.
func TestWatchMissingFile(t *testing.T) {
	w, folder := inFolder(t)
	write(t, w.path, strings.ReplaceAll(minimal, "certs/one.pem", "new/deep/two.pem"))
	w.tells("a certificate named that is not there")
	write(t, filepath.Join(folder, "new/deep/two.pem"), "two")
	w.tells("the certificate appeared")
	write(t, filepath.Join(folder, "certs/one.pem"), "no longer of interest")
	write(t, filepath.Join(folder, "new/deep/two.pem"), "three")
	w.tells("the certificate written")
	w.silent("the old certificate")
}

// What changes between Load and Follow is told, be it a file that the Watcher did not know.
func TestWatchChangeBeforeFollow(t *testing.T) {
	w, folder := inFolder(t)
	two := filepath.Join(folder, "certs/two.pem")
	write(t, two, "two")
	write(t, w.path, strings.ReplaceAll(minimal, "one.pem", "two.pem"))
	<-w.Changed()
	c := load(t, w.path)
	write(t, two, "three")
	w.Follow(c, nil)
	w.tells("written after Load")
}

// The folder itself is replaced, as a deployment by renaming does.
func TestWatchFolderReplaced(t *testing.T) {
	w, folder := inFolder(t)
	write(t, filepath.Join(folder, "certs.new/one.pem"), "two")
	do(t, os.Rename(filepath.Join(folder, "certs"), filepath.Join(folder, "certs.old")))
	do(t, os.Rename(filepath.Join(folder, "certs.new"), filepath.Join(folder, "certs")))
	w.tells("folder replaced")
	write(t, filepath.Join(folder, "certs/one.pem"), "three")
	w.tells("written in the folder that took its place")
}

// A configuration that came through a pipe is used up, not changed.
func TestWatchPipe(t *testing.T) {
	r, wr, err := os.Pipe()
	do(t, err)
	defer r.Close()
	text, err := os.ReadFile("testdata/valid-minimal.yaml")
	do(t, err)
	_, err = wr.Write(text) // far below what a pipe holds
	do(t, err)
	do(t, wr.Close())
	w := watch(t, fmt.Sprintf("/dev/fd/%d", r.Fd()))
	w.silent("read to its end")
}

// Reports get lost: a folder far up is replaced without one. The rounds find it, and watch what is there now.
func TestWatchRounds(t *testing.T) {
	leaktest.Check(t)
	top := t.TempDir()
	for _, folder := range []string{"a/b/c", "x/b/c"} {
		write(t, filepath.Join(top, folder, "certs/one.pem"), folder)
		write(t, filepath.Join(top, folder, "servers.yaml"), "[]")
		write(t, filepath.Join(top, folder, "mqttlb.yaml"), minimal)
	}
	w := NewWatcher(slog.New(slog.DiscardHandler), load(t, filepath.Join(top, "a/b/c/mqttlb.yaml")))
	w.rounds = 20 * time.Millisecond
	started(t, w.Run)
	do(t, os.Rename(filepath.Join(top, "a"), filepath.Join(top, "old")))
	do(t, os.Rename(filepath.Join(top, "x"), filepath.Join(top, "a")))
	select {
	case <-w.Changed():
	case <-time.After(deadline):
		t.Error("not told")
	}
}

// Where the system gives no notifications the rounds do.
func TestWatchWithoutNotifications(t *testing.T) {
	leaktest.Check(t)
	path := filepath.Join(t.TempDir(), "mqttlb.yaml")
	text, err := os.ReadFile("testdata/valid-minimal.yaml")
	do(t, err)
	write(t, path, string(text))
	w := NewWatcher(slog.New(slog.DiscardHandler), load(t, path))
	w.rounds = 10 * time.Millisecond
	started(t, func(ctx context.Context) error { return w.run(ctx, nil, nil) })
	write(t, path, string(text)+"workers: 1\n")
	select {
	case <-w.Changed():
	case <-time.After(deadline):
		t.Error("not told")
	}
}

// When the kernel has dropped reports, anything may have happened.
func TestWatchOverflow(t *testing.T) {
	leaktest.Check(t)
	path := filepath.Join(t.TempDir(), "mqttlb.yaml")
	text, err := os.ReadFile("testdata/valid-minimal.yaml")
	do(t, err)
	write(t, path, string(text))
	w := &watched{t: t, path: path, looks: make(chan string, 100)}
	w.Watcher = NewWatcher(slog.New(w), load(t, path))
	errs := make(chan error)
	started(t, func(ctx context.Context) error { return w.run(ctx, nil, errs) })
	w.lookNow()
	errs <- fsnotify.ErrEventOverflow
	w.looked("report")
}

func TestPause(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := pause{settle: 100 * time.Millisecond, patience: time.Second}
	for _, step := range []struct{ at, want time.Duration }{
		{0, 100 * time.Millisecond},
		{50 * time.Millisecond, 100 * time.Millisecond},
		{900 * time.Millisecond, 100 * time.Millisecond},
		{950 * time.Millisecond, 50 * time.Millisecond},
		{time.Second, 0},
		{2 * time.Second, 0},
	} {
		if got := p.after(start.Add(step.at)); got != step.want {
			t.Errorf("at %s wait %s, want %s", step.at, got, step.want)
		}
	}
	p.over()
	if got := p.after(start.Add(3 * time.Second)); got != p.settle {
		t.Errorf("after a look wait %s, want %s", got, p.settle)
	}
}

func TestTrail(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	do(t, err)
	in := func(name string) string { return filepath.Join(top, name) }
	write(t, in("real/sub/file"), "")
	do(t, os.Symlink("real", in("link")))
	do(t, os.Symlink(in("link/sub/../sub/file"), in("absolute")))
	do(t, os.Symlink("loop", in("loop")))
	tests := []struct {
		path string
		want []string
	}{
		{"real/sub/file", []string{"real/sub/file"}},
		{"link/sub/file", []string{"link", "real/sub/file"}},
		{"absolute", []string{"absolute", "link", "real/sub/file"}},
		{"link/none/file", []string{"link", "real/none"}},
		{"link", []string{"link", "real"}},
	}
	for _, test := range tests {
		want := make([]string, len(test.want))
		for i, w := range test.want {
			want[i] = in(w)
		}
		if got := trail(in(test.path)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", test.path, got, want)
		}
	}
	if got := trail(in("loop")); len(got) != maxLinks+1 {
		t.Errorf("a loop has %d steps, want %d", len(got), maxLinks+1)
	}
}
