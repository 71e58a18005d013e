package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// match finds a key that belongs to one of certs, the first of them if possible. It returns the
// index of that certificate, or -1.
func match(certs []*x509.Certificate, keys []crypto.Signer) (crypto.Signer, int) {
	for i, c := range certs {
		for _, key := range keys {
			// Equal is a method of every public key of the standard library.
			if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); ok && pub.Equal(c.PublicKey) {
				return key, i
			}
		}
	}
	return nil, -1
}

// checkValidity reports every certificate that is not valid at now, except self-issued ones behind
// the leaf: clients use their own copy of a root.
func checkValidity(certs []*x509.Certificate, now time.Time) []error {
	var errs []error
	for i, c := range certs {
		if i > 0 && selfIssued(c) {
			continue
		}
		if err := validAt(c, now); err != nil {
			errs = append(errs, fmt.Errorf("certificate %d %s %w", i+1, name(c), err))
		}
	}
	return errs
}

// validAt says as the end of a sentence why c is not valid at now (RFC 5280, section 4.1.2.5:
// both ends belong to the period).
func validAt(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("expired on %s: renew it", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("is not valid before %s: wait, or correct this machine's clock (%s)",
			c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkOrder reports every certificate behind the leaf that is not the issuer of an earlier one.
func checkOrder(certs []*x509.Certificate) []error {
	var errs []error
	for i := 1; i < len(certs); i++ {
		if issuerOfAny(certs[i], certs[:i]) >= 0 {
			continue
		}
		if later := issuerOfAny(certs[i], certs[i+1:]); later >= 0 {
			errs = append(errs, fmt.Errorf("wrong order: certificate %d %s is the issuer of certificate %d %s and must come after it",
				i+1, name(certs[i]), i+later+2, name(certs[i+1+later])))
			continue
		}
		errs = append(errs, fmt.Errorf("certificate %d %s did not issue any before it: remove it, "+
			"or put the issuer of %s (%q) in its place", i+1, name(certs[i]), name(certs[i-1]), certs[i-1].Issuer.String()))
	}
	return errs
}

// issuerOfAny returns the index of the first certificate that issuer has signed, or -1. A
// certificate with the right name and another key, as after a renewal of the authority, does not count.
func issuerOfAny(issuer *x509.Certificate, certs []*x509.Certificate) int {
	for i, c := range certs {
		// Not CheckSignatureFrom: whether the issuer is allowed to sign, and with SHA-1, is for clients to judge.
		if c != issuer && bytes.Equal(c.RawIssuer, issuer.RawSubject) &&
			issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			return i
		}
	}
	return -1
}

// checkKeyType refuses keys that crypto/tls would refuse in every handshake.
func checkKeyType(leaf *x509.Certificate) error {
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); ok && key.Curve == elliptic.P224() {
		return fmt.Errorf("certificate 1 %s has a key on the curve P-224, which TLS does not know: "+
			"request one with P-256", name(leaf))
	}
	return nil
}

// keyType names the kind and size of a leaf's key, such as "ECDSA P-256" or "RSA 2048".
func keyType(leaf *x509.Certificate) string {
	switch key := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		return "RSA " + strconv.Itoa(key.N.BitLen())
	}
	return leaf.PublicKeyAlgorithm.String()
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

// name is subject in quotes, for errors: a certificate may hold any bytes.
func name(c *x509.Certificate) string { return strconv.Quote(subject(c)) }

// maxSubject bounds a label, in bytes: a DNS name is at most 253 long (RFC 1035, section 2.3.4, as
// text), a common name 64 characters (RFC 5280, appendix A.1, ub-common-name).
const maxSubject = 253

// subject labels a certificate: by its common name, else its first name or address, else its
// organization, else its fingerprint.
func subject(c *x509.Certificate) string {
	label := c.Subject.CommonName
	switch {
	case label != "":
	case len(c.DNSNames) > 0:
		label = c.DNSNames[0]
	case len(c.IPAddresses) > 0:
		label = c.IPAddresses[0].String()
	case len(c.Subject.Organization) > 0 && c.Subject.Organization[0] != "":
		label = c.Subject.Organization[0]
	default:
		label = "sha256:" + fingerprint(c)[:16]
	}
	return strings.ToValidUTF8(label[:min(len(label), maxSubject)], "?")
}

// fingerprint is the hex SHA-256 of a certificate, as "openssl x509 -fingerprint -sha256" prints it without
// the colons and in lower case.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
