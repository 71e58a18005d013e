package record

import (
	"encoding/binary"
	"math"
)

// lastSequence is never used: a sequence number does not wrap (RFC 8446, section 5.3; RFC 5246, section 6.1).
const lastSequence = math.MaxUint64

// What one key may protect. RFC 8446, section 5.5, has 2^24.5 full records for AES-GCM. A KeyUpdate is due some time before,
// for ChaCha20-Poly1305 as well, which has no such limit: one rule for all. TLS 1.2 has no KeyUpdate, and no limit
// but its sequence numbers'.
const (
	rekeyAt  = 1 << 24    // records
	gcmLimit = 23_726_566 // records: 2^24.5
)

// Owes reports whether a record of ours is due before the next data: the answer to a KeyUpdate, or a KeyUpdate of our own, because
// the key has protected nearly as many records as it may. At most one is owed (RFC 8446, section 4.6.3: whoever was
// silent answers several with one). It is false once an alert was sent.
func (s *State) Owes() bool {
	return !s.has(mute) && (s.has(answer) || s.has(tls13) && s.out.seq >= rekeyAt)
}

// AppendOwed appends that record to dst, at most 32 bytes, and changes the key of what we send; Owes is false then. Without
// Owes it appends nothing.
func (s *State) AppendOwed(c *Cache, dst []byte) []byte {
	if !s.Owes() {
		return dst
	}
	s.flags &^= answer
	// Under the old key (RFC 8446, section 4.6.3). It asks for nothing: the peer counts its own records.
	dst = s.append(c, dst, typeHandshake, byte(keyUpdate), 0, 0, 1, updateNotRequested)
	s.out.update(c, s.suite)
	return dst
}

// AppendAlert appends an alert to dst. It is the last record that is sent: Seal must not be called after it, Owes is false, and
// another alert appends nothing (RFC 8446, section 6.1).
func (s *State) AppendAlert(c *Cache, dst []byte, a AlertCode) []byte {
	if s.has(mute) {
		return dst
	}
	dst = s.append(c, dst, typeAlert, a.level(), byte(a))
	s.flags |= mute
	return dst
}

// append appends a record of its own to dst.
func (s *State) append(c *Cache, dst []byte, typ contentType, content ...byte) []byte {
	at, n := len(dst), len(content)
	dst = append(dst, make([]byte, s.Overhead()+n)...)
	copy(dst[at+s.Prefix():], content)
	s.protect(c, dst[at:], typ, n)
	return dst
}

// Seal protects the n bytes that stand in buf from Prefix on, in place, as one record of data, and returns it: the first n+Overhead
// bytes of buf, up to whose capacity it may write. It panics for what the owner must not do: n is beyond 0 to
// MaxPlaintext, buf has no room, an alert was sent before, or Owes was not asked for millions of records. It does not
// allocate, but for a cipher that is not in c.
func (s *State) Seal(c *Cache, buf []byte, n int) []byte {
	if uint(n) > MaxPlaintext || cap(buf) < n+s.Overhead() {
		panic("record: Seal of more than a record, or into less room than it takes")
	}
	if s.has(mute) {
		panic("record: Seal after an alert")
	}
	buf = buf[:n+s.Overhead()]
	s.protect(c, buf, typeData, n)
	return buf
}

// protect encrypts a record in place, around n bytes of content.
func (s *State) protect(c *Cache, record []byte, typ contentType, n int) {
	d, prefix := &s.out, s.Prefix()
	if d.seq == lastSequence || s.has(tls13) && s.suite != chacha20 && d.seq >= gcmLimit {
		panic("record: a key was used up, and Owes not asked")
	}
	outer := typ
	body := record[prefix : prefix+n]
	if s.has(tls13) { // RFC 8446, section 5.2: the type is within
		body = record[prefix : prefix+n+1]
		body[n], outer = byte(typ), typeData
	}
	record[0] = byte(outer)
	binary.BigEndian.PutUint16(record[1:], wireVersion)
	binary.BigEndian.PutUint16(record[3:], uint16(len(record)-HeaderSize))
	if s.explicit() > 0 { // RFC 5288, section 3: a counter is a nonce that does not repeat
		binary.BigEndian.PutUint64(record[HeaderSize:], d.seq)
	}
	e := c.cipher(s, d)
	e.aead.Seal(body[:0], c.nonceOf(&e.iv, d.seq), body, s.additional(c, d, record, n))
	d.seq++
}
