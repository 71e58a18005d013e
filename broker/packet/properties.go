package packet

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
)

// Properties are the properties of one packet of MQTT 5, or of its will, kept as the bytes that
// are on the wire, which Decode has checked: reading them allocates nothing and keeps their order
// [MQTT-3.3.2-18]. The zero value has none.
//
// What a Decode method yields aliases the packet's body and lives as long as that; Clone and
// AddForwarded copy. The Add methods belong to one goroutine, the others to any number at once.
// Adding never writes into a decoded body. Something that has no form on the wire (a string of
// more than 65,535 bytes, a number out of the property's range, a second value where one is
// allowed) may be added, but then the packet has no form either: see Publish.Append.
type Properties struct {
	raw []byte
	set set
}

// Has reports whether the property occurs.
func (p Properties) Has(id AnyProperty) bool { return p.set.has(byte(id)) }

// Empty reports whether there is none.
func (p Properties) Empty() bool { return p.set == 0 }

// Len returns how many bytes they take on the wire, without the length that goes before them.
func (p Properties) Len() int { return len(p.raw) }

// Int returns a number, and whether it is there. When it is not, v is what the specification says
// that its absence means: ReceiveMaximum 65,535, MaximumQoS 2, MaximumPacketSize the largest
// packet there is, RequestProblemInfo and the …Available ones 1, all others 0.
func (p Properties) Int(id IntProperty) (v uint32, present bool) {
	switch value := p.find(byte(id)); len(value) {
	case 1:
		return uint32(value[0]), true
	case 2:
		return uint32(binary.BigEndian.Uint16(value)), true
	case 4:
		return binary.BigEndian.Uint32(value), true
	}
	return unset(id), false
}

// Bytes returns a string or binary data, nil when it is absent.
func (p Properties) Bytes(id BytesProperty) []byte {
	if value := p.find(byte(id)); value != nil {
		return value[2:]
	}
	return nil
}

// SubscriptionIDs yields the subscription identifiers in their order.
func (p Properties) SubscriptionIDs() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for raw := p.raw; len(raw) > 0 && p.Has(SubscriptionID); {
			var id byte
			var value []byte
			if id, value, raw = next(raw); id != byte(SubscriptionID) {
				continue
			}
			v := uint32(0)
			for i, c := range value {
				v |= uint32(c&0x7f) << (7 * i)
			}
			if !yield(v) {
				return
			}
		}
	}
}

// User yields names and values of the user properties in their order; a name may come again.
func (p Properties) User() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for raw := p.raw; len(raw) > 0 && p.Has(UserProperty); {
			var id byte
			var pair []byte
			if id, pair, raw = next(raw); id != byte(UserProperty) {
				continue
			}
			n := 2 + int(binary.BigEndian.Uint16(pair))
			if !yield(pair[2:n:n], pair[n+2:]) {
				return
			}
		}
	}
}

// Clone returns a copy that shares no memory with p.
func (p Properties) Clone() Properties {
	return Properties{raw: bytes.Clone(p.raw), set: p.set}
}

// Reset removes all and keeps the memory for the next Add.
func (p *Properties) Reset() { p.raw, p.set = p.raw[:0], 0 }

// AddInt adds a number.
func (p *Properties) AddInt(id IntProperty, v uint32) {
	switch k := kinds[id]; {
	case k == int8bit && v <= 0xff && p.add(byte(id)):
		p.raw = append(p.raw, byte(v))
	case k == int16bit && v <= 0xffff && p.add(byte(id)):
		p.raw = binary.BigEndian.AppendUint16(p.raw, uint16(v))
	case k == int32bit && p.add(byte(id)):
		p.raw = binary.BigEndian.AppendUint32(p.raw, v)
	default:
		p.set |= unwritable
	}
	if code, _ := checkInt(id, v); code != 0 {
		p.set |= unwritable
	}
}

// AddBytes adds a copy of a string or of binary data. That a string is UTF-8 is the caller's care.
func (p *Properties) AddBytes(id BytesProperty, v []byte) {
	if len(v) > 0xffff || !p.add(byte(id)) {
		p.set |= unwritable
		return
	}
	p.raw = appendBytes(p.raw, v)
}

// AddSubscriptionID adds one more subscription identifier, 1 … 268,435,455. A SUBSCRIBE takes one.
func (p *Properties) AddSubscriptionID(v uint32) {
	if v == 0 || v > MaxRemaining {
		p.set |= unwritable
		return
	}
	p.set |= 1 << SubscriptionID
	p.raw = appendVarint(append(p.raw, byte(SubscriptionID)), size(v))
}

