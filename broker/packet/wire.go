package packet

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

// A decoder takes fields off the front of a packet's body. The first failure sticks: from then
// on every method returns a zero value, and end returns the failure. It lives on the stack.
type decoder struct {
	b   []byte
	typ Type
	err *Error
}

// decode begins a body of type h.Type, which must be one that the caller decodes.
func decode(v Version, h Header, body []byte) decoder {
	d := decoder{b: body, typ: h.Type}
	if d.err = h.check(); d.err == nil {
		d.err = h.checkVersion(v)
	}
	return d
}

// want fails unless the packet is of type t.
func (d *decoder) want(t Type) {
	if d.typ != t {
		d.fail(ProtocolError, "is not a "+t.String())
	}
}

func (d *decoder) fail(code ReasonCode, what string) {
	if d.err == nil {
		d.err = &Error{d.typ, code, what}
	}
}

// end returns the first failure; bytes that nobody took are one.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail(MalformedPacket, "bytes are left over")
	}
	if d.err != nil {
		return d.err
	}
	return nil
}

// take returns the next n bytes, without spare capacity: whoever appends to a field must not
// write over the one behind it.
func (d *decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.b) {
		d.fail(MalformedPacket, "a field reaches beyond the end")
		return nil
	}
	field := d.b[:n:n]
	d.b = d.b[n:]
	return field
}

func (d *decoder) uint8() byte {
	if f := d.take(1); f != nil {
		return f[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if f := d.take(2); f != nil {
		return binary.BigEndian.Uint16(f)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if f := d.take(4); f != nil {
		return binary.BigEndian.Uint32(f)
	}
	return 0
}

// varint reads a variable byte integer of MQTT 5: at most four bytes, as few as possible
// [MQTT-1.5.5-1].
func (d *decoder) varint() int {
	v := 0
	for shift := 0; shift < 28; shift += 7 {
		c := d.uint8()
		v |= int(c&0x7f) << shift
		if c < 0x80 {
			if c == 0 && shift > 0 {
				d.fail(MalformedPacket, "a variable byte integer is longer than it needs to be")
			}
			return v
		}
	}
	d.fail(MalformedPacket, "a variable byte integer takes more than four bytes")
	return 0
}

// id reads a packet identifier, which is never 0 [MQTT-2.2.1-3] [MQTT-2.2.1-4].
func (d *decoder) id() uint16 {
	id := d.uint16()
	if id == 0 {
		d.fail(ProtocolError, "packet identifier is 0")
	}
	return id
}

// binary reads binary data (MQTT 5 section 1.5.6): never nil unless it fails.
func (d *decoder) binary() []byte { return d.take(int(d.uint16())) }

// text reads a UTF-8 string (section 1.5.4). 3.1 asked for less; a string that breaks these
// rules could not be passed on to the clients of the later versions.
func (d *decoder) text() []byte {
	s := d.binary()
	switch {
	case !utf8.Valid(s): // [MQTT-1.5.4-1]
		d.fail(MalformedPacket, "a string is not UTF-8")
	case bytes.IndexByte(s, 0) >= 0: // [MQTT-1.5.4-2]
		d.fail(MalformedPacket, "a string holds U+0000")
	}
	return s
}

// name reads a topic name, which may be empty: only the caller knows about topic aliases.
func (d *decoder) name() []byte {
	s := d.text()
	if hasWildcard(s) { // [MQTT-3.3.2-2]
		d.fail(MalformedPacket, "a topic name holds a wildcard")
	}
	return s
}

func hasWildcard(s []byte) bool {
	for _, c := range s {
		if c == '+' || c == '#' {
			return true
		}
	}
	return false
}

// A size counts the bytes of a packet before they are written. What has no form on the wire, such
// as a string of more than 65,535 bytes, counts as more than any packet may have, so that one
// comparison in put finds it.
type size int64

const impossible size = 1 << 40

func sizeBytes(s []byte) size {
	if len(s) > 0xffff {
		return impossible
	}
	return size(2 + len(s))
}

func sizeVarint(n size) size {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// ok reports whether n bytes may follow a fixed header.
func (n size) ok() bool { return n <= MaxRemaining }

// whole returns the length of a packet of which n bytes follow the fixed header; 0 if there is
// no such packet.
func (n size) whole() int {
	if !n.ok() {
		return 0
	}
	return int(1 + sizeVarint(n) + n)
}

// appendHeader appends a fixed header and makes room for the n bytes that follow it: one
// allocation at most for a packet.
func appendHeader(dst []byte, t Type, flags byte, n size) []byte {
	dst = slices.Grow(dst, n.whole())
	return appendVarint(append(dst, byte(t)<<4|flags), n)
}

func appendVarint(dst []byte, n size) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendBytes(dst, s []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}
