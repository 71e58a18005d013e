package broker

import (
	"errors"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
	"github.com/mqttlb/mqttlb/broker/topic"
	"github.com/mqttlb/mqttlb/broker/wire"
)

// handle does what one packet asks for. Its error ends the connection. The body is valid until it returns.
func (c *conn) handle(h packet.Header, body []byte) (wire.Verdict, error) {
	switch h.Type {
	case packet.PUBLISH, packet.SUBSCRIBE, packet.UNSUBSCRIBE, packet.PUBREL:
		if c.pending == nil && c.held() {
			return wire.Wait, nil
		}
	}
	switch h.Type {
	case packet.PUBLISH:
		return wire.Done, c.handlePublish(h, body)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		return wire.Done, c.handleAck(h, body)
	case packet.SUBSCRIBE:
		return c.handleSubscribe(h, body)
	case packet.UNSUBSCRIBE:
		return c.handleUnsubscribe(h, body)
	case packet.PINGREQ:
		var room [2]byte
		c.Reply(packet.AppendPingresp(room[:0])) // [MQTT-3.12.4-1]
		return wire.Done, nil
	case packet.DISCONNECT:
		return wire.Done, c.handleDisconnect(h, body)
	case packet.CONNECT: // [MQTT-3.1.0-2]
		return 0, violation(packet.ProtocolError, "a second CONNECT")
	}
	// AUTH is for those who began with an authentication method: nobody could (section 4.12.1).
	return 0, violation(packet.ProtocolError, "a client sends no %v here", h.Type)
}

func (c *conn) handlePublish(h packet.Header, body []byte) error {
	var p packet.Publish
	if err := p.Decode(c.version, h, body); err != nil {
		return err
	}
	c.b.stats.received[p.QoS].Add(1)
	if p.QoS > byte(c.b.config.Limits.MaxQoS) { // [MQTT-3.2.2-11]
		return violation(packet.QoSNotSupported, "a PUBLISH with QoS %d", p.QoS)
	}
	if p.Properties.Has(packet.SubscriptionID) { // [MQTT-3.3.4-6]
		return violation(packet.ProtocolError, "a client sends no subscription identifier with a PUBLISH")
	}
	if err := c.resolveTopic(&p); err != nil {
		return err
	}
	switch p.QoS {
	case 1:
		c.acknowledge(packet.PUBACK, p.PacketID, c.accept(&p)) // [MQTT-4.3.2-4]
	case 2:
		return c.receive(&p)
	default:
		c.accept(&p)
	}
	return nil
}

// resolveTopic leaves the name of the message in publisher.topic, behind a topic alias or not.
func (c *conn) resolveTopic(p *packet.Publish) error {
	pub := c.publisher()
	if len(p.Topic) > 0 && string(p.Topic) != pub.topic {
		name := string(p.Topic)
		if err := topic.CheckName(name); err != nil {
			return violation(packet.TopicNameInvalid, "PUBLISH: %w", err)
		}
		pub.topic = name
	}
	alias, present := p.Properties.Int(packet.TopicAlias)
	if !present {
		return nil
	}
	if int(alias) > c.b.config.Limits.MaxTopicAlias { // [MQTT-3.3.2-9]
		return violation(packet.TopicAliasInvalid, "topic alias %d is above the maximum", alias)
	}
	if len(p.Topic) == 0 {
		name, known := pub.aliases[uint16(alias)]
		if !known { // section 3.3.2.3.4
			return violation(packet.ProtocolError, "topic alias %d has no topic", alias)
		}
		pub.topic = name
		return nil
	}
	if pub.aliases == nil {
		pub.aliases = make(map[uint16]string)
	}
	pub.aliases[uint16(alias)] = pub.topic // [MQTT-3.3.2-12]
	return nil
}

// isSystem reports whether a topic is one of those where the server speaks; clients do not (section 4.7.2), but for bridges of mosquitto,
// which tell there whether they are connected.
func isSystem(name string) bool {
	return strings.HasPrefix(name, "$SYS/") && !(strings.HasPrefix(name, "$SYS/broker/connection/") && strings.HasSuffix(name, "/state"))
}

// accept takes responsibility for a message and returns the code of its acknowledgement.
func (c *conn) accept(p *packet.Publish) packet.ReasonCode {
	name := c.publisher().topic
	if !c.b.mayPublish(c.session.user, c.session.id, name) { // versions before 5 are not told [MQTT-3.3.5-2 of 3.1.1]
		return packet.NotAuthorized
	}
	m := &delivery.Message{
		Topic:     name,
		Payload:   append([]byte(nil), p.Payload...),
		QoS:       p.QoS,
		Retain:    p.Retain,
		Publisher: c.session.id,
	}
	if !p.Properties.Empty() {
		m.Forwarded.AddForwarded(p.Properties)
		if seconds, expires := p.Properties.Int(packet.MessageExpiry); expires {
			m.Expires = time.Now().Add(time.Duration(seconds) * time.Second)
		}
	}
	receivers := c.b.publish(m)
	c.Spend(receivers)
	if receivers == 0 {
		return packet.NoMatchingSubscribers
	}
	return packet.Success
}

