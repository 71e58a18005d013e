package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// seed makes a self-signed authority, its key and its revocation list, all PEM.
func seed(tb testing.TB) (cert, key, crl []byte) {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "seed"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageCertSign, SubjectKeyId: []byte{1},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		tb.Fatal(err)
	}
	crlDER, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: template.NotBefore, NextUpdate: template.NotAfter,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: template.NotBefore}},
	}, template, k)
	if err != nil {
		tb.Fatal(err)
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode(typeCertificate, certDER), encode(typePKCS8, keyDER), encode(typeCRL, crlDER)
}

// FuzzLoad: whatever the bytes are, parse ends, what it returns can be used by everything behind it, and
// there is a reason for all that is missing.
func FuzzLoad(f *testing.F) {
	cert, key, crl := seed(f)
	f.Add(cert)
	f.Add(slices.Concat(key, cert))
	f.Add(slices.Concat(cert[:len(cert)/2], cert))
	f.Add(crl)
	f.Add([]byte("\xef\xbb\xbf-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0x00})
	now := time.Now()
	f.Fuzz(func(t *testing.T, data []byte) {
		b := parse(data)
		l := loader{files: Pair{Cert: "x"}}
		certsOK, keysOK := l.checkCerts(b), l.checkKeys(b)
		if certsOK != (len(b.certs) > 0 && len(b.certErrs) == 0) || keysOK != (len(b.keys) > 0 && len(b.keyErrs) == 0) ||
			(certsOK && keysOK) != (len(l.problems) == 0) {
			t.Fatalf("certificates %t, keys %t, problems %v", certsOK, keysOK, l.problems)
		}
		if len(b.certs) > 0 {
			checkValidity(b.certs, now)
			checkOrder(b.certs)
			match(b.certs, b.keys)
		}
		for _, c := range b.certs {
			if n := subject(c); n == "" || len(n) > maxSubject || n != strings.ToValidUTF8(n, "") {
				t.Fatalf("label %q", n)
			}
			names(c)
			if keyType(c) == "" {
				t.Fatal("no key type")
			}
		}
		parseCAs(data, now)
	})
}

// FuzzLoadCRL: whatever the bytes are, either there are problems or lists.
func FuzzLoadCRL(f *testing.F) {
	cert, key, crl := seed(f)
	cas, errs := parseCAs(cert, time.Now())
	if errs != nil {
		f.Fatal(errs)
	}
	block, _ := pem.Decode(crl)
	f.Add(crl)
	f.Add(slices.Concat(crl, crl))
	f.Add(block.Bytes)
	f.Add(slices.Concat(block.Bytes, []byte{0x30, 0x80}))
	f.Add(key)
	now := time.Now()
	f.Fuzz(func(t *testing.T, data []byte) {
		r, errs := parseCRLs(data, cas, now)
		if (r == nil) != (len(errs) > 0) {
			t.Fatalf("lists %v, problems %v", r, errs)
		}
		if r == nil {
			return
		}
		if err := r.Check(cas.certs); err != nil || len(r.Uncovered()) != 0 {
			t.Fatalf("Check %v, uncovered %v", err, r.Uncovered())
		}
	})
}

// FuzzIssuingPoint: only the one form that limits nothing is taken.
func FuzzIssuingPoint(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Add([]byte{0x10, 0}) // a SEQUENCE that is not constructed
	f.Add([]byte{0x30, 2, 0xa0, 0})
	f.Add([]byte{0x30, 3, 0x81, 1, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		if onlyNamed(data) && (len(data) < 2 || data[0] != 0x30) {
			t.Fatalf("%x was taken for a distribution point", data)
		}
	})
}
