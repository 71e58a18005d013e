package delivery

import (
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// Message is a message as it was published. It is shared by all who receive it and never changes. It is not to
// be copied: use a pointer.
type Message struct {
	Topic     string
	Payload   []byte
	QoS       byte
	Retain    bool              // as the publisher set it
	Forwarded packet.Properties // those that go on to the subscribers (Properties.AddForwarded)
	Expires   time.Time         // [MQTT-3.3.2-5]; zero = never
	Publisher string            // client identifier, for No Local [MQTT-3.8.3-3]
	Stored    uint64            // the number under which a Journal keeps it; 0 = none. Set before the first Copy is handed on

	// Many says that it goes to several receivers, so that encoding it once for all pays. It may be
	// set until the first Copy is handed on.
	Many bool

	packets atomic.Pointer[packets]
}

// packets are the forms that a message may have on the wire, by version, QoS and retain; nil until
// somebody needs them.
type packets [2 * 3 * 2]atomic.Pointer[packet.Encoded]

// ownMemory is about what a message takes beside its topic, its payload and its properties, in bytes.
const ownMemory = 200

// Size returns about what the message takes in memory, in bytes.
func (m *Message) Size() int {
	return ownMemory + len(m.Topic) + len(m.Payload) + m.Forwarded.Len()
}

// Expired reports whether the message is past its expiry [MQTT-3.3.2-5].
func (m *Message) Expired(now time.Time) bool {
	return !m.Expires.IsZero() && !now.Before(m.Expires)
}

// Copy is what one receiver gets of a message. A zero Copy has no message.
type Copy struct {
	Message         *Message
	SubscriptionIDs []uint32 // shared, not to be changed; MQTT 5 only [MQTT-3.3.4-3]
	Position        uint64   // in the queue of its session, from 1; Outgoing sets it
	QoS             byte
	Retain          bool // the flag in the packet [MQTT-3.3.1-12] [MQTT-3.3.1-13]
}

// onceBytes bounds the size of messages that are encoded once for all: the forms take memory for as
// long as the message, and of a longer one copying is the larger part of the work, which remains.
const onceBytes = 4 << 10

// An Encoder writes copies as packets of one version. It belongs to one goroutine; the zero value
// needs its Version.
type Encoder struct {
	Version packet.Version
	Aliases *Aliases // of the connection; nil = none
	Most    int      // bytes that a packet may have [MQTT-3.1.2-24]; 0 = any
	scratch packet.Properties
}

// Append appends the PUBLISH for c. With QoS 0 id and dup do not matter.
func (e *Encoder) Append(dst []byte, c Copy, id uint16, dup bool, now time.Time) []byte {
	m := c.Message
	if e.Aliases != nil && c.QoS < 2 && e.fitsAlias(c, now) {
		if alias, known := e.Aliases.of(m.Topic); alias != 0 {
			p := e.publish(c, now)
			p.PacketID, p.Dup = id, dup && c.QoS > 0
			return e.appendAlias(dst, p, alias, known)
		}
	}
	if m.Many && m.Size() <= onceBytes && len(c.SubscriptionIDs) == 0 && (e.Version < packet.V5 || m.Expires.IsZero()) {
		return m.once(e.Version, c).Append(dst, id, dup)
	}
	p := e.publish(c, now)
	p.PacketID = id
	p.Dup = dup && c.QoS > 0
	return p.Append(dst, e.Version)
}

// fitsAlias reports whether the packet for c may have an alias: one that the client knows makes it shorter, a new one longer. Messages of
// QoS 2 never have one: the client MQTT.js tells its application an empty topic then, once the PUBREL has come.
func (e *Encoder) fitsAlias(c Copy, now time.Time) bool {
	return e.Most == 0 || e.Aliases.by[c.Message.Topic] != 0 || e.Size(c, now) <= e.Most
}

// appendAlias appends p with the number of its topic, and without the topic when the client knows that.
func (e *Encoder) appendAlias(dst []byte, p packet.Publish, alias uint16, known bool) []byte {
	var properties packet.Properties
	properties.AddForwarded(p.Properties)
	if seconds, there := p.Properties.Int(packet.MessageExpiry); there {
		properties.AddInt(packet.MessageExpiry, seconds)
	}
	for id := range p.Properties.SubscriptionIDs() {
		properties.AddSubscriptionID(id)
	}
	properties.AddInt(packet.TopicAlias, uint32(alias))
	p.Properties = properties
	if known {
		p.Topic = nil
	}
	return p.Append(dst, e.Version)
}

// Size returns the length of the packet for c, in bytes [MQTT-3.1.2-24].
// Aliases are left out of account, but for the three bytes that they may add.
func (e *Encoder) Size(c Copy, now time.Time) int {
	p := e.publish(c, now)
	n := p.Size(e.Version)
	if e.Aliases != nil {
		n += 3 + 3 // the length of the properties may grow, and with it that of the packet
	}
	return n
}

func (e *Encoder) publish(c Copy, now time.Time) packet.Publish {
	m := c.Message
	p := packet.Publish{Retain: c.Retain, QoS: c.QoS, Topic: []byte(m.Topic), Payload: m.Payload}
	switch {
	case e.Version < packet.V5:
	case m.Expires.IsZero() && len(c.SubscriptionIDs) == 0:
		p.Properties = m.Forwarded
	default:
		e.scratch.Reset()
		e.scratch.AddForwarded(m.Forwarded)
		if !m.Expires.IsZero() { // [MQTT-3.3.2-6]
			e.scratch.AddInt(packet.MessageExpiry, Seconds(m.Expires.Sub(now)))
		}
		for _, id := range c.SubscriptionIDs {
			e.scratch.AddSubscriptionID(id)
		}
		p.Properties = e.scratch
	}
	return p
}

// Seconds is d rounded up to seconds, as MQTT 5 writes intervals, between 0 and what four bytes hold.
func Seconds(d time.Duration) uint32 {
	s := (d + time.Second - 1) / time.Second
	return uint32(min(max(s, 0), 1<<32-1))
}

// once returns the packet for c, encoded by whoever needs it first. When two do at the same time, one wins.
func (m *Message) once(v packet.Version, c Copy) *packet.Encoded {
	forms := m.packets.Load()
	if forms == nil {
		m.packets.CompareAndSwap(nil, new(packets))
		forms = m.packets.Load()
	}
	i := int(c.QoS) * 2
	if c.Retain {
		i++
	}
	if v == packet.V5 {
		i += len(forms) / 2
	}
	if e := forms[i].Load(); e != nil {
		return e
	}
	p := packet.Publish{Retain: c.Retain, QoS: c.QoS, Topic: []byte(m.Topic), Payload: m.Payload, Properties: m.Forwarded}
	e := p.Encode(nil, v)
	forms[i].CompareAndSwap(nil, &e)
	return forms[i].Load()
}
