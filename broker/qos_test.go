package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestPublishEveryQoS(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		for sub := range byte(3) {
			for pub := range byte(3) {
				s := n.join(t, v, "s")
				if codes := s.subscribe(packet.Options{QoS: sub}, "a/+"); codes[0] != sub { // [MQTT-3.9.3-1]
					t.Fatalf("granted %v", codes)
				}
				p := n.join(t, v, "p")
				p.say("a/b", "hello", pub)
				if got := s.hears("a/b", "hello"); got.QoS != min(sub, pub) || got.Dup || got.Retain { // [MQTT-3.8.4-8]
					t.Errorf("published with %d, subscribed with %d: %+v", pub, sub, got)
				}
				s.silent()
				s.bye()
				p.bye()
			}
		}
	})
}

// TestQoS2ArrivesOnce: a PUBLISH that comes again before its PUBREL is acknowledged and not passed on, DUP or not
// [MQTT-4.3.3-10]; after the PUBREL the identifier is free [MQTT-4.3.3-12].
func TestQoS2ArrivesOnce(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		s := n.join(t, v, "s")
		s.subscribe(packet.Options{QoS: 0}, "a")
		c := n.join(t, v, "c")
		p := packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 2, PacketID: 5}
		for _, dup := range []bool{false, true, false} {
			p.Dup = dup
			c.write(p.Append(nil, v))
			c.ack(packet.PUBREC, 5)
		}
		c.send(packet.PUBREL, 5)
		c.ack(packet.PUBCOMP, 5)
		c.send(packet.PUBREL, 5) // unknown by now
		if code := c.ack(packet.PUBCOMP, 5); v == packet.V5 && code != packet.PacketIDNotFound {
			t.Errorf("PUBCOMP: %v", code)
		}
		s.hears("a", "x")
		s.silent()
		p.Dup = false
		c.publish(p)
		s.hears("a", "x")
	})
}

// TestQoS2AcrossConnections: what was received is known after a reconnect, too.
func TestQoS2AcrossConnections(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		s := n.join(t, v, "s")
		s.subscribe(packet.Options{}, "a")
		id := "q" + v.String()
		c := n.stay(t, v, id)
		p := packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 2, PacketID: 9}
		c.write(p.Append(nil, v))
		c.ack(packet.PUBREC, 9)
		c.drop(n, id)
		c = n.stay(t, v, id)
		p.Dup = true
		c.publish(p) // completes
		s.hears("a", "x")
		s.silent()
	})
}

// TestIdentifiersOfBothDirections: the client and the node use the same identifier at the same time for messages of their
// own (section 2.2.1).
func TestIdentifiersOfBothDirections(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		c := n.join(t, v, "c")
		c.subscribe(packet.Options{QoS: 2}, "a")
		c.write((&packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 2, PacketID: 1}).Append(nil, v))
		ours := c.message()
		if ours.PacketID != 1 {
			t.Fatalf("the node's identifier is %d; the test needs 1", ours.PacketID)
		}
		c.ack(packet.PUBREC, 1)
		c.send(packet.PUBREC, 1)
		c.ack(packet.PUBREL, 1)
		c.send(packet.PUBREL, 1)
		c.ack(packet.PUBCOMP, 1)
		c.send(packet.PUBCOMP, 1)
		c.silent()
	})
}

// TestUnknownAcknowledgements change nothing; a PUBREC of no message is answered so that the client can
// go on (section 3.6.2.1).
func TestUnknownAcknowledgements(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		c := n.join(t, v, "c")
		c.send(packet.PUBACK, 77)
		c.send(packet.PUBCOMP, 77)
		c.silent()
		c.send(packet.PUBREC, 77)
		if code := c.ack(packet.PUBREL, 77); v == packet.V5 && code != packet.PacketIDNotFound {
			t.Errorf("PUBREL: %v", code)
		}
		c.silent()
	})
}

