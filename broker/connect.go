package broker

import (
	"crypto/rand"
	"errors"
	"math"
	"net"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/topic"
)

// arrival is what a CONNECT asks for, within what the node allows.
type arrival struct {
	id      string
	clean   bool
	expiry  time.Duration // of the session, once the client has gone
	window  int           // messages of QoS 1 and 2 on the way to the client
	will    *delivery.Will
	granted packet.Properties // of the CONNACK
}

// connect reads the first packet and opens the session, or refuses. The CONNACK is under way when it returns nil.
func (c *conn) connect(r *packet.Reader) error {
	h, body, err := r.Next()
	if err != nil {
		return firstError(err)
	}
	var p packet.Connect
	if err := p.Decode(h, body); err != nil {
		return c.undecodable(&p, err)
	}
	c.version = p.Version
	if size, limited := p.Properties.Int(packet.MaximumPacketSize); limited {
		c.maxPacket = int(min(size, math.MaxInt32))
	}
	c.out.greet(p.Version, c.maxPacket)
	a, err := c.arrive(&p)
	if err != nil {
		return err
	}
	c.keepAlive(&p, a)
	if connack := (packet.Connack{Properties: a.granted}); !c.takes(connack.Append(nil, c.version)) {
		return &ending{reason: refused, err: errors.New("not even the CONNACK is within its maximum packet size")}
	}
	return c.b.attach(c, a)
}

// takes reports whether the client takes a packet [MQTT-3.1.2-24]. All that have no list in them are shorter than
// the CONNACK.
func (c *conn) takes(raw []byte) bool { return c.maxPacket == 0 || len(raw) <= c.maxPacket }

// firstError tells a stranger's bytes from a client's mistake.
func firstError(err error) error {
	var broken *packet.Error
	if errors.As(err, &broken) {
		return &ending{reason: notMQTT, err: err}
	}
	return err
}

// undecodable answers a CONNECT that is none: with the version where that is the trouble [MQTT-3.1.2-2], with
// the code where the client's version has it, else not at all [MQTT-3.1.4-1].
func (c *conn) undecodable(p *packet.Connect, err error) error {
	var broken *packet.Error
	switch {
	case !errors.As(err, &broken) || p.Version == 0:
		return &ending{reason: notMQTT, err: err}
	case broken.Code == packet.UnsupportedProtocolVersion:
		c.out.greet(packet.V311, 0)
		return &ending{refused, broken.Code, err}
	case p.Version == packet.V5:
		c.out.greet(packet.V5, 0)
		return &ending{refused, broken.Code, err}
	}
	return &ending{reason: refused, err: err}
}

// arrive checks what the client asks for.
func (c *conn) arrive(p *packet.Connect) (*arrival, error) {
	if p.Properties.Bytes(packet.AuthMethod) != nil { // [MQTT-4.12.0-1]
		return nil, refuse(packet.BadAuthenticationMethod, "there are no authentication methods")
	}
	a := &arrival{id: string(p.ClientID), clean: p.CleanStart}
	if a.id == "" {
		// [MQTT-3.1.3-6] [MQTT-3.1.3-7]; before MQTT 5 only for clean sessions [MQTT-3.1.3-8 of 3.1.1],
		// and in 3.1 not at all (section 3.1 there)
		if p.Version == packet.V31 || p.Version == packet.V311 && !p.CleanStart {
			return nil, refuse(packet.ClientIDNotValid, "the client identifier is empty")
		}
		a.id = "auto-" + rand.Text()
		if p.Version == packet.V5 {
			a.granted.AddBytes(packet.AssignedClientID, []byte(a.id)) // [MQTT-3.2.2-16]
		}
	}
	if p.Will != nil {
		if p.Will.QoS > byte(c.b.config.Limits.MaxQoS) { // [MQTT-3.2.2-12]
			return nil, refuse(packet.QoSNotSupported, "the will has QoS %d", p.Will.QoS)
		}
		if err := topic.CheckName(string(p.Will.Topic)); err != nil {
			return nil, refuse(packet.TopicNameInvalid, "will: %w", err)
		}
		if isSystem(string(p.Will.Topic)) {
			return nil, refuse(packet.NotAuthorized, "the will's topic is the server's")
		}
		a.will = delivery.NewWill(a.id, p.Will)
	}
	c.grant(p, a)
	return a, nil
}

// grant settles the limits of both sides, and says in the CONNACK where they differ from what their absence means.
func (c *conn) grant(p *packet.Connect, a *arrival) {
	limits := &c.b.config.Limits
	longest := c.b.config.Session.MaxExpiry
	a.window = limits.MaxInflight
	if p.Version < packet.V5 {
		if !p.CleanStart { // [MQTT-3.1.2-4 of 3.1.1]; how long is the server's affair
			a.expiry = longest
		}
		return
	}
	window, _ := p.Properties.Int(packet.ReceiveMaximum)
	a.window = min(a.window, int(window)) // [MQTT-3.3.4-9]
	seconds, _ := p.Properties.Int(packet.SessionExpiry)
	c.expiring = seconds > 0
	a.expiry = time.Duration(seconds) * time.Second
	if a.expiry > longest || seconds == math.MaxUint32 {
		a.expiry = longest
		a.granted.AddInt(packet.SessionExpiry, delivery.Seconds(longest)) // section 3.2.2.3.2
	}
	a.granted.AddInt(packet.ReceiveMaximum, uint32(limits.ReceiveMaximum))
	a.granted.AddInt(packet.MaximumPacketSize, uint32(limits.MaxPacketSize))
	if limits.MaxTopicAlias > 0 {
		a.granted.AddInt(packet.TopicAliasMaximum, uint32(limits.MaxTopicAlias))
	}
	if limits.MaxQoS < 2 {
		a.granted.AddInt(packet.MaximumQoS, uint32(limits.MaxQoS)) // [MQTT-3.2.2-9]
	}
}

// keepAlive sets how long the client may be silent: one and a half times its keep alive [MQTT-3.1.2-22], which as
// a duration cannot overflow. Where there is none, TCP finds out in a quarter of an hour that a client is gone.
func (c *conn) keepAlive(p *packet.Connect, a *arrival) {
	seconds := time.Duration(p.KeepAlive)
	longest := c.b.config.Session.MaxKeepAlive / time.Second
	if p.Version == packet.V5 && longest > 0 && (seconds == 0 || seconds > longest) {
		seconds = longest
		a.granted.AddInt(packet.ServerKeepAlive, uint32(seconds)) // [MQTT-3.2.2-21]
	}
	c.in.idle = seconds * time.Second * 3 / 2
	if seconds == 0 {
		// Without effect on the connection when it fails.
		c.tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 10 * time.Minute, Interval: time.Minute, Count: 5})
	}
}
