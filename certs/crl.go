package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// What Check says no for; test with errors.Is.
var (
	// ErrRevoked means that the certificate, or an intermediate above it, is in its issuer's list.
	ErrRevoked = errors.New("certificate is revoked")
	// ErrNoCRL means that the issuer of a certificate in the chain has no list.
	ErrNoCRL = errors.New("no revocation list from this issuer: add it to the client_crl file")
)

// Revoked is what one or several certificate revocation lists say (RFC 5280, section 5). It is
// immutable; every method may be called from any goroutine.
type Revoked struct {
	lists       map[string][]serials // by DER of the issuer's name
	uncovered   []string
	nextUpdate  time.Time
	fingerprint string
}

// serials is the content of one CRL. Two authorities may have one name, as before and after a change
// of key, so the key tells whose it is.
type serials struct {
	issuerKey []byte              // SubjectPublicKeyInfo, DER
	revoked   map[string]struct{} // big-endian, as big.Int.Bytes has them
}

// maxCRL bounds what is read of a revocation list, in bytes. An entry takes about 40: this is room for
// more than a million.
const maxCRL = 64 << 20

// LoadCRL reads one or several revocation lists, PEM or DER, signed by authorities in cas. Where an
// authority has several in the file, the newest counts. The error joins every problem, each with the path
// and what to do: a list that is damaged, signed by nobody in cas, limited in scope, not yet
// valid or expired as of now.
func LoadCRL(path string, cas *CAs, now time.Time) (*Revoked, error) {
	data, err := readFile(path, maxCRL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r, errs := parseCRLs(data, cas, now)
	if err := joinIn(path, errs); err != nil {
		return nil, err
	}
	return r, nil
}

func parseCRLs(data []byte, cas *CAs, now time.Time) (*Revoked, []error) {
	ders, errs := splitCRLs(data)
	var signed []signedCRL
	for i, der := range ders {
		s, err := verifyCRL(der, cas)
		if err != nil {
			errs = append(errs, fmt.Errorf("revocation list %d %w", i+1, err))
			continue
		}
		signed = append(signed, s)
	}
	signed = newest(signed)
	for _, s := range signed {
		if err := currentAt(s.crl, now); err != nil {
			errs = append(errs, fmt.Errorf("revocation list of %s %w", strconv.Quote(s.crl.Issuer.String()), err))
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return newRevoked(signed, cas), nil
}

// splitCRLs takes the lists out of PEM or of DER elements one after the other.
func splitCRLs(data []byte) (ders [][]byte, errs []error) {
	if isDER(data) {
		for rest := data; len(rest) > 0; {
			var element asn1.RawValue
			after, err := asn1.Unmarshal(rest, &element)
			if err != nil {
				return nil, []error{errors.New("neither PEM nor whole DER: copy the revocation list anew")}
			}
			ders, rest = append(ders, element.FullBytes), after
		}
		return ders, nil
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	begun, whole := begins(data), 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		whole++
		if block.Type == typeCRL {
			ders = append(ders, block.Bytes)
		}
	}
	errs = damaged(begun, whole)
	if len(ders) == 0 && len(errs) == 0 {
		errs = []error{errors.New("no X509 CRL block: the file must hold the revocation lists of the client authorities, in PEM or DER")}
	}
	return ders, errs
}

// A signedCRL is a list and the authority that signed it.
type signedCRL struct {
	crl    *x509.RevocationList
	issuer *x509.Certificate
}

// verifyCRL parses a list and finds its authority. Errors are the end of a sentence.
func verifyCRL(der []byte, cas *CAs) (signedCRL, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return signedCRL{}, fmt.Errorf("cannot be read: %w: it must be of version 2, "+
			`which "openssl ca -gencrl" makes when crlnumber is configured`, err)
	}
	issuer := strconv.Quote(crl.Issuer.String())
	if err := checkScope(crl); err != nil {
		return signedCRL{}, fmt.Errorf("of %s %w", issuer, err)
	}
	known := false
	for _, c := range cas.certs {
		if !bytes.Equal(c.RawSubject, crl.RawIssuer) {
			continue
		}
		if err = crl.CheckSignatureFrom(c); err == nil {
			return signedCRL{crl, c}, nil
		}
		known = true
	}
	if known {
		return signedCRL{}, fmt.Errorf("of %s is not signed by the authority of that name in client_ca: %w: "+
			"take the list and the authority's certificate from the same place", issuer, err)
	}
	return signedCRL{}, fmt.Errorf("is of %s, which is not in client_ca: add that authority there, or remove the list", issuer)
}

// checkScope refuses lists that speak of some certificates only, or in words we do not know: a
// list with such a critical extension must not be used (RFC 5280, sections 5.2 and 5.3).
func checkScope(crl *x509.RevocationList) error {
	for _, e := range crl.Extensions {
		if !e.Critical {
			continue
		}
		switch e.Id.String() {
		case "2.5.29.20", "2.5.29.35": // cRLNumber, authorityKeyIdentifier: limit nothing
		case oidPoint:
			if !onlyNamed(e.Value) {
				return errors.New("covers only a part of the certificates (see its issuing distribution point): take the authority's complete list")
			}
		default:
			return fmt.Errorf("has the critical extension %s, as a delta list has (2.5.29.27): take the authority's complete list", e.Id)
		}
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			id := e.Id.String()
			if e.Critical && id != "2.5.29.21" && id != "2.5.29.24" { // cRLReasons, invalidityDate: revoked all the same
				return fmt.Errorf("has entries with the critical extension %s, as an indirect list has (2.5.29.29): "+
					"take the list that the authority itself signs", id)
			}
		}
	}
	return nil
}

// oidPoint is the issuing distribution point (RFC 5280, section 5.2.5).
const oidPoint = "2.5.29.28"

// onlyNamed reports whether an issuing distribution point says where the list is published and
// nothing more: of its fields only distributionPoint, [0], is there; the others limit the list.
func onlyNamed(der []byte) bool {
	var point, field asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &point); err != nil || len(rest) > 0 ||
		point.Class != asn1.ClassUniversal || point.Tag != asn1.TagSequence || !point.IsCompound {
		return false
	}
	for rest := point.Bytes; len(rest) > 0; {
		var err error
		if rest, err = asn1.Unmarshal(rest, &field); err != nil || field.Class != asn1.ClassContextSpecific || field.Tag != 0 {
			return false
		}
	}
	return true
}

