package record

import (
	"encoding/binary"
)

// Sizes, in bytes.
const (
	// MaxPlaintext is the most data that one record carries (RFC 8446, section 5.1; RFC 5246, section 6.2.1).
	MaxPlaintext = 1 << 14

	// HeaderSize is that of type, version and length in front of each record (RFC 8446, section 5.1).
	HeaderSize = 5

	// MaxCiphertext is the most that follows a header: what RFC 8446, section 5.2, allows, data, type, padding and tag
	// together. TLS 1.2 has 8 bytes of nonce and 16 of tag beside the data with every suite of this package
	// (RFC 5288, section 3; RFC 7905, section 2), so that the 1,024 that RFC 5246, section 6.2.3, allows are never used.
	MaxCiphertext = MaxPlaintext + 256

	// MaxPrefix is the most that State.Prefix returns.
	MaxPrefix = HeaderSize + explicitSize

	// MaxOverhead is the most that State.Overhead returns.
	MaxOverhead = MaxPrefix + tagSize
)

const (
	explicitSize = 8  // the nonce's part that a record of TLS 1.2 carries with AES-GCM (RFC 5288, section 3)
	tagSize      = 16 // of all suites (RFC 5116, section 5.1; RFC 8439, section 2.8)
	nonceSize    = 12 // the same
	maxSecret    = 48 // of SHA-384, and a master secret of TLS 1.2
	maxKey       = 32
)

// wireVersion stands in the header of every record, of TLS 1.3 as well (RFC 8446, section 5.2).
const wireVersion = 0x0303

// contentType is what a record carries (RFC 8446, section 5.1).
type contentType uint8

const (
	typeChangeCipherSpec contentType = 20
	typeAlert            contentType = 21
	typeHandshake        contentType = 22
	typeData             contentType = 23
)

// A State is one side's record protection of one connection after its handshake, from KeyLog.State. It is a plain value
// without pointers: it may lie in memory that the collector does not know, be copied, and be written to another process
// of the same program. Whoever copies it wipes the original: two that seal are two records with one nonce, which gives
// the keys away. It may be used from one goroutine at a time. The zero State is unusable.
type State struct {
	in, out direction

	// A handshake message of TLS 1.3, of which some has come.
	left    uint32  // bytes of its body that are yet to come, once its header is complete
	message [4]byte // its header: type and length (RFC 8446, section 4)
	have    uint8   // bytes of its header that have come; 0: none is under way

	idle  uint8 // records in a row that brought no data
	suite suite
	flags flags
}

// A direction is the protection of what comes in, or of what goes out.
type direction struct {
	// TLS 1.3: the traffic secret, which key and iv are made from when they are needed, and the next secret (RFC 8446, section 7).
	// TLS 1.2: key and iv themselves, one behind the other.
	secret [maxSecret]byte
	cached uint32 // where in the Cache the cipher may be: a hint, 0 = nowhere
	seq    uint64 // of the next record (RFC 8446, section 5.3; RFC 5246, section 6.1)
}

// keys are what a cipher is made of, and what its nonces are.
type keys struct {
	key [maxKey]byte    // with AES-128 its first 16 bytes
	iv  [nonceSize]byte // TLS 1.2 with AES-GCM: 4 bytes of salt, the others 0
}

// keys makes the keys of a direction.
func (s *State) keys(d *direction) (k keys) {
	if s.has(tls13) { // RFC 8446, section 7.3
		s.suite.expand(k.key[:s.suite.keySize()], d, "key")
		s.suite.expand(k.iv[:], d, "iv")
		return k
	}
	copy(k.iv[:], d.secret[copy(k.key[:], d.secret[:maxKey]):])
	return k
}

type flags uint8

const (
	tls13  flags = 1 << iota // else TLS 1.2
	client                   // we are
	answer                   // the peer waits for a KeyUpdate of ours
	mute                     // an alert of ours has ended what we send
	closed                   // close_notify has come
	failed                   // a record could not be accepted
)

func (s *State) has(f flags) bool { return s.flags&f != 0 }

// Wipe overwrites all keys; the State is unusable then. The cipher objects in the Cache, which nobody can overwrite, are dropped
// by its next Sweep but one.
func (s *State) Wipe() { *s = State{} }

// explicit is how many bytes of nonce a record carries.
func (s *State) explicit() int {
	if s.has(tls13) || s.suite == chacha20 {
		return 0
	}
	return explicitSize
}

// Prefix is how many bytes stand in front of the data in a record: 5, or 13 for TLS 1.2 with AES-GCM. It does not change.
func (s *State) Prefix() int { return HeaderSize + s.explicit() }

// Overhead is how many bytes Seal adds to the data in all, the prefix included. It does not change.
func (s *State) Overhead() int { return s.Prefix() + s.suffix() }

// suffix is how many bytes follow the data in a record: of TLS 1.3, the type as well (RFC 8446, section 5.2).
func (s *State) suffix() int {
	if s.has(tls13) {
		return 1 + tagSize
	}
	return tagSize
}

// Size is how many bytes the record at the front of buf has, its header included, as the header says, which nobody
// vouches for before Open; 0 when buf is shorter than a header.
func Size(buf []byte) int {
	if len(buf) < HeaderSize {
		return 0
	}
	return HeaderSize + int(binary.BigEndian.Uint16(buf[3:]))
}

// nonceOf puts the nonce of a record into c. number is its sequence number (RFC 8446, section 5.3; RFC 7905, section 2), or with
// AES-GCM in TLS 1.2 what the record carries (RFC 5288, section 3): there the last eight bytes of iv are 0, and what the
// exclusive or makes is salt and number one after the other.
func (c *Cache) nonceOf(iv *[nonceSize]byte, number uint64) []byte {
	c.nonce = *iv
	binary.BigEndian.PutUint64(c.nonce[nonceSize-8:], number^binary.BigEndian.Uint64(iv[nonceSize-8:]))
	return c.nonce[:]
}

// additional returns what is authenticated beside n bytes of data. TLS 1.3: the header as it is sent (RFC 8446, section 5.2).
// TLS 1.2: sequence number, type, version, and length of the data (RFC 5246, section 6.2.3.3).
func (s *State) additional(c *Cache, d *direction, header []byte, n int) []byte {
	if s.has(tls13) {
		return header[:HeaderSize]
	}
	binary.BigEndian.PutUint64(c.additional[:], d.seq)
	copy(c.additional[8:], header[:3])
	binary.BigEndian.PutUint16(c.additional[11:], uint16(n))
	return c.additional[:]
}