// TestMaxInflight: no more are on their way than the node or the client allow [MQTT-3.3.4-9], and QoS 0
// overtakes what waits.
func TestMaxInflight(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxInflight = 3 })
	p := n.join(t, packet.V311, "p")
	for most := range 5 {
		window := 3
		con := packet.Connect{Version: packet.V5, ClientID: []byte("s"), CleanStart: true}
		if most > 0 {
			con.Properties.AddInt(packet.ReceiveMaximum, uint32(most))
			window = min(3, most)
		}
		s := n.open(t, con)
		s.subscribe(packet.Options{QoS: 2}, "a", "b")
		for i := range 6 {
			p.say("a", fmt.Sprint(i), 1+byte(i%2))
		}
		p.say("b", "free", 0)
		p.say("b", "last", 1)
		var sent []packet.Publish
		for range window {
			sent = append(sent, s.message())
		}
		s.hears("b", "free")
		s.silent()
		for i := range 6 {
			if string(sent[i].Payload) != fmt.Sprint(i) {
				t.Fatalf("%q instead of %d", sent[i].Payload, i)
			}
			if sent[i].QoS == 1 {
				s.send(packet.PUBACK, sent[i].PacketID)
			} else {
				s.send(packet.PUBREC, sent[i].PacketID)
				s.ack(packet.PUBREL, sent[i].PacketID)
				s.silent() // the window opens with the PUBCOMP
				s.send(packet.PUBCOMP, sent[i].PacketID)
			}
			if len(sent) < 7 {
				sent = append(sent, s.message())
			}
		}
		s.send(packet.PUBACK, sent[6].PacketID)
		s.silent()
		s.bye()
	}
}

// TestResumeRespectsReceiveMaximum: a new connection with a smaller Receive Maximum gets no more at a time than that, though more were
// on their way on the old one.
func TestResumeRespectsReceiveMaximum(t *testing.T) {
	n := start(t, nil)
	s := n.stay(t, packet.V5, "s")
	s.subscribe(packet.Options{QoS: 1}, "a")
	p := n.join(t, packet.V311, "p")
	for i := range 5 {
		p.say("a", fmt.Sprint(i), 1)
	}
	var ids []uint16
	for range 5 {
		ids = append(ids, s.message().PacketID)
	}
	s.drop(n, "s")
	con := packet.Connect{Version: packet.V5, ClientID: []byte("s")}
	con.Properties.AddInt(packet.SessionExpiry, 3600)
	con.Properties.AddInt(packet.ReceiveMaximum, 2)
	s, ack := n.connect(t, con)
	if !ack.SessionPresent { // [MQTT-3.2.2-3]
		t.Fatal("the session is gone")
	}
	var again []packet.Publish
	again = append(again, s.message(), s.message())
	s.silent()
	for i := range 5 {
		if m := again[i]; string(m.Payload) != fmt.Sprint(i) || !m.Dup || m.PacketID != ids[i] { // [MQTT-4.4.0-1] [MQTT-3.3.1-1]
			t.Fatalf("%+v, want message %d again with identifier %d", m, i, ids[i])
		}
		s.send(packet.PUBACK, again[i].PacketID)
		if len(again) < 5 {
			again = append(again, s.message())
		}
	}
	s.silent()
}

// TestResumeInTheMiddleOfQoS2: after a reconnect a message that has arrived is released again, not sent again.
func TestResumeInTheMiddleOfQoS2(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		id := "s" + v.String()
		s := n.stay(t, v, id)
		s.subscribe(packet.Options{QoS: 2}, "a")
		p := n.join(t, v, "p")
		p.say("a", "1", 2)
		p.say("a", "2", 2)
		first, second := s.message(), s.message()
		s.send(packet.PUBREC, first.PacketID)
		s.ack(packet.PUBREL, first.PacketID)
		s.drop(n, id)
		s = n.stay(t, v, id)
		s.ack(packet.PUBREL, first.PacketID)
		again := s.message()
		if !again.Dup || again.PacketID != second.PacketID || string(again.Payload) != "2" {
			t.Errorf("%+v", again)
		}
		s.send(packet.PUBCOMP, first.PacketID)
		s.send(packet.PUBREC, second.PacketID)
		s.ack(packet.PUBREL, second.PacketID)
		s.send(packet.PUBCOMP, second.PacketID)
		s.drop(n, id)
		n.stay(t, v, id).silent()
	})
}

// TestReceiveMaximumOfTheNode [MQTT-3.3.4-7]; before MQTT 5 there is no such limit.
func TestReceiveMaximumOfTheNode(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.ReceiveMaximum = 2 })
	versions(t, func(t *testing.T, v packet.Version) {
		c := n.join(t, v, "c")
		for id := range uint16(3) {
			c.write((&packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: id + 1}).Append(nil, v))
			if v < packet.V5 || id < 2 {
				c.ack(packet.PUBREC, id+1)
			}
		}
		if v == packet.V5 {
			c.told(packet.ReceiveMaximumExceeded)
		} else {
			c.silent()
		}
	})
}

