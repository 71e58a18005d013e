package packet

import "encoding/binary"

// A Publish is a message on its way (MQTT 5 section 3.3).
type Publish struct {
	Dup        bool // sent before, perhaps; never with QoS 0
	Retain     bool
	QoS        byte   // 0, 1 or 2
	PacketID   uint16 // 0 with QoS 0
	Topic      []byte // empty only with a topic alias
	Properties Properties
	Payload    []byte
}

// Decode reads the body of a PUBLISH without allocating. Topic, Properties and Payload alias body.
//
// Not checked: that the payload is UTF-8 when PayloadFormat says so (optional, section 3.3.2.3.2),
// the largest topic alias that was agreed, and that a client sends no subscription identifier
// [MQTT-3.3.4-6], since the direction is not known here.
func (p *Publish) Decode(v Version, h Header, body []byte) error {
	*p = Publish{
		Dup:    h.Flags&flagDup != 0,
		Retain: h.Flags&flagRetain != 0,
		QoS:    h.Flags >> qosShift & qosMask,
	}
	d := decode(v, h, body)
	d.want(PUBLISH)
	p.Topic = d.name()
	if p.QoS > 0 { // [MQTT-2.2.1-2]
		p.PacketID = d.id()
	}
	if v == V5 {
		p.Properties = d.properties(PUBLISH)
	}
	if len(p.Topic) == 0 && !p.Properties.Has(AnyProperty(TopicAlias)) { // [MQTT-4.7.3-1], section 3.3.2.1
		d.fail(ProtocolError, "topic name is empty")
	}
	p.Payload = d.take(len(d.b))
	return d.end()
}

// Append appends the packet in the form of version v; properties have none before MQTT 5 and are
// left out. It allocates only if dst lacks the room.
//
// It adds nothing if there is no such form, which comparing the lengths tells: a string of more than
// 65,535 bytes, properties that the packet may not have, no packet identifier where one belongs,
// a packet longer than the protocol allows. This holds for every Append of the package. What
// Decode accepted can always be appended in the same version. That strings are UTF-8 and topic
// names free of wildcards is the caller's care.
func (p *Publish) Append(dst []byte, v Version) []byte {
	if p.QoS > 0 && p.PacketID == 0 {
		return dst
	}
	dst, _ = p.append(dst, v)
	return dst
}

// Size returns the length in bytes of what Append adds, the fixed header included: what the
// client's MaximumPacketSize is compared with [MQTT-3.1.2-24]. 0 means that it adds nothing. A
// missing packet identifier does not matter.
func (p *Publish) Size(v Version) int { return p.size(v).whole() }

// append returns where the packet identifier is, 0 with QoS 0.
func (p *Publish) append(dst []byte, v Version) (out []byte, idAt int) {
	n := p.size(v)
	if !n.ok() {
		return dst, 0
	}
	flags := p.QoS << qosShift
	if p.Dup {
		flags |= flagDup
	}
	if p.Retain {
		flags |= flagRetain
	}
	dst = appendBytes(appendHeader(dst, PUBLISH, flags, n), p.Topic)
	if p.QoS > 0 {
		idAt = len(dst)
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	return append(dst, p.Payload...), idAt
}

func (p *Publish) size(v Version) size {
	alias := v == V5 && p.Properties.Has(AnyProperty(TopicAlias))
	if p.QoS > 2 || p.Dup && p.QoS == 0 || len(p.Topic) == 0 && !alias {
		return impossible
	}
	n := sizeBytes(p.Topic) + size(len(p.Payload))
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += p.Properties.sizeIn(PUBLISH)
	}
	return n
}

// An Encoded is a PUBLISH in the form of one version, to be sent to many: it is written once, and
// each receiver gets a copy with its own packet identifier. It does not change, so that any number
// of goroutines may use it. The zero value, and that of a packet without a form, appends nothing.
type Encoded struct {
	b    []byte
	idAt int // 0 with QoS 0
}

// Encode writes p in the form of version v into the room of buf, from its beginning; buf may be nil
// and belongs to the result from then on. p.PacketID does not matter.
func (p *Publish) Encode(buf []byte, v Version) Encoded {
	b, idAt := p.append(buf[:0], v)
	return Encoded{b: b, idAt: idAt}
}

// Len returns the length of the packet in bytes; 0 when it has no form.
func (e Encoded) Len() int { return len(e.b) }

// Append appends the packet with that identifier, and DUP set when it may have been sent before
// [MQTT-3.3.1-1]. With QoS 0 both are ignored [MQTT-3.3.1-2] [MQTT-2.2.1-2].
func (e Encoded) Append(dst []byte, id uint16, dup bool) []byte {
	at := len(dst)
	dst = append(dst, e.b...)
	if e.idAt == 0 {
		return dst
	}
	binary.BigEndian.PutUint16(dst[at+e.idAt:], id)
	dst[at] &^= flagDup
	if dup {
		dst[at] |= flagDup
	}
	return dst
}
