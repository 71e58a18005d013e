package packet

import "encoding/binary"

// A Suback answers a SUBSCRIBE, filter by filter (MQTT 5 section 3.9).
type Suback struct {
	PacketID   uint16
	Properties Properties
	Codes      []byte // each a ReasonCode: the granted QoS or a failure; aliases the body after Decode
}

// refused is the one failure that a SUBACK before MQTT 5 can tell (MQTT 3.1.1 section 3.9.3).
const refused = byte(UnspecifiedError)

// Decode reads the body of a SUBACK without allocating.
func (p *Suback) Decode(v Version, h Header, body []byte) error {
	*p = Suback{}
	d := decode(v, h, body)
	d.want(SUBACK)
	p.PacketID = d.id()
	if v == V5 {
		p.Properties = d.properties(SUBACK)
	}
	p.Codes = d.codes()
	for _, c := range p.Codes {
		if v < V5 && c > byte(GrantedQoS2) && (c != refused || v == V31) { // [MQTT-3.9.3-2 of 3.1.1]; 3.1 has no failure
			d.fail(ProtocolError, "reason code does not belong here")
		}
	}
	return d.end()
}

// codes reads the rest of a packet as its reason codes, of which there is at least one.
func (d *decoder) codes() []byte {
	codes := d.take(len(d.b))
	if len(codes) == 0 {
		d.fail(ProtocolError, "there is no reason code")
	}
	for _, c := range codes {
		d.allow(ReasonCode(c))
	}
	return codes
}

// Append appends the packet for a client of version v. In 3.1.1 every failure is 0x80; in 3.1, which cannot tell one, it is a
// granted QoS of 0 (section 3.8 there: a client that is not authorized is not informed). See Publish.Append.
func (p *Suback) Append(dst []byte, v Version) []byte {
	n := sizeCodes(SUBACK, p.Codes)
	if v == V5 {
		n += p.Properties.sizeIn(SUBACK)
	}
	if p.PacketID == 0 || !n.ok() {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(appendHeader(dst, SUBACK, 0, n), p.PacketID)
	if v == V5 {
		return append(p.Properties.append(dst), p.Codes...)
	}
	for _, c := range p.Codes {
		switch {
		case !ReasonCode(c).Failed():
		case v == V31:
			c = byte(GrantedQoS0)
		default:
			c = refused
		}
		dst = append(dst, c)
	}
	return dst
}

// sizeCodes counts a packet identifier and the codes.
func sizeCodes(t Type, codes []byte) size {
	if len(codes) == 0 {
		return impossible
	}
	for _, c := range codes {
		if !ReasonCode(c).allowedIn(t) {
			return impossible
		}
	}
	return size(2 + len(codes))
}

// An Unsuback answers an UNSUBSCRIBE (MQTT 5 section 3.11). Before MQTT 5 it is a packet
// identifier and nothing else.
type Unsuback struct {
	PacketID   uint16
	Properties Properties
	Codes      []byte // each a ReasonCode; aliases the body after Decode
}

// Decode reads the body of an UNSUBACK without allocating.
func (p *Unsuback) Decode(v Version, h Header, body []byte) error {
	*p = Unsuback{}
	d := decode(v, h, body)
	d.want(UNSUBACK)
	p.PacketID = d.id()
	if v == V5 {
		p.Properties = d.properties(UNSUBACK)
		p.Codes = d.codes() // [MQTT-3.11.3-2]
	}
	return d.end()
}

// Append appends the packet for a client of version v, before MQTT 5 without the codes. See
// Publish.Append.
func (p *Unsuback) Append(dst []byte, v Version) []byte {
	n := size(2)
	if v == V5 {
		n = sizeCodes(UNSUBACK, p.Codes) + p.Properties.sizeIn(UNSUBACK)
	}
	if p.PacketID == 0 || !n.ok() {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(appendHeader(dst, UNSUBACK, 0, n), p.PacketID)
	if v < V5 {
		return dst
	}
	return append(p.Properties.append(dst), p.Codes...)
}
