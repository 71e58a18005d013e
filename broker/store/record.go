package store

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
)

// What a record holds. Each begins with a byte of flags; one that has a bit that is not among those below is not ours. Numbers are
// unsigned varints of encoding/binary, times and intervals whole milliseconds, a time that is not set is 0, and
// what has a length of its own goes before its bytes. What comes last takes the rest.
//
//	session    flags, client identifier, user, expiry, away; with a will: delay, lifetime, due, message
//	filter     flags, subscription identifier, filter
//	incoming   nothing
//	queue      flags, packet identifier, body, subscription identifiers
//	body       flags, expires, publisher, PUBLISH of QoS 0 as on the wire, of MQTT 5 if it has properties
//	retained   as a body

// Flags of a record. The lowest two bits are the QoS, but in a session.
const (
	qosBits = 3

	hasWill     = 1 << 0 // session
	willExpires = 1 << 1

	handlingShift  = 2 // filter: two bits of retain handling
	noLocal        = 1 << 4
	asPublished    = 1 << 5
	filterFlags    = qosBits | 3<<handlingShift | noLocal | asPublished
	queueRetain    = 1 << 2
	queueReleased  = 1 << 3
	queueFlags     = qosBits | queueRetain | queueReleased
	messageRetain  = 1 << 2
	withProperties = 1 << 3
	messageFlags   = qosBits | messageRetain | withProperties
)

// errRecord says that bytes are not a record. The record is named by who knows its key.
var errRecord = errors.New("the record is not one that this program writes")

// entry is a record of the queue.
type entry struct {
	body     uint64 // 0 when released: the message is no longer needed
	ids      []uint32
	id       uint16 // 0 = not sent yet
	qos      byte
	retain   bool
	released bool
}

