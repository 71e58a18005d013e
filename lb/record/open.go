package record

import "encoding/binary"

// maxIdle is how many records in a row may bring no data: empty ones, warnings, KeyUpdates, parts of session tickets. As in
// crypto/tls, 16 are more than anybody needs, and less than what would let a peer have us work for nothing.
const maxIdle = 16

// Opened is what Open found at the front of its buffer.
type Opened struct {
	Used  int    // bytes of the buffer that are consumed; 0: the record is not complete
	Data  []byte // application data, a part of the buffer; empty for records that carry none
	Close bool   // close_notify: nothing comes any more, and what stands behind it does not count
}

// Open opens the first record in buf, in place: of what is Used, only Data means anything afterwards. A record that is not complete
// is left as it is, but refused at once if its header cannot be right: no more than HeaderSize + MaxCiphertext bytes are ever
// waited for. Data keeps the buffer's capacity: of records one after the other, the data can be moved together by append, which never
// reaches what is not opened yet.
//
// The error is an *Alert, and final: nothing is opened any more. If it is not Remote, the peer should be told by AppendAlert.
// After a KeyUpdate of the peer Owes may be true. It does not allocate, but for errors, KeyUpdates, and a cipher that is not in c.
func (s *State) Open(c *Cache, buf []byte) (Opened, error) {
	switch {
	case s.has(closed): // RFC 8446, section 6.1: data after a closure alert must be ignored
		return Opened{Used: len(buf), Close: true}, nil
	case s.has(failed):
		return Opened{}, refuse(InternalError, "a record before it was refused")
	}
	size, bad := s.header(buf)
	if bad == nil && (size == 0 || size > len(buf)) {
		return Opened{}, nil
	}
	o := Opened{Used: size}
	if bad == nil {
		var typ contentType
		var content []byte
		if typ, content, bad = s.unprotect(c, buf[:size]); bad == nil {
			bad = s.accept(c, typ, content, &o)
		}
	}
	if bad != nil {
		s.flags |= failed
		return Opened{}, bad
	}
	return o, nil
}

// header checks the header at the front of buf, before there is anything to authenticate it with, and returns the record's size; 0
// when it is not complete.
func (s *State) header(buf []byte) (size int, bad *Alert) {
	if size = Size(buf); size == 0 {
		return 0, nil
	}
	typ, body, rest := contentType(buf[0]), size-HeaderSize, s.explicit()+tagSize
	switch {
	case s.has(tls13) && typ != typeData:
		// RFC 8446, section 5.2: every protected record says application_data. Section 5: change_cipher_spec ends with the handshake.
		return 0, refuse(UnexpectedMessage, "it is not protected, after the handshake")
	case !s.has(tls13) && (typ < typeAlert || typ > typeData): // RFC 5246, section 6; change_cipher_spec as above
		return 0, refuse(UnexpectedMessage, "its type has no place after the handshake")
	case binary.BigEndian.Uint16(buf[1:]) != wireVersion: // RFC 8446, section 5.2; RFC 5246, section 6.2.1
		return 0, refuse(ProtocolVersion, "its version is not that of the connection: what comes may not be TLS at all")
	case body > MaxPlaintext+s.Overhead()-HeaderSize:
		// RFC 8446, section 5.4: data, type and padding are 2^14+1 bytes at most, stricter than MaxCiphertext.
		// RFC 5246, section 6.2.1: the data is 2^14 bytes at most, and nothing else varies.
		return 0, refuse(RecordOverflow, "it is longer than any may be")
	case body < rest: // RFC 8446, section 5.2; RFC 5246, section 6.2.3.3
		return 0, refuse(BadRecordMAC, "it is too short to be authenticated")
	case s.in.seq == lastSequence: // RFC 8446, section 5.3: it must not wrap
		return 0, refuse(InternalError, "there is no sequence number left for it")
	}
	return size, nil
}

// unprotect authenticates and decrypts a whole record.
func (s *State) unprotect(c *Cache, record []byte) (contentType, []byte, *Alert) {
	d, header, body := &s.in, record[:HeaderSize], record[HeaderSize:]
	number := d.seq
	if s.explicit() > 0 {
		number, body = binary.BigEndian.Uint64(body), body[explicitSize:]
	}
	additional := s.additional(c, d, header, len(body)-tagSize)
	e := c.cipher(s, d)
	content, err := e.aead.Open(body[:0], c.nonceOf(&e.iv, number), body, additional)
	if err != nil { // RFC 8446, section 5.2; RFC 5246, section 7.2.2
		return 0, nil, refuse(BadRecordMAC, "it is not what the peer sent: it was changed, left out, repeated or put in another order on the way")
	}
	d.seq++
	typ := contentType(header[0])
	if s.has(tls13) { // RFC 8446, section 5.4: the type is the last byte that is not zero
		n := len(content)
		for n > 0 && content[n-1] == 0 {
			n--
		}
		if n == 0 {
			return 0, nil, refuse(UnexpectedMessage, "it has no type")
		}
		typ, content = contentType(content[n-1]), content[:n-1]
	}
	return typ, content, nil
}

// accept does what a record's content, which is the peer's own, asks for.
func (s *State) accept(c *Cache, typ contentType, content []byte, o *Opened) *Alert {
	if s.have > 0 && typ != typeHandshake { // RFC 8446, section 5.1
		return refuse(UnexpectedMessage, "it stands in the middle of a handshake message")
	}
	if typ == typeData && len(content) > 0 {
		s.idle = 0
		o.Data = content
		return nil
	}
	if s.idle++; s.idle > maxIdle {
		return refuse(UnexpectedMessage, "it is one more of too many in a row that bring no data")
	}
	switch typ {
	case typeData: // RFC 8446, section 5.1: it may be empty, against traffic analysis
		return nil
	case typeAlert:
		return s.alert(content, o)
	case typeHandshake:
		return s.handshake(c, content)
	}
	return refuse(UnexpectedMessage, "its type has no place after the handshake") // RFC 8446, section 5
}

// alert takes what the peer says about the end.
func (s *State) alert(content []byte, o *Opened) *Alert {
	switch {
	case len(content) == 0 && s.has(tls13): // RFC 8446, section 5.4
		return refuse(UnexpectedMessage, "it is an alert that says nothing")
	case len(content) != 2: // RFC 8446, section 5.1: whole, and one a record. Nobody does otherwise in TLS 1.2.
		return refuse(DecodeError, "it is an alert of a wrong length")
	}
	level, code := content[0], AlertCode(content[1])
	switch {
	case code == CloseNotify: // RFC 8446, section 6.1; RFC 5246, section 7.2.1
		s.flags |= closed
		o.Close = true
		return nil
	case s.has(tls13) && code == userCanceled: // RFC 8446, section 6.1
		return nil
	case s.has(tls13) || level == levelFatal: // RFC 8446, section 6: the level does not count
		return &Alert{Code: code, Remote: true}
	case level == levelWarning: // RFC 5246, section 7.2.2: to go on is our choice
		return nil
	}
	return refuse(DecodeError, "it is an alert of no level")
}
