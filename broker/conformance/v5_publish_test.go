package conformance

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestV5_3_3_1_1: of both QoS, and only of what was sent before.
func TestV5_3_3_1_1(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 2}, "a")
	p := n.join(t, v5, "p")
	p.say("a", "1", 1)
	p.say("a", "2", 2)
	for range 2 {
		if m := c.message(); m.Dup {
			t.Errorf("%s has DUP the first time", m.Payload)
		}
	}
	c.drop(n, "c")
	p.say("a", "3", 1)
	c = n.stay(t, v5, "c")
	for _, text := range []string{"1", "2", "3"} {
		if m := c.hears("a", text); m.Dup != (text != "3") {
			t.Errorf("%s has DUP %t", text, m.Dup)
		}
	}
}

func TestV5_3_3_1_2(t *testing.T) {
	n := start(t, nil)
	n.breaks(t, frame(0x38, text("a"), sized(), []byte("x")), packet.MalformedPacket, packet.ProtocolError)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{QoS: 0}, "a")
	c.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, Dup: true})
	if m := c.hears("a", "x"); m.QoS != 0 || m.Dup {
		t.Errorf("QoS %d, DUP %t", m.QoS, m.Dup)
	}
}

func TestV5_3_3_1_3(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{QoS: 2}, "a")
	p := n.join(t, v5, "p")
	for qos := byte(1); qos <= 2; qos++ {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: qos, Dup: true})
		if m := c.hears("a", "x"); m.QoS != qos || m.Dup {
			t.Errorf("QoS %d, DUP %t", m.QoS, m.Dup)
		}
	}
}

func TestV5_3_3_1_4(t *testing.T) {
	n := start(t, nil)
	for _, first := range []byte{0x36, 0x37, 0x3e, 0x3f} {
		n.breaks(t, frame(first, text("a"), []byte{0, 1}, sized(), []byte("x")), packet.MalformedPacket)
	}
}

// retained returns what a new subscriber to a filter is sent, as "topic=text" in an order of its own.
func retained(t *testing.T, n *node, filter string) map[string]packet.Publish {
	t.Helper()
	c := n.join(t, v5, "retained")
	c.subscribe(packet.Options{QoS: 2}, filter)
	messages := c.all()
	c.bye(n, "retained")
	return messages
}

// all takes the messages that were sent to the client before now, of QoS 0 or never acknowledged, as "topic=text".
func (c *client) all() map[string]packet.Publish {
	c.t.Helper()
	c.settle()
	messages := make(map[string]packet.Publish)
	for _, m := range c.early {
		messages[string(m.Topic)+"="+string(m.Payload)] = m
	}
	c.early = nil
	return messages
}

// exactly compares the keys of what all returned.
func exactly(t *testing.T, got map[string]packet.Publish, want ...string) {
	t.Helper()
	for _, k := range want {
		if _, there := got[k]; !there {
			t.Errorf("%s is missing", k)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d messages, want %v: %v", len(got), want, got)
	}
}

func TestV5_3_3_1_5(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v5, "p")
	p.retain("a", "old", 2)
	p.retain("b", "other", 1)
	for qos := range byte(3) {
		m := packet.Publish{Topic: []byte("a"), Payload: fmt.Append(nil, qos), QoS: qos, Retain: true}
		m.Properties.AddBytes(packet.ContentType, fmt.Append(nil, "type", qos))
		p.publish(m)
		p.silent()
		got := retained(t, n, "#")
		key := fmt.Sprint("a=", qos)
		exactly(t, got, key, "b=other")
		if m := got[key]; m.QoS != qos || string(m.Properties.Bytes(packet.ContentType)) != fmt.Sprint("type", qos) {
			t.Errorf("QoS %d, content type %s, want those of %d", m.QoS, m.Properties.Bytes(packet.ContentType), qos)
		}
	}
}

func TestV5_3_3_1_6(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v5, "p")
	p.retain("a", "x", 1)
	p.retain("b", "x", 1)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{RetainHandling: 2, QoS: 1}, "a")
	p.retain("a", "", 1)
	c.hears("a", "")
	exactly(t, retained(t, n, "#"), "b=x")
}

