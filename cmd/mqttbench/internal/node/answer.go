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
	case packet.PUBACK: // nothing waits for it
		return nil
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
	published := m.QoS
	m.Dup, m.Retain, m.Properties = false, false, packet.Properties{}
	var form [packet.V5 + 1][2]packet.Encoded // by version and QoS
	for _, s := range subscribers {
		to := n.peers[s.key]
		if to.Backlog() > maxBacklog || to.over {
			continue
		}
		m.QoS = min(published, s.qos)
		e := &form[to.version][m.QoS]
		if e.Len() == 0 {
			m.PacketID = uint16(m.QoS) // there is none with QoS 0; with QoS 1 each has one of its own
			*e = m.Encode(nil, to.version)
		}
		to.SetQueued(e.Append(to.Queued(), to.identifier(m.QoS), false))
		n.mark(s.key, to)
	}
	return nil
}

// identifier is that of the next PUBLISH to the peer, any but 0 [MQTT-2.2.1-4]; with QoS 0 there is none. They come again
// after 65,535, acknowledged or not.
func (p *peer) identifier(qos byte) uint16 {
	if qos == 0 {
		return 0
	}
	if p.id++; p.id == 0 {
		p.id = 1
	}
	return p.id
}

func (n *Node) subscribe(key uint32, p *peer, h packet.Header, body []byte) error {
	var s packet.Subscribe
	if err := s.Decode(p.version, h, body); err != nil {
		return err
	}
	n.acks = n.acks[:0]
	for filter, o := range s.Subscriptions.All() {
		topic, qos := string(filter), min(o.QoS, 1)
		if i := slices.Index(p.topics, topic); i >= 0 { // it is replaced [MQTT-3.8.4-3]
			n.unsubscribe(key, topic)
			p.topics = slices.Delete(p.topics, i, i+1)
		}
		p.topics = append(p.topics, topic)
		n.topics[topic] = append(n.topics[topic], subscriber{key, qos})
		n.acks = append(n.acks, qos) // is granted (MQTT 5 section 3.9.3)
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
