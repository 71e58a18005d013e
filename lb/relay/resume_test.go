//go:build linux

package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// A cork holds what is written back, until it is pulled: then it is one segment.
type cork struct {
	net.Conn
	in   bool
	held bytes.Buffer
}

func (c *cork) Write(p []byte) (int, error) {
	if c.in {
		return c.held.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *cork) pull(t *testing.T) {
	t.Helper()
	c.in = false
	if _, err := c.Conn.Write(c.held.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// startLate relays after the first byte of a TLS client was read, with records behind it that were received and not opened.
func startLate(t *testing.T, before func(server net.Conn), records ...string) *fixture {
	t.Helper()
	p := newPlane(t, 1)
	client, a := p.connect(t)
	server, b := p.connect(t)
	f := &fixture{client: client, server: server}
	c := &cork{Conn: client}
	f.client, a = handshaken(t, c, a, new(tls.Config))
	c.in = true
	for _, r := range records {
		send(t, f.client, r)
	}
	c.pull(t)
	if _, err := io.ReadFull(a, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	before(b)
	f.begin(t, p.loops.Start, Pair{Client: a, Server: b}, nil)
	return f
}

// What came with the CONNECT is opened once, and what comes later goes on from there.
func TestReceivedBeforeHandOff(t *testing.T) {
	f := startLate(t, func(net.Conn) {}, "one", "two", "three")
	expect(t, f.server, "netwothree")
	send(t, f.client, "more")
	expect(t, f.server, "more")
	f.client.Close()
	expectEOF(t, f.server)
	f.server.Close()
	if r := f.wait(t); r.End != ClientClosed || r.In != 14 {
		t.Errorf("result %+v, want client closed, 14 in", r)
	}
}

// A server that takes nothing at hand-off gets all of it later, in order.
func TestReceivedBeforeHandOffToFullServer(t *testing.T) {
	filled := 0
	f := startLate(t, func(b net.Conn) {
		for quiet := 0; quiet < 3; {
			b.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // nothing tells that both buffers are full
			n, err := b.Write(make([]byte, 64<<10))
			if filled += n; n > 0 {
				quiet = 0
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				quiet++
			}
		}
		b.SetWriteDeadline(time.Time{})
	}, "aaaa", "bbbb")
	if _, err := io.CopyN(io.Discard, f.server, int64(filled)); err != nil {
		t.Fatal(err)
	}
	expect(t, f.server, "aaabbbb")
}