func TestV5_3_3_1_7(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v5, "p")
	p.retain("a", "", 1)
	p.retain("b", "", 0)
	p.silent()
	exactly(t, retained(t, n, "#"))
	if s := n.Stats(); s.Retained != 0 {
		t.Errorf("%d messages are retained", s.Retained)
	}
}

func TestV5_3_3_1_8(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v5, "p")
	p.retain("a", "kept", 1)
	for _, topic := range []string{"a", "b"} {
		p.say(topic, "passing", 1)
		p.say(topic, "", 1)
	}
	exactly(t, retained(t, n, "#"), "a=kept")
}

func TestV5_3_3_1_9(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v5, "p")
	for _, topic := range []string{"a", "a/b", "a/b/c", "b"} {
		p.retain(topic, "x", 1)
	}
	c := n.join(t, v5, "c")
	for range 2 { // new, and there already
		c.subscribe(packet.Options{QoS: 1}, "a/#")
		got := c.all()
		exactly(t, got, "a=x", "a/b=x", "a/b/c=x")
		for k, m := range got {
			if !m.Retain || m.QoS != 1 {
				t.Errorf("%s has RETAIN %t and QoS %d", k, m.Retain, m.QoS)
			}
			c.send(packet.PUBACK, m.PacketID)
		}
	}
}

func TestV5_3_3_1_10(t *testing.T) {
	n := start(t, nil)
	n.join(t, v5, "p").retain("a", "x", 1)
	c := n.join(t, v5, "c")
	once := packet.Options{RetainHandling: 1}
	for round := range 2 {
		c.subscribe(once, "a")
		exactly(t, c.all(), "a=x")
		c.subscribe(once, "a")
		exactly(t, c.all())
		c.subscribe(packet.Options{RetainHandling: 1, QoS: byte(round)}, "a") // nor with other options
		exactly(t, c.all())
		c.unsubscribe("a")
	}
}

func TestV5_3_3_1_11(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v5, "p")
	p.retain("a", "x", 1)
	c := n.join(t, v5, "c")
	for range 2 {
		c.subscribe(packet.Options{RetainHandling: 2}, "a")
		c.silent()
	}
	p.retain("a", "live", 1)
	c.hears("a", "live")
}

func TestV5_3_3_1_12(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{QoS: 1}, "a")
	for _, retain := range []bool{false, true} {
		c.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), Retain: retain})
		if c.hears("a", "x").Retain {
			t.Errorf("RETAIN, published with %t", retain)
		}
	}
}

func TestV5_3_3_1_13(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{QoS: 1, RetainAsPublished: true}, "a")
	for _, retain := range []bool{false, true, false} {
		c.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), Retain: retain})
		if got := c.hears("a", "x").Retain; got != retain {
			t.Errorf("RETAIN %t, published with %t", got, retain)
		}
	}
}

func TestV5_3_3_2_1(t *testing.T) {
	n := start(t, nil)
	for _, b := range [][]byte{frame(0x30), frame(0x30, []byte{0}), frame(0x30, []byte{0, 2, 'a'}), frame(0x32, []byte{0, 9, 'a', 0, 1, 0})} {
		n.breaks(t, b, packet.MalformedPacket)
	}
	for _, s := range notText {
		n.breaks(t, frame(0x30, text(s), sized(), []byte("x")), packet.MalformedPacket, packet.TopicNameInvalid)
	}
}

func TestV5_3_3_2_2(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	for _, topic := range []string{"#", "+", "a/#", "a/+/b", "+/a", "a+", "a#b"} {
		n.breaks(t, frame(0x30, text(topic), sized(), []byte("x")), packet.MalformedPacket, packet.TopicNameInvalid, packet.ProtocolError)
	}
	w.silent()
}

func TestV5_3_3_2_3(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{QoS: 1}, "a/+/c", "d/#", "$share/g/e/+")
	p := n.join(t, v5, "p")
	for _, topic := range []string{"a/b/c", "d", "d/e/f", "e/f"} {
		p.say(topic, topic, 1)
		c.hears(topic, topic)
	}
	for _, topic := range []string{"a/b", "a/b/c/d", "e", "e/f/g", "x"} {
		p.say(topic, topic, 1)
	}
	c.silent()
}

