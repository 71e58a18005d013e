package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/access"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/cmd/internal/program"
)

// A trigger is what asked for a reload, for the log.
type trigger string

const (
	fileChanged trigger = "file"
	bySignal    trigger = "signal"
)

// A reloader reads the configuration again, and the files that it names, when they change or a signal comes.
type reloader struct {
	path  string // of the configuration; "" = there is none
	log   *slog.Logger
	asked chan trigger    // one is enough: it will read what there is to read
	file  *access.Watcher // of path; nil without one

	// Of the goroutine in run, but for start and newReloader:
	node    *broker.Broker
	running tokens
	names   []string        // of the files beside the configuration that are watched
	named   *access.Watcher // of names; nil without a path

	mu        sync.Mutex // guards the fields below
	refused   bool       // the last reload was
	succeeded time.Time  // when a configuration was last applied
}

// newReloader reads the configuration at path, or returns the default one for "". From now on no change gets lost.
func newReloader(path string, log *slog.Logger) (*reloader, config.Config, error) {
	r := &reloader{path: path, log: log, asked: make(chan trigger, 1)}
	if path == "" {
		return r, config.Default(), nil
	}
	var err error
	if r.file, err = r.watcher(path); err != nil {
		return nil, config.Config{}, err
	}
	c, err := config.Load(path)
	if err != nil {
		return nil, config.Config{}, err
	}
	return r, c, r.watch(&c)
}

// start says which node is to be told, and with what its pages were opened. It is called before run.
func (r *reloader) start(node *broker.Broker, t tokens) {
	r.node, r.running, r.succeeded = node, t, time.Now()
}

func (r *reloader) watcher(files ...string) (*access.Watcher, error) {
	w, err := access.NewWatcher(r.log, func([]string) { r.ask(fileChanged) }, files...)
	if err != nil {
		return nil, fmt.Errorf("watch the configuration: %w", err)
	}
	return w, nil
}

// watch notes what c's files hold, if they are not those that are watched: before they are read.
func (r *reloader) watch(c *config.Config) error {
	names := []string{c.Auth.UsersFile, c.ACLFile}
	if slices.Equal(names, r.names) {
		return nil
	}
	w, err := r.watcher(names...)
	if err == nil {
		r.names, r.named = names, w
	}
	return err
}

// ask asks for a reload, unless one is asked for already that has not begun. Any goroutine may call it.
func (r *reloader) ask(t trigger) {
	select {
	case r.asked <- t:
	default:
	}
}

// run reloads when it is asked to, one after the other, until ctx is done.
func (r *reloader) run(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	follow := func(ctx context.Context, w *access.Watcher) {
		watching.Go(func() {
			if err := w.Run(ctx); err != nil {
				r.log.Error("changed files are not noticed any more; send SIGHUP", "error", err)
			}
		})
	}
	if r.path != "" {
		follow(ctx, r.file)
	}
	for ctx.Err() == nil {
		following, stop := context.WithCancel(ctx)
		if r.path != "" {
			follow(following, r.named)
		}
		r.reloads(ctx)
		stop()
	}
}

// reloads is run until ctx is done or other files are to be watched.
func (r *reloader) reloads(ctx context.Context) {
	for now := r.named; now == r.named; {
		select {
		case <-ctx.Done():
			return
		case t := <-r.asked:
			r.reload(t)
		}
	}
}

// reload is one reload; its end is told to the service manager and to the log.
func (r *reloader) reload(t trigger) {
	program.Notify(r.log, program.Reloading+"\n"+daemon.SdNotifyMonotonicUsec())
	defer program.Notify(r.log, program.Ready)
	if r.path == "" {
		r.log.Warn("there is no configuration to read again, nothing has changed; start with -c FILE")
		return
	}
	waiting, err := r.apply()
	r.note(err == nil, time.Now())
	log := r.log.With("trigger", string(t))
	if err != nil {
		log.Error("configuration refused: the old one goes on", "config", r.path)
		for _, line := range lines(err) {
			log.Error("configuration refused", "problem", line)
		}
		return
	}
	log.Info("configuration applied", "config", r.path)
	for _, key := range waiting {
		log.Warn("a change waits for a restart", "key", key)
	}
}

// apply reads everything again, and applies what can be. What waits for a restart is returned. With an error nothing has changed.
func (r *reloader) apply() (waiting []string, err error) {
	if info, err := os.Stat(r.path); err == nil && !info.Mode().IsRegular() { // reading it might never end
		return nil, config.Problems{{File: r.path, What: "is not a regular file: it cannot be read again"}}
	}
	c, err := config.Load(r.path)
	if err != nil {
		return nil, err
	}
	if err := r.watch(&c); err != nil {
		return nil, err
	}
	t, err := readTokens(&c)
	if err != nil {
		return nil, err
	}
	if waiting, err = r.node.Reload(c); err != nil {
		return nil, err
	}
	return append(waiting, t.changed(r.running)...), nil
}

func (r *reloader) note(ok bool, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = !ok
	if ok {
		r.succeeded = at
	}
}

// last returns whether the last reload was applied, and when one last was, the start included. Any goroutine may call it.
func (r *reloader) last() (ok bool, succeeded time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.refused, r.succeeded
}

// lines takes an error apart for the log, a line each.
func lines(err error) []string {
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		return []string{err.Error()}
	}
	list := make([]string, len(problems))
	for i, p := range problems {
		list[i] = p.String()
	}
	return list
}
