package devca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// KeyType says what kind of key a certificate gets.
type KeyType int

// The kinds of keys.
const (
	ECDSA   KeyType = iota // P-256
	RSA                    // 2048 bits
	Ed25519                // OpenSSL and Go know it, many devices do not
)

const (
	caValidity   = 10 * 365 * 24 * time.Hour
	leafValidity = 825 * 24 * time.Hour // support.apple.com/103769

	// backdate lets a certificate work at once on a machine whose clock is behind.
	backdate = time.Hour

	organization = "mqttlb development" // marks an authority as ours

	maxCommonName = 64 // ub-common-name (RFC 5280, appendix A.1)
)

// CA is an authority. It is immutable; every method may be called from any goroutine.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
	now  time.Time // what certificates count from
}

// New makes an authority in memory that is valid for ten years from an hour before now, which is
// also the time from which its certificates count.
func New(key KeyType, now time.Time) (*CA, error) {
	signer, err := newKey(key)
	if err != nil {
		return nil, err
	}
	pub, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("encode key of the development CA: %w", err)
	}
	id := sha256.Sum256(pub)
	template := &x509.Certificate{
		// The name has a part of its own for each key: clients that trust an older throw-away
		// authority too must not take one for the other.
		Subject: pkix.Name{
			Organization: []string{organization},
			CommonName:   fmt.Sprintf("mqttlb development CA %x", id[:4]),
		},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs no further authorities
	}
	cert, err := sign(template, template, signer.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign development CA: %w", err)
	}
	return &CA{cert: cert, key: signer, now: now}, nil
}

// Options says what Issue is to make. The zero value is a server certificate for this machine
// with an ECDSA key.
type Options struct {
	Key KeyType

	// Client makes a certificate for a client (extended key usage clientAuth). Otherwise it is for
	// a server, and Hosts are its names.
	Client     bool
	CommonName string   // of a client its identity; of a server "" means the first host
	Hosts      []string // DNS names, also "*.example.org", and IP addresses
	// NoLoopback leaves localhost, 127.0.0.1 and ::1 out of a server's names.
	NoLoopback bool

	// NotBefore is an hour before the CA's time when zero, NotAfter 825 days after it or the end of
	// the CA, whichever is earlier.
	NotBefore, NotAfter time.Time
}

// Issued is a certificate with its key. It is not to be changed.
type Issued struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Issue makes a key and a certificate for it, signed by the authority. An error is about a host
// that is neither a name nor an address, or about a certificate that nothing identifies.
func (ca *CA) Issue(o Options) (Issued, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{organization}, CommonName: o.CommonName},
		NotBefore:   o.NotBefore,
		NotAfter:    o.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if o.Key == RSA {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // TLS 1.2 without ECDHE (RFC 5246, section 7.4.2)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = ca.now.Add(-backdate)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = ca.now.Add(leafValidity)
		if ca.cert.NotAfter.Before(template.NotAfter) {
			template.NotAfter = ca.cert.NotAfter
		}
	}
	if err := identify(template, o); err != nil {
		return Issued{}, err
	}
	signer, err := newKey(o.Key)
	if err != nil {
		return Issued{}, err
	}
	cert, err := sign(template, ca.cert, signer.Public(), ca.key)
	if err != nil {
		return Issued{}, fmt.Errorf("sign certificate of %q: %w", template.Subject.CommonName, err)
	}
	return Issued{Cert: cert, Key: signer}, nil
}

// identify puts the names of o into template.
func identify(template *x509.Certificate, o Options) error {
	hosts := o.Hosts
	switch {
	case o.Client:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case !o.NoLoopback:
		hosts = slices.Concat(hosts, []string{"localhost", "127.0.0.1", "::1"})
	}
	if err := addHosts(template, hosts); err != nil {
		return err
	}
	switch cn := o.CommonName; {
	case len(cn) > maxCommonName:
		return fmt.Errorf("common name %q is longer than %d bytes", cn, maxCommonName)
	case cn != "":
	case len(hosts) == 0:
		return errors.New("nothing identifies the certificate: give a common name or a host")
	case len(hosts[0]) <= maxCommonName: // a longer one is among the names that count anyway
		template.Subject.CommonName = hosts[0]
	}
	return nil
}

// CertPEM returns the authority's certificate, which clients are to trust.
func (ca *CA) CertPEM() []byte { return certPEM(ca.cert) }

// Cert returns the authority's certificate, which is not to be changed.
func (ca *CA) Cert() *x509.Certificate { return ca.cert }

// Pool returns a new pool with only this authority, for tls.Config.RootCAs and ClientCAs.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// CRL returns the authority's revocation list in PEM: revoked, as of thisUpdate, to be used until
// nextUpdate. Its number grows with thisUpdate.
func (ca *CA) CRL(revoked []*x509.Certificate, thisUpdate, nextUpdate time.Time) ([]byte, error) {
	template := &x509.RevocationList{
		Number:     big.NewInt(thisUpdate.Unix()),
		ThisUpdate: thisUpdate,
		NextUpdate: nextUpdate,
	}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: thisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.cert, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), nil
}

// TLS returns the certificate for tls.Config.Certificates.
func (i Issued) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{i.Cert.Raw}, PrivateKey: i.Key, Leaf: i.Cert}
}

// CertPEM returns the chain. It has one certificate: the authority signs leaves directly, and
// clients have the authority's own.
func (i Issued) CertPEM() []byte { return certPEM(i.Cert) }

// KeyPEM returns the private key in PKCS #8.
func (i Issued) KeyPEM() ([]byte, error) { return keyPEM(i.Key) }

// PEM returns the chain and, behind it, the key: what HAProxy's crt expects.
func (i Issued) PEM() ([]byte, error) {
	key, err := i.KeyPEM()
	return slices.Concat(i.CertPEM(), key), err
}

func newKey(kind KeyType) (signer crypto.Signer, err error) {
	switch kind {
	case ECDSA:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA:
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("generate key: unknown key type %d", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return signer, nil
}

// sign makes a certificate; CreateCertificate chooses a random serial number.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// addHosts puts each host, once, where it belongs.
func addHosts(template *x509.Certificate, hosts []string) error {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			if !slices.ContainsFunc(template.IPAddresses, ip.Equal) {
				template.IPAddresses = append(template.IPAddresses, ip)
			}
			continue
		}
		if !isHostname(h) {
			return fmt.Errorf("host %q is neither a DNS name nor an IP address: give it without scheme, port or path", h)
		}
		if !slices.Contains(template.DNSNames, h) {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return nil
}

// isHostname reports whether h is a DNS name of letters, digits, hyphens and underscores, in labels
// of 1 to 63 and at most 253 in all (RFC 1035, section 2.3.4), with or without "*." in front.
func isHostname(h string) bool {
	if len(h) > 2 && h[:2] == "*." {
		h = h[2:]
	}
	label := 0
	for i := range len(h) {
		switch c := h[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			label++
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return label > 0 && len(h) <= 253
}
