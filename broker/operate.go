package broker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/topic"
)

// ErrStopping is the error of what is asked of a node that has begun to stop.
var ErrStopping = errors.New("the node is stopping")

// Disconnect ends the connection of a client, an MQTT 5 client with DISCONNECT 0x98 (Administrative action, section
// 3.14.2.1), and reports whether there was one. It does not wait for the end. The session stays for as long as its expiry
// says, and the will is published, as after a lost connection [MQTT-3.1.2-8]. It may be called from any goroutine.
func (b *Broker) Disconnect(id string) bool {
	b.mu.Lock()
	s := b.sessions[id]
	b.mu.Unlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c == nil {
		return false
	}
	c.end(&ending{reason: administrative, code: packet.AdministrativeAction})
	return true
}

// PublishRequest is a message that the operator publishes.
type PublishRequest struct {
	Topic   string
	Payload []byte // the node's from Publish on: not to be changed any more
	QoS     byte   // 0, 1 or 2, within max_qos
	Retain  bool   // with an empty payload: forget what is retained for the topic [MQTT-3.3.1-6]
	// Expiry is how long the message is worth delivering [MQTT-3.3.2-5]; 0 = for ever.
	Expiry time.Duration
	// Properties go on to the subscribers, those among them that a server passes on: payload format, content type, response
	// topic, correlation data, user properties. Strings in them are UTF-8. They are copied.
	Properties packet.Properties
}

// Publish gives a message to everyone who wants it, and reports whether anyone does: away or not, one with room for it in
// its queue or not. The error, ErrStopping apart, says what is wrong with the request. It may be called from any goroutine.
func (b *Broker) Publish(r PublishRequest) (matched bool, err error) {
	if err := b.checkPublish(&r); err != nil {
		return false, err
	}
	m := &delivery.Message{Topic: r.Topic, Payload: r.Payload, QoS: r.QoS, Retain: r.Retain}
	m.Forwarded.AddForwarded(r.Properties)
	if r.Expiry > 0 {
		m.Expires = time.Now().Add(r.Expiry)
	}
	if !b.begin() {
		return false, ErrStopping
	}
	defer b.running.Done()
	return b.publish(m) > 0, nil
}

// checkPublish asks of the operator what is asked of clients.
func (b *Broker) checkPublish(r *PublishRequest) error {
	if err := topic.CheckName(r.Topic); err != nil {
		return err
	}
	most := b.config.Limits.MaxPacketSize
	p := packet.Publish{Topic: []byte(r.Topic), QoS: r.QoS, Payload: r.Payload}
	p.Properties.AddForwarded(r.Properties)
	response := r.Properties.Bytes(packet.ResponseTopic)
	switch {
	case !utf8.ValidString(r.Topic): // [MQTT-1.5.4-1]
		return errors.New("topic is not UTF-8")
	case isSystem(r.Topic):
		return errors.New("topics that begin with $SYS/ are the node's own: choose another one")
	case r.QoS > byte(b.config.Limits.MaxQoS):
		return fmt.Errorf("QoS %d is above max_qos, which is %d", r.QoS, b.config.Limits.MaxQoS)
	case r.Expiry < 0:
		return errors.New("the expiry is negative: 0 means none")
	case response != nil && topic.CheckName(string(response)) != nil: // [MQTT-3.3.2-14]
		return errors.New("the response topic is no topic name: it may not be empty or hold wildcards")
	case len(r.Topic)+len(r.Payload) > most || p.Size(packet.V5) > most:
		return fmt.Errorf("the message is longer than max_packet_size, %d bytes", most)
	case p.Size(packet.V5) == 0:
		return errors.New("a property has a value that MQTT has no form for: strings are up to 65,535 bytes long, payload format is 0 or 1")
	}
	return nil
}

// RetainedInfo describes one retained message. What it refers to is shared with the node and not to be changed.
type RetainedInfo struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Expires    time.Time         // zero = never
	Publisher  string            // client identifier; "" = the node or its operator
	Properties packet.Properties // that go with it to subscribers
}

// Retained returns up to limit retained messages (0 = 100, at most MaxPage) whose topics filter matches, "" standing
// for "#", sorted by topic. More says that there are others: which ones are shown is then chance, and a narrower filter
// shows them. The error says what is wrong with the filter. It may be called from any goroutine.
func (b *Broker) Retained(filter string, limit int) (page []RetainedInfo, more bool, err error) {
	list, more, err := b.table.Retained(cmp.Or(filter, "#"), pageSize(limit), time.Now())
	if err != nil {
		return nil, false, err
	}
	for _, m := range list {
		page = append(page, RetainedInfo{m.Topic, m.Payload, m.QoS, m.Expires, m.Publisher, m.Forwarded})
	}
	slices.SortFunc(page, func(a, b RetainedInfo) int { return strings.Compare(a.Topic, b.Topic) })
	return page, more, nil
}

// DeleteRetained forgets the retained message of a topic and reports whether there was one. Subscribers are not told; Publish
// with Retain and an empty payload does that as well. What the node tells of itself ($SYS) stays. It may be called from any goroutine.
func (b *Broker) DeleteRetained(name string) bool {
	return !isSystem(name) && b.table.DeleteRetained(name)
}
