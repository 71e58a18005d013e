package lb

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/health"
	"github.com/mqttlb/mqttlb/lb/config"
	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// Status is what the process is doing at one moment: the answer of GET /api/v1/status.
type Status struct {
	Version       string           `json:"version"` // of the program; its caller fills it in
	Started       time.Time        `json:"started"`
	UptimeSeconds float64          `json:"uptime_seconds"`
	Config        string           `json:"config"` // path
	ConfigHash    string           `json:"config_hash"`
	LastReload    ReloadStatus     `json:"last_reload"`
	Stopping      bool             `json:"stopping"`
	Listeners     []ListenerStatus `json:"listeners"`
	Backends      []BackendStatus  `json:"backends"`
}

// ReloadStatus is how the last reload ended; the start counts as one that succeeded.
type ReloadStatus struct {
	Successful  bool      `json:"successful"`
	SucceededAt time.Time `json:"succeeded_at"` // when one last did
}

// ListenerStatus is one listener. Counters begin with the process.
type ListenerStatus struct {
	Name           string            `json:"name"`
	Address        string            `json:"address"` // that it is bound to
	Backend        string            `json:"backend"`
	Protocol       string            `json:"protocol"`
	TLS            bool              `json:"tls"`
	Accepting      bool              `json:"accepting"`
	Connections    int64             `json:"connections"`     // open now
	MaxConnections int               `json:"max_connections"` // 0 = no limit
	Ended          map[string]uint64 `json:"ended"`           // by Reason; every reason is there
	BytesIn        uint64            `json:"bytes_in"`        // from clients, TLS taken off
	BytesOut       uint64            `json:"bytes_out"`       // to clients
	Handshakes     []HandshakeStatus `json:"tls_handshakes,omitempty"`
	Failures       map[string]uint64 `json:"tls_handshake_failures,omitempty"` // by handshake.Failure
	Certificates   []CertStatus      `json:"certificates,omitempty"`
	CRLNextUpdate  *time.Time        `json:"client_crl_next_update,omitempty"` // when the first list of client_crl is out of date
}

// HandshakeStatus counts the TLS handshakes of one kind.
type HandshakeStatus struct {
	Version string `json:"version"`
	Resumed bool   `json:"resumed"`
	Count   uint64 `json:"count"`
}

// CertStatus is one certificate of a listener.
type CertStatus struct {
	Subject  string    `json:"subject"`
	Names    []string  `json:"names"`
	NotAfter time.Time `json:"not_after"`
	KeyType  string    `json:"key_type"`
}

// BackendStatus is one backend, or what is left of one that was removed while servers of it have sessions: Removed alone.
type BackendStatus struct {
	Name    string         `json:"name"`
	Balance string         `json:"balance"`
	Usable  bool           `json:"usable"` // a newcomer would find a server
	Servers []ServerStatus `json:"servers"`
	// Removed are servers that left the configuration and still have sessions; Name, Active, Total and the
	// bytes are known of them.
	Removed []ServerStatus `json:"removed,omitempty"`
}

// ServerStatus is one server. Counters begin with the process, and survive its absence from the configuration
// only while it still has sessions.
type ServerStatus struct {
	Name          string            `json:"name"`
	Address       string            `json:"address"`
	State         string            `json:"state"` // up, down, drain, maint
	Up            bool              `json:"up"`    // as checks and live traffic say, whatever the operator decided
	Since         time.Time         `json:"since"` // when it was last found to be up or down
	Check         CheckStatus       `json:"check"`
	Checks        map[string]uint64 `json:"checks"` // by health.Outcome
	Weight        int               `json:"weight"`
	Backup        bool              `json:"backup"`
	Active        int64             `json:"active"` // sessions now
	Total         uint64            `json:"total"`  // sessions so far
	ConnectErrors uint64            `json:"connect_errors"`
	BytesIn       uint64            `json:"bytes_in"`
	BytesOut      uint64            `json:"bytes_out"`
}

// CheckStatus is the last health check of a server.
type CheckStatus struct {
	Last      string    `json:"last"` // "passed", or why it was not; "not_checked" before the first
	At        time.Time `json:"at"`
	LatencyMS float64   `json:"latency_ms"`
	Health    int       `json:"health"` // 0 … rise+fall−1
	Rise      int       `json:"rise"`
	Fall      int       `json:"fall"`
}

// Status returns what the process is doing. It is a copy: the caller owns it.
func (s *Server) Status() Status {
	g := s.generation()
	now := time.Now()
	st := Status{
		Started: s.started, UptimeSeconds: now.Sub(s.started).Seconds(),
		Config: s.path, ConfigHash: g.cfg.Hash, Stopping: s.isStopping(),
	}
	st.LastReload.Successful, st.LastReload.SucceededAt = s.history.read()
	for _, f := range g.frontends {
		st.Listeners = append(st.Listeners, s.listenerStatus(f))
	}
	for _, p := range g.pools {
		b := BackendStatus{Name: p.cfg.Name, Balance: p.cfg.Balance, Usable: p.anyUsable(), Servers: []ServerStatus{}}
		for i := range p.members {
			b.Servers = append(b.Servers, s.serverStatus(p, i))
		}
		st.Backends = append(st.Backends, b)
	}
	s.addRemoved(&st, g)
	return st
}

