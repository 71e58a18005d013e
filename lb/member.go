package lb

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mqttlb/mqttlb/health"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// A member is what lives of a server across reloads, found by the names of backend and server. It
// may be used from any goroutine.
type member struct {
	backend, server string

	up     atomic.Bool  // as health last said
	active atomic.Int64 // sessions, those that are still being connected included

	total         atomic.Uint64 // sessions that reached it
	connectErrors atomic.Uint64
	checks        [health.Hampered + 1]atomic.Uint64
	traffic       relay.Traffic

	connectSeconds prometheus.Observer // set by observe, before anybody uses the member
	checkSeconds   prometheus.Observer
}

func newMember(backend, server string) *member {
	m := &member{backend: backend, server: server}
	m.up.Store(true) // as health begins: up until the first failed check
	return m
}

// observe gives m its series; a configuration that is refused leaves none behind.
func (m *member) observe(h *Histograms) {
	m.connectSeconds = h.connect.WithLabelValues(m.backend, m.server)
	m.checkSeconds = h.check.WithLabelValues(m.backend, m.server)
}

// key is the member's name towards health.
func (m *member) key() string { return memberKey(m.backend, m.server) }

// memberKey joins two names, neither of which can hold a slash.
func memberKey(backend, server string) string { return backend + "/" + server }

// reserve counts one more session, unless there are limit of them already; 0 = no limit.
func (m *member) reserve(limit int) bool {
	if n := m.active.Add(1); limit > 0 && n > int64(limit) {
		m.active.Add(-1)
		return false
	}
	return true
}

func (m *member) release() { m.active.Add(-1) }
