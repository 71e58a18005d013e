package lb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
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
		s.log.Error("configuration refused, the old one goes on", "trigger", string(by), "config", s.path)
		for _, line := range problemLines(err) {
			s.log.Error("configuration refused because", "problem", line)
		}
	case change.Empty():
		s.log.Info("configuration read again, nothing to do", "trigger", string(by))
	default:
		s.log.Info("configuration applied", "trigger", string(by), "config", s.path)
		for _, line := range change.Lines() {
			s.log.Info("configuration changed", "change", line)
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
	return change, nil
}

// commit makes g the current generation. It cannot fail.
func (s *Server) commit(g *generation, opened []*port) {
	s.closePorts(func(p *port) bool { return g.byKey[p.key] == nil })
	for _, f := range g.frontends {
		f.door.gate.setLimit(f.cfg.MaxConnections)
		if f.revoked != nil && len(f.revoked.Uncovered()) > 0 {
			s.log.Warn("client_ca has authorities that client_crl has no list of: their clients are refused", "listener", f.cfg.Name, "authorities", f.revoked.Uncovered())
		}
	}
	s.mu.Lock()
	s.known.keep(g, s.metrics)
	s.mu.Unlock()
	s.current.Store(g)
	s.monitor.Set(g.targets())
	for _, m := range g.members {
		s.syncHealth(m)
	}
	for _, p := range opened {
		s.mu.Lock()
		s.ports[p.key] = p
		s.mu.Unlock()
		s.start(p)
	}
	if s.level != nil {
		s.level.Set(g.cfg.Log.Level)
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

// closePorts closes the ports that gone names, and waits until they accept nobody.
func (s *Server) closePorts(gone func(*port) bool) {
	s.mu.Lock()
	closing := slices.DeleteFunc(slices.Collect(maps.Values(s.ports)), func(p *port) bool { return !gone(p) })
	for _, p := range closing {
		delete(s.ports, p.key)
	}
	s.mu.Unlock()
	for _, p := range closing {
		p.close()
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

// explainBusy says of a port that cannot be opened what is different when it is this process that
// has it: a listener that moves to another address of the same port would need it twice.
func (s *Server) explainBusy(err error, f *frontend) string {
	_, want, _ := net.SplitHostPort(f.cfg.Listen)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		if _, have, _ := net.SplitHostPort(p.socket.Addr().String()); have == want && errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Sprintf("listen on %s: this process listens on %s until the reload is done, and the two exclude each other: "+
				"restart it, or reload twice, with another port in between", f.cfg.Listen, p.socket.Addr())
		}
	}
	return err.Error()
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

// A reloadHistory is how the last reload ended, and when one last succeeded: the start counts.
// It may be used from any goroutine.
type reloadHistory struct {
	mu        sync.Mutex // guards the fields below
	failed    bool
	succeeded time.Time // zero: at the start
}

func (h *reloadHistory) note(ok bool, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = !ok
	if ok {
		h.succeeded = at
	}
}

func (h *reloadHistory) read(start time.Time) (ok bool, succeeded time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.succeeded.IsZero() {
		return !h.failed, start
	}
	return !h.failed, h.succeeded
}
