package lb

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/lb/config"
)

// clientAuth is what the values of tls.client_auth mean (HAProxy: bind's verify).
var clientAuth = map[string]tls.ClientAuthType{
	config.ClientAuthNone:     tls.NoClientCert,
	config.ClientAuthOptional: tls.VerifyClientCertIfGiven,
	config.ClientAuthRequire:  tls.RequireAndVerifyClientCert,
}

// loadTLS loads what the listener's tls section names; path is the section's in the configuration.
func (f *frontend) loadTLS(cfg *config.Config, path string, now time.Time) config.Problems {
	var problems config.Problems
	spec := f.cfg.TLS
	f.tls = &tls.Config{
		MinVersion: spec.MinVersion,
		NextProtos: spec.ALPN,
		ClientAuth: clientAuth[spec.ClientAuth],

		GetConfigForClient: greet(spec.MinVersion),
	}
	set, bad := loadCertificates(cfg, path, spec.Certificates, now)
	problems = append(problems, bad...)
	if set != nil {
		f.certs = set
		f.tls.GetCertificate = set.Get
	}
	if spec.ClientAuth != config.ClientAuthNone {
		problems = append(problems, f.loadClientAuth(cfg, path, now)...)
	}
	return problems
}

// loadCertificates loads the pairs of one listener, each problem with the line of its file's name.
func loadCertificates(cfg *config.Config, path string, list []config.Certificate, now time.Time) (*certs.Set, config.Problems) {
	pairs := make([]certs.Pair, len(list))
	for i, c := range list {
		pairs[i] = certs.Pair{Cert: c.Cert, Key: c.Key}
	}
	set, err := certs.Load(pairs, now)
	if err == nil {
		return set, nil
	}
	var problems config.Problems
	for _, e := range unjoin(err) {
		field := path + ".certificates"
		var p *certs.Problem
		if errors.As(e, &p) {
			field = fmt.Sprintf("%s.certificates[%d].%s", path, p.Pair, fieldOf(p))
		}
		problems = append(problems, cfg.Problem(field, e.Error()))
	}
	return nil, problems
}

// fieldOf names the field of a pair that a problem is about.
func fieldOf(p *certs.Problem) string {
	if p.Key {
		return "key"
	}
	return "cert"
}

// loadClientAuth loads the authorities and the revocation list for client certificates.
func (f *frontend) loadClientAuth(cfg *config.Config, path string, now time.Time) config.Problems {
	var problems config.Problems
	note := func(field string, err error) {
		for _, e := range unjoin(err) {
			problems = append(problems, cfg.Problem(path+"."+field, e.Error()))
		}
	}
	cas, err := certs.LoadCAs(f.cfg.TLS.ClientCA, now)
	if err != nil {
		note("client_ca", err)
		return problems
	}
	f.tls.ClientCAs = cas.Pool()
	f.clientTrust = cas.Fingerprint()
	if f.cfg.TLS.ClientCRL == "" {
		return problems
	}
	revoked, err := certs.LoadCRL(f.cfg.TLS.ClientCRL, cas, now)
	if err != nil {
		note("client_crl", err)
		return problems
	}
	f.revoked = revoked
	f.clientTrust += revoked.Fingerprint()
	f.tls.VerifyConnection = func(state tls.ConnectionState) error {
		if err := revoked.VerifyConnection(state); err != nil {
			return &untrustedClient{err}
		}
		return nil
	}
	return problems
}

// An untrustedClient is the error of a client whose certificate is revoked.
type untrustedClient struct{ err error }

func (e *untrustedClient) Error() string { return e.err.Error() }
func (e *untrustedClient) Unwrap() error { return e.err }

// unjoin takes errors.Join apart.
func unjoin(err error) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	return []error{err}
}

// sameTLS reports whether b would serve what a serves.
func sameTLS(a, b *frontend) bool {
	x, y := a.cfg.TLS, b.cfg.TLS
	return a.certs.Fingerprint() == b.certs.Fingerprint() && a.clientTrust == b.clientTrust &&
		x.MinVersion == y.MinVersion && x.ClientAuth == y.ClientAuth && slices.Equal(x.ALPN, y.ALPN)
}
