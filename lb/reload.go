package lb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/mqttlb/mqttlb/lb/config"
)

// A Trigger is what asked for a reload, for the log.
type Trigger string

// The triggers.
const (
	FileChanged Trigger = "file"
	Signal      Trigger = "signal"
	API         Trigger = "api"
)

// ErrStopping is the error of a reload that comes too late.
var ErrStopping = errors.New("the process is stopping: start it again to use the new configuration")

type reloadRequest struct {
	trigger Trigger
	reply   chan<- reloadOutcome // capacity 1
}

type reloadOutcome struct {
	change config.Change
	err    error
}

// Reload reads the configuration again and applies it, all or nothing. The error is a
// config.Problems when the files are at fault: then nothing has changed. Reloads are done one after
// the other; ctx bounds the wait, not the reload.
func (s *Server) Reload(ctx context.Context, by Trigger) (config.Change, error) {
	reply := make(chan reloadOutcome, 1)
	select {
	case s.requests <- reloadRequest{by, reply}:
	case <-s.stopping:
		return config.Change{}, ErrStopping
	case <-ctx.Done():
		return config.Change{}, fmt.Errorf("wait for another reload to end: %w", context.Cause(ctx))
	}
	select {
	case r := <-reply:
		return r.change, r.err
	case <-ctx.Done():
		return config.Change{}, fmt.Errorf("wait for the reload: %w", context.Cause(ctx))
	}
}

// reloads does all reloads, until ctx is done.
func (s *Server) reloads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.watcher.Changed():
			s.reload(ctx, FileChanged)
		case r := <-s.requests:
			change, err := s.reload(ctx, r.trigger)
			r.reply <- reloadOutcome{change, err}
		}
	}
}

func (s *Server) reload(ctx context.Context, by Trigger) (config.Change, error) {
	s.tell(Reloading)
	defer s.tell(Serving)
	change, err := s.apply(ctx)
	if errors.Is(err, ErrStopping) {
		return change, err
	}
	s.history.note(err == nil, time.Now())
	switch {
	case err != nil:
		s.log.Error("configuration refused: the old one goes on", "trigger", string(by), "config", s.path)
		for _, line := range problemLines(err) {
			s.log.Error("configuration refused", "trigger", string(by), "problem", line)
		}
	case change.Empty():
		s.log.Info("configuration read again, nothing to do", "trigger", string(by))
	default:
		s.log.Info("configuration applied", "trigger", string(by), "config", s.path)
		for _, line := range change.Lines() {
			s.log.Info("configuration applied", "trigger", string(by), "change", line)
		}
	}
	return change, err
}

// apply is one reload: what may fail comes first, and changes nothing.
func (s *Server) apply(ctx context.Context) (config.Change, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.isStopping() {
		return config.Change{}, ErrStopping
	}
	if info, err := os.Stat(s.path); err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeDevice|fs.ModeSocket) != 0 {
		// Reading it might never end, and the stop would wait for it.
		return config.Change{}, config.Problems{{File: s.path, What: "is no longer a regular file: it cannot be read again"}}
	}
	cfg, err := config.Load(s.path)
	s.watcher.Follow(cfg, err)
	if err != nil {
		return config.Change{}, err
	}
	old := s.generation()
	change := config.Diff(old.cfg, cfg)
	g, err := s.prepare(cfg, time.Now())
	if err != nil {
		return config.Change{}, err
	}
	if change.Empty() {
		return change, nil
	}
	opened, err := s.openPorts(ctx, g)
	if err != nil {
		return config.Change{}, err
	}
	s.commit(g, opened)
	s.endRemoved(old, g)
	s.warnUncovered(old, g)
	return change, nil
}

// commit makes g the current generation. It cannot fail. What is new is known before anybody can use it, and
// what left is forgotten after nobody new can.
func (s *Server) commit(g *generation, opened []*port) {
	if places := s.sessionLimit(g.cfg); places != 0 {
		// Each listener waits for its next connection with a place in hand, and no descriptor yet.
		s.descriptors.Set(max(places, 1) + len(g.frontends))
	}
	s.closePorts(func(p *port) bool { return g.byKey[p.key] == nil })
	for _, f := range g.frontends {
		f.door.gate.Set(f.cfg.MaxConnections)
	}
	s.know(g)
	s.current.Store(g)
	s.forget(g)
	s.monitor.Set(g.targets())
	for _, m := range g.members {
		s.syncHealth(m)
	}
	s.followPorts(g, opened)
	if s.level != nil {
		s.level.Set(g.cfg.Log.Level)
	}
}

// warnUncovered tells of authorities whose clients are all refused, because client_crl has no list of theirs. Old is
// nil at the start.
func (s *Server) warnUncovered(old, g *generation) {
	for _, f := range g.frontends {
		before := old.frontend(f.cfg.Name)
		if f.revoked == nil || before != nil && before.clientTrust == f.clientTrust {
			continue
		}
		if list := f.revoked.Uncovered(); len(list) > 0 {
			s.log.Warn("client_crl has no list of these authorities of client_ca: their clients are refused", "listener", f.cfg.Name, "authorities", list)
		}
	}
}

// endRemoved ends the sessions of servers that left, where their backend says so.
func (s *Server) endRemoved(old, g *generation) {
	for _, p := range old.pools {
		if p.cfg.OnMarkedDown != config.MarkedDownClose {
			continue
		}
		for _, m := range p.members {
			if g.members[m.key()] == nil {
				s.closeSessions(m, ServerRemoved)
			}
		}
	}
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// problemLines takes an error apart for the log, a line each.
func problemLines(err error) []string {
	var problems config.Problems
	if !errors.As(err, &problems) {
		return []string{err.Error()}
	}
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.String()
	}
	return lines
}

// A reloadHistory is how the last reload ended, and when one last succeeded; the start counts as one. It may be used from
// any goroutine.
type reloadHistory struct {
	mu        sync.Mutex // guards the fields below
	failed    bool
	succeeded time.Time
}

func (h *reloadHistory) note(ok bool, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = !ok
	if ok {
		h.succeeded = at
	}
}

func (h *reloadHistory) read() (ok bool, succeeded time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.failed, h.succeeded
}
