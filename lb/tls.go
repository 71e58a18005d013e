package lb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/lb/config"
	"github.com/mqttlb/mqttlb/lb/handshake"
)

// clientAuth is what a value of tls.client_auth means (HAProxy: bind's verify).
func clientAuth(name string) tls.ClientAuthType {
	switch name {
	case config.ClientAuthNone:
		return tls.NoClientCert
	case config.ClientAuthOptional:
		return tls.VerifyClientCertIfGiven
	}
	return tls.RequireAndVerifyClientCert
}

// A tlsSection is the tls section of one listener, to be loaded.
type tlsSection struct {
	cfg  *config.Config
	path string    // of the section in the configuration
	now  time.Time // when what it names is to be valid
}

func (t tlsSection) problem(field string, err error) config.Problem {
	return t.cfg.Problem(t.path+"."+field, err.Error())
}

// terminate loads the listener's TLS. Where nothing of it has changed it goes on with what before has, nil for a new
// listener: session ticket keys live in the tls.Config, and with them the resumption of every client. That holds for what
// has expired since it was loaded, too: it is logged, and no reason to refuse whatever else the operator changes.
func (s *Server) terminate(f, before *frontend, section tlsSection) config.Problems {
	problems := f.loadTLS(section)
	if before == nil || before.tls == nil {
		return problems
	}
	if len(problems) > 0 {
		section.now = before.validAt
		if len(f.loadTLS(section)) > 0 || !sameTLS(before, f) {
			return problems
		}
		for _, p := range problems {
			s.log.Error("what is served has expired since it was loaded", "listener", f.cfg.Name, "problem", p.String())
		}
	}
	if sameTLS(before, f) {
		f.tls, f.certs, f.revoked, f.validAt = before.tls, before.certs, before.revoked, section.now
	}
	return nil
}

// loadTLS loads what the section names.
func (f *frontend) loadTLS(section tlsSection) config.Problems {
	var problems config.Problems
	spec := f.cfg.TLS
	f.validAt, f.clientTrust, f.revoked = section.now, "", nil
	f.tls = handshake.Prepare(&tls.Config{
		MinVersion: spec.MinVersion,
		NextProtos: spec.ALPN,
		ClientAuth: clientAuth(spec.ClientAuth),
	})
	set, bad := loadCertificates(section, spec.Certificates)
	problems = append(problems, bad...)
	if set != nil {
		f.certs = set
		f.tls.GetCertificate = set.Get
	}
	if spec.ClientAuth != config.ClientAuthNone {
		problems = append(problems, f.loadClientAuth(section)...)
	}
	return problems
}

// loadCertificates loads the pairs of one listener, each problem with the line of its file's name.
func loadCertificates(section tlsSection, list []config.Certificate) (*certs.Set, config.Problems) {
	pairs := make([]certs.Pair, len(list))
	for i, c := range list {
		pairs[i] = certs.Pair{Cert: c.Cert, Key: c.Key}
	}
	set, err := certs.Load(pairs, section.now)
	if err == nil {
		return set, nil
	}
	var problems config.Problems
	for _, e := range unjoin(err) {
		field := "certificates"
		var p *certs.Problem
		if errors.As(e, &p) {
			field = fmt.Sprintf("certificates[%d].%s", p.Pair, fieldOf(p))
		}
		problems = append(problems, section.problem(field, e))
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
func (f *frontend) loadClientAuth(section tlsSection) config.Problems {
	var problems config.Problems
	note := func(field string, err error) {
		for _, e := range unjoin(err) {
			problems = append(problems, section.problem(field, e))
		}
	}
	cas, err := certs.LoadCAs(f.cfg.TLS.ClientCA, section.now)
	if err != nil {
		note("client_ca", err)
		return problems
	}
	f.tls.ClientCAs = cas.Pool()
	f.clientTrust = cas.Fingerprint()
	if f.cfg.TLS.ClientCRL == "" {
		return problems
	}
	revoked, err := certs.LoadCRL(f.cfg.TLS.ClientCRL, cas, section.now)
	if err != nil {
		note("client_crl", err)
		return problems
	}
	f.revoked = revoked
	f.clientTrust += revoked.Fingerprint()
	f.tls.VerifyConnection = func(state tls.ConnectionState) error {
		if err := revoked.VerifyConnection(state); err != nil {
			return &handshake.Untrusted{Err: err}
		}
		return nil
	}
	return problems
}

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

// expirySoon is how long before its end a certificate is worth a line each day.
const expirySoon = 14 * 24 * time.Hour

// warnExpiry logs the certificates that end soon, or have ended.
func (s *Server) warnExpiry(now time.Time) {
	for _, f := range s.generation().frontends {
		if f.certs == nil {
			continue
		}
		for _, leaf := range f.certs.Leaves() {
			switch left := leaf.NotAfter.Sub(now); {
			case left < 0:
				s.log.Error("certificate has expired: clients refuse it", "listener", f.cfg.Name, "subject", leaf.Subject, "not_after", leaf.NotAfter)
			case left < expirySoon:
				s.log.Warn("certificate expires soon", "listener", f.cfg.Name, "subject", leaf.Subject, "not_after", leaf.NotAfter)
			}
		}
	}
}

// watchExpiry is warnExpiry each day until ctx is done.
func (s *Server) watchExpiry(ctx context.Context) {
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	for {
		s.warnExpiry(time.Now())
		select {
		case <-day.C:
		case <-ctx.Done():
			return
		}
	}
}
