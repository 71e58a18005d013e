package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// mustLoadCAs makes a bundle of the given authorities.
func mustLoadCAs(t testing.TB, nodes ...node) *certs.CAs {
	t.Helper()
	var parts [][]byte
	for _, n := range nodes {
		parts = append(parts, n.certPEM())
	}
	cas, err := certs.LoadCAs(file(t, "ca.pem", parts...), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return cas
}

// mustLoadCRL loads lists that are right.
func mustLoadCRL(t testing.TB, cas *certs.CAs, parts ...[]byte) *certs.Revoked {
	t.Helper()
	r, err := certs.LoadCRL(file(t, "crl.pem", parts...), cas, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoadCAs(t *testing.T) {
	root := authority(t, "root", nil)
	oldTemplate := authorityTemplate("old")
	oldTemplate.NotBefore, oldTemplate.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	old := issue(t, oldTemplate, nil, newKey(t))
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	tests := []struct {
		name string
		data []byte
		want string // "" for none
	}{
		{"one", root.certPEM(), ""},
		{"one is enough while another has expired", cat(old.certPEM(), root.certPEM()), ""},
		{"text and keys around", cat([]byte("# CA\n"), root.certPEM(), root.keyPEM(t)), ""},
		{"all expired", old.certPEM(), `ca.pem: certificate 1 "old" expired on ` + stamp(old.cert.NotAfter)},
		{"empty", nil, "ca.pem: no CERTIFICATE block: the file must hold the authorities that sign client certificates, in PEM"},
		{"binary", root.cert.Raw, "ca.pem: no CERTIFICATE block, the file is binary"},
		{"broken", cat(root.certPEM(), broken), "ca.pem: certificate 2 cannot be read"},
		{"cut off", root.certPEM()[:100], "ca.pem: 1 of 1 PEM blocks damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cas, err := certs.LoadCAs(file(t, "ca.pem", tt.data), time.Now())
			if tt.want != "" {
				if cas != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v\nwant %s", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := root.cert.Verify(x509.VerifyOptions{Roots: cas.Pool()}); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := certs.LoadCAs(filepath.Join(t.TempDir(), "none"), time.Now()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if mustLoadCAs(t, root).Fingerprint() == mustLoadCAs(t, root, old).Fingerprint() {
		t.Error("two bundles have one fingerprint")
	}
}

func TestLoadCRLRefuses(t *testing.T) {
	root := authority(t, "root", nil)
	namesake := authority(t, "root", nil)
	stranger := authority(t, "stranger", nil)
	noSign := authorityTemplate("weak")
	noSign.KeyUsage = x509.KeyUsageCertSign
	weak := issue(t, noSign, nil, newKey(t))
	crl := root.crlPEM(t, x509.RevocationList{})
	// A weak authority's list cannot be made by x509 in its name, so it is made with its key under a stronger certificate.
	strong := issue(t, authorityTemplate("weak"), nil, weak.key)
	now := time.Now()
	stale := x509.RevocationList{ThisUpdate: now.Add(-2 * time.Hour), NextUpdate: now.Add(-time.Hour)}
	early := x509.RevocationList{ThisUpdate: now.Add(time.Hour), NextUpdate: now.Add(2 * time.Hour)}
	indirect := x509.RevocationList{RevokedCertificateEntries: []x509.RevocationListEntry{{
		SerialNumber: big.NewInt(1), RevocationTime: now, ExtraExtensions: critical(29, 0x30, 0).ExtraExtensions,
	}}}
	cas := mustLoadCAs(t, root, weak)
	tests := []struct {
		name string
		data []byte
		want []string
	}{
		{"empty", nil, []string{"crl.pem: no X509 CRL block: the file must hold the revocation lists of the client authorities, in PEM or DER"}},
		{"certificates", root.certPEM(), []string{"crl.pem: no X509 CRL block"}},
		{"cut off", crl[:100], []string{"crl.pem: 1 of 1 PEM blocks damaged"}},
		{"DER cut off", der(t, crl)[:100], []string{"crl.pem: neither PEM nor whole DER"}},
		{"no list", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")}), []string{"crl.pem: revocation list 1 cannot be read: x509: malformed crl: it must be of version 2"}},
		{"stranger's", cat(crl, stranger.crlPEM(t, x509.RevocationList{})), []string{`crl.pem: revocation list 2 is of "CN=stranger", which is not in client_ca: add that authority there, or remove the list`}},
		{"namesake's", namesake.crlPEM(t, x509.RevocationList{}), []string{`crl.pem: revocation list 1 of "CN=root" is not signed by the authority of that name in client_ca: x509: ECDSA verification failure`}},
		{"authority may not", strong.crlPEM(t, x509.RevocationList{}), []string{`crl.pem: revocation list 1 of "CN=weak" is not signed by the authority of that name in client_ca: x509: `}},
		{"expired", root.crlPEM(t, stale), []string{`crl.pem: revocation list of "CN=root" expired on ` + stamp(stale.NextUpdate) + ": fetch the current one from the authority"}},
		{"not yet valid", root.crlPEM(t, early), []string{`crl.pem: revocation list of "CN=root" is not valid before ` + stamp(early.ThisUpdate) + ": wait, or correct this machine's clock"}},
		{"delta", root.crlPEM(t, critical(27, 2, 1, 1)), []string{`crl.pem: revocation list 1 of "CN=root" has the critical extension 2.5.29.27`}},
		{"only user certificates", root.crlPEM(t, critical(28, 0x30, 3, 0x81, 1, 0xff)), []string{`crl.pem: revocation list 1 of "CN=root" covers only a part of the certificates`}},
		{"broken distribution point", root.crlPEM(t, critical(28, 0x30, 9)), []string{"covers only a part of the certificates"}},
		{"indirect", root.crlPEM(t, indirect), []string{`crl.pem: revocation list 1 of "CN=root" has entries with the critical extension 2.5.29.29`}},
		{"several problems", cat(root.crlPEM(t, stale), stranger.crlPEM(t, x509.RevocationList{})), []string{"which is not in client_ca", "expired on"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := certs.LoadCRL(file(t, "crl.pem", tt.data), cas, now)
			if r != nil || err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("got\n%v\nwant %d problems", err, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("got\n%s\nwant\n%s", lines[i], want)
				}
			}
		})
	}
	if _, err := certs.LoadCRL(filepath.Join(t.TempDir(), "none"), cas, now); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// critical is an empty list with the critical extension id-ce (2.5.29) n.
func critical(n int, value ...byte) x509.RevocationList {
	id := asn1.ObjectIdentifier{2, 5, 29, n}
	return x509.RevocationList{ExtraExtensions: []pkix.Extension{{Id: id, Critical: true, Value: value}}}
}

// published is an empty list that says where it is published.
func published(uri string) x509.RevocationList {
	value := append([]byte{0x86, byte(len(uri))}, uri...) // uniformResourceIdentifier
	for _, tag := range []byte{0xa0, 0xa0, 0x30} {        // fullName, distributionPoint, the sequence
		value = append([]byte{tag, byte(len(value))}, value...)
	}
	return critical(28, value...)
}

// der takes a block out of its PEM.
func der(t *testing.T, data []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

func chain(nodes ...node) []*x509.Certificate {
	var list []*x509.Certificate
	for _, n := range nodes {
		list = append(list, n.cert)
	}
	return list
}

func TestCheck(t *testing.T) {
	root := authority(t, "root", nil)
	sub := authority(t, "sub", &root)
	namesake := authority(t, "root", nil) // another key, as after a renewal
	serial := func(n int64, parent *node) node {
		return issue(t, &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: "device"}}, parent, newKey(t))
	}
	good, bad := serial(1, &root), serial(0x1000000000, &root)
	below := serial(3, &sub)
	same := serial(0x1000000000, &namesake) // the serial number of bad, from the namesake
	empty := x509.RevocationList{}
	older := x509.RevocationList{ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(-time.Minute)}
	rootOnly, all := mustLoadCAs(t, root), mustLoadCAs(t, root, sub, namesake)
	listsBad := root.crlPEM(t, empty, bad)
	tests := []struct {
		name  string
		lists *certs.Revoked
		chain []*x509.Certificate
		want  error
	}{
		{"good", mustLoadCRL(t, rootOnly, listsBad), chain(good, root), nil},
		{"revoked", mustLoadCRL(t, rootOnly, listsBad), chain(bad, root), certs.ErrRevoked},
		{"DER", mustLoadCRL(t, rootOnly, der(t, listsBad)), chain(bad, root), certs.ErrRevoked},
		{"two in DER", mustLoadCRL(t, all, der(t, sub.crlPEM(t, empty)), der(t, listsBad)), chain(bad, root), certs.ErrRevoked},
		{"the newer list counts, first", mustLoadCRL(t, rootOnly, listsBad, root.crlPEM(t, older)), chain(bad, root), certs.ErrRevoked},
		{"the newer list counts, last", mustLoadCRL(t, rootOnly, root.crlPEM(t, older, good), listsBad), chain(good, root), nil},
		{"lists by distribution point add up", mustLoadCRL(t, rootOnly, root.crlPEM(t, published("http://a/"), bad), root.crlPEM(t, published("http://b/"), good)), chain(bad, root), certs.ErrRevoked},
		{"issuer without list", mustLoadCRL(t, rootOnly, listsBad), chain(below, sub, root), certs.ErrNoCRL},
		{"every issuer has one", mustLoadCRL(t, all, listsBad, sub.crlPEM(t, empty)), chain(below, sub, root), nil},
		{"revoked below an intermediate", mustLoadCRL(t, all, listsBad, sub.crlPEM(t, empty, below)), chain(below, sub, root), certs.ErrRevoked},
		{"revoked intermediate", mustLoadCRL(t, all, root.crlPEM(t, empty, sub), sub.crlPEM(t, empty)), chain(below, sub, root), certs.ErrRevoked},
		{"revoked intermediate in the bundle", mustLoadCRL(t, all, root.crlPEM(t, empty, sub), sub.crlPEM(t, empty)), chain(below, sub), certs.ErrRevoked},
		{"intermediate in the bundle", mustLoadCRL(t, all, sub.crlPEM(t, empty)), chain(below, sub), nil},
		{"another key under the issuer's name", mustLoadCRL(t, all, listsBad), chain(same, namesake), certs.ErrNoCRL},
		{"both keys have lists", mustLoadCRL(t, all, listsBad, namesake.crlPEM(t, empty)), chain(same, namesake), nil},
		{"self-signed, trusted by itself", mustLoadCRL(t, rootOnly, listsBad), chain(namesake), nil},
		{"no chain", mustLoadCRL(t, rootOnly, listsBad), nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.lists.Check(tt.chain); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	err := mustLoadCRL(t, rootOnly, listsBad).Check(chain(bad, root))
	if want := `client certificate chain: "device", serial 1000000000, issuer "CN=root": certificate is revoked`; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestVerifyConnectionChains: one good chain is enough, no certificate is not our business, and one
// that nobody has verified is refused.
func TestVerifyConnectionChains(t *testing.T) {
	root := authority(t, "root", nil)
	other := authority(t, "other", nil)
	sub := authority(t, "sub", &root)
	cross := issue(t, authorityTemplate("sub"), &other, sub.key)
	device := leaf(t, &sub, "device")
	r := mustLoadCRL(t, mustLoadCAs(t, root, other, sub), root.crlPEM(t, x509.RevocationList{}, sub),
		other.crlPEM(t, x509.RevocationList{}), sub.crlPEM(t, x509.RevocationList{}))
	through, across := []*x509.Certificate{device.cert, sub.cert, root.cert}, []*x509.Certificate{device.cert, cross.cert, other.cert}
	for name, tt := range map[string]struct {
		state tls.ConnectionState
		ok    bool
	}{
		"no certificate":   {tls.ConnectionState{}, true},
		"not verified":     {tls.ConnectionState{PeerCertificates: through}, false},
		"revoked":          {tls.ConnectionState{PeerCertificates: through, VerifiedChains: [][]*x509.Certificate{through}}, false},
		"one of two":       {tls.ConnectionState{PeerCertificates: through, VerifiedChains: [][]*x509.Certificate{through, across}}, true},
		"one of two first": {tls.ConnectionState{PeerCertificates: through, VerifiedChains: [][]*x509.Certificate{across, through}}, true},
	} {
		if err := r.VerifyConnection(tt.state); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRevokedDescribes(t *testing.T) {
	root, other := authority(t, "root", nil), authority(t, "other", nil)
	namesake := authority(t, "root", nil)
	client := leaf(t, nil, "pinned client")
	cas := mustLoadCAs(t, root, other, namesake, client)
	soon := time.Now().Add(time.Minute).Truncate(time.Second)
	r := mustLoadCRL(t, cas, root.crlPEM(t, x509.RevocationList{}), other.crlPEM(t, x509.RevocationList{NextUpdate: soon}))
	if got := r.NextUpdate(); !got.Equal(soon) {
		t.Errorf("next update %s, want %s", got, soon)
	}
	if got := r.Uncovered(); !slices.Equal(got, []string{"root"}) { // the namesake
		t.Errorf("uncovered: %q", got)
	}
	list := root.crlPEM(t, x509.RevocationList{})
	one, two := mustLoadCRL(t, cas, list), mustLoadCRL(t, cas, der(t, list))
	if one.Fingerprint() != two.Fingerprint() || one.Fingerprint() == r.Fingerprint() {
		t.Error("fingerprints do not follow the lists")
	}
}

// TestRevokedWhileRunning swaps the list under clients that hold a session: resuming is refused too.
func TestRevokedWhileRunning(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			leaktest.Check(t)
			ca := newCA(t)
			set := mustLoad(t, pair(t, ca, devca.Options{Hosts: []string{"127.0.0.1"}}))
			cas, err := certs.LoadCAs(file(t, "ca.pem", ca.CertPEM()), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			device := mustIssue(t, ca, devca.Options{Client: true, CommonName: "device"})
			list := func(revoked ...*x509.Certificate) *certs.Revoked {
				data, err := ca.CRL(revoked, time.Now(), time.Now().Add(time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				return mustLoadCRL(t, cas, data)
			}
			var current atomic.Pointer[certs.Revoked]
			current.Store(list())
			s := serve(t, &tls.Config{
				GetCertificate: set.Get, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: cas.Pool(), MaxVersion: version,
				VerifyConnection: func(state tls.ConnectionState) error { return current.Load().VerifyConnection(state) },
			})
			client := &tls.Config{
				RootCAs: ca.Pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{device.TLS()},
				ClientSessionCache: tls.NewLRUClientSessionCache(0), MaxVersion: version,
			}
			for resumed := range 2 {
				state, err := s.connect(t, client, nil)
				if err := errors.Join(err, s.result(t)); err != nil {
					t.Fatal(err)
				}
				if state.DidResume != (resumed == 1) {
					t.Fatalf("connection %d resumed: %t", resumed, state.DidResume)
				}
			}
			current.Store(list(device.Cert))
			state, err := s.connect(t, client, nil)
			if refused := s.result(t); !refusedByAlert(err) || !errors.Is(refused, certs.ErrRevoked) {
				t.Errorf("the client saw %v, the server %v", err, refused)
			}
			if version == tls.VersionTLS13 && !state.DidResume {
				t.Error("the refused connection was not a resumed one")
			}
		})
	}
}
