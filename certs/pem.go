package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// The types of PEM blocks that are read (RFC 7468, and RFC 1421 for the older keys); others, such as
// EC PARAMETERS and DH PARAMETERS, are skipped.
const (
	typeCertificate = "CERTIFICATE"
	typeCRL         = "X509 CRL"
	typePKCS8       = "PRIVATE KEY"
	typePKCS8Locked = "ENCRYPTED PRIVATE KEY"
	typePKCS1       = "RSA PRIVATE KEY"
	typeSEC1        = "EC PRIVATE KEY"
)

// blocks is what a PEM file holds, in its order.
type blocks struct {
	certs    []*x509.Certificate
	keys     []crypto.Signer
	damage   []error // blocks that are no PEM
	certErrs []error // CERTIFICATE blocks that hold none
	keyErrs  []error // keys that cannot be used; never with bytes of them
	der      bool    // there is no PEM at all, but what looks like DER
}

// missing is the error for a file without any block of the type want.
func (b blocks) missing(want, advice string) error {
	if b.der {
		return fmt.Errorf("no %s block, the file is binary (DER or PKCS #12): convert it to PEM, "+
			`for instance with "openssl x509 -inform der", "openssl pkey -inform der" or "openssl pkcs12 -nodes"`, want)
	}
	return fmt.Errorf("no %s block: %s, in PEM", want, advice)
}

// parse takes data apart. It never fails: what cannot be read is in the errors of the result.
func parse(data []byte) blocks {
	b := blocks{der: isDER(data)}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark would hide the first block
	begun, whole := begins(data), 0
	for numCert := 0; ; {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		whole++
		switch {
		case block.Type == typeCertificate:
			numCert++
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				b.certErrs = append(b.certErrs, fmt.Errorf("certificate %d cannot be read: %w", numCert, err))
				continue
			}
			b.certs = append(b.certs, c)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key, err := parseKey(block)
			if err != nil {
				b.keyErrs = append(b.keyErrs, err)
				continue
			}
			b.keys = append(b.keys, key)
		}
	}
	b.damage = damaged(begun, whole)
	return b
}

// isDER reports whether data looks like DER: it begins as an ASN.1 SEQUENCE does (which is also
// the digit zero) and holds no PEM.
func isDER(data []byte) bool {
	return len(data) > 0 && data[0] == 0x30 && begins(data) == 0
}

// begins counts the lines of data that begin a PEM block.
func begins(data []byte) int {
	const begin = "-----BEGIN "
	n := bytes.Count(data, []byte("\n"+begin))
	if bytes.HasPrefix(data, []byte(begin)) {
		n++
	}
	return n
}

// damaged tells that pem.Decode, which skips what it does not understand, has skipped blocks.
func damaged(begun, whole int) []error {
	if whole >= begun {
		return nil
	}
	return []error{fmt.Errorf("%d of %d PEM blocks damaged (cut off, or altered by an editor): copy the file anew",
		begun-whole, begun)}
}

// parseKey returns the private key in block. Its errors wrap none of the parsers': those of
// encoding/asn1 quote tags and lengths, which are bytes of the key when it is misread.
func parseKey(block *pem.Block) (crypto.Signer, error) {
	if block.Type == typePKCS8Locked || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("the private key is encrypted, and there is nobody to ask for its passphrase: " +
			`write it without one with "openssl pkey -in FILE -out NEWFILE"`)
	}
	var (
		key any
		err error
	)
	switch block.Type {
	case typePKCS8:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case typePKCS1:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case typeSEC1:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("the private key cannot be read: it must be ECDSA (P-256, P-384, P-521), Ed25519 or RSA (1024 bits or more), " +
			`in PKCS #8, SEC 1 or PKCS #1; "openssl pkey -in FILE -text" tells what it is`)
	}
	return signer, nil
}