// newest keeps, of the lists of one authority and one distribution point, that with the latest ThisUpdate, and
// of those of one moment the last in the file.
func newest(signed []signedCRL) []signedCRL {
	var kept []signedCRL
	for _, s := range signed {
		at := slices.IndexFunc(kept, func(k signedCRL) bool {
			return bytes.Equal(k.issuer.RawSubject, s.issuer.RawSubject) &&
				bytes.Equal(k.issuer.RawSubjectPublicKeyInfo, s.issuer.RawSubjectPublicKeyInfo) &&
				bytes.Equal(point(k.crl), point(s.crl))
		})
		switch {
		case at < 0:
			kept = append(kept, s)
		case !s.crl.ThisUpdate.Before(kept[at].crl.ThisUpdate):
			kept[at] = s
		}
	}
	return kept
}

// point returns the issuing distribution point of crl, DER; nil when there is none.
func point(crl *x509.RevocationList) []byte {
	for _, e := range crl.Extensions {
		if e.Id.String() == oidPoint {
			return e.Value
		}
	}
	return nil
}

// currentAt says as the end of a sentence why crl cannot be used at now. A list without nextUpdate, which
// RFC 5280 forbids in section 5.1.2.5 and OpenSSL accepts, never expires.
func currentAt(crl *x509.RevocationList, now time.Time) error {
	switch {
	case !crl.NextUpdate.IsZero() && now.After(crl.NextUpdate):
		return fmt.Errorf("expired on %s: fetch the current one from the authority", crl.NextUpdate.UTC().Format(time.RFC3339))
	case now.Before(crl.ThisUpdate):
		return fmt.Errorf("is not valid before %s: wait, or correct this machine's clock (%s)",
			crl.ThisUpdate.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

func newRevoked(signed []signedCRL, cas *CAs) *Revoked {
	r := &Revoked{lists: make(map[string][]serials)}
	hash := sha256.New()
	for _, s := range signed {
		l := serials{s.issuer.RawSubjectPublicKeyInfo, make(map[string]struct{}, len(s.crl.RevokedCertificateEntries))}
		for _, e := range s.crl.RevokedCertificateEntries {
			l.revoked[string(e.SerialNumber.Bytes())] = struct{}{}
		}
		by := string(s.issuer.RawSubject)
		r.lists[by] = append(r.lists[by], l)
		hash.Write(s.crl.Raw) // DER tells its own length
		if end := s.crl.NextUpdate; !end.IsZero() && (r.nextUpdate.IsZero() || end.Before(r.nextUpdate)) {
			r.nextUpdate = end
		}
	}
	r.fingerprint = hex.EncodeToString(hash.Sum(nil))
	for _, c := range cas.certs {
		if c.IsCA && !slices.ContainsFunc(r.lists[string(c.RawSubject)], func(l serials) bool { return l.by(c) }) {
			r.uncovered = append(r.uncovered, subject(c))
		}
	}
	return r
}

func (l serials) by(issuer *x509.Certificate) bool {
	return bytes.Equal(l.issuerKey, issuer.RawSubjectPublicKeyInfo)
}

// VerifyConnection is for tls.Config.VerifyConnection of a server, which crypto/tls calls for
// resumed sessions as well. A client without certificate passes: whether it needs one is for
// tls.Config.ClientAuth to say. Where crypto/tls has found several chains, one good one is enough.
func (r *Revoked) VerifyConnection(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	err := errors.New("client certificate was not verified: ClientAuth must be VerifyClientCertIfGiven or RequireAndVerifyClientCert")
	for _, chain := range state.VerifiedChains {
		if err = r.Check(chain); err == nil {
			return nil
		}
	}
	return err
}

// Check returns an error if a certificate of a verified chain, the leaf first, is revoked (ErrRevoked) or
// has an issuer without list (ErrNoCRL). The last certificate is trusted for being in the bundle; as it
// may be an intermediate, it is looked up too, but needs no list.
func (r *Revoked) Check(chain []*x509.Certificate) error {
	for i, c := range chain {
		var issuer *x509.Certificate
		if i+1 < len(chain) {
			issuer = chain[i+1]
		} else if selfIssued(c) {
			return nil
		}
		if err := r.check(c, issuer); err != nil {
			return fmt.Errorf("client certificate chain: %s, serial %x, issuer %s: %w",
				name(c), c.SerialNumber, strconv.Quote(c.Issuer.String()), err)
		}
	}
	return nil
}

// check looks c up in the lists of its issuer, or, where that is nil, in those of any authority with its name.
func (r *Revoked) check(c, issuer *x509.Certificate) error {
	covered := issuer == nil
	for _, l := range r.lists[string(c.RawIssuer)] {
		if issuer != nil && !l.by(issuer) {
			continue
		}
		covered = true
		if _, found := l.revoked[string(c.SerialNumber.Bytes())]; found {
			return ErrRevoked
		}
	}
	if !covered {
		return ErrNoCRL
	}
	return nil
}

// NextUpdate is when the first of the lists expires, for a metric or a warning; it is zero when none
// ever does. Check goes on with an expired list.
func (r *Revoked) NextUpdate() time.Time { return r.nextUpdate }

// Uncovered names the authorities of the bundle that have no list here: whoever has a certificate
// from one of them is refused. The result is the caller's.
func (r *Revoked) Uncovered() []string { return slices.Clone(r.uncovered) }

// Fingerprint identifies the lists in use: a hex SHA-256 over them, in order.
func (r *Revoked) Fingerprint() string { return r.fingerprint }