// receive handles a PUBLISH of QoS 2. It is passed on at once and its identifier kept until PUBREL comes, by which a
// repetition is known: method B of section 4.3.3.
func (c *conn) receive(p *packet.Publish) error {
	c.publisher().open.Receive(p.PacketID)
	if c.version == packet.V5 && c.publisher().open.Len() > c.b.config.Limits.ReceiveMaximum { // [MQTT-3.3.4-7]
		return violation(packet.ReceiveMaximumExceeded, "more messages of QoS 2 than were allowed")
	}
	code, err := packet.Success, error(nil)
	c.b.together(func() { code, err = c.receiveOnce(p) })
	if err != nil {
		return err
	}
	c.acknowledge(packet.PUBREC, p.PacketID, code) // [MQTT-4.3.3-8]
	return nil
}

// receiveOnce passes the message on unless it has come before. That its identifier is known, and that the message is on its way, is kept together: one
// without the other would be a message lost, or one that comes twice.
func (c *conn) receiveOnce(p *packet.Publish) (code packet.ReasonCode, err error) {
	first := false
	if err := c.own(func(s *session) { first = s.receive(p.PacketID) }); err != nil {
		return 0, err
	}
	if first {
		code = c.accept(p)
	}
	if code.Failed() { // the identifier is free with the PUBREC [MQTT-4.3.3-9]
		c.publisher().open.Release(p.PacketID)
		err = c.own(func(s *session) { s.release(p.PacketID) })
	}
	return code, err
}

func (c *conn) handleAck(h packet.Header, body []byte) error {
	var p packet.Ack
	if err := p.Decode(c.version, h, body); err != nil {
		return err
	}
	if p.Type != packet.PUBREL {
		return c.acknowledged(&p)
	}
	code := packet.Success
	c.publisher().open.Release(p.PacketID)
	err := c.own(func(s *session) {
		if !s.release(p.PacketID) {
			code = packet.PacketIDNotFound
		}
	})
	if err == nil {
		c.acknowledge(packet.PUBCOMP, p.PacketID, code) // [MQTT-4.3.3-11]
	}
	return err
}

// publish gives a message to everyone who wants it and returns how many did.
func (b *Broker) publish(m *delivery.Message) (receivers int) {
	now := time.Now()
	if b.store != nil && m.QoS > 0 {
		m.Stored = b.store.NewBody()
	}
	return b.table.Publish(m, func(s *session, c delivery.Copy) { s.deliver(c, now) })
}

// filtersAtOnce bounds how many filters of one SUBSCRIBE are looked at: each may cost a walk through all retained
// messages, and a packet holds hundreds of thousands.
const filtersAtOnce = 10_000

// A change of subscriptions with many filters goes on in further turns, so that other clients have theirs; a filter counts as so much
// work, an eighth when it is to be forgotten, and each retained message that it finds as one delivery.
const filterWork = 64

func (c *conn) handleSubscribe(h packet.Header, body []byte) (wire.Verdict, error) {
	var p packet.Subscribe
	if err := p.Decode(c.version, h, body); err != nil {
		return 0, err
	}
	var id uint32
	for i := range p.Properties.SubscriptionIDs() {
		id = i
	}
	codes := c.resume(p.Subscriptions.Len())
	done := len(codes)
	for filter, options := range p.Subscriptions.All() {
		if done > 0 {
			done--
			continue
		}
		if c.Spent() {
			return c.suspend(codes)
		}
		code, found := packet.QuotaExceeded, 0
		if len(codes) < filtersAtOnce {
			if err := c.own(func(s *session) { code, found = s.subscribe(string(filter), options, id) }); err != nil {
				return 0, err
			}
			c.Spend(filterWork + found)
		}
		codes = append(codes, byte(code)) // [MQTT-3.8.4-6]
	}
	ack := packet.Suback{PacketID: p.PacketID, Codes: codes}
	return wire.Done, c.settled(ack.Append(nil, c.version)) // [MQTT-3.8.4-1]
}

// resume returns the codes that turns before have found, of a packet with so many filters.
func (c *conn) resume(filters int) []byte {
	if c.pending == nil {
		return make([]byte, 0, filters)
	}
	codes := c.pending.codes
	c.pending = nil
	return codes
}