func appendEntry(dst []byte, e entry) []byte {
	dst = append(dst, e.qos|bit(e.retain, queueRetain)|bit(e.released, queueReleased))
	dst = binary.AppendUvarint(dst, uint64(e.id))
	dst = binary.AppendUvarint(dst, e.body)
	for _, id := range e.ids {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	return dst
}

func decodeEntry(b []byte) (e entry, err error) {
	f := fields{b: b}
	flags := f.flags(queueFlags)
	e.qos, e.retain, e.released = flags&qosBits, flags&queueRetain != 0, flags&queueReleased != 0
	e.id = uint16(f.number(math.MaxUint16))
	e.body = f.number(math.MaxUint64)
	for len(f.b) > 0 && !f.bad {
		e.ids = append(e.ids, uint32(f.number(math.MaxUint32)))
	}
	if f.bad || e.qos > 2 || e.released != (e.body == 0) {
		return entry{}, errRecord
	}
	return e, nil
}

func appendFilter(dst []byte, filter string, w route.Want) []byte {
	dst = append(dst, w.QoS|w.RetainHandling<<handlingShift|bit(w.NoLocal, noLocal)|bit(w.RetainAsPublished, asPublished))
	dst = binary.AppendUvarint(dst, uint64(w.ID))
	return append(dst, filter...)
}

func decodeFilter(b []byte) (s Subscription, err error) {
	f := fields{b: b}
	flags := f.flags(filterFlags)
	s.Want = route.Want{
		ID:                uint32(f.number(math.MaxUint32)),
		QoS:               flags & qosBits,
		RetainHandling:    flags >> handlingShift & 3,
		NoLocal:           flags&noLocal != 0,
		RetainAsPublished: flags&asPublished != 0,
	}
	s.Filter = string(f.b)
	if f.bad || s.Filter == "" || s.Want.QoS > 2 || s.Want.RetainHandling > 2 {
		return Subscription{}, errRecord
	}
	return s, nil
}

func appendSession(dst []byte, s *Session) []byte {
	w := s.Will
	dst = append(dst, bit(w != nil, hasWill)|bit(w != nil && w.Expires, willExpires))
	dst = appendString(dst, s.ClientID)
	dst = appendString(dst, s.User)
	dst = appendInterval(dst, s.Expiry)
	dst = appendTime(dst, s.Away)
	if w == nil {
		return dst
	}
	dst = appendInterval(dst, w.Delay)
	dst = appendInterval(dst, w.Lifetime)
	dst = appendTime(dst, w.Due)
	return appendMessage(dst, w.Message)
}

func decodeSession(b []byte) (s Session, err error) {
	f := fields{b: b}
	flags := f.flags(hasWill | willExpires)
	s.ClientID = f.string()
	s.User = f.string()
	s.Expiry = f.interval()
	s.Away = f.time()
	if flags&hasWill != 0 {
		w := &Will{Delay: f.interval(), Lifetime: f.interval(), Due: f.time(), Expires: flags&willExpires != 0}
		if w.Message, err = decodeMessage(f.b); err != nil {
			return Session{}, err
		}
		s.Will, f.b = w, nil
	}
	if f.bad || len(f.b) > 0 || flags == willExpires {
		return Session{}, errRecord
	}
	return s, nil
}

// form is the packet that a message is kept as. Without properties it is one of MQTT 3.1.1, so that every message that
// came in a packet has a form: a packet of MQTT 5 is a byte longer.
func form(m *delivery.Message) (packet.Publish, packet.Version) {
	v := packet.V311
	if !m.Forwarded.Empty() {
		v = packet.V5
	}
	return packet.Publish{Topic: []byte(m.Topic), Payload: m.Payload, Properties: m.Forwarded}, v
}

// storable reports whether a message has a form. One that came over the wire has.
func storable(m *delivery.Message) bool {
	p, v := form(m)
	return m.QoS <= 2 && p.Size(v) > 0
}

// appendMessage needs one that is storable.
func appendMessage(dst []byte, m *delivery.Message) []byte {
	p, v := form(m)
	dst = append(dst, m.QoS|bit(m.Retain, messageRetain)|bit(v == packet.V5, withProperties))
	dst = appendTime(dst, m.Expires)
	dst = appendString(dst, m.Publisher)
	return p.Append(dst, v)
}

// decodeMessage copies what it needs of b.
func decodeMessage(b []byte) (*delivery.Message, error) {
	f := fields{b: append([]byte(nil), b...)}
	flags := f.flags(messageFlags)
	m := &delivery.Message{QoS: flags & qosBits, Retain: flags&messageRetain != 0, Expires: f.time(), Publisher: f.string()}
	v := packet.V311
	if flags&withProperties != 0 {
		v = packet.V5
	}
	h, n, err := packet.ParseHeader(f.b)
	if f.bad || err != nil || n == 0 || h.Flags != 0 || h.Remaining != len(f.b)-n || m.QoS > 2 {
		return nil, errRecord
	}
	var p packet.Publish
	if err := p.Decode(v, h, f.b[n:]); err != nil || len(p.Topic) == 0 {
		return nil, errRecord
	}
	m.Topic, m.Payload = string(p.Topic), p.Payload
	m.Forwarded.AddForwarded(p.Properties)
	return m, nil
}

func bit(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendInterval(dst []byte, d time.Duration) []byte {
	return binary.AppendUvarint(dst, uint64(max(d, 0).Milliseconds()))
}

// appendTime writes a time that is set as 1 at least.
func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(max(t.UnixMilli(), 1)))
}

// fields takes what a record holds off its front. After the first failure everything is zero.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) fail() {
	f.b, f.bad = nil, true
}

func (f *fields) flags(known byte) byte {
	if len(f.b) == 0 || f.b[0]&^known != 0 {
		f.fail()
		return 0
	}
	flags := f.b[0]
	f.b = f.b[1:]
	return flags
}

func (f *fields) number(most uint64) uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 || v > most {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) string() string {
	n := f.number(uint64(len(f.b)))
	if n > uint64(len(f.b)) { // the length itself took some of them
		f.fail()
		return ""
	}
	s := string(f.b[:n])
	f.b = f.b[n:]
	return s
}

func (f *fields) interval() time.Duration {
	return time.Duration(f.number(uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}

func (f *fields) time() time.Time {
	ms := f.number(math.MaxInt64)
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}
