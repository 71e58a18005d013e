package lb

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/lb/balance"
	"github.com/mqttlb/mqttlb/lb/config"
)

// A generation is one configuration, ready to serve. It is immutable; a connection uses the
// one that was current when it was accepted.
type generation struct {
	cfg       *config.Config
	frontends []*frontend // in the order of cfg.Listeners
	pools     []*pool     // in the order of cfg.Backends
	byKey     map[string]*frontend
	members   map[string]*member // by memberKey
	token     []byte             // of the admin API, nil for none
}

// A frontend is a listener of one generation.
type frontend struct {
	cfg     config.Listener
	door    *door
	pool    *pool
	tls     *tls.Config   // nil = plain TCP
	certs   *certs.Set    // nil = plain TCP
	timeout time.Duration // from accept to the end of the CONNECT

	handshakeSeconds prometheus.Observer // nil = plain TCP; set by know, before anybody uses the frontend
	revoked          *certs.Revoked      // nil = no client_crl
	clientTrust      string              // fingerprints of client_ca and client_crl
	validAt          time.Time           // when all of it was found valid
}

// A pool is a backend of one generation.
type pool struct {
	cfg     config.Backend
	members []*member // in the order of cfg.Servers
	picker  *balance.Picker
}

// plainTimeout is how long a client on a plain listener may take to complete CONNECT, its PROXY header included; TLS
// listeners have handshake_timeout for that.
const plainTimeout = 15 * time.Second

// prepare makes a generation of cfg. What lives on of earlier ones is found by name. It opens no
// port and changes nothing; the error is a config.Problems.
func (s *Server) prepare(cfg *config.Config, now time.Time) (*generation, error) {
	old := s.generation()
	g := &generation{cfg: cfg, byKey: make(map[string]*frontend), members: make(map[string]*member)}
	var problems config.Problems
	for _, b := range cfg.Backends {
		g.pools = append(g.pools, s.newPool(g, b))
	}
	for i, l := range cfg.Listeners {
		f := &frontend{cfg: l, door: s.door(l.Name), pool: g.backend(l.Backend), timeout: plainTimeout}
		if l.TLS != nil {
			f.timeout = l.TLS.HandshakeTimeout
			problems = append(problems, s.terminate(f, old.frontend(l.Name), tlsSection{cfg, fmt.Sprintf("listeners[%d].tls", i), now})...)
		}
		g.frontends = append(g.frontends, f)
		g.byKey[portKey(l)] = f
	}
	token, err := readToken(cfg.Admin.TokenFile)
	if err != nil {
		problems = append(problems, cfg.Problem("admin.token_file", err.Error()))
	}
	g.token = token
	if len(problems) > 0 {
		return nil, problems
	}
	s.setTickets(g, now)
	return g, nil
}

// newPool makes the pool of b, and enters its members into g.
func (s *Server) newPool(g *generation, b config.Backend) *pool {
	p := &pool{cfg: b}
	list := make([]balance.Member, len(b.Servers))
	for i, srv := range b.Servers {
		m := s.member(b.Name, srv.Name)
		g.members[m.key()] = m
		p.members = append(p.members, m)
		list[i] = balance.Member{Name: srv.Name, Weight: srv.Weight, Backup: srv.Backup}
	}
	p.picker = balance.New(balance.Options{
		Policy:  balance.Policy(b.Balance),
		Hash:    balance.Hash(b.Hash),
		Members: list,
		Active:  func(i int) int { return int(p.members[i].active.Load()) },
	})
	return p
}

// backend finds a backend by name; nil when there is none.
func (g *generation) backend(name string) *pool {
	for _, p := range g.pools {
		if p.cfg.Name == name {
			return p
		}
	}
	return nil
}

// frontend finds a listener by name; nil when there is none. A nil generation has none.
func (g *generation) frontend(name string) *frontend {
	if g == nil {
		return nil
	}
	for _, f := range g.frontends {
		if f.cfg.Name == name {
			return f
		}
	}
	return nil
}

// usable reports whether server i may have a newcomer.
func (p *pool) usable(i int) bool {
	srv, m := &p.cfg.Servers[i], p.members[i]
	return srv.State == config.StateReady && m.up.Load() &&
		(srv.MaxConnections == 0 || m.active.Load() < int64(srv.MaxConnections))
}

// anyUsable reports whether a newcomer would find a server: a full one counts, it works.
func (p *pool) anyUsable() bool {
	for i, m := range p.members {
		if p.cfg.Servers[i].State == config.StateReady && p.cfg.Servers[i].Weight > 0 && m.up.Load() {
			return true
		}
	}
	return false
}

// portKey names the port of a listener, so that a reload finds the socket that is open already. A
// port that the kernel chooses belongs to its listener alone.
func portKey(l config.Listener) string {
	key := l.Listen
	if _, port, err := net.SplitHostPort(l.Listen); err == nil && port == "0" {
		key += " of " + l.Name
	}
	if l.ReusePort {
		key += " shared"
	}
	return key
}

// trusted reports whether peer may send a PROXY header.
func (f *frontend) trusted(peer netip.Addr) bool {
	for _, prefix := range f.cfg.TrustedProxies {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}

func readToken(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the bearer token: %w", err)
	}
	token := bytes.TrimSpace(text)
	if len(token) == 0 {
		return nil, errors.New("the token file is empty: write a long random word into it, such as the output of `openssl rand -hex 32`")
	}
	return token, nil
}
