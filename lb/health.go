package lb

import (
	"github.com/mqttlb/mqttlb/health"
	"github.com/mqttlb/mqttlb/lb/config"
)

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

// closeSessions ends the sessions that m has now; whoever is still on the way to m goes to another server.
func (s *Server) closeSessions(m *member, cause Reason) {
	conns := s.live.of(m)
	for _, c := range conns {
		c.evict(m, cause)
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
				ProxyHeader: int(proxyVersion(p.cfg.SendProxy)),
				Paused:      srv.State == config.StateMaint,
			})
		}
	}
	return list
}

// checkType is health's name for a value of check.type.
func checkType(name string) health.Type {
	switch name {
	case config.CheckMQTT:
		return health.MQTT
	case config.CheckNone:
		return health.None
	}
	return health.TCP
}

func (p *pool) check() health.Check {
	c := p.cfg.Check
	return health.Check{
		Type: checkType(c.Type), Interval: c.Interval, FastInterval: c.FastInterval,
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