func (s *Server) listenerStatus(f *frontend) ListenerStatus {
	d := f.door
	l := ListenerStatus{
		Name: f.cfg.Name, Address: s.Addr(f.cfg.Name), Backend: f.cfg.Backend, Protocol: f.cfg.Protocol,
		TLS: f.tls != nil, Connections: d.connections.Load(), MaxConnections: f.cfg.MaxConnections,
		Ended: make(map[string]uint64, reasons),
	}
	l.Accepting = l.Address != "" && d.accepts(time.Now())
	l.BytesIn, l.BytesOut = transferred(&d.traffic)
	for r := range reasons {
		l.Ended[r.String()] = d.ended[r].Load()
	}
	if f.tls == nil {
		return l
	}
	l.Failures = make(map[string]uint64, handshake.Failures)
	for i := range handshake.Failures {
		l.Failures[i.String()] = d.failures[i].Load()
	}
	for v, name := range tlsVersionNames {
		for resumed := range d.handshakes[v] {
			l.Handshakes = append(l.Handshakes, HandshakeStatus{name, resumed == 1, d.handshakes[v][resumed].Load()})
		}
	}
	l.Certificates = certificates(f.certs)
	if f.revoked != nil && !f.revoked.NextUpdate().IsZero() {
		next := f.revoked.NextUpdate()
		l.CRLNextUpdate = &next
	}
	return l
}

func certificates(set *certs.Set) []CertStatus {
	var list []CertStatus
	for _, leaf := range set.Leaves() {
		list = append(list, CertStatus{Subject: leaf.Subject, Names: leaf.DNSNames, NotAfter: leaf.NotAfter, KeyType: leaf.KeyType})
	}
	return list
}

func (s *Server) serverStatus(p *pool, i int) ServerStatus {
	srv, m := p.cfg.Servers[i], p.members[i]
	known, _ := s.monitor.Status(m.key())
	st := ServerStatus{
		Name: srv.Name, Address: srv.Address, State: stateOf(srv, m), Up: m.up.Load(), Since: known.Since,
		Check:  checkStatus(known, p.cfg.Check),
		Checks: make(map[string]uint64, len(m.checks)),
		Weight: srv.Weight, Backup: srv.Backup,
		Active: m.active.Load(), Total: m.total.Load(), ConnectErrors: m.connectErrors.Load(),
	}
	st.BytesIn, st.BytesOut = transferred(&m.traffic)
	for o := range m.checks {
		if outcome := health.Outcome(o); outcome != health.NotChecked {
			st.Checks[outcome.String()] = m.checks[o].Load()
		}
	}
	return st
}

// addRemoved adds the servers that g does not have and that have sessions, to their backends, or to what is left of them.
func (s *Server) addRemoved(st *Status, g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(s.known.members)) {
		m := s.known.members[key]
		if g.members[key] != nil || m.active.Load() == 0 {
			continue
		}
		i := slices.IndexFunc(st.Backends, func(b BackendStatus) bool { return b.Name == m.backend })
		if i < 0 {
			i = len(st.Backends)
			st.Backends = append(st.Backends, BackendStatus{Name: m.backend, Servers: []ServerStatus{}})
		}
		left := ServerStatus{Name: m.server, Active: m.active.Load(), Total: m.total.Load(), ConnectErrors: m.connectErrors.Load()}
		left.BytesIn, left.BytesOut = transferred(&m.traffic)
		st.Backends[i].Removed = append(st.Backends[i].Removed, left)
	}
}

// stateOf is what the operator has decided, or what health has found out.
func stateOf(srv config.Server, m *member) string {
	switch {
	case srv.State != config.StateReady:
		return srv.State
	case m.up.Load():
		return "up"
	}
	return "down"
}

func checkStatus(known health.Status, spec config.Check) CheckStatus {
	c := CheckStatus{
		Last:      known.Last.Outcome.String(),
		At:        known.Last.At,
		LatencyMS: float64(known.Last.Latency.Microseconds()) / 1000,
		Health:    int(known.Health),
		Rise:      spec.Rise,
		Fall:      spec.Fall,
	}
	if known.Last.Reason != "" {
		c.Last = known.Last.Reason
	}
	return c
}

func transferred(t *relay.Traffic) (in, out uint64) { return t.In.Load(), t.Out.Load() }

// Unready returns why the process should get no traffic, a sentence each: a listener that does not accept,
// a backend without a usable server. None means ready.
func (s *Server) Unready() []string {
	if s.isStopping() {
		return []string{"the process is stopping"}
	}
	var why []string
	g := s.generation()
	for _, f := range g.frontends {
		switch {
		case s.Addr(f.cfg.Name) == "":
			why = append(why, fmt.Sprintf("listener %s is not open yet", f.cfg.Name))
		case !f.door.accepts(time.Now()):
			why = append(why, fmt.Sprintf("listener %s cannot accept: see the log", f.cfg.Name))
		}
	}
	for _, p := range g.pools {
		if !p.anyUsable() {
			why = append(why, fmt.Sprintf("backend %s has no usable server", p.cfg.Name))
		}
	}
	return why
}
