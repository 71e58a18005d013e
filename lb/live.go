package lb

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// A liveSet is the connections that are open. It may be used from any goroutine; the zero set is empty.
type liveSet struct {
	mu    sync.Mutex // guards the fields below
	conns map[*conn]struct{}
	empty chan struct{} // closed when the last is gone; nil: nobody waits
}

func (l *liveSet) add(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = make(map[*conn]struct{})
	}
	l.conns[c] = struct{}{}
}

func (l *liveSet) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	if len(l.conns) > 0 {
		return
	}
	l.conns = nil // a map keeps the memory of the most that it ever held
	if l.empty != nil {
		close(l.empty)
		l.empty = nil
	}
}

func (l *liveSet) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

func (l *liveSet) all() []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.conns))
}

// of returns the connections that a member has.
func (l *liveSet) of(m *member) []*conn {
	return slices.DeleteFunc(l.all(), func(c *conn) bool { return c.member.Load() != m })
}

// drained returns a channel that is closed when no connection is open. It is called once, when no
// newcomer can come any more.
func (l *liveSet) drained() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	empty := make(chan struct{})
	if len(l.conns) == 0 {
		close(empty)
		return empty
	}
	l.empty = empty
	return empty
}

// maxLines bounds the lines about single failed connections, each second: an attack must not fill the disk.
const maxLines = 100

// A lineLimit lets maxLines through each second and tells how many it did not. It may be used from any goroutine.
type lineLimit struct {
	mu      sync.Mutex // guards the fields below
	second  int64
	passed  int
	dropped int
}

func (l *lineLimit) allow(log *slog.Logger, now time.Time) bool {
	ok, dropped := l.count(now.Unix())
	if dropped > 0 {
		log.Warn("lines about ended connections left out: too many a second", "lines", dropped)
	}
	return ok
}

// count counts one line, and returns how many were dropped in the second before when a new one begins.
func (l *lineLimit) count(second int64) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second != l.second {
		dropped = l.dropped
		l.second, l.passed, l.dropped = second, 0, 0
	}
	if l.passed == maxLines {
		l.dropped++
		return false, dropped
	}
	l.passed++
	return true, dropped
}
