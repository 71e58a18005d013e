package lb

import (
	"sync/atomic"

	"github.com/mqttlb/mqttlb/lb/relay"
)

// A door is what lives of a listener across reloads, found by its name: its counters and its
// limit. It may be used from any goroutine.
type door struct {
	name string
	gate gate // max_connections

	connections atomic.Int64 // open now
	ended       [reasons]atomic.Uint64
	traffic     relay.Traffic

	handshakes [tlsVersions][2]atomic.Uint64 // by version; 1 = resumed
	failures   [handshakeFailures]atomic.Uint64

	paused atomic.Bool // accept(2) fails for the moment
}

func newDoor(name string) *door { return &door{name: name} }

// The TLS versions that are served, as indexes.
const (
	tls12 = iota
	tls13
	tlsVersions
)

// tlsVersionNames are labels of mqttlb_tls_handshakes_total and the version in the PROXY header's ssl
// extension, spelled as OpenSSL, and so HAProxy, does.
var tlsVersionNames = [tlsVersions]string{tls12: "TLSv1.2", tls13: "TLSv1.3"}
