package handshake

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/lb/limit"
)

// A conn is the connection under TLS, during the handshake and after it.
//
// It lets a bounded number of handshakes compute at once: a place is held from the whole ClientHello to our answer, in
// which there is no wait for the client, so nobody can hold one by being slow. Under a storm of reconnecting devices the
// first come are served first, where thousands of handshakes that share the CPU would all end late.
//
// And it lets no write wait for ever: crypto/tls writes inside Read, to answer a KeyUpdate (RFC 8446, section 4.6.3),
// where the deadline for writing is none, or one that has passed since the last write of ours.
//
// And it gives crypto/tls one record for each Read, so that what follows the client's Finished is not read by it.
type conn struct {
	net.Conn
	computing *limit.Gate
	writeBy   atomic.Int64 // what SetWriteDeadline said last, in nanoseconds since 1970; 0 = none
	strict    atomic.Bool  // SetDeadline has set a deadline that is for all that is written
	stuck     atomic.Bool  // a write has failed: what TLS has to say after that is not waited for

	in records

	// Of the handshake alone:
	heard    bool // a byte has come
	holding  bool // a place of computing
	answered bool // the first flight was sent
	tooOld   bool // the client offers no version that is served
	secrets  secrets
}

// greet is a GetConfigForClient: the ClientHello is complete, the work begins.
func greet(oldest uint16) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := hello.Conn.(*conn) // what Server gave to tls.Server
		c.tooOld = !slices.ContainsFunc(hello.SupportedVersions, func(v uint16) bool {
			return v >= oldest && v <= tls.VersionTLS13 // values beyond are GREASE (RFC 8701)
		})
		if err := c.computing.Acquire(hello.Context()); err != nil {
			return nil, fmt.Errorf("wait for a turn to compute the handshake: %w", err)
		}
		c.holding = true
		return nil, nil // the config that Prepare was given
	}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.next(c.Conn, p)
	c.heard = c.heard || n > 0
	c.secrets.client.see(p[:n])
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.secrets.server.see(p)
	c.answered = true
	c.done()
	if now := time.Now(); !c.strict.Load() && !c.stuck.Load() && c.writeBy.Load() < now.UnixNano() {
		if err := c.Conn.SetWriteDeadline(now.Add(answerTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		c.stuck.Store(true)
	}
	return n, err
}

// answerTimeout is how long a client may take to accept what TLS itself has to say.
const answerTimeout = 10 * time.Second

// SetWriteDeadline is for the next write of ours; when it has passed, what TLS writes has answerTimeout.
func (c *conn) SetWriteDeadline(t time.Time) error {
	by := int64(0)
	if !t.IsZero() {
		by = t.UnixNano()
	}
	c.writeBy.Store(by)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is for everything until it is lifted, what TLS writes included.
func (c *conn) SetDeadline(t time.Time) error {
	c.strict.Store(!t.IsZero())
	c.writeBy.Store(0)
	return c.Conn.SetDeadline(t)
}

// done gives the place back.
func (c *conn) done() {
	if c.holding {
		c.holding = false
		c.computing.Release()
	}
}
