package lb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"
)

// handshake terminates TLS.
func (c *conn) handshake(ctx context.Context) error {
	if c.f.tls == nil {
		return nil
	}
	hello := &helloConn{Conn: c.client, computing: &c.s.computing}
	defer hello.done()
	ctx, cancel := context.WithTimeout(ctx, c.f.timeout)
	defer cancel()
	client := tls.Server(hello, c.f.tls)
	begun := time.Now()
	if err := client.HandshakeContext(ctx); err != nil {
		return c.handshakeFailed(hello, err)
	}
	c.s.metrics.handshake.WithLabelValues(c.f.door.name).Observe(time.Since(begun).Seconds())
	state := client.ConnectionState()
	c.tls, c.client = &state, client
	c.f.door.handshakes[versionIndex(state.Version)][resumed(&state)].Add(1)
	return nil
}

func versionIndex(version uint16) int {
	if version == tls.VersionTLS13 {
		return tls13
	}
	return tls12 // nothing older is served
}

func resumed(state *tls.ConnectionState) int {
	if state.DidResume {
		return 1
	}
	return 0
}

// handshakeFailed counts a failure. Whoever connects and leaves without a byte, as a port check does, has
// not failed.
func (c *conn) handshakeFailed(hello *helloConn, err error) error {
	if !hello.heard && errors.Is(err, io.EOF) {
		return refuse(ClientClose, nil)
	}
	failure := classifyHandshake(hello, c.f.tls, err)
	c.f.door.failures[failure].Add(1)
	return refuse(HandshakeFailed, &handshakeError{failure, err})
}

// A handshakeError is the error of a TLS handshake and what it was sorted as.
type handshakeError struct {
	failure HandshakeFailure
	err     error
}

func (e *handshakeError) Error() string { return e.failure.String() + ": " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

func classifyHandshake(hello *helloConn, cfg *tls.Config, err error) HandshakeFailure {
	var (
		record    tls.RecordHeaderError
		untrusted *untrustedClient
		verify    *tls.CertificateVerificationError
		op        *net.OpError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return FailureTimeout
	case hello.tooOld:
		return FailureVersion
	case errors.As(err, &record):
		return FailureNotTLS
	case errors.As(err, &untrusted), errors.As(err, &verify):
		return FailureCertificate
	case errors.As(err, &op) && op.Op == "remote error": // how crypto/tls marks an alert of the peer
		return FailureAlert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &op) && op.Op != "local error":
		return FailureClosed
	case hello.answered && cfg.ClientAuth == tls.RequireAndVerifyClientCert:
		return FailureCertificate // none was sent: what else can go wrong after our answer has been taken above
	}
	return FailureProtocol
}

// A helloConn is the connection under a handshake. It lets a bounded number of handshakes compute at
// once: a place is held from the whole ClientHello to our answer, in which there is no wait for the client,
// so nobody can hold one by being slow. Under a storm of reconnecting devices the first come are
// served first, where thousands of handshakes that share the CPU would all end late.
type helloConn struct {
	net.Conn
	computing *gate

	heard    bool // a byte has come
	holding  bool // a place of computing
	answered bool // the first flight was sent
	tooOld   bool // the client offers no version that is served
}

// computingPerCPU is how many handshakes may compute at once, for each CPU: one that computes, one that
// is ready when it waits for the collector.
const computingPerCPU = 2

// greet is the listener's GetConfigForClient: the ClientHello is complete, the work begins.
func greet(oldest uint16) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := hello.Conn.(*helloConn) // what handshake gave to tls.Server
		c.tooOld = !slices.ContainsFunc(hello.SupportedVersions, func(v uint16) bool {
			return v >= oldest && v <= tls.VersionTLS13 // values beyond are GREASE (RFC 8701)
		})
		if err := c.computing.acquire(hello.Context()); err != nil {
			return nil, fmt.Errorf("wait for a turn to compute the handshake: %w", err)
		}
		c.holding = true
		return nil, nil // the listener's own
	}
}

func (c *helloConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.heard = c.heard || n > 0
	return n, err
}

func (c *helloConn) Write(p []byte) (int, error) {
	c.answered = true
	c.done()
	return c.Conn.Write(p)
}

// done gives the place back.
func (c *helloConn) done() {
	if c.holding {
		c.holding = false
		c.computing.release()
	}
}

// CloseWrite ends the sending direction of the socket.
func (c *helloConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
