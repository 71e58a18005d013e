package broker

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync/atomic"

	"github.com/mqttlb/mqttlb/broker/access"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/topic"
	"github.com/mqttlb/mqttlb/broker/wire"
)

// loadAccess reads the files that say who may do what.
func loadAccess(c *config.Config) (*access.Snapshot, config.Problems) {
	s, err := access.Load(c.Auth.UsersFile, c.ACLFile, c.Auth.AllowAnonymous)
	var found access.Problems
	if !errors.As(err, &found) {
		return s, nil
	}
	var problems config.Problems
	for _, p := range found {
		problems = append(problems, config.Problem{File: p.File, Line: p.Line, What: p.What})
	}
	return nil, problems
}

// login is a CONNECT whose password is being verified on another goroutine.
type login struct {
	user     string
	snapshot *access.Snapshot
	cancel   context.CancelFunc // nobody waits for it any more
	outcome  atomic.Uint32      // an access.Outcome, MustVerify until it is known
}

// authenticate finds out whether the client may connect, and as whom. With wire.Wait it is called again when that is known.
func (c *conn) authenticate(p *packet.Connect) (wire.Verdict, error) {
	snapshot := c.b.access.Load()
	if l := c.fresh.login; l != nil {
		outcome := access.Outcome(l.outcome.Load())
		if outcome == access.MustVerify {
			return wire.Wait, nil
		}
		c.fresh.login = nil
		if outcome != access.Allowed || l.snapshot == snapshot {
			return c.admitted(outcome, l.user)
		} // else what allowed it was replaced meanwhile: once more, which is quick where nothing has changed for this user
	}
	asked := access.Login{Name: string(p.Username), HasName: p.Username != nil, Password: p.Password, HasPassword: p.Password != nil}
	if c.l.PeerCertAsUsername == config.CommonName {
		asked.Proven = c.fresh.identity
		c.proven = asked.Proven != ""
	}
	outcome, user := snapshot.Decide(asked)
	if outcome != access.MustVerify {
		return c.admitted(outcome, user)
	}
	if c.b.verifier.Check(snapshot, user, p.Password) {
		return c.admitted(access.Allowed, user)
	}
	l := &login{user: user, snapshot: snapshot}
	l.outcome.Store(uint32(access.MustVerify))
	ctx, cancel := context.WithDeadline(context.Background(), c.deadline())
	l.cancel = cancel
	if !c.b.verifier.Submit(ctx, snapshot, user, p.Password, func(o access.Outcome) {
		cancel()
		l.outcome.Store(uint32(o))
		c.Resume()
	}) {
		cancel()
		return c.admitted(access.Busy, user)
	}
	c.fresh.login = l
	return wire.Wait, nil
}

func (c *conn) admitted(o access.Outcome, user string) (wire.Verdict, error) {
	switch o {
	case access.Allowed:
		c.fresh.user = user
		return wire.Done, nil
	case access.BadCredentials:
		return 0, refuse(packet.BadUsernameOrPassword, "bad user name or password")
	case access.Busy:
		return 0, refuse(packet.ServerBusy, "too many passwords wait to be verified")
	}
	return 0, refuse(packet.NotAuthorized, "a user name and a password are wanted")
}

// mayPublish reports whether the client may publish to a topic.
func (b *Broker) mayPublish(user, clientID, name string) bool {
	return !isSystem(name) && b.access.Load().Rules().MayPublish(user, clientID, name)
}

// maySubscribe says whether a filter is granted, as the client wrote it. s.mu is held.
func (s *session) maySubscribe(filter string) bool {
	rules := s.b.access.Load().Rules()
	if rules == nil {
		return true
	}
	_, bare, err := topic.ParseFilter(filter)
	if err != nil {
		return true // which subscribe tells
	}
	switch rules.MaySubscribe(s.user, s.id, bare) {
	case access.Refused:
		return false
	case access.Filtered:
		s.filtered = true
	}
	return true
}

// mayRead reports whether a message may go to the client: some of what it subscribes to may be denied. s.mu is held.
func (s *session) mayRead(name string) bool {
	return !s.filtered || s.b.access.Load().Rules().MayRead(s.user, s.id, name)
}

// Reload applies what of a configuration can change while the node runs: who may connect, publish and subscribe (auth, acl_file). It is all or
// nothing: the error is config.Problems. What else differs from the configuration that runs is returned, as the names of sections:
// it waits for a restart. Clients whose user is gone, or who are anonymous where that is not allowed any more, are disconnected; of
// what others subscribe to they get only what they may read now. It may be called from any goroutine.
func (b *Broker) Reload(c config.Config) (waiting []string, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	snapshot, problems := loadAccess(&c)
	if len(problems) > 0 {
		return nil, problems
	}
	b.access.Store(snapshot)
	b.eachSession(func(s *session) {
		s.mu.Lock()
		conn := s.conn
		s.filtered = s.filtered || snapshot.Rules() != nil
		s.mu.Unlock()
		if conn != nil {
			conn.review(s, snapshot)
		}
	})
	b.log.Info("access rules reloaded", slog.String("users_file", c.Auth.UsersFile), slog.String("acl_file", c.ACLFile), slog.Bool("allow_anonymous", c.Auth.AllowAnonymous))
	return b.differences(&c), nil
}

// review ends the connection if its client could not connect any more as who it is.
func (c *conn) review(s *session, snapshot *access.Snapshot) {
	if !c.proven && !snapshot.Knows(s.user) {
		c.end(&ending{administrative, packet.NotAuthorized, errors.New("its user may not connect any more")})
	}
}

// differences names the sections in which c differs from the configuration that runs, but for those that Reload applies.
func (b *Broker) differences(c *config.Config) (sections []string) {
	is := &b.config
	for _, s := range []struct {
		name    string
		was, is any
	}{
		{"node", is.Node, c.Node}, {"data_dir", is.DataDir, c.DataDir}, {"listeners", is.Listeners, c.Listeners},
		{"api", is.API, c.API}, {"dashboard", is.Dashboard, c.Dashboard}, {"limits", is.Limits, c.Limits}, {"session", is.Session, c.Session},
	} {
		if !reflect.DeepEqual(s.was, s.is) {
			sections = append(sections, s.name)
		}
	}
	return sections
}

// verify runs the goroutines that verify passwords, for as long as the node runs.
func (b *Broker) verify(ctx context.Context) {
	if err := b.verifier.Run(ctx); err != nil && ctx.Err() == nil {
		b.log.Error("passwords are not verified any more", slog.Any("error", err))
	}
}
