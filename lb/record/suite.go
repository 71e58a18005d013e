package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// A suite is the AEAD and the hash of a cipher suite; 0 is none.
type suite uint8

const (
	aes128gcm suite = 1 + iota // SHA-256
	aes256gcm                  // SHA-384
	chacha20                   // SHA-256
)

// suiteOf is the suite of a version and cipher suite, as crypto/tls names them; 0 for those without AEAD, and those of
// another version.
func suiteOf(version, id uint16) suite {
	switch version {
	case tls.VersionTLS13: // RFC 8446, appendix B.4
		switch id {
		case tls.TLS_AES_128_GCM_SHA256:
			return aes128gcm
		case tls.TLS_AES_256_GCM_SHA384:
			return aes256gcm
		case tls.TLS_CHACHA20_POLY1305_SHA256:
			return chacha20
		}
	case tls.VersionTLS12: // RFC 5288, section 3; RFC 5289, section 3.2; RFC 7905, section 2
		switch id {
		case tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:
			return aes128gcm
		case tls.TLS_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:
			return aes256gcm
		case tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
			return chacha20
		}
	}
	return 0
}

// keySize is in bytes.
func (u suite) keySize() int {
	if u == aes128gcm {
		return 16
	}
	return maxKey
}

// hash is that of the key schedule, or of the pseudo-random function.
func (u suite) hash() hash.Hash {
	if u == aes256gcm {
		return sha512.New384()
	}
	return sha256.New()
}

// hashSize is in bytes.
func (u suite) hashSize() int {
	if u == aes256gcm {
		return sha512.Size384
	}
	return sha256.Size
}

// aead makes the cipher object of a key.
func (u suite) aead(key *[maxKey]byte) (cipher.AEAD, error) {
	switch u {
	case aes128gcm, aes256gcm:
		block, err := aes.NewCipher(key[:u.keySize()])
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	case chacha20:
		return chacha20poly1305.New(key[:])
	}
	return nil, errors.New("the State has no keys: it is zero, or was wiped")
}

// update goes on to the next secret, which the last one cannot be had from (RFC 8446, section 7.2), for records from number 0 on
// (section 5.3).
func (d *direction) update(c *Cache, u suite) {
	c.drop(d)
	u.expand(d.secret[:u.hashSize()], d, "traffic upd")
	d.seq = 0
}

// expand is HKDF-Expand-Label of d's secret, without context (RFC 8446, section 7.1).
func (u suite) expand(dst []byte, d *direction, label string) {
	info := binary.BigEndian.AppendUint16(nil, uint16(len(dst)))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "+label...)
	info = append(info, 0)
	out, err := hkdf.Expand(u.hash, d.secret[:u.hashSize()], string(info), len(dst))
	if err != nil {
		panic(err) // for lengths that the hash cannot give, and in FIPS 140-only mode for hashes that it forbids: these it allows
	}
	copy(dst, out)
	clear(out)
}

// fill fills dst with the pseudo-random function of TLS 1.2: P_hash of secret, label and seed (RFC 5246, section 5).
func (u suite) fill(dst, secret []byte, label string, seed []byte) {
	mac := hmac.New(u.hash, secret)
	sum := func(parts ...[]byte) []byte {
		mac.Reset()
		for _, p := range parts {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	seed = append([]byte(label), seed...)
	for a := sum(seed); len(dst) > 0; a = sum(a) {
		block := sum(a, seed)
		dst = dst[copy(dst, block):]
		clear(block)
	}
}
