package lb

import "maps"

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

// know enters what g uses, before anybody can use it.
func (s *Server) know(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range g.frontends {
		s.known.doors[f.cfg.Name] = f.door
		if f.tls != nil {
			f.handshakeSeconds = s.histograms.handshake.WithLabelValues(f.cfg.Name)
		}
	}
	for key, m := range g.members {
		if s.known.members[key] == nil {
			m.observe(s.histograms)
			s.known.members[key] = m
		}
	}
}

// forget drops what neither g nor any connection uses, once nobody can begin to use it.
func (s *Server) forget(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.known.doors, func(name string, d *door) bool {
		gone := g.frontend(name) == nil && d.connections.Load() == 0
		if gone {
			s.histograms.handshake.DeleteLabelValues(name)
		}
		return gone
	})
	maps.DeleteFunc(s.known.members, func(key string, m *member) bool {
		gone := g.members[key] == nil && m.active.Load() == 0
		if gone {
			s.histograms.forget(m)
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
