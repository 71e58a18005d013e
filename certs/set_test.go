package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/certs/devca"
)

// Hellos of TLS 1.3 clients, which are told apart by their signature algorithms alone.
var (
	anyClient = tls.ClientHelloInfo{
		SupportedVersions: []uint16{tls.VersionTLS13},
		SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.Ed25519, tls.PSSWithSHA256},
	}
	ecdsaClient   = hello(tls.ECDSAWithP256AndSHA256)
	ed25519Client = hello(tls.Ed25519, tls.PSSWithSHA256)
	rsaClient     = hello(tls.PSSWithSHA256)
	strangeClient = hello(tls.ECDSAWithP521AndSHA512)
)

func hello(schemes ...tls.SignatureScheme) tls.ClientHelloInfo {
	return tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: schemes}
}

// choices is a set with certificates of all kinds, each called by its common name.
func choices(t *testing.T) *certs.Set {
	t.Helper()
	ca := newCA(t)
	issue := func(cn string, key devca.KeyType, hosts ...string) certs.Pair {
		return pair(t, ca, devca.Options{CommonName: cn, Key: key, Hosts: hosts})
	}
	return mustLoad(t,
		issue("first rsa", devca.RSA, "mqtt.example.org", "10.0.0.1"),
		issue("wild", devca.ECDSA, "*.example.org"),
		issue("first ecdsa", devca.ECDSA, "MQTT.Example.Org", "10.0.0.1", "more.example.org"),
		issue("part of first", devca.Ed25519, "mqtt.example.org"),
		issue("exact rsa", devca.RSA, "rsa.example.org"),
		issue("both rsa", devca.RSA, "both.example.com"),
		issue("both ecdsa", devca.ECDSA, "both.example.com"),
		issue("second for both", devca.ECDSA, "both.example.com"),
		issue("wild.example.net", devca.ECDSA, "*.example.net", "::1"),
	)
}

// TestGet wants the common name of the choice.
func TestGet(t *testing.T) {
	set := choices(t)
	tests := []struct {
		name   string
		server string
		client tls.ClientHelloInfo
		want   string
	}{
		{"exact", "more.example.org", anyClient, "first ecdsa"},
		{"exact, capitals", "More.EXAMPLE.org", anyClient, "first ecdsa"},
		{"exact, trailing dot", "more.example.org.", anyClient, "first ecdsa"},
		{"exact goes before wildcard", "rsa.example.org", anyClient, "exact rsa"},
		{"the wildcard fills in a key type", "rsa.example.org", ecdsaClient, "wild"},
		{"ECDSA before RSA", "both.example.com", anyClient, "both ecdsa"},
		{"RSA for the rest", "both.example.com", rsaClient, "both rsa"},
		{"Ed25519 before RSA", "mqtt.example.org", ed25519Client, "part of first"},
		{"nothing suits: the preferred one", "both.example.com", strangeClient, "both ecdsa"},
		{"wildcard", "other.example.org", anyClient, "wild"},
		{"wildcard has no RSA", "other.example.org", rsaClient, "wild"},
		{"wildcard is one label", "a.b.example.org", anyClient, "first ecdsa"},
		{"wildcard is a label", "example.org", anyClient, "first ecdsa"},
		{"wildcard is not an empty label", ".example.org", anyClient, "first ecdsa"},
		{"a literal wildcard", "*.example.net", anyClient, "wild.example.net"},
		{"address", "10.0.0.1", rsaClient, "first rsa"},
		{"IPv6 address", "::1", anyClient, "wild.example.net"},
		{"no name", "", anyClient, "first ecdsa"},
		{"no name, RSA", "", rsaClient, "first rsa"},
		{"no name: not for a part of the names", "", ed25519Client, "first rsa"},
		{"unknown name", "unknown", anyClient, "first ecdsa"},
		{"unknown name, RSA", "unknown", rsaClient, "first rsa"},
		{"common name does not count beside names", "wild", rsaClient, "first rsa"},
		{"only dots", "..", anyClient, "first ecdsa"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.client
			h.ServerName = tt.server
			cert, err := set.Get(&h)
			if err != nil {
				t.Fatal(err)
			}
			if got := cert.Leaf.Subject.CommonName; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if h.ServerName != tt.server {
				t.Errorf("server name became %q", h.ServerName)
			}
		})
	}
	if _, err := set.Get(nil); err == nil {
		t.Error("no error without a hello")
	}
}