// AddUser adds copies of the two strings as one more user property.
func (p *Properties) AddUser(name, value []byte) {
	if len(name) > 0xffff || len(value) > 0xffff {
		p.set |= unwritable
		return
	}
	p.set |= 1 << UserProperty
	p.raw = appendBytes(appendBytes(append(p.raw, byte(UserProperty)), name), value)
}

// AddForwarded adds copies of those properties of a received PUBLISH, or of a will, that a server
// passes on unaltered and in order: payload format, content type, response topic, correlation data
// and user properties [MQTT-3.3.2-4] [MQTT-3.3.2-15] to [MQTT-3.3.2-18] [MQTT-3.3.2-20]. The others
// concern one connection (topic alias, subscription identifiers), run down (message expiry) or
// have done their work (will delay).
func (p *Properties) AddForwarded(from Properties) {
	if from.set&^forwarded == 0 && p.set == 0 {
		p.raw, p.set = append(p.raw, from.raw...), from.set
		return
	}
	p.set |= from.set & unwritable
	for raw := from.raw; len(raw) > 0; {
		id, value, rest := next(raw)
		if forwarded.has(id) {
			if repeatable(PUBLISH, id) {
				p.set |= 1 << id
				p.raw = append(p.raw, id)
			} else if !p.add(id) {
				p.set |= unwritable
				return
			}
			p.raw = append(p.raw, value...)
		}
		raw = rest
	}
}

// add writes the identifier of a property that may occur once, unless it is there already.
func (p *Properties) add(id byte) bool {
	if p.set.has(id) {
		return false
	}
	p.set |= 1 << id
	p.raw = append(p.raw, id)
	return true
}

// find returns the first value of id as it is on the wire, nil when there is none.
func (p Properties) find(id byte) []byte {
	if !p.set.has(id) {
		return nil
	}
	for raw := p.raw; len(raw) > 0; {
		have, value, rest := next(raw)
		if have == id {
			return value
		}
		raw = rest
	}
	return nil
}

// next splits the first property off raw, which has been checked: identifier, value with its
// lengths, and what follows.
func next(raw []byte) (id byte, value, rest []byte) {
	id, raw = raw[0], raw[1:]
	n := 0
	switch kinds[id] {
	case int8bit:
		n = 1
	case int16bit:
		n = 2
	case int32bit:
		n = 4
	case varint:
		n = 1 + slices.IndexFunc(raw, func(c byte) bool { return c < 0x80 })
	case text, binaryData:
		n = 2 + int(binary.BigEndian.Uint16(raw))
	case textPair:
		n = 2 + int(binary.BigEndian.Uint16(raw))
		n += 2 + int(binary.BigEndian.Uint16(raw[n:]))
	}
	return id, raw[:n:n], raw[n:]
}

// properties reads a property length and that many bytes of properties of t [MQTT-2.2.2-1].
func (d *decoder) properties(t Type) Properties {
	p := Properties{raw: d.take(d.varint())}
	in := decoder{b: p.raw, typ: d.typ, err: d.err}
	for len(in.b) > 0 && in.err == nil {
		in.property(t, &p.set)
	}
	d.err = in.err
	return p
}

// property reads one property, checks it and adds it to seen.
func (d *decoder) property(t Type, seen *set) {
	id := d.uint8() // a variable byte integer, of which only one-byte values are defined
	if int(id) >= len(kinds) || kinds[id] == unknown {
		d.fail(MalformedPacket, "a property is unknown")
		return
	}
	if !allowed[t].has(id) { // section 2.2.2.2: not valid for its packet type is malformed
		d.fail(MalformedPacket, "a property does not belong here")
	}
	if seen.has(id) && !repeatable(t, id) {
		d.fail(ProtocolError, "a property occurs twice")
	}
	*seen |= 1 << id

	var number int
	switch kinds[id] {
	case int8bit:
		number = int(d.uint8())
	case int16bit:
		number = int(d.uint16())
	case int32bit:
		number = int(d.uint32())
	case varint:
		number = d.varint()
	case text:
		if s := d.text(); id == byte(ResponseTopic) && hasWildcard(s) { // [MQTT-3.3.2-14]
			d.fail(ProtocolError, "response topic holds a wildcard")
		}
		return
	case binaryData:
		d.binary()
		return
	case textPair: // [MQTT-1.5.7-1]
		d.text()
		d.text()
		return
	}
	if code, what := checkInt(IntProperty(id), uint32(number)); code != 0 {
		d.fail(code, what)
	}
}

// sizeIn counts the properties and their length as they are written in a packet of type t.
func (p Properties) sizeIn(t Type) size {
	if p.set&^allowed[t] != 0 {
		return impossible
	}
	n := size(len(p.raw))
	return sizeVarint(n) + n
}

func (p Properties) append(dst []byte) []byte {
	return append(appendVarint(dst, size(len(p.raw))), p.raw...)
}
