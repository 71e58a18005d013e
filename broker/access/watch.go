package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long files must be left alone before they are looked at: editors and orchestrators write,
	// rename and delete in steps of a few milliseconds.
	settle = 100 * time.Millisecond

	// patience bounds settle: files that are written to all the time are looked at this often.
	patience = time.Second

	// rounds is how often the files are looked at when nothing was reported: reports get lost on network and
	// overlay file systems, and when the kernel's limits on inotify are reached. It costs reading the files.
	rounds = 10 * time.Second
)

// A Watcher tells when files no longer hold what they held: by their content, however it came there. It watches
// the folders they are in and those that links on the way are in, since editors and Kubernetes do not
// write to files but replace them.
type Watcher struct {
	log     *slog.Logger
	files   []string // absolute
	changed func(files []string)

	settle, patience, rounds time.Duration // the constants; others in tests

	// Of the goroutine in Run, but for New:
	held   []content              // what each of files held
	notify *fsnotify.Watcher      // nil where the system has none
	armed  map[string]os.FileInfo // folders that notify watches
	names  map[string]bool        // entries that matter, and their folders
	failed map[string]bool        // folders that could not be watched, told once
}

// content is what a file held: its SHA-256, or zero when it could not be read.
type content [sha256.Size]byte

// NewWatcher returns a Watcher for files, of which "" is ignored, as they are now: make it before they are loaded, so that no
// change gets lost. It starts nothing: call Run. The function changed is called by Run's goroutine with
// those that hold something else now, or have appeared or gone; what happens meanwhile is told afterwards.
//
// The log gets a line at warn for a folder that cannot be watched, and none that has a content in it.
func NewWatcher(log *slog.Logger, changed func(files []string), files ...string) (*Watcher, error) {
	w := &Watcher{
		log: log, changed: changed, settle: settle, patience: patience, rounds: rounds,
		armed: make(map[string]os.FileInfo), failed: make(map[string]bool),
	}
	for _, file := range files {
		if file == "" {
			continue
		}
		path, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("find the folder of %s: %w", file, err)
		}
		w.files = append(w.files, path)
		w.held = append(w.held, contentOf(path))
	}
	return w, nil
}

// Run watches until ctx is done, and returns nil then. Where the system gives no notifications it
// goes by its rounds alone, and logs that. Call it once.
func (w *Watcher) Run(ctx context.Context) error {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.log.Warn("file changes are seen late", "error", err, "rounds", w.rounds,
			"try", "raise the sysctl fs.inotify.max_user_instances")
		return w.run(ctx, nil, nil)
	}
	defer notify.Close()
	w.notify = notify
	return w.run(ctx, notify.Events, notify.Errors)
}

// run looks when it is time until ctx is done. Without notifications the channels are nil.
func (w *Watcher) run(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error) error {
	quiet := time.NewTimer(0) // look at once: something may have changed since New
	defer quiet.Stop()
	round := time.NewTicker(w.rounds)
	defer round.Stop()
	var since time.Time // of the first report that was not looked at yet
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			since = time.Time{}
			w.look()
			continue
		case <-round.C:
			w.look()
			continue
		case event := <-events:
			if !w.names[event.Name] {
				continue
			}
		case err := <-errs: // such as fsnotify.ErrEventOverflow: anything may have happened
			w.log.Warn("watching files", "error", err)
		}
		if since.IsZero() {
			since = time.Now()
		}
		quiet.Reset(max(0, min(w.settle, time.Until(since.Add(w.patience)))))
	}
}

// look compares the files with what they held, and tells of those where that is not the same.
func (w *Watcher) look() {
	w.arm() // first: what changes after it is reported
	var list []string
	for i, file := range w.files {
		if now := contentOf(file); now != w.held[i] {
			w.held[i] = now
			list = append(list, file)
		}
	}
	if len(list) > 0 {
		w.changed(list)
	}
}

// arm watches the folders that lead to the files now, and no others. Where the links lead can change before their
// folders are watched: it looks again until it does not. Who changes them for ever has the rounds.
func (w *Watcher) arm() {
	if w.notify == nil {
		return
	}
	for range 3 {
		before := w.names
		w.names = make(map[string]bool)
		var folders []string
		for _, file := range w.files {
			for _, entry := range trail(file) {
				folder := filepath.Dir(entry)
				w.names[entry], w.names[folder] = true, true
				folders = append(folders, folder)
			}
		}
		for folder := range w.armed {
			if !slices.Contains(folders, folder) {
				w.disarm(folder)
			}
		}
		for _, folder := range folders {
			w.armFolder(folder)
		}
		if maps.Equal(before, w.names) {
			return
		}
	}
}

// armFolder watches a folder, and watches it anew when another one has taken its place.
func (w *Watcher) armFolder(folder string) {
	info, err := os.Stat(folder)
	if before, ok := w.armed[folder]; ok && (err != nil || !os.SameFile(before, info)) {
		w.disarm(folder)
	}
	if err == nil {
		err = w.notify.Add(folder) // changes nothing where it is watched already
	}
	if err == nil {
		w.armed[folder] = info
		delete(w.failed, folder)
		return
	}
	if !w.failed[folder] { // as often as it is tried, told once
		w.failed[folder] = true
		w.log.Warn("changes in a folder are seen late", "folder", folder, "error", err, "rounds", w.rounds,
			"try", "let this user read the folder, or raise the sysctl fs.inotify.max_user_watches")
	}
}

// disarm watches a folder no longer.
func (w *Watcher) disarm(folder string) {
	delete(w.armed, folder)
	// The watch may be gone together with the folder: ErrNonExistentWatch is as good as success.
	if err := w.notify.Remove(folder); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
		w.log.Debug("watching a folder no longer", "folder", folder, "error", err)
	}
}

// contentOf returns what a file holds; of one that is larger than anybody would load, as much as would be read.
func contentOf(path string) (c content) {
	h := sha256.New()
	if copyFile(h, path) == nil {
		h.Sum(c[:0])
	}
	return c
}
