package broker

import (
	"crypto/rand"
	"errors"
	"math"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/topic"
	"github.com/mqttlb/mqttlb/broker/wire"
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

// connect handles the first packet: it opens the session, or refuses. The CONNACK is under way when it returns nil.
func (c *conn) connect(h packet.Header, body []byte) (wire.Verdict, error) {
	var p packet.Connect
	if err := p.Decode(h, body); err != nil {
		return 0, c.undecodable(&p, err)
	}
	if c.fresh.login == nil && c.held() {
		return wire.Wait, nil
	}
	c.version, c.clean = p.Version, p.CleanStart
	if size, limited := p.Properties.Int(packet.MaximumPacketSize); limited {
		c.maxPacket = min(size, math.MaxInt32)
	}
	if verdict, err := c.authenticate(&p); verdict != wire.Done || err != nil { // [MQTT-3.1.4-2]
		return verdict, err
	}
	a, err := c.request(&p)
	if err != nil {
		return 0, err
	}
	c.grantKeepAlive(&p, a)
	if connack := (packet.Connack{Properties: a.granted}); !c.takes(len(connack.Append(nil, c.version))) {
		return 0, &ending{reason: refused, err: errors.New("not even the CONNACK is within its maximum packet size")}
	}
	if err := c.b.attach(c, a); err != nil {
		return 0, err
	}
	c.review(c.session, c.b.access.Load()) // Reload looks at sessions: it may have come and gone since authenticate
	c.SetIdle(c.idle())
	c.connecting = !c.greeted
	return c.greet(), nil
}

// undecodable answers a CONNECT that is none: with the version where that is the trouble [MQTT-3.1.2-2], with
// the code where the client's version has it, else not at all [MQTT-3.1.4-1].
func (c *conn) undecodable(p *packet.Connect, err error) error {
	var broken *packet.Error
	switch {
	case !errors.As(err, &broken):
		return &ending{reason: notMQTT, err: err}
	case broken.Code == packet.UnsupportedProtocolVersion:
		c.version = packet.V311
		return &ending{refused, broken.Code, err}
	case p.Version == 0: // not even the protocol's name is right
		return &ending{reason: notMQTT, err: err}
	case p.Version == packet.V5:
		c.version = packet.V5
		return &ending{refused, broken.Code, err}
	}
	c.version = 0 // there is nothing that could be said
	return &ending{reason: refused, err: err}
}

// request checks what the client asks for.
func (c *conn) request(p *packet.Connect) (*arrival, error) {
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
		if !c.b.mayPublish(c.fresh.user, a.id, string(p.Will.Topic)) {
			return nil, refuse(packet.NotAuthorized, "it may not publish to the topic of its will")
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
	numbers, _ := p.Properties.Int(packet.TopicAliasMaximum)
	c.numbers = delivery.NewAliases(min(int(numbers), limits.MaxTopicAlias))
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

// grantKeepAlive settles how long the client may be silent between two packets.
func (c *conn) grantKeepAlive(p *packet.Connect, a *arrival) {
	c.keepAlive = p.KeepAlive
	longest := c.b.config.Session.MaxKeepAlive / time.Second
	if p.Version == packet.V5 && longest > 0 && (p.KeepAlive == 0 || time.Duration(p.KeepAlive) > longest) {
		c.keepAlive = uint16(longest)
		a.granted.AddInt(packet.ServerKeepAlive, uint32(longest)) // [MQTT-3.2.2-21]
	}
}

// idle is how long the client may be silent: one and a half times its keep alive [MQTT-3.1.2-22], which as a duration cannot
// overflow; 0 = for ever.
func (c *conn) idle() time.Duration { return time.Duration(c.keepAlive) * time.Second * 3 / 2 }