// suspend goes on in another turn.
func (c *conn) suspend(codes []byte) (wire.Verdict, error) {
	c.pending = &pending{codes: codes}
	return wire.Again, nil
}

// settled sends the answer to a change of subscriptions, and what the change has asked for. A client that does not take an
// answer of this size would wait for it in vain [MQTT-3.1.2-25]: its connection ends.
func (c *conn) settled(ack []byte) error {
	if !c.takes(len(ack)) {
		return violation(packet.PacketTooLarge, "it asks for an answer of %d bytes and takes %d", len(ack), c.maxPacket)
	}
	return c.own(func(s *session) {
		if !s.kept {
			c.ReplyFirst(ack)
			s.pump(time.Now())
			return
		}
		c.durably(func() {
			c.ReplyFirst(ack)
			c.own(func(s *session) { s.pump(time.Now()) }) // what it has asked for is another's when this fails
		})
	})
}

// subscribe adds one subscription, and the retained messages that it asks for to the backlog. There they find room for each of
// those that there are, and max_queued more: a client that subscribes again and again without reading gets each of them
// about once. s.mu is held.
func (s *session) subscribe(filter string, o packet.Options, id uint32) (code packet.ReasonCode, found int) {
	if !s.filters.Room(filter) {
		return packet.QuotaExceeded, 0
	}
	if !s.maySubscribe(filter) {
		return packet.NotAuthorized, 0
	}
	w := route.Want{
		ID:                id,
		QoS:               min(o.QoS, byte(s.b.config.Limits.MaxQoS)),
		RetainHandling:    o.RetainHandling,
		NoLocal:           o.NoLocal,
		RetainAsPublished: o.RetainAsPublished,
	}
	_, most := s.b.table.Size()
	waits := 0
	if s.backlog != nil {
		waits = s.backlog.Len()
	}
	room := max(most+s.b.config.Limits.MaxQueued-waits, 0)
	retained, more, err := s.b.table.Subscribe(s, filter, w, room)
	if err != nil {
		return packet.TopicFilterInvalid, 0
	}
	if more { // how many more is not worth a walk through all of them
		s.b.stats.dropped[queueFull].Add(1)
	}
	s.filters.Add(filter)
	s.keepFilter(filter, w)
	if len(retained) > 0 {
		if s.backlog == nil {
			s.backlog = new(route.Backlog)
		}
		s.backlog.Push(retained)
	}
	return packet.ReasonCode(w.QoS), len(retained) // [MQTT-3.8.4-7]
}

func (c *conn) handleUnsubscribe(h packet.Header, body []byte) (wire.Verdict, error) {
	var p packet.Unsubscribe
	if err := p.Decode(c.version, h, body); err != nil {
		return 0, err
	}
	codes := c.resume(p.Filters.Len())
	done := len(codes)
	for filter := range p.Filters.All() {
		if done > 0 {
			done--
			continue
		}
		if c.Spent() {
			return c.suspend(codes)
		}
		name, code := string(filter), packet.Success
		if err := c.own(func(s *session) {
			if !s.b.table.Unsubscribe(s, name) {
				code = packet.NoSubscriptionExisted
			}
			s.filters.Remove(name)
			if s.kept {
				s.b.store.Unsubscribe(s.number, name)
			}
		}); err != nil {
			return 0, err
		}
		c.Spend(filterWork / 8)
		codes = append(codes, byte(code)) // [MQTT-3.11.3-1]
	}
	ack := packet.Unsuback{PacketID: p.PacketID, Codes: codes}
	return wire.Done, c.settled(ack.Append(nil, c.version)) // [MQTT-3.10.4-4] [MQTT-3.10.4-5]
}

// handleDisconnect ends the connection as the client wants it, always with an error.
func (c *conn) handleDisconnect(h packet.Header, body []byte) error {
	var p packet.Disconnect
	if err := p.Decode(c.version, h, body); err != nil {
		return err
	}
	if seconds, present := p.Properties.Int(packet.SessionExpiry); present {
		if seconds > 0 && !c.expiring { // section 3.14.2.2.2
			return violation(packet.ProtocolError, "the session was to end with the connection")
		}
		if err := c.own(func(s *session) {
			s.expiry = min(time.Duration(seconds)*time.Second, c.b.config.Session.MaxExpiry)
		}); err != nil {
			return err
		}
	}
	var why error
	if p.Code.Failed() {
		why = errors.New(p.Code.String())
	}
	if p.Code == packet.NormalDisconnection {
		return &ending{reason: clientDisconnect, err: why}
	}
	return &ending{clientDisconnect, packet.DisconnectWithWill, why}
}
