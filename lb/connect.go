package lb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"
)

// connect finds a server that takes the connection: the one that balancing says, then others. The servers are those of
// now: a client that took its time before it completed CONNECT must not reach one that left meanwhile.
func (c *conn) connect(ctx context.Context) error {
	var tried []*member
	var last error
	c.pool = c.currentPool()
	for reached := 0; reached <= c.pool.cfg.Retries; {
		i, ok := c.pick(&tried)
		if !ok {
			break
		}
		if !c.stillKnown() {
			c.leave() // a reload has removed it since
			continue
		}
		err := c.reach(ctx, i)
		if err == nil {
			return nil
		}
		c.leave()
		if ctx.Err() != nil || noDescriptors(err) { // with ctx done the cause of close stands in for this: see refused
			return refuse(NoDescriptors, err)
		}
		last = err
		reached++
	}
	if last != nil {
		return refuse(DialFailed, last)
	}
	return refuse(NoServer, fmt.Errorf("backend %s has no usable server", c.pool.cfg.Name))
}

// currentPool is the backend as it is now, or as it was at accept when it has been removed.
func (c *conn) currentPool() *pool {
	if p := c.s.generation().backend(c.f.cfg.Backend); p != nil {
		return p
	}
	return c.f.pool
}

// pick chooses a server that was not tried yet, and counts the session there.
func (c *conn) pick(tried *[]*member) (int, bool) {
	c.pool = c.currentPool()
	p := c.pool
	for {
		i, ok := p.picker.Pick(c.source.Addr(), func(i int) bool {
			return !slices.Contains(*tried, p.members[i]) && p.usable(i)
		})
		if !ok {
			return 0, false
		}
		m := p.members[i]
		*tried = append(*tried, m)
		if m.reserve(p.cfg.Servers[i].MaxConnections) {
			c.member.Store(m)
			return i, true
		}
	}
}

// stillKnown reports whether the picked server is one of now: then, because the session was counted before, a reload that
// removes it finds the session. When the whole backend is gone, what was at accept counts.
func (c *conn) stillKnown() bool {
	g, m := c.s.generation(), c.member.Load()
	return g.members[m.key()] == m || g.backend(m.backend) == nil
}

// leave takes the session off the server that pick counted it to.
func (c *conn) leave() {
	if m := c.member.Swap(nil); m != nil {
		m.release()
	}
}

// errEvicted is the error of an attempt whose server went down, or left the configuration, in the middle.
var errEvicted = errors.New("the server went down meanwhile")

// reach dials server i and sends what goes first: the PROXY header, then what the client has said.
func (c *conn) reach(ctx context.Context, i int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	c.attempt, c.evicted = cancel, false
	c.mu.Unlock()
	m := c.member.Load()
	server, err := c.dial(ctx, m, c.pool.cfg.Servers[i].Address)
	if err != nil {
		return err
	}
	if err := c.begin(server); err != nil {
		server.Close()
		m.connectErrors.Add(1)
		return fmt.Errorf("begin with server %s: %w", m.key(), err)
	}
	if c.isEvicted() {
		server.Close()
		return errEvicted
	}
	c.server = server
	m.total.Add(1)
	return nil
}

func (c *conn) isEvicted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evicted
}

// dial opens a connection within connect_timeout, the resolving of a name included, and tells health how it went.
func (c *conn) dial(ctx context.Context, m *member, address string) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, c.pool.cfg.ConnectTimeout)
	defer cancel()
	begun := time.Now()
	server, err := c.s.sockets.Dial(limited, address, keepAlive())
	switch {
	case err == nil:
		c.s.monitor.Report(m.key(), nil)
		m.connectSeconds.Observe(time.Since(begun).Seconds())
		return server, nil
	case c.isEvicted():
		return nil, errEvicted
	case ctx.Err() == nil && !noDescriptors(err):
		c.s.monitor.Report(m.key(), err)
		m.connectErrors.Add(1)
	}
	return nil, fmt.Errorf("connect to server %s: %w", m.key(), err)
}

// begin writes the first bytes that the server gets, in one write.
func (c *conn) begin(server net.Conn) error {
	header, err := c.proxyHeader()
	if err != nil {
		return err
	}
	first := append(header, c.first...)
	if len(first) == 0 {
		return nil
	}
	if err := server.SetWriteDeadline(time.Now().Add(c.pool.cfg.ConnectTimeout)); err != nil {
		return err
	}
	if _, err := server.Write(first); err != nil {
		return err
	}
	n := uint64(len(c.first))
	c.f.door.traffic.In.Add(n)
	c.member.Load().traffic.In.Add(n)
	c.sent = n
	return server.SetWriteDeadline(time.Time{})
}

// noDescriptors reports whether a dial failed for want of a descriptor, which is no fault of the server.
func noDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