// TestGetCommonName is about certificates without DNS names, which no current authority issues.
func TestGetCommonName(t *testing.T) {
	single := func(n node) certs.Pair {
		return certs.Pair{Cert: file(t, "server.pem", n.certPEM(), n.keyPEM(t))}
	}
	withIP := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "Device.local"},
		IPAddresses: []net.IP{net.IPv4(10, 0, 0, 2)},
	}
	set := mustLoad(t,
		single(leaf(t, nil, "")), // nothing to be called by
		single(leaf(t, nil, "Old.Example.org")),
		single(issue(t, withIP, nil, newKey(t))),
	)
	for server, want := range map[string]int{"": 0, "unknown": 0, "old.example.org": 1, "device.local": 2, "10.0.0.2": 2} {
		h := anyClient
		h.ServerName = server
		cert, err := set.Get(&h)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.IndexFunc(set.Leaves(), func(l certs.Leaf) bool { return l.Subject == cert.Leaf.Subject.CommonName })
		if want == 0 {
			want = -1 // the first has no common name
		}
		if got != want {
			t.Errorf("%q: got certificate %d, want %d", server, got, want)
		}
	}
}

func TestLeaves(t *testing.T) {
	ca := newCA(t)
	self := func(template x509.Certificate) certs.Pair {
		n := issue(t, &template, nil, newKey(t))
		return certs.Pair{Cert: file(t, "self.pem", n.certPEM(), n.keyPEM(t))}
	}
	set := mustLoad(t,
		pair(t, ca, devca.Options{Hosts: []string{"a.example.org", "b.example.org"}}),
		pair(t, ca, devca.Options{Hosts: []string{"a.example.org"}, Key: devca.RSA}),
		pair(t, ca, devca.Options{CommonName: "cn", Key: devca.Ed25519}),
		self(x509.Certificate{DNSNames: []string{"only.example.org"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}),
		self(x509.Certificate{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}),
		self(x509.Certificate{Subject: pkix.Name{Organization: []string{"Example"}}}),
		self(x509.Certificate{}),
		self(x509.Certificate{Subject: pkix.Name{CommonName: strings.Repeat("ä", 200)}}),
	)
	leaves := set.Leaves()
	want := []string{
		"a.example.org [a.example.org b.example.org] ECDSA P-256",
		"a.example.org [a.example.org] RSA 2048",
		"cn [] Ed25519",
		"only.example.org [only.example.org] ECDSA P-256",
		"10.0.0.1 [] ECDSA P-256",
		"Example [] ECDSA P-256",
		"sha256:" + leaves[6].Fingerprint[:16] + " [] ECDSA P-256",
		strings.Repeat("ä", 126) + "? [] ECDSA P-256",
	}
	for i, l := range leaves {
		if got := fmt.Sprintf("%s %v %s", l.Subject, l.DNSNames, l.KeyType); got != want[i] {
			t.Errorf("leaf %d is %q, want %q", i, got, want[i])
		}
		if len(l.Fingerprint) != 64 {
			t.Errorf("leaf %d has fingerprint %q", i, l.Fingerprint)
		}
	}
	leaves[0].DNSNames[0] = "changed"
	if got := set.Leaves()[0].DNSNames[0]; got != "a.example.org" {
		t.Errorf("a caller has changed the set: %q", got)
	}
}

// TestLeafNotAfter: a chain ends with the first of its certificates, but a root does not count.
func TestLeafNotAfter(t *testing.T) {
	end := time.Now().Add(10 * time.Minute).Truncate(time.Second)
	sooner, soon := authorityTemplate("root"), authorityTemplate("sub")
	sooner.NotAfter, soon.NotAfter = end.Add(-time.Minute), end
	root := issue(t, sooner, nil, newKey(t))
	sub := issue(t, soon, &root, newKey(t))
	srv := leaf(t, &sub, "short", "short.example.org")
	for name, tt := range map[string]struct {
		chain []byte
		want  time.Time
	}{
		"leaf":              {srv.certPEM(), srv.cert.NotAfter},
		"with intermediate": {cat(srv.certPEM(), sub.certPEM()), end},
		"with root":         {cat(srv.certPEM(), sub.certPEM(), root.certPEM()), end},
	} {
		set := mustLoad(t, certs.Pair{Cert: file(t, "server.pem", tt.chain, srv.keyPEM(t))})
		if got := set.Leaves()[0].NotAfter; !got.Equal(tt.want) {
			t.Errorf("%s: ends %s, want %s", name, got, tt.want)
		}
	}
}

func TestFingerprint(t *testing.T) {
	ca := newCA(t)
	a := pair(t, ca, devca.Options{Hosts: []string{"a"}})
	b := pair(t, ca, devca.Options{Hosts: []string{"a"}}) // another key
	srv := mustIssue(t, ca, devca.Options{Hosts: []string{"c"}})
	key, err := srv.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	inTwo := certs.Pair{Cert: file(t, "c.pem", srv.CertPEM()), Key: file(t, "c.key", key)}
	inOne := certs.Pair{Cert: file(t, "both.pem", key, srv.CertPEM())}
	withRoot := certs.Pair{Cert: file(t, "root.pem", srv.CertPEM(), ca.CertPEM(), key)}

	distinct := map[string]string{}
	for name, set := range map[string]*certs.Set{
		"a": mustLoad(t, a), "b": mustLoad(t, b), "ab": mustLoad(t, a, b), "ba": mustLoad(t, b, a),
		"c": mustLoad(t, inTwo), "c with root": mustLoad(t, withRoot),
	} {
		if other, found := distinct[set.Fingerprint()]; found {
			t.Errorf("%s and %s have one fingerprint", name, other)
		}
		distinct[set.Fingerprint()] = name
	}
	if mustLoad(t, inTwo).Fingerprint() != mustLoad(t, inOne).Fingerprint() {
		t.Error("the same certificate and key in other files have another fingerprint")
	}
}

// TestGetAllocates holds Get to what it promises: nothing where there is no choice.
func TestGetAllocates(t *testing.T) {
	ca := newCA(t)
	set := mustLoad(t, pair(t, ca, devca.Options{Hosts: []string{"*.example.org"}}))
	for _, server := range []string{"", "a.example.org", "a.example.com"} {
		h := anyClient
		h.ServerName = server
		if n := testing.AllocsPerRun(100, func() { set.Get(&h) }); n != 0 {
			t.Errorf("%q: %v allocations", server, n)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	ca := newCA(b)
	var pairs []certs.Pair
	for i := range 50 {
		pairs = append(pairs, pair(b, ca, devca.Options{Hosts: []string{fmt.Sprintf("n%d.example.org", i)}}))
	}
	pairs = append(pairs,
		pair(b, ca, devca.Options{Hosts: []string{"*.example.com"}}),
		pair(b, ca, devca.Options{Hosts: []string{"n49.example.org"}, Key: devca.RSA}))
	set := mustLoad(b, pairs...)
	for name, server := range map[string]string{
		"exact": "n48.example.org", "wildcard": "a.example.com", "unknown": "a.b.c", "none": "", "two key types": "n49.example.org",
	} {
		b.Run(name, func(b *testing.B) {
			h := anyClient
			h.ServerName = server
			b.ReportAllocs()
			for b.Loop() {
				if _, err := set.Get(&h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
