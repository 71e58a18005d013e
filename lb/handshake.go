package lb

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"github.com/mqttlb/mqttlb/lb/handshake"
)

// handshake terminates TLS.
func (c *conn) handshake(ctx context.Context) error {
	if c.f.tls == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, c.deadline())
	defer cancel()
	begun := time.Now()
	stream, state, err := handshake.Server(ctx, c.stream, c.f.tls, &c.s.computing)
	if err != nil {
		return c.handshakeFailed(err)
	}
	c.f.handshakeSeconds.Observe(time.Since(begun).Seconds())
	c.tls, c.stream = state, stream
	c.f.door.handshakes[versionIndex(state.Version)][resumed(state)].Add(1)
	return nil
}

// handshakeFailed counts a failure. Whoever connects and leaves without a byte, as a port check does, has not failed.
func (c *conn) handshakeFailed(err error) error {
	var failed *handshake.Error
	if !errors.As(err, &failed) {
		return refuse(HandshakeFailed, err)
	}
	if !failed.Heard && errors.Is(err, io.EOF) {
		return refuse(ClientClose, nil)
	}
	c.f.door.failures[failed.Failure].Add(1)
	return refuse(HandshakeFailed, err)
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
