package lb

import (
	"maps"
	"slices"
	"sync"
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
