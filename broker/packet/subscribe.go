package packet

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// A Subscribe asks for messages (MQTT 5 section 3.8).
type Subscribe struct {
	PacketID      uint16
	Properties    Properties // SubscriptionID and user properties
	Subscriptions Subscriptions
}

// Options are what a subscription asks for (section 3.8.3.1). Before MQTT 5 there is only QoS.
type Options struct {
	QoS               byte // the most that is wanted: 0, 1 or 2
	NoLocal           bool // not what the client itself publishes
	RetainAsPublished bool
	RetainHandling    byte // of retained messages, now: 0 send, 1 send if new, 2 do not
}

// Subscription options (section 3.8.3.1).
const (
	optionNoLocal           = 1 << 2
	optionRetainAsPublished = 1 << 3
	optionRetainHandling    = 4 // shift
	optionsReserved         = 0xc0
)

// Subscriptions are topic filters with their options, kept as the bytes that are on the wire: a
// packet of a million short filters costs no more than its own length. After Decode they alias
// the body. The zero value has none.
type Subscriptions struct {
	raw []byte
	n   int
	bad bool // something was added that has no form on the wire
}

// Len returns how many there are: the SUBACK has as many codes.
func (s Subscriptions) Len() int { return s.n }

// All yields filters and options in their order. The filters alias s.
func (s Subscriptions) All() iter.Seq2[[]byte, Options] {
	return func(yield func([]byte, Options) bool) {
		for raw := s.raw; len(raw) > 0; {
			end := 2 + int(binary.BigEndian.Uint16(raw))
			if !yield(raw[2:end:end], optionsOf(raw[end])) {
				return
			}
			raw = raw[end+1:]
		}
	}
}

// Add adds a copy of filter. What it cannot express makes the packet one without a form: see
// Publish.Append.
func (s *Subscriptions) Add(filter []byte, o Options) {
	if len(filter) == 0 || len(filter) > 0xffff || o.QoS > 2 || o.RetainHandling > 2 {
		s.bad = true
		return
	}
	s.n++
	s.raw = append(appendBytes(s.raw, filter), o.byte())
}

func optionsOf(b byte) Options {
	return Options{
		QoS:               b & qosMask,
		NoLocal:           b&optionNoLocal != 0,
		RetainAsPublished: b&optionRetainAsPublished != 0,
		RetainHandling:    b >> optionRetainHandling & 3,
	}
}

func (o Options) byte() byte {
	b := o.QoS | o.RetainHandling<<optionRetainHandling
	if o.NoLocal {
		b |= optionNoLocal
	}
	if o.RetainAsPublished {
		b |= optionRetainAsPublished
	}
	return b
}

// Decode reads the body of a SUBSCRIBE without allocating. Filters are checked for what every filter
// must be, not for where their wildcards stand: that is refused filter by filter, in the SUBACK.
func (p *Subscribe) Decode(v Version, h Header, body []byte) error {
	*p = Subscribe{}
	d := decode(v, h, body)
	d.want(SUBSCRIBE)
	p.PacketID = d.id()
	if v == V5 {
		p.Properties = d.properties(SUBSCRIBE)
	}
	p.Subscriptions.raw = d.b[:len(d.b):len(d.b)]
	for len(d.b) > 0 && d.err == nil {
		filter := d.filter()
		d.options(v, filter)
		p.Subscriptions.n++
	}
	if p.Subscriptions.n == 0 { // [MQTT-3.8.3-2]
		d.fail(ProtocolError, "there is no topic filter")
	}
	return d.end()
}

// filter reads a topic filter [MQTT-3.8.3-1] [MQTT-3.10.3-1].
func (d *decoder) filter() []byte {
	f := d.text()
	if len(f) == 0 { // [MQTT-4.7.3-1]
		d.fail(ProtocolError, "topic filter is empty")
	}
	return f
}

func (d *decoder) options(v Version, filter []byte) {
	b := d.uint8()
	o := optionsOf(b)
	switch {
	case v < V5 && b > 2: // [MQTT-3-8.3-4 of 3.1.1]
		d.fail(MalformedPacket, "requested QoS is not 0, 1 or 2")
	case b&optionsReserved != 0: // [MQTT-3.8.3-5]
		d.fail(MalformedPacket, "reserved subscription options are set")
	case o.QoS == 3: // section 3.8.3.1
		d.fail(ProtocolError, "maximum QoS is 3")
	case o.RetainHandling == 3: // section 3.8.3.1
		d.fail(ProtocolError, "retain handling is 3")
	case o.NoLocal && bytes.HasPrefix(filter, []byte("$share/")): // [MQTT-3.8.3-4]
		d.fail(ProtocolError, "no local is set on a shared subscription")
	}
}

// Append appends the packet in the form of version v; options that only MQTT 5 has make it one
// without a form before. See Publish.Append.
func (p *Subscribe) Append(dst []byte, v Version) []byte {
	n := size(2 + len(p.Subscriptions.raw))
	if v == V5 {
		n += p.Properties.sizeIn(SUBSCRIBE)
	}
	if p.PacketID == 0 || !p.Subscriptions.fit(v) || !n.ok() {
		return dst
	}
	dst = appendHeader(dst, SUBSCRIBE, flagsReserved, n)
	dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	if v == V5 {
		dst = p.Properties.append(dst)
	}
	return append(dst, p.Subscriptions.raw...)
}

func (s Subscriptions) fit(v Version) bool {
	if s.n == 0 || s.bad {
		return false
	}
	for filter, o := range s.All() {
		if v < V5 && o != (Options{QoS: o.QoS}) {
			return false
		}
		if o.NoLocal && bytes.HasPrefix(filter, []byte("$share/")) {
			return false
		}
	}
	return true
}
