package config

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long files must be left alone before they are looked at: editors and
	// orchestrators write, rename and delete in steps of a few milliseconds.
	settle = 100 * time.Millisecond

	// patience bounds settle: a folder where something happens all the time is looked at this often.
	patience = time.Second

	// rounds is how often the files are looked at when nothing was reported: reports get lost
	// on network and overlay file systems, when a folder further up is replaced, and when the
	// kernel's limits on inotify are reached. It costs reading the files.
	rounds = 10 * time.Second
)

// A Watcher tells when the files that a configuration came from no longer hold what they held
// when it was loaded.
//
// It watches the folders of the files, since an editor or Kubernetes replaces files rather than
// write to them, and every folder on the way through symbolic links; what counts is a changed
// content, not a touched file. A file that is gone or cannot be read counts as changed, once.
type Watcher struct {
	log     *slog.Logger
	changed chan struct{} // capacity 1
	follow  chan struct{} // capacity 1: holds was changed by Follow

	settle, patience, rounds time.Duration // the constants; others in tests

	mu    sync.Mutex     // guards the field below
	holds map[string]sum // what each file held when it was loaded, or when it was looked at after that

	// Of the goroutine in Run:
	notify *fsnotify.Watcher
	armed  map[string]os.FileInfo // folders that notify watches
	failed map[string]bool        // folders that it refused, told once
	names  map[string]bool        // entries of the folders that matter, and the folders
}

// NewWatcher returns a Watcher for the files of c, as they were when c was loaded. It starts
// nothing: call Run. The log gets a line at debug for each change and one at warn for each
// folder that cannot be watched.
func NewWatcher(log *slog.Logger, c *Config) *Watcher {
	w := &Watcher{
		log:      log,
		changed:  make(chan struct{}, 1),
		follow:   make(chan struct{}, 1),
		settle:   settle,
		patience: patience,
		rounds:   rounds,
		armed:    make(map[string]os.FileInfo),
		failed:   make(map[string]bool),
	}
	w.Follow(c, nil)
	return w
}

// Changed receives a value when files changed; several changes before it is read are one. Load
// after receiving, then call Follow.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Follow tells the Watcher what Load returned, so that it watches the files that matter now: those
// of the new configuration, or, when that was refused, those of the last one and those with the
// problems. What changed since Load read it is told through Changed. Any goroutine may call it.
func (w *Watcher) Follow(c *Config, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c != nil {
		w.holds = make(map[string]sum, len(c.Files))
		for _, file := range c.Files {
			held, known := c.source.sums[file]
			if !known { // made by hand, not by Load
				held, _ = fingerprint(file)
			}
			w.holds[file] = held
		}
	}
	var problems Problems
	errors.As(err, &problems)
	for _, p := range problems {
		if p.cure != "" {
			w.holds[p.cure] = p.seen
		}
	}
	signal(w.follow)
}

// signal sends on a channel of capacity 1, unless there is a value in it already.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
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
	pause := pause{settle: w.settle, patience: w.patience}
	quiet := time.NewTimer(w.settle)
	quiet.Stop() // until there is a report
	round := time.NewTicker(w.rounds)
	defer round.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			pause.over()
			w.look("report")
		case <-round.C:
			w.look("round")
		case <-w.follow:
			w.look("follow")
		case event := <-events:
			if event.Name == "" || w.names[event.Name] {
				quiet.Reset(pause.after(time.Now()))
			}
		case err := <-errs: // such as fsnotify.ErrEventOverflow: anything may have happened
			w.log.Warn("watching files", "error", err)
			quiet.Reset(pause.after(time.Now()))
		}
	}
}

// A pause decides when to look after something has happened.
type pause struct {
	settle, patience time.Duration
	since            time.Time // of the first report not looked at yet; zero when there is none
}

// after returns how long to wait after a report at now.
func (p *pause) after(now time.Time) time.Duration {
	if p.since.IsZero() {
		p.since = now
	}
	return max(0, min(p.settle, p.since.Add(p.patience).Sub(now)))
}

// over begins anew.
func (p *pause) over() { p.since = time.Time{} }

// look compares the files with what they held, and tells when that is not the same.
func (w *Watcher) look(why string) {
	w.mu.Lock()
	before := maps.Clone(w.holds)
	w.mu.Unlock()
	w.arm(before) // first: what changes after it is reported
	now := make(map[string]sum, len(before))
	for file, held := range before {
		if sum, ok := fingerprint(file); ok {
			now[file] = sum
		} else {
			now[file] = held
		}
	}
	changed := w.update(before, now)
	if len(changed) > 0 || why != "round" {
		w.log.Debug("files looked at", "why", why, "changed", changed)
	}
	if len(changed) > 0 {
		signal(w.changed)
	}
}

// update notes what the files hold now and returns those that held something else before. What
// Follow has set meanwhile is left alone: it makes Run look again.
func (w *Watcher) update(before, now map[string]sum) (changed []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for file, held := range before {
		if known, ok := w.holds[file]; ok && known == held && now[file] != held {
			w.holds[file] = now[file]
			changed = append(changed, file)
		}
	}
	slices.Sort(changed)
	return changed
}

// arm watches the folders that lead to the files now, and no others.
func (w *Watcher) arm(files map[string]sum) {
	if w.notify == nil {
		return
	}
	// Where the links lead can change before their folders are watched: look again until it
	// does not. Who changes them faster than that for ever has the rounds.
	for range 3 {
		before := w.names
		w.names = make(map[string]bool)
		folders := make(map[string]bool)
		for file := range files {
			for _, entry := range trail(file) {
				w.names[entry] = true
				w.names[filepath.Dir(entry)] = true
				folders[filepath.Dir(entry)] = true
			}
		}
		for folder := range w.armed {
			if !folders[folder] {
				w.disarm(folder)
			}
		}
		for folder := range folders {
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