// TestReceiveMaximumIsOfAConnection (section 4.9): what a client never completed on earlier connections is not held against it.
func TestReceiveMaximumIsOfAConnection(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.ReceiveMaximum = 2 })
	id := uint16(0)
	for range 5 {
		c := n.stay(t, packet.V5, "c")
		for range 2 {
			id++
			c.write((&packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: id}).Append(nil, c.v))
			c.ack(packet.PUBREC, id)
		}
		c.drop(n, "c")
	}
}

// TestMaxQoS: subscriptions are granted less, publishing more ends the connection [MQTT-3.2.2-11].
func TestMaxQoS(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxQoS = 1 })
	versions(t, func(t *testing.T, v packet.Version) {
		c := n.join(t, v, "c")
		if codes := c.subscribe(packet.Options{QoS: 2}, "a"); codes[0] != 1 {
			t.Errorf("granted %v", codes)
		}
		c.write((&packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, PacketID: 1}).Append(nil, v))
		m := c.message() // comes before the acknowledgement: it is accepted by being delivered
		c.ack(packet.PUBACK, 1)
		c.send(packet.PUBACK, m.PacketID)
		c.write((&packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: 1}).Append(nil, v))
		c.told(packet.QoSNotSupported)
	})
}

func TestNoMatchingSubscribers(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, packet.V5, "c")
	for qos := byte(1); qos <= 2; qos++ {
		if code := c.publish(packet.Publish{Topic: []byte("nobody"), QoS: qos}); code != packet.NoMatchingSubscribers {
			t.Errorf("QoS %d: %v", qos, code)
		}
	}
	c.subscribe(packet.Options{}, "somebody")
	c.write((&packet.Publish{Topic: []byte("somebody"), QoS: 1, PacketID: 3}).Append(nil, c.v))
	c.hears("somebody", "")
	if code := c.ack(packet.PUBACK, 3); code != packet.Success {
		t.Errorf("%v", code)
	}
}

// TestSystemTopics: a client does not speak in the server's name (section 4.7.2).
func TestSystemTopics(t *testing.T) {
	n := start(t, nil)
	s := n.join(t, packet.V5, "s")
	s.subscribe(packet.Options{QoS: 2}, "$SYS/x", "#")
	c := n.join(t, packet.V5, "c")
	for qos := range byte(3) {
		if code := c.publish(packet.Publish{Topic: []byte("$SYS/x"), QoS: qos, PacketID: uint16(qos)}); qos > 0 && code != packet.NotAuthorized {
			t.Errorf("QoS %d: %v", qos, code)
		}
	}
	c.silent()
	s.silent()
}

func TestTopicTooDeep(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		c := n.join(t, v, "c")
		c.write((&packet.Publish{Topic: []byte(strings.Repeat("/", 500))}).Append(nil, v))
		c.told(packet.TopicNameInvalid)
	})
}

// TestOrder: the messages of one publisher arrive in their order [MQTT-4.6.0-5] [MQTT-4.6.0-6], offline and on.
func TestOrder(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.ReceiveMaximum = 1000 })
	const count = 500
	versions(t, func(t *testing.T, v packet.Version) {
		id := "s" + v.String()
		s := n.stay(t, v, id)
		s.subscribe(packet.Options{QoS: 2}, "a")
		s.drop(n, id)
		p := n.join(t, v, "p")
		for i := range count / 2 {
			p.say("a", fmt.Sprint(i), 1+byte(i/10%2))
		}
		s = n.stay(t, v, id)
		var rest []byte
		for i := count / 2; i < count; i++ {
			m := packet.Publish{Topic: []byte("a"), Payload: fmt.Append(nil, i), QoS: 1 + byte(i/10%2), PacketID: uint16(i)}
			rest = m.Append(rest, v)
		}
		p.write(rest)
		for i := 0; i < count; {
			h, body := s.next()
			switch h.Type {
			case packet.PUBLISH:
				var m packet.Publish
				s.ok(m.Decode(v, h, body))
				if string(m.Payload) != fmt.Sprint(i) {
					t.Fatalf("%s instead of %d", m.Payload, i)
				}
				i++
				s.send(packet.PUBACK+packet.Type(m.QoS-1), m.PacketID)
			case packet.PUBREL:
				var a packet.Ack
				s.ok(a.Decode(v, h, body))
				s.send(packet.PUBCOMP, a.PacketID)
			default:
				t.Fatalf("a %v", h.Type)
			}
		}
	})
}
