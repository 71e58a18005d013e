package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// CAs is a bundle of authorities whose client certificates are trusted. It is immutable; every
// method may be called from any goroutine.
type CAs struct {
	pool        *x509.CertPool
	certs       []*x509.Certificate
	fingerprint string
}

// LoadCAs reads a PEM file with one or several certificates, in any order. The error joins every
// problem, each with the path and what to do. Expired authorities are an error only when
// no valid one is left: while one replaces another, a bundle holds both.
func LoadCAs(path string, now time.Time) (*CAs, error) {
	data, err := readFile(path, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	cas, errs := parseCAs(data, now)
	if err := joinIn(path, errs); err != nil {
		return nil, err
	}
	return cas, nil
}

func parseCAs(data []byte, now time.Time) (*CAs, []error) {
	in := parse(data)
	errs := append(in.damage, in.certErrs...)
	if len(in.certs)+len(in.certErrs) == 0 {
		errs = append(errs, in.missing(typeCertificate, "the file must hold the authorities that sign client certificates"))
	}
	if len(errs) > 0 {
		return nil, errs
	}
	cas := &CAs{pool: x509.NewCertPool(), certs: in.certs}
	hash := sha256.New()
	for i, c := range in.certs {
		cas.pool.AddCert(c)
		hash.Write(c.Raw) // DER tells its own length
		if err := validAt(c, now); err != nil {
			errs = append(errs, fmt.Errorf("certificate %d %s %w", i+1, name(c), err))
		}
	}
	if len(errs) == len(in.certs) {
		return nil, errs
	}
	cas.fingerprint = hex.EncodeToString(hash.Sum(nil))
	return cas, nil
}

// Pool is for tls.Config.ClientCAs. It is shared and must not be changed.
func (c *CAs) Pool() *x509.CertPool { return c.pool }

// Fingerprint identifies the bundle: a hex SHA-256 over its certificates, in order.
func (c *CAs) Fingerprint() string { return c.fingerprint }

// joinIn joins errs, each behind the path of the file it is about; nil when there are none.
func joinIn(path string, errs []error) error {
	located := make([]error, len(errs))
	for i, err := range errs {
		located[i] = fmt.Errorf("%s: %w", path, err)
	}
	return errors.Join(located...)
}
