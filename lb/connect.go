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

// connect finds a server that takes the connection: the one that balancing says, then others.
func (c *conn) connect(ctx context.Context) error {
	var tried []int
	var last error
	for range 1 + c.f.pool.cfg.Retries {
		i, ok := c.pick(&tried)
		if !ok {
			break
		}
		err := c.reach(ctx, i)
		if err == nil {
			return nil
		}
		c.leave()
		if ctx.Err() != nil || noDescriptors(err) {
			return refuse(NoDescriptors, err)
		}
		last = err
	}
	if last != nil {
		return refuse(DialFailed, last)
	}
	return refuse(NoServer, fmt.Errorf("backend %s has no usable server", c.f.pool.cfg.Name))
}

// pick chooses a server that was not tried yet, and counts the session there.
func (c *conn) pick(tried *[]int) (int, bool) {
	p := c.f.pool
	for {
		i, ok := p.picker.Pick(c.source.Addr(), func(i int) bool {
			return !slices.Contains(*tried, i) && p.usable(i)
		})
		if !ok {
			return 0, false
		}
		*tried = append(*tried, i)
		if m := p.members[i]; m.reserve(p.cfg.Servers[i].MaxConnections) {
			c.member.Store(m)
			return i, true
		}
	}
}

// leave takes the session off the server that pick counted it to.
func (c *conn) leave() {
	if m := c.member.Swap(nil); m != nil {
		m.release()
	}
}

// reach dials server i and sends what goes first: the PROXY header, then what the client has said.
func (c *conn) reach(ctx context.Context, i int) error {
	p, m := c.f.pool, c.member.Load()
	begun := time.Now()
	server, err := c.dial(ctx, p.cfg.Servers[i].Address)
	if ctx.Err() == nil && !noDescriptors(err) {
		c.s.monitor.Report(m.key(), err)
	}
	if err != nil {
		m.connectErrors.Add(1)
		return fmt.Errorf("connect to server %s: %w", m.key(), err)
	}
	m.connectSeconds.Observe(time.Since(begun).Seconds())
	if err := c.begin(server); err != nil {
		server.Close()
		m.connectErrors.Add(1)
		return fmt.Errorf("begin with server %s: %w", m.key(), err)
	}
	c.server = server
	m.total.Add(1)
	return nil
}

// dial opens a connection within connect_timeout, the resolving of a name included.
func (c *conn) dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.f.pool.cfg.ConnectTimeout, KeepAliveConfig: tcpKeepAlive}
	return d.DialContext(ctx, "tcp", address)
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
	if err := server.SetWriteDeadline(time.Now().Add(c.f.pool.cfg.ConnectTimeout)); err != nil {
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
