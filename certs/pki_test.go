package certs_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/certs/devca"
)

// node is a certificate with its key: a root, an intermediate or a leaf. devca makes no
// intermediates and nothing that is wrong on purpose.
type node struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newKey makes the keys of everything that needs no particular one.
func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue signs template with parent's key, or with key itself when parent is nil.
func issue(t testing.TB, template *x509.Certificate, parent *node, key crypto.Signer) node {
	t.Helper()
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	signer := node{template, key}
	if parent != nil {
		signer = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return node{cert, key}
}

// authority makes a CA called cn, a root when parent is nil.
func authority(t testing.TB, cn string, parent *node) node {
	t.Helper()
	return issue(t, authorityTemplate(cn), parent, newKey(t))
}

func authorityTemplate(cn string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: cn},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

// leaf makes a server certificate with a common name and DNS names.
func leaf(t testing.TB, parent *node, cn string, dns ...string) node {
	t.Helper()
	return issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: cn}, DNSNames: dns}, parent, newKey(t))
}

func (n node) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.cert.Raw})
}

func (n node) keyPEM(t testing.TB) []byte {
	t.Helper()
	return keyPEM(t, n.key)
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// crlPEM signs template, with defaults for its number and times, as n.
func (n node) crlPEM(t testing.TB, template x509.RevocationList, revoked ...node) []byte {
	t.Helper()
	if template.ThisUpdate.IsZero() {
		template.ThisUpdate = time.Now().Add(-time.Minute)
	}
	if template.NextUpdate.IsZero() {
		template.NextUpdate = time.Now().Add(time.Hour)
	}
	if template.Number == nil {
		template.Number = n.cert.SerialNumber
	}
	for _, r := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: r.cert.SerialNumber, RevocationTime: template.ThisUpdate,
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &template, n.cert, n.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// file writes the parts into a new file called name.
func file(t testing.TB, name string, parts ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newCA makes the usual authority of tests.
func newCA(t testing.TB) *devca.CA {
	t.Helper()
	ca, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// mustIssue issues a certificate without the loopback names.
func mustIssue(t testing.TB, ca *devca.CA, o devca.Options) devca.Issued {
	t.Helper()
	o.NoLoopback = true
	issued, err := ca.Issue(o)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// pair writes a certificate and its key into one file.
func pair(t testing.TB, ca *devca.CA, o devca.Options) certs.Pair {
	t.Helper()
	both, err := mustIssue(t, ca, o).PEM()
	if err != nil {
		t.Fatal(err)
	}
	return certs.Pair{Cert: file(t, "server.pem", both)}
}

// mustLoad loads pairs that are right.
func mustLoad(t testing.TB, pairs ...certs.Pair) *certs.Set {
	t.Helper()
	set, err := certs.Load(pairs, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return set
}
