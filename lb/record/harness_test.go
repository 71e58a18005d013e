package record

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A flavor is one version and cipher suite.
type flavor struct{ version, suite uint16 }

func (f flavor) String() string {
	return fmt.Sprintf("%s/%s", tls.VersionName(f.version), tls.CipherSuiteName(f.suite))
}

func (f flavor) is13() bool { return f.version == tls.VersionTLS13 }

// flavors has one of each kind that differs on the wire.
var flavors = []flavor{
	{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256},
	{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384},
	{tls.VersionTLS13, tls.TLS_CHACHA20_POLY1305_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
}

// each runs a test for every flavor.
func each(t *testing.T, test func(t *testing.T, f flavor)) {
	for _, f := range flavors {
		t.Run(f.String(), func(t *testing.T) { test(t, f) })
	}
}

// An end is one end of a connection, with a cache of its own.
type end struct {
	State
	c *Cache
}

// connect makes the two ends of a connection, of random secrets of r.
func connect(t testing.TB, f flavor, r *rand.Rand) (cl, sv *end) {
	t.Helper()
	size := suiteOf(f.version, f.suite).hashSize()
	labels := []string{labelClient, labelServer}
	if !f.is13() {
		size, labels = maxSecret, []string{labelMaster}
	}
	var log KeyLog
	for _, label := range labels {
		fmt.Fprintf(&log, "%s %064x %x\n", label, 7, noise(r, size))
	}
	ends := make([]*end, 2)
	for i := range ends {
		s, err := log.State(Handshake{Version: f.version, Suite: f.suite, Client: i == 0, ServerRandom: [32]byte{9}})
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = &end{s, NewCache(2)}
	}
	return ends[0], ends[1]
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// seal returns data as one record.
func seal(s *State, c *Cache, data []byte) []byte {
	buf := make([]byte, len(data)+s.Overhead())
	copy(buf[s.Prefix():], data)
	return s.Seal(c, buf, len(data))
}

// data returns a record of data.
func (e *end) data(text string) []byte { return seal(&e.State, e.c, []byte(text)) }

// raw returns a record of any type and content. In TLS 1.3 the content may have padding behind its type.
func (e *end) raw(typ contentType, content ...byte) []byte {
	return e.append(e.c, nil, typ, content...)
}

// open opens a copy of records, and everything in them.
func (e *end) open(records ...[]byte) (data []byte, closed bool, err error) {
	buf := bytes.Join(records, nil)
	for len(buf) > 0 {
		o, err := e.Open(e.c, buf)
		if err != nil {
			return data, false, err
		}
		if o.Used == 0 {
			return data, false, fmt.Errorf("%d bytes are left, which are no record", len(buf))
		}
		data = append(data, o.Data...)
		buf, closed = buf[o.Used:], o.Close
	}
	return data, closed, nil
}

// refused checks that err is an alert of ours.
func refused(t *testing.T, err error, want AlertCode) {
	t.Helper()
	a, is := err.(*Alert)
	if !is || a.Remote || a.Code != want {
		t.Errorf("error %v, want our %v", err, want)
	}
}

// wants checks that exactly this was opened.
func (e *end) wants(t *testing.T, text string, records ...[]byte) {
	t.Helper()
	if got, _, err := e.open(records...); err != nil || string(got) != text {
		t.Fatalf("opened %q, %v; want %q", got, err, text)
	}
}
