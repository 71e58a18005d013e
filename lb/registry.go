package lb

import (
	"maps"

	"github.com/mqttlb/mqttlb/health"
	"github.com/mqttlb/mqttlb/lb/config"
)

// A registry is what lives of listeners and servers across reloads, by name. What left the
// configuration stays as long as it has connections: they are still counted, and a name that
// returns finds its own again. The Server's mu guards it.
type registry struct {
	doors   map[string]*door
	members map[string]*member // by key
}

func newRegistry() registry {
	return registry{doors: make(map[string]*door), members: make(map[string]*member)}
}

// keep enters what g uses and forgets what nobody uses any more.
func (r registry) keep(g *generation, metrics *Metrics) {
	for _, f := range g.frontends {
		r.doors[f.cfg.Name] = f.door
		if f.tls != nil {
			metrics.handshake.WithLabelValues(f.cfg.Name) // there from the start, at 0
		}
	}
	for key, m := range g.members {
		if r.members[key] == nil {
			m.observe(metrics)
			r.members[key] = m
		}
	}
	maps.DeleteFunc(r.doors, func(name string, d *door) bool {
		gone := g.frontend(name) == nil && d.connections.Load() == 0
		if gone {
			metrics.handshake.DeleteLabelValues(name)
		}
		return gone
	})
	maps.DeleteFunc(r.members, func(key string, m *member) bool {
		gone := g.members[key] == nil && m.active.Load() == 0
		if gone {
			metrics.forget(m)
		}
		return gone
	})
}

// door finds or makes what lives of a listener.
func (s *Server) door(name string) *door {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.known.doors[name]; d != nil {
		return d
	}
	return newDoor(name)
}

// member finds or makes what lives of a server.
func (s *Server) member(backend, server string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.known.members[memberKey(backend, server)]; m != nil {
		return m
	}
	return newMember(backend, server)
}

// knownMember finds a member by its key; nil when nobody knows it.
func (s *Server) knownMember(key string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.members[key]
}

// healthChanged is health's OnChange: newcomers follow at once, sessions by on_marked_down.
func (s *Server) healthChanged(c health.Change) {
	m := s.knownMember(c.Key)
	if m == nil {
		return
	}
	s.syncHealth(m)
	if c.Cause == health.ByCheck && !c.CheckUp && s.closesOnDown(m.backend) {
		s.closeSessions(m, MarkedDown)
	}
}

// syncHealth stores in m what health says now.
func (s *Server) syncHealth(m *member) {
	s.healthMu.Lock()
	defer s.healthMu.Unlock()
	if status, known := s.monitor.Status(m.key()); known {
		m.up.Store(status.Up)
	}
}

// checked is health's OnResult.
func (s *Server) checked(key string, r health.Result) {
	if m := s.knownMember(key); m != nil {
		m.checks[r.Outcome].Add(1)
		m.checkSeconds.Observe(r.Latency.Seconds())
	}
}

// closesOnDown reports whether the sessions of a server of this backend end when it goes down.
func (s *Server) closesOnDown(backend string) bool {
	p := s.generation().backend(backend)
	return p != nil && p.cfg.OnMarkedDown == config.MarkedDownClose
}

// closeSessions ends the sessions that m has now.
func (s *Server) closeSessions(m *member, cause Reason) {
	conns := s.live.of(m)
	for _, c := range conns {
		c.close(cause)
	}
	if len(conns) > 0 {
		s.log.Info("sessions closed", "server", m.key(), "reason", cause.String(), "sessions", len(conns))
	}
}

// targets is what health is to watch for g.
func (g *generation) targets() []health.Target {
	var list []health.Target
	for _, p := range g.pools {
		for i, srv := range p.cfg.Servers {
			list = append(list, health.Target{
				Key:         p.members[i].key(),
				Address:     srv.Address,
				Check:       p.check(),
				Passive:     p.passive(),
				ProxyHeader: int(proxyVersions[p.cfg.SendProxy]),
				Paused:      srv.State == config.StateMaint,
			})
		}
	}
	return list
}

// checkTypes are health's names for the values of check.type.
var checkTypes = map[string]health.Type{config.CheckTCP: health.TCP, config.CheckMQTT: health.MQTT, config.CheckNone: health.None}

func (p *pool) check() health.Check {
	c := p.cfg.Check
	return health.Check{
		Type: checkTypes[c.Type], Interval: c.Interval, FastInterval: c.FastInterval,
		DownInterval: c.DownInterval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall,
	}
}

// passive is off where there is one server alone: taking it out would serve nobody
// (ngx_stream_upstream_module, max_fails).
func (p *pool) passive() health.Passive {
	if len(p.members) == 1 {
		return health.Passive{}
	}
	return health.Passive{MaxFails: p.cfg.Passive.MaxFails, FailTimeout: p.cfg.Passive.FailTimeout}
}
