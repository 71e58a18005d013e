package delivery

import (
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// Will is the message that is published when a client is lost, and how long after (MQTT 5 section 3.1.2.5).
type Will struct {
	Delay time.Duration // section 3.1.3.2.2

	m       *Message      // without Expires
	expires bool          // it has a message expiry
	expiry  time.Duration // from its publication on
}

// NewWill copies the will out of the CONNECT of a client.
func NewWill(clientID string, p *packet.Will) *Will {
	seconds, expires := p.Properties.Int(packet.MessageExpiry)
	delay, _ := p.Properties.Int(packet.WillDelay)
	w := &Will{
		m: &Message{
			Topic:     string(p.Topic),
			Payload:   append([]byte(nil), p.Payload...),
			QoS:       p.QoS,
			Retain:    p.Retain,
			Publisher: clientID,
		},
		expires: expires,
		expiry:  time.Duration(seconds) * time.Second,
		Delay:   time.Duration(delay) * time.Second,
	}
	w.m.Forwarded.AddForwarded(p.Properties)
	return w
}

// Message returns what is published now. It is called once: the will is then gone [MQTT-3.1.2-10].
func (w *Will) Message(now time.Time) *Message {
	if w.expires {
		w.m.Expires = now.Add(w.expiry)
	}
	return w.m
}

// Kept returns what there is to keep of a will beside its Delay: the message, whether it expires, and how long after its publication.
func (w *Will) Kept() (m *Message, expires bool, expiry time.Duration) {
	return w.m, w.expires, w.expiry
}

// RestoreWill returns the will that Kept has told of.
func RestoreWill(m *Message, delay time.Duration, expires bool, expiry time.Duration) *Will {
	return &Will{Delay: delay, m: m, expires: expires, expiry: expiry}
}
