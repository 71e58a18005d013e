package packet

import (
	"encoding/binary"
	"iter"
)

// An Unsubscribe ends subscriptions (MQTT 5 section 3.10).
type Unsubscribe struct {
	PacketID   uint16
	Properties Properties // user properties
	Filters    Filters
}

// Filters are topic filters, kept as the bytes that are on the wire, as Subscriptions are.
type Filters struct {
	raw []byte
	n   int
	bad bool // something was added that has no form on the wire
}

// Len returns how many there are: the UNSUBACK of MQTT 5 has as many codes.
func (f Filters) Len() int { return f.n }

// All yields the filters in their order. They alias f.
func (f Filters) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for raw := f.raw; len(raw) > 0; {
			end := 2 + int(binary.BigEndian.Uint16(raw))
			if !yield(raw[2:end:end]) {
				return
			}
			raw = raw[end:]
		}
	}
}

// Add adds a copy of filter. One that is empty or too long makes the packet one without a form:
// see Publish.Append.
func (f *Filters) Add(filter []byte) {
	if len(filter) == 0 || len(filter) > 0xffff {
		f.bad = true
		return
	}
	f.n++
	f.raw = appendBytes(f.raw, filter)
}

// Decode reads the body of an UNSUBSCRIBE without allocating.
func (p *Unsubscribe) Decode(v Version, h Header, body []byte) error {
	*p = Unsubscribe{}
	d := decode(v, h, body)
	d.want(UNSUBSCRIBE)
	p.PacketID = d.id()
	if v == V5 {
		p.Properties = d.properties(UNSUBSCRIBE)
	}
	p.Filters.raw = d.b[:len(d.b):len(d.b)]
	for len(d.b) > 0 && d.err == nil {
		d.filter()
		p.Filters.n++
	}
	if p.Filters.n == 0 { // [MQTT-3.10.3-2]
		d.fail(ProtocolError, "there is no topic filter")
	}
	return d.end()
}

// Append appends the packet in the form of version v. See Publish.Append.
func (p *Unsubscribe) Append(dst []byte, v Version) []byte {
	n := size(2 + len(p.Filters.raw))
	if v == V5 {
		n += p.Properties.sizeIn(UNSUBSCRIBE)
	}
	if p.PacketID == 0 || p.Filters.n == 0 || p.Filters.bad || !n.ok() {
		return dst
	}
	dst = appendHeader(dst, UNSUBSCRIBE, flagsReserved, n)
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	return append(dst, p.Filters.raw...)
}
