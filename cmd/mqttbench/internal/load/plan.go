//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// The scenarios.
const (
	Idle    = "idle"    // open connections, and do nothing with them
	Connect = "connect" // TCP, TLS, CONNECT, CONNACK, DISCONNECT, over and over
	Echo    = "echo"    // PINGREQ, or PUBLISH of QoS 1, and the answer
	Fanout  = "fanout"  // one publisher, many subscribers
	Pairs   = "pairs"   // many publishers, each with one subscriber
	Bulk    = "bulk"    // PUBLISH of QoS 0 as fast as possible
)

// Values of Plan.TLS.
const (
	TLS13 = "1.3"
	TLS12 = "1.2"
	Plain = "none"
)

// Patience bounds every wait for the other side: for a connection to be complete, for an answer. A program under test that takes longer
// is at its end.
const Patience = 2 * time.Minute

// A Plan is what a run does. It has a form in JSON, for other processes.
type Plan struct {
	Scenario string
	Target   string // host:port

	TLS        string // TLS13, TLS12 or Plain
	CA         []byte // PEM of the authorities that are trusted; none: the system's
	ServerName string // that the certificate must be for; "": the host of Target
	Insecure   bool   // do not check the certificate
	Resume     bool   // of Connect: resume TLS sessions

	Source      string        // a network that source addresses are taken from in turn, 127.0.0.0/8 say; "": the system chooses
	Connections int           // of Idle, Echo, Bulk; the subscribers of Fanout and of Pairs, which has as many publishers
	Concurrency int           // connections that may be under way at once; 0: all
	Rate        float64       // a second: connections of Idle and Connect, messages of Echo and Pairs; 0: as fast as answers come
	KeepAlive   uint16        // seconds, of CONNECT
	Duration    time.Duration // of what is measured
	Warmup      time.Duration // before it, of all but Idle
	Settle      time.Duration // of Idle: between the last connection and the measurement of memory

	Size      int   // bytes of payload, of Echo with QoS 1, Fanout, Pairs, Bulk
	QoS       int   // 0 or 1, of Fanout and Pairs; of Echo: 0 is PINGREQ, 1 is PUBLISH and PUBACK
	InFlight  int   // of Fanout: publications at a time
	Subscribe bool  // of Idle: each connection subscribes to a topic of its own, with QoS 0, before it counts as complete
	Traffic   int   // of Idle: bytes that each connection then sends and receives; 0: none
	Storm     int   // of Idle: short connections before it
	Curve     []int // of Idle: numbers of connections to measure at on the way to Connections

	First int // the number of the first connection: processes have different ones
}

// Stages are the points of a run that somebody may want to measure at.
type Stages interface {
	// Reach says that the run has come to a point, and returns when it may go on. It is called from one goroutine, while
	// connections stay as they are. The pause is how long it should be quiet before anything is measured.
	Reach(ctx context.Context, name string, pause time.Duration) error
}

// Names of stages. Others are those of StageAt.
const (
	StageStart     = "start"     // before the first connection
	StageConnected = "connected" // all are there
	StageTraffic   = "traffic"   // they have had traffic
	StageBegin     = "begin"     // of what is measured
	StageEnd       = "end"
)

// StageAt is the stage at which there are as many connections as the curve says at i.
func StageAt(i int) string { return fmt.Sprintf("point %d", i+1) }

// Progress is how far a run has come. Anyone may look at it.
type Progress struct {
	Open  atomic.Int64 // connections that are open
	Units atomic.Int64 // what Tally.Units counts, from the start of the run on
}