// passesOn publishes with a property, as it is and retained, and gives each form that reaches a subscriber to look.
func passesOn(t *testing.T, n *node, add func(*packet.Properties), look func(*testing.T, packet.Publish)) {
	t.Helper()
	away := n.open(t, clean("away"))
	there := n.join(t, v5, "there")
	for _, c := range []*client{away, there} {
		c.subscribe(packet.Options{QoS: 1}, "a")
	}
	away.drop(n, "away")
	m := packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, Retain: true}
	add(&m.Properties)
	there.publish(m)
	late := n.join(t, v5, "late")
	late.subscribe(packet.Options{QoS: 1}, "a")
	for _, c := range []*client{there, n.stay(t, v5, "away"), late} {
		look(t, c.hears("a", "x"))
	}
	there.retain("a", "", 1) // for the next one
}

func TestV5_3_3_2_4(t *testing.T) {
	n := start(t, nil)
	for format := range uint32(2) {
		passesOn(t, n, func(p *packet.Properties) { p.AddInt(packet.PayloadFormat, format) }, func(t *testing.T, m packet.Publish) {
			if got, there := m.Properties.Int(packet.PayloadFormat); got != format || !there {
				t.Errorf("payload format %d, there %t, want %d", got, there, format)
			}
		})
	}
	passesOn(t, n, func(*packet.Properties) {}, func(t *testing.T, m packet.Publish) {
		if !m.Properties.Empty() {
			t.Error("properties from nowhere")
		}
	})
}

// expiring is a message for topic a that expires.
func expiring(text string, seconds uint32) packet.Publish {
	m := packet.Publish{Topic: []byte("a"), Payload: []byte(text), QoS: 1}
	m.Properties.AddInt(packet.MessageExpiry, seconds)
	return m
}

func TestV5_3_3_2_5(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 1}, "a")
	c.drop(n, "c")
	p := n.join(t, v5, "p")
	kept := expiring("retained", 1)
	kept.Retain = true
	p.publish(kept)
	p.publish(expiring("short", 1))
	published := time.Now()
	p.publish(expiring("long", 3600))
	past(t, published.Add(time.Second))
	c = n.stay(t, v5, "c")
	c.hears("a", "long")
	c.silent()
	exactly(t, retained(t, n, "a"))
}

func TestV5_3_3_2_6(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 1}, "a")
	p := n.join(t, v5, "p")
	p.publish(expiring("at once", 100))
	m := c.hears("a", "at once")
	if left, _ := m.Properties.Int(packet.MessageExpiry); left > 100 || left < 50 {
		t.Errorf("%d s are left of 100, at once", left)
	}
	c.drop(n, "c")
	m = expiring("later", 100)
	p.publish(m)
	m.Topic, m.Retain = []byte("kept"), true
	p.publish(m)
	past(t, time.Now().Add(1100*time.Millisecond))
	c = n.stay(t, v5, "c")
	c.subscribe(packet.Options{QoS: 1}, "kept")
	got := c.all()
	exactly(t, got, "a=later", "kept=later")
	for _, m := range got {
		if left, _ := m.Properties.Int(packet.MessageExpiry); left > 99 || left < 40 {
			t.Errorf("%s: %d s are left of 100, after one and a bit", m.Topic, left)
		}
	}
}

func TestV5_3_3_2_7(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{}, "a")
	c.write(aliased("a", 1))
	c.hears("a", "x")
	c.write(aliased("", 1))
	c.hears("a", "x")
	c.drop(n, "c")
	c = n.stay(t, v5, "c")
	c.write(aliased("", 1))
	c.ends(packet.ProtocolError, packet.TopicAliasInvalid)
	c = n.stay(t, v5, "c")
	c.silent()
}

func TestV5_3_3_2_8(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	n.breaks(t, aliased("a", 0), packet.TopicAliasInvalid, packet.ProtocolError)
	n.breaks(t, aliased("", 0), packet.TopicAliasInvalid, packet.ProtocolError)
	w.silent()
	checkAliases(t, n, 2) // those of the node
}

func TestV5_3_3_2_9(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxTopicAlias = 5 }))
	n.breaks(t, aliased("a", 6), packet.TopicAliasInvalid)
	n.breaks(t, aliased("", 6), packet.TopicAliasInvalid, packet.ProtocolError)
}

