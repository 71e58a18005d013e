package lb

import (
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/limit"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// A door is what lives of a listener across reloads, found by its name: its counters and its
// limit. It may be used from any goroutine.
type door struct {
	name string
	gate limit.Gate // max_connections

	connections atomic.Int64 // open now
	ended       [reasons]atomic.Uint64
	traffic     relay.Traffic

	handshakes [tlsVersions][2]atomic.Uint64 // by version; 1 = resumed
	failures   [handshake.Failures]atomic.Uint64

	full    atomic.Int64 // when newcomers last had to wait, in nanoseconds since 1970
	failing atomic.Int64 // when accept(2) last failed, in nanoseconds since 1970
}

func newDoor(name string) *door { return &door{name: name} }

// failingFor is how long after a failed accept(2) a listener counts as failing: an Acceptor tries again at least
// every second. Nothing tells when descriptors are free again before the next client is there.
const failingFor = 2 * time.Second

// accepts reports whether accept(2) works, as far as anybody knows.
func (d *door) accepts(now time.Time) bool {
	return now.Sub(time.Unix(0, d.failing.Load())) > failingFor
}

// The TLS versions that are served, as indexes.
const (
	tls12 = iota
	tls13
	tlsVersions
)

// tlsVersionNames are labels of mqttlb_tls_handshakes_total and the version in the PROXY header's ssl
// extension, spelled as OpenSSL, and so HAProxy, does.
var tlsVersionNames = [tlsVersions]string{tls12: "TLSv1.2", tls13: "TLSv1.3"}
