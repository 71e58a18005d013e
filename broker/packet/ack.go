package packet

import "encoding/binary"

// An Ack is one of the four that answer a PUBLISH: PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT 5
// sections 3.4 to 3.7). Before MQTT 5 it is a packet identifier and nothing else.
type Ack struct {
	Type       Type
	PacketID   uint16
	Code       ReasonCode
	Properties Properties // aliases the body after Decode
}

// Decode reads the body of any of the four; Type is h.Type.
func (p *Ack) Decode(v Version, h Header, body []byte) error {
	*p = Ack{Type: h.Type}
	d := decode(v, h, body)
	if h.Type < PUBACK || h.Type > PUBCOMP {
		d.fail(ProtocolError, "is none of PUBACK, PUBREC, PUBREL and PUBCOMP")
	}
	p.PacketID = d.id()
	if v == V5 {
		p.Code, p.Properties = d.result()
	}
	return d.end()
}

// Append appends the packet in the form of version v; before MQTT 5 without the code, which is then
// lost: a failure has no form there [MQTT-3.3.5-2 of 3.1.1]. See Publish.Append.
func (p *Ack) Append(dst []byte, v Version) []byte {
	if p.Type < PUBACK || p.Type > PUBCOMP || p.PacketID == 0 {
		return dst
	}
	n := size(2)
	if v == V5 {
		n += sizeResult(p.Type, p.Code, p.Properties)
	}
	if !n.ok() {
		return dst
	}
	dst = appendHeader(dst, p.Type, flagsOf(p.Type), n)
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	if v == V5 {
		dst = appendResult(dst, p.Code, p.Properties)
	}
	return dst
}

// flagsOf returns the reserved flags of a type [MQTT-2.1.3-1].
func flagsOf(t Type) byte {
	switch t {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return flagsReserved
	}
	return 0
}
