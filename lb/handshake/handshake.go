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

// Prepare makes cfg one for Server, and returns it. Its GetConfigForClient is taken for that; MinVersion is set. Sessions are
// resumed only with keys that the caller has set (Tickets): each handshake has a clone of cfg.
func Prepare(cfg *tls.Config) *tls.Config {
	cfg.GetConfigForClient = greet(cfg.MinVersion)
	return cfg
}

// Server does the handshake on socket, which stays the caller's to close, until ctx is done; cfg is from Prepare. It returns
// the connection to go on with, on socket: a *record.Conn, or a *tls.Conn for the cipher suites that package record does
// not have. The error is an *Error. A *tls.Conn's SetDeadline is for everything until it is lifted, what TLS writes on its
// own behalf included; SetWriteDeadline is for the caller's next write.
func Server(ctx context.Context, socket net.Conn, cfg *tls.Config, computing *limit.Gate) (net.Conn, *tls.ConnectionState, error) {
	under := &conn{Conn: socket, computing: computing}
	defer under.done()
	own := cfg.Clone() // for the keys of this connection alone
	under.secrets.listen(own)
	client := tls.Server(under, own)
	if err := client.HandshakeContext(ctx); err != nil {
		under.secrets.keys.Wipe()
		return nil, nil, &Error{Failure: classify(under, cfg, err), Heard: under.heard, Err: err}
	}
	state := client.ConnectionState()
	return under.secrets.conn(client, under, &state), &state, nil
}