func TestV5_3_3_2_11(t *testing.T) {
	n := start(t, nil)
	checkAliases(t, n, 0)
	checkAliases(t, n, 2)
}

// TestV5_3_3_2_12: all that were offered, and each for another topic afterwards.
func TestV5_3_3_2_12(t *testing.T) {
	n := start(t, nil)
	con := packet.Connect{Version: v5, ClientID: []byte("c"), CleanStart: true, KeepAlive: 60}
	c, ack := n.connect(t, con)
	most, _ := ack.Properties.Int(packet.TopicAliasMaximum)
	if most == 0 {
		t.Fatal("no aliases are offered")
	}
	c.subscribe(packet.Options{}, "#")
	for _, name := range []string{"a/%d", "b/%d"} {
		for alias := uint32(1); alias <= most; alias++ {
			c.write(aliased(fmt.Sprintf(name, alias), alias))
			c.hears(fmt.Sprintf(name, alias), "x")
		}
		for alias := most; alias > 0; alias-- {
			c.write(aliased("", alias))
			c.hears(fmt.Sprintf(name, alias), "x")
		}
	}
}

func TestV5_3_3_2_13(t *testing.T) {
	n := start(t, nil)
	for _, s := range notText {
		n.breaks(t, frame(0x30, text("a"), sized(property(packet.ResponseTopic, s)), []byte("x")), packet.MalformedPacket)
	}
}

func TestV5_3_3_2_14(t *testing.T) {
	n := start(t, nil)
	for _, s := range []string{"#", "+", "a/+", "a/#", "a+b"} {
		n.breaks(t, frame(0x30, text("a"), sized(property(packet.ResponseTopic, s)), []byte("x")),
			packet.ProtocolError, packet.MalformedPacket, packet.TopicNameInvalid)
		n.begins(t, connectFrame(6, nil, text("c"), sized(property(packet.ResponseTopic, s)), text("w"), text("x")),
			packet.ProtocolError, packet.MalformedPacket, packet.TopicNameInvalid)
	}
}

// checkPassesOn passes values of a property on, unaltered.
func checkPassesOn(t *testing.T, id packet.BytesProperty, values ...string) {
	t.Helper()
	n := start(t, nil)
	for _, v := range values {
		passesOn(t, n, func(p *packet.Properties) { p.AddBytes(id, []byte(v)) }, func(t *testing.T, m packet.Publish) {
			if got := m.Properties.Bytes(id); got == nil || !bytes.Equal(got, []byte(v)) {
				t.Errorf("%q, want %q", got, v)
			}
		})
	}
}

func TestV5_3_3_2_15(t *testing.T) {
	checkPassesOn(t, packet.ResponseTopic, "a", "Answers/to ä/$x//", "\ufeff")
}

func TestV5_3_3_2_16(t *testing.T) {
	checkPassesOn(t, packet.CorrelationData, "", "\x00\xff\xed\xa0\x80", "abc")
}

func TestV5_3_3_2_17(t *testing.T) {
	n := start(t, nil)
	var want []pair
	passesOn(t, n, func(p *packet.Properties) { want = fill(p) }, func(t *testing.T, m packet.Publish) { sameUser(t, m, want) })
}

// TestV5_3_3_2_18: with other properties between them, whose order is free.
func TestV5_3_3_2_18(t *testing.T) {
	n := start(t, nil)
	want := []pair{{"z", "1"}, {"a", "2"}, {"z", "0"}}
	passesOn(t, n, func(p *packet.Properties) {
		p.AddUser([]byte("z"), []byte("1"))
		p.AddInt(packet.MessageExpiry, 1000)
		p.AddUser([]byte("a"), []byte("2"))
		p.AddBytes(packet.ContentType, []byte("x"))
		p.AddUser([]byte("z"), []byte("0"))
	}, func(t *testing.T, m packet.Publish) { sameUser(t, m, want) })
}

func TestV5_3_3_2_19(t *testing.T) {
	n := start(t, nil)
	for _, s := range notText {
		n.breaks(t, frame(0x30, text("a"), sized(property(packet.ContentType, s)), []byte("x")), packet.MalformedPacket)
	}
}

func TestV5_3_3_2_20(t *testing.T) {
	checkPassesOn(t, packet.ContentType, "", "text/plain; charset=utf-8", "Ä\ufeff")
}
