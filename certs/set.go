package certs

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
)

// A Set is the certificates of one listener. It is immutable; every method may be called from
// any goroutine.
type Set struct {
	// Each list is never empty and holds one certificate for each key type, the preferred one first.
	exact    map[string][]*tls.Certificate // by name
	wildcard map[string][]*tls.Certificate // "*.example.org" is under ".example.org"
	first    []*tls.Certificate            // for whoever asks for no name, or none of these

	leaves      []Leaf
	fingerprint string
}

// A Leaf describes one server certificate of a Set.
type Leaf struct {
	// Subject labels it: the common name, else the first name or address. It is valid UTF-8 and at most
	// 253 bytes long. Several leaves may share one, such as the ECDSA and the RSA certificate of a name.
	Subject  string
	DNSNames []string // as they are in the certificate; the caller's to keep
	// NotAfter is when its chain stops being valid: the earliest end of the leaf and of its
	// intermediates.
	NotAfter    time.Time
	KeyType     string // such as "ECDSA P-256", "Ed25519", "RSA 2048"
	Fingerprint string // hex SHA-256 of the leaf
}

// errNoHello is for callers that are not crypto/tls.
var errNoHello = errors.New("choose certificate: no ClientHello given")

// newSet indexes chains, of which there is at least one, each with its Leaf.
func newSet(chains []*tls.Certificate) *Set {
	s := &Set{exact: make(map[string][]*tls.Certificate), wildcard: make(map[string][]*tls.Certificate)}
	hash := sha256.New()
	for _, chain := range chains {
		for _, n := range names(chain.Leaf) {
			if suffix, ok := strings.CutPrefix(n, "*"); ok && strings.HasPrefix(suffix, ".") {
				s.wildcard[suffix] = append(s.wildcard[suffix], chain)
			} else {
				s.exact[n] = append(s.exact[n], chain)
			}
		}
		s.leaves = append(s.leaves, describe(chain))
		hash.Write(binary.BigEndian.AppendUint32(nil, uint32(len(chain.Certificate))))
		for _, der := range chain.Certificate {
			hash.Write(binary.BigEndian.AppendUint32(nil, uint32(len(der))))
			hash.Write(der)
		}
	}
	s.fingerprint = hex.EncodeToString(hash.Sum(nil))
	for suffix, list := range s.wildcard {
		s.wildcard[suffix] = prefer(list)
	}
	for n, list := range s.exact {
		// A key type that the exact name lacks may come from the wildcard, behind the name's own:
		// better than a failed handshake.
		s.exact[n] = oneOfEachType(slices.Concat(prefer(list), s.wildcard[suffixOf(n)]))
	}
	s.first = prefer(sameNames(chains))
	return s
}

// Get chooses the certificate for one handshake; its type is that of tls.Config.GetCertificate.
// It never fails for a hello from crypto/tls: where no certificate suits the client,
// it returns the preferred one, and crypto/tls ends the handshake with the alert that says so.
// The result is shared and must not be changed.
func (s *Set) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello == nil {
		return nil, errNoHello
	}
	list := s.lookup(hello.ServerName)
	if len(list) == 1 {
		return list[0], nil
	}
	nameless := *hello // the name is settled; see the package comment
	nameless.ServerName = ""
	for _, cert := range list {
		if nameless.SupportsCertificate(cert) == nil {
			return cert, nil
		}
	}
	return list[0], nil
}

func (s *Set) lookup(serverName string) []*tls.Certificate {
	if serverName == "" {
		return s.first
	}
	n := normal(serverName)
	if list := s.exact[n]; list != nil {
		return list
	}
	if list := s.wildcard[suffixOf(n)]; list != nil {
		return list
	}
	return s.first
}

// Leaves describes the server certificates, in the order of the pairs. The result is the caller's.
func (s *Set) Leaves() []Leaf {
	leaves := slices.Clone(s.leaves)
	for i := range leaves {
		leaves[i].DNSNames = slices.Clone(leaves[i].DNSNames)
	}
	return leaves
}

// Fingerprint identifies what is served: a hex SHA-256 over every certificate of every chain, in
// order. Each leaf contains its public key, so two sets with one fingerprint have the same keys too;
// names of files do not matter.
func (s *Set) Fingerprint() string { return s.fingerprint }

func describe(chain *tls.Certificate) Leaf {
	leaf := chain.Leaf
	end := leaf.NotAfter
	for _, der := range chain.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err == nil && !selfIssued(c) && c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return Leaf{
		Subject:     subject(leaf),
		DNSNames:    leaf.DNSNames,
		NotAfter:    end,
		KeyType:     keyType(leaf),
		Fingerprint: fingerprint(leaf),
	}
}

// names returns what a client may ask for to get leaf. A certificate without DNS names is known by
// its common name, which HAProxy looks at as well; addresses are there for clients that
// send one as SNI, against RFC 6066, section 3.
func names(leaf *x509.Certificate) []string {
	var list []string
	for _, n := range leaf.DNSNames {
		list = append(list, normal(n))
	}
	if len(list) == 0 && leaf.Subject.CommonName != "" {
		list = append(list, normal(leaf.Subject.CommonName))
	}
	for _, ip := range leaf.IPAddresses {
		list = append(list, ip.String())
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// normal allocates only for names with capitals.
func normal(n string) string { return strings.TrimSuffix(strings.ToLower(n), ".") }

// suffixOf returns n from the dot behind its first label on; "" when there is no such label or dot.
func suffixOf(n string) string {
	if i := strings.IndexByte(n, '.'); i > 0 {
		return n[i:]
	}
	return ""
}

// sameNames returns the first chain and those that serve all of its names.
func sameNames(chains []*tls.Certificate) []*tls.Certificate {
	wanted := names(chains[0].Leaf)
	list := chains[:1:1]
	for _, chain := range chains[1:] {
		offered := names(chain.Leaf)
		missing := func(n string) bool { _, found := slices.BinarySearch(offered, n); return !found }
		if !slices.ContainsFunc(wanted, missing) && (len(wanted) > 0 || len(offered) == 0) {
			list = append(list, chain)
		}
	}
	return list
}

// prefer orders chains of one name, keeping the earlier of those with the same key type: ECDSA,
// Ed25519, RSA.
func prefer(chains []*tls.Certificate) []*tls.Certificate {
	sorted := slices.Clone(chains)
	slices.SortStableFunc(sorted, func(a, b *tls.Certificate) int {
		return cmp.Compare(rank(a.Leaf), rank(b.Leaf))
	})
	return oneOfEachType(sorted)
}

func rank(leaf *x509.Certificate) int {
	switch leaf.PublicKeyAlgorithm {
	case x509.ECDSA:
		return 0
	case x509.Ed25519:
		return 1
	}
	return 2
}

// oneOfEachType keeps the first chain of each key type, in order: Get's loop is then short, however many
// certificates a name has.
func oneOfEachType(chains []*tls.Certificate) []*tls.Certificate {
	var list []*tls.Certificate
	for _, chain := range chains {
		kind := keyType(chain.Leaf)
		if !slices.ContainsFunc(list, func(c *tls.Certificate) bool { return keyType(c.Leaf) == kind }) {
			list = append(list, chain)
		}
	}
	return list
}
