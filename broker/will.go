package broker

import (
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// will is the message that is published when a client is lost, and how long after (MQTT 5 section 3.1.2.5).
type will struct {
	m       *delivery.Message // without Expires
	expires bool              // it has a message expiry
	expiry  time.Duration     // from its publication on
	delay   time.Duration     // section 3.1.3.2.2
}

// newWill copies the will out of a CONNECT.
func newWill(id string, p *packet.Will) *will {
	seconds, expires := p.Properties.Int(packet.MessageExpiry)
	delay, _ := p.Properties.Int(packet.WillDelay)
	w := &will{
		m: &delivery.Message{
			Topic:     string(p.Topic),
			Payload:   append([]byte(nil), p.Payload...),
			QoS:       p.QoS,
			Retain:    p.Retain,
			Publisher: id,
		},
		expires: expires,
		expiry:  time.Duration(seconds) * time.Second,
		delay:   time.Duration(delay) * time.Second,
	}
	w.m.Forwarded.AddForwarded(p.Properties)
	return w
}

// message returns what is published now. It is called once: the will is then gone [MQTT-3.1.2-10].
func (w *will) message(now time.Time) *delivery.Message {
	if w.expires {
		w.m.Expires = now.Add(w.expiry)
	}
	return w.m
}
