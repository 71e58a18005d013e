package handshake

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/mqttlb/mqttlb/lb/limit"
)

// PerCPU is how many handshakes may compute at once, for each CPU: one that computes, one that is ready when it waits for
// the collector.
const PerCPU = 2

// Prepare makes cfg one for Server, and returns it. Its GetConfigForClient is taken for that; MinVersion is set.
func Prepare(cfg *tls.Config) *tls.Config {
	cfg.GetConfigForClient = greet(cfg.MinVersion)
	return cfg
}

// Server does the handshake on socket, which stays the caller's to close, until ctx is done; cfg is from Prepare. The error is
// an *Error. The connection's SetDeadline is for everything until it is lifted, what TLS writes on its own behalf
// included; SetWriteDeadline is for the caller's next write.
func Server(ctx context.Context, socket net.Conn, cfg *tls.Config, computing *limit.Gate) (*tls.Conn, error) {
	under := &conn{Conn: socket, computing: computing}
	defer under.done()
	client := tls.Server(under, cfg)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, &Error{Failure: classify(under, cfg, err), Heard: under.heard, Err: err}
	}
	return client, nil
}