// Check says what is wrong with the plan.
func (p Plan) Check() error {
	var bad []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			bad = append(bad, fmt.Errorf(format, args...))
		}
	}
	check(slices.Contains([]string{Idle, Connect, Echo, Fanout, Pairs, Bulk}, p.Scenario), "scenario %q does not exist", p.Scenario)
	check(slices.Contains([]string{TLS13, TLS12, Plain}, p.TLS), "TLS %q is none of 1.2, 1.3 and none", p.TLS)
	_, _, err := net.SplitHostPort(p.Target)
	check(err == nil, "target %q is not HOST:PORT", p.Target)
	if p.Source != "" {
		_, err := netip.ParsePrefix(p.Source)
		check(err == nil, "source %q is not a network such as 127.0.0.0/8", p.Source)
	}
	check(p.Connections > 0, "%d connections are none", p.Connections)
	check(p.Size >= 0 && p.Size < 1<<20, "size %d is not from 0 to a MiB", p.Size)
	check(p.Traffic >= 0 && p.Traffic < 1<<20, "traffic %d is not from 0 to a MiB", p.Traffic)
	check(p.QoS == 0 || p.QoS == 1, "QoS %d is neither 0 nor 1", p.QoS)
	check(p.InFlight >= 0 && p.InFlight <= mostUnanswered, "%d publications in flight are not from 0 to %d", p.InFlight, mostUnanswered)
	check(!p.Subscribe || p.Scenario == Idle, "connections that do nothing but subscribe are the scenario idle's")
	check(p.Rate >= 0, "rate %g is negative", p.Rate)
	check(p.Duration > 0, "duration %v is none", p.Duration)
	check(slices.IsSorted(p.Curve), "the curve %v goes down", p.Curve)
	check(len(p.Curve) == 0 || p.Curve[0] > 0 && p.Curve[len(p.Curve)-1] <= p.Connections, "the curve %v is not from 1 to %d connections", p.Curve, p.Connections)
	check(!p.Resume || p.Scenario == Connect && p.TLS != Plain, "sessions are resumed by the scenario connect, over TLS")
	if p.TLS != Plain && len(p.CA) > 0 {
		check(x509.NewCertPool().AppendCertsFromPEM(p.CA), "there is no certificate in the CA's file")
	}
	return errors.Join(bad...)
}

// Share is process i's part of the plan, of n processes.
func (p Plan) Share(i, n int) Plan {
	part := func(whole int) int { return whole*(i+1)/n - whole*i/n }
	s := p
	s.First += p.Connections * i / n
	s.Connections, s.Storm = part(p.Connections), part(p.Storm)
	if p.Concurrency > 0 {
		s.Concurrency = max(1, part(p.Concurrency))
	}
	s.Rate /= float64(n)
	s.Curve = make([]int, len(p.Curve))
	for c, whole := range p.Curve {
		s.Curve[c] = part(whole)
	}
	return s
}

// Run does what the plan says. See the package's comment.
func (p Plan) Run(ctx context.Context, stages Stages, progress *Progress) (*Tally, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	d, err := p.dialer()
	if err != nil {
		return nil, err
	}
	if p.Scenario == Connect {
		return p.runConnect(ctx, d, stages, progress)
	}
	return p.runFleet(ctx, d, stages, progress)
}

// dialer makes what connections have in common.
func (p Plan) dialer() (*dialer, error) {
	d := &dialer{target: p.Target, keepAlive: p.KeepAlive, first: p.First}
	if p.Source != "" {
		var err error
		if d.source, err = netip.ParsePrefix(p.Source); err != nil {
			return nil, fmt.Errorf("take source addresses from %s: %w", p.Source, err)
		}
	}
	if p.TLS == Plain {
		return d, nil
	}
	host, _, err := net.SplitHostPort(p.Target)
	if err != nil {
		return nil, err
	}
	d.tls = &tls.Config{ServerName: p.ServerName, InsecureSkipVerify: p.Insecure, MinVersion: tls.VersionTLS13}
	if d.tls.ServerName == "" {
		d.tls.ServerName = host
	}
	// X25519 alone, as most device stacks: a hybrid key share would cost both sides 100 µs, and only some peers know it.
	d.tls.CurvePreferences = []tls.CurveID{tls.X25519}
	if p.TLS == TLS12 {
		d.tls.MinVersion, d.tls.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		// The curve of an ECDSA certificate has to be among them (RFC 8422, section 5.1), which OpenSSL insists on.
		d.tls.CurvePreferences = append(d.tls.CurvePreferences, tls.CurveP256, tls.CurveP384)
	}
	// Of TLS 1.2 what package record goes on with, and what every device of these days has.
	d.tls.CipherSuites = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	if len(p.CA) > 0 {
		d.tls.RootCAs = x509.NewCertPool()
		d.tls.RootCAs.AppendCertsFromPEM(p.CA)
	}
	return d, nil
}
