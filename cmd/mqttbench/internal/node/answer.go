//go:build linux

package node

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mqttlb/mqttlb/broker/packet"
)

var (
	errDisconnect = errors.New("the client has said DISCONNECT")
	errOrder      = errors.New("CONNECT must come first, and once") // [MQTT-3.1.0-1] [MQTT-3.1.0-2]
)

// Packet answers one packet. It is the link's.
func (n *Node) Packet(key uint32, h packet.Header, whole []byte) error {
	p, body := n.peers[key], whole[len(whole)-h.Remaining:]
	if (p.version == 0) != (h.Type == packet.CONNECT) {
		return errOrder
	}
	switch h.Type {
	case packet.CONNECT:
		return p.connect(h, body)
	case packet.PUBLISH:
		return n.publish(p, h, body)
	case packet.PINGREQ:
		p.SetQueued(packet.AppendPingresp(p.Queued()))
		return nil
	case packet.SUBSCRIBE:
		return n.subscribe(key, p, h, body)
	case packet.UNSUBSCRIBE:
		return n.unsubscribeAll(key, p, h, body)
	case packet.DISCONNECT: // [MQTT-3.14.4-1], and who closes first keeps the port of the other free
		return errDisconnect
	}
	return fmt.Errorf("%v has no answer here", h.Type)
}

func (p *peer) connect(h packet.Header, body []byte) error {
	var c packet.Connect
	if err := c.Decode(h, body); err != nil {
		return err
	}
	p.version = c.Version
	p.SetQueued((&packet.Connack{Code: packet.Success}).Append(p.Queued(), p.version))
	return nil
}

func (n *Node) publish(p *peer, h packet.Header, body []byte) error {
	var m packet.Publish
	if err := m.Decode(p.version, h, body); err != nil {
		return err
	}
	switch m.QoS {
	case 1:
		p.SetQueued((&packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID}).Append(p.Queued(), p.version))
	case 2:
		return errors.New("QoS 2 has no answer here")
	}
	subscribers := n.topics[string(m.Topic)]
	if len(subscribers) == 0 {
		return nil
	}
	m.QoS, m.Dup, m.Retain, m.Properties = 0, false, false, packet.Properties{}
	var form [packet.V5 + 1]packet.Encoded
	for _, key := range subscribers {
		to := n.peers[key]
		if to.Backlog() > maxBacklog || to.over {
			continue
		}
		e := &form[to.version]
		if e.Len() == 0 {
			*e = m.Encode(nil, to.version)
		}
		to.SetQueued(e.Append(to.Queued(), 0, false))
		n.mark(key, to)
	}
	return nil
}

func (n *Node) subscribe(key uint32, p *peer, h packet.Header, body []byte) error {
	var s packet.Subscribe
	if err := s.Decode(p.version, h, body); err != nil {
		return err
	}
	n.acks = n.acks[:0]
	for filter := range s.Subscriptions.All() {
		topic := string(filter)
		if !slices.Contains(p.topics, topic) {
			p.topics = append(p.topics, topic)
			n.topics[topic] = append(n.topics[topic], key)
		}
		n.acks = append(n.acks, 0) // QoS 0 is granted (MQTT 5 section 3.9.3)
	}
	p.SetQueued((&packet.Suback{PacketID: s.PacketID, Codes: n.acks}).Append(p.Queued(), p.version))
	return nil
}

func (n *Node) unsubscribeAll(key uint32, p *peer, h packet.Header, body []byte) error {
	var u packet.Unsubscribe
	if err := u.Decode(p.version, h, body); err != nil {
		return err
	}
	n.acks = n.acks[:0]
	for filter := range u.Filters.All() {
		code := packet.NoSubscriptionExisted
		if n.unsubscribe(key, string(filter)) {
			code = packet.Success
			i := slices.Index(p.topics, string(filter))
			p.topics = slices.Delete(p.topics, i, i+1)
		}
		n.acks = append(n.acks, byte(code))
	}
	p.SetQueued((&packet.Unsuback{PacketID: u.PacketID, Codes: n.acks}).Append(p.Queued(), p.version))
	return nil
}
