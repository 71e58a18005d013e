package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestV5_4_2_0_1: the stream may arrive in any pieces, and keeps its order both ways.
func TestV5_4_2_0_1(t *testing.T) {
	n := start(t, nil)
	con := clean("c")
	b := con.Append(nil)
	b = append(b, frame(0x82, []byte{0, 1}, sized(), text("a"), []byte{0})...)
	for i := range 50 {
		b = append(b, frame(0x30, text("a"), sized(), fmt.Append(nil, i))...)
	}
	b = packet.AppendPingreq(b)
	for _, piece := range []int{1, 7, len(b)} {
		c := n.dial(t, v5)
		for rest := b; len(rest) > 0; {
			k := min(piece, len(rest))
			c.write(rest[:k])
			rest = rest[k:]
		}
		c.connack()
		c.answer(packet.SUBACK)
		c.answer(packet.PINGRESP) // which may come before the messages
		for i := range 50 {
			c.hears("a", fmt.Sprint(i))
		}
	}
}

func TestV5_4_7_0_1(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	for _, topic := range []string{"+", "#", "a/+", "a/#", "a+b/c"} {
		n.breaks(t, frame(0x30, text(topic), sized(), []byte("x")), packet.TopicNameInvalid, packet.MalformedPacket, packet.ProtocolError)
		n.begins(t, connectFrame(6, nil, text("c"), sized(), text(topic), text("x")),
			packet.TopicNameInvalid, packet.MalformedPacket, packet.ProtocolError)
	}
	w.silent()
}

// checkFilters subscribes to filters that are none, each of which must fail, and to some that are.
func checkFilters(t *testing.T, wrong, right []string) {
	t.Helper()
	n := start(t, nil)
	for _, filter := range wrong {
		c := n.join(t, v5, "c")
		c.write(frame(0x82, []byte{0, 1}, sized(), text(filter), []byte{0}))
		h, body := c.next() // a code, or the end with one
		switch h.Type {
		case packet.SUBACK:
			if code := packet.ReasonCode(body[len(body)-1]); code != packet.TopicFilterInvalid {
				t.Errorf("%q: %v", filter, code)
			}
		case packet.DISCONNECT:
			if code := packet.ReasonCode(body[0]); code != packet.TopicFilterInvalid && code != packet.ProtocolError && code != packet.MalformedPacket {
				t.Errorf("%q: %v", filter, code)
			}
		default:
			t.Errorf("%q: a %v", filter, h.Type)
		}
		if s := n.Stats(); s.Subscriptions != 0 {
			t.Fatalf("%q is a subscription", filter)
		}
	}
	c := n.join(t, v5, "c")
	for _, filter := range right {
		if codes := c.subscribe(packet.Options{}, filter); codes[0] != 0 {
			t.Errorf("%q: code %#x", filter, codes[0])
		}
	}
}

func TestV5_4_7_1_1(t *testing.T) {
	checkFilters(t, []string{"#/", "a#", "a/#/b", "a/b#", "##", "#a", "/#/", "+/#/+", "a/##"}, []string{"#", "a/#", "/#", "+/#", "a/+/#", "a//#"})
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "a/#")
	for topic, matches := range map[string]bool{"a": true, "a/": true, "a/b": true, "a/b/c/d": true, "b": false, "ab": false, "/a": false, "b/a": false} {
		c.say(topic, topic, 0)
		if matches {
			c.hears(topic, topic)
		}
		c.silent()
	}
}

func TestV5_4_7_1_2(t *testing.T) {
	checkFilters(t, []string{"a+", "+a", "a/b+/c", "++", "a/+b", "+#"}, []string{"+", "+/+", "a/+", "+/a", "a/+/b", "/+", "+/", "+/+/#"})
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "a/+/c", "+/x")
	for topic, matches := range map[string]bool{
		"a/b/c": true, "a//c": true, "a/b/b/c": false, "a/c": false, "a/b/c/": false, "a/x": true, "/x": true, "x": false, "a/b/x": false,
	} {
		c.say(topic, topic, 0)
		if matches {
			c.hears(topic, topic)
		}
		c.silent()
	}
}

func TestV5_4_7_2_1(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "#", "+/a", "+/#", "+/+")
	p := n.join(t, v5, "p")
	p.retain("$kept/a", "x", 0)
	p.say("$x/a", "x", 0)
	p.say("$x", "x", 0)
	p.silent()
	c.silent()
	c.subscribe(packet.Options{}, "#", "+/a", "+/#") // nor are retained ones
	c.silent()
	c.subscribe(packet.Options{}, "$x/#", "$kept/+")
	c.hears("$kept/a", "x")
	p.say("$x/a", "x", 0)
	c.hears("$x/a", "x")
	p.say("a/$x", "x", 0) // it is the first level that counts
	c.hears("a/$x", "x")
	c.silent()
}

func TestV5_4_7_3_1(t *testing.T) {
	n := start(t, nil)
	n.breaks(t, frame(0x30, text(""), sized(), []byte("x")), packet.ProtocolError, packet.MalformedPacket, packet.TopicNameInvalid)
	n.begins(t, connectFrame(6, nil, text("c"), sized(), text(""), text("x")), packet.ProtocolError, packet.MalformedPacket, packet.TopicNameInvalid)
	n.breaks(t, frame(0xa2, []byte{0, 1}, sized(), text("")), packet.ProtocolError, packet.MalformedPacket, packet.TopicFilterInvalid)
	checkFilters(t, []string{""}, []string{"/", " ", "a"})
}

func TestV5_4_7_3_2(t *testing.T) {
	n := start(t, nil)
	for _, s := range []string{"\x00", "a\x00", "a/\x00/b", "\x00#"} {
		n.breaks(t, frame(0x30, text(s), sized(), []byte("x")), packet.MalformedPacket, packet.TopicNameInvalid)
		n.breaks(t, frame(0x82, []byte{0, 1}, sized(), text(s), []byte{0}), packet.MalformedPacket, packet.TopicFilterInvalid)
		n.breaks(t, frame(0xa2, []byte{0, 1}, sized(), text(s)), packet.MalformedPacket, packet.TopicFilterInvalid)
	}
}

// TestV5_4_7_3_3: one of 65,535 bytes is served; a longer one has no form.
func TestV5_4_7_3_3(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	longest := strings.Repeat("ab/", 10) + strings.Repeat("x", 65_505)
	c.subscribe(packet.Options{}, longest)
	c.say(longest, "x", 0)
	c.say(longest[1:], "y", 0)
	c.hears(longest, "x")
	c.silent()
}

func TestV5_4_7_3_4(t *testing.T) {
	n := start(t, nil)
	topics := []string{
		"a", "A", "a/", "/a", "//a", "a//b", "a/b", "a ", " a", "a/./b", "a/../b", "a%2Fb", `a\b`,
		"\u00e9", "e\u0301", "\u00c5", "\u212b", "\ufb01", "fi", "\u200ba", "a\U000e0001", "\ufffd", "\U0010fffd",
	}
	c := n.join(t, v5, "c")
	for i, topic := range topics {
		c.subscribeID(uint32(i+1), packet.Options{}, topic)
	}
	for i, topic := range topics {
		c.say(topic, topic, 0)
		if ids := idsOf(c.hears(topic, topic)); len(ids) != 1 || ids[0] != uint32(i+1) {
			t.Errorf("%q goes to %v, want %d", topic, ids, i+1)
		}
	}
	c.silent()
}

func TestV5_4_8_2_1(t *testing.T) {
	checkFilters(t, []string{"$share", "$share/", "$share//a", "$share//", "$share//#"}, []string{"$share/g/a", "$share/g/#", "$share/g//", "$Share/a", "$shared"})
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "$share/g/a/+")
	c.say("a/b", "x", 0)
	c.hears("a/b", "x")
	c.silent()
}

func TestV5_4_8_2_2(t *testing.T) {
	checkFilters(t, []string{"$share/g", "$share/g/", "$share/+/a", "$share/#/a", "$share/g+/a", "$share/g#/a", "$share/g/a+", "$share/g/#/a", "$share/#"},
		[]string{"$share/g/$x", "$share/ /a", "$share/$share/a"})
}

// sharers makes two clients that share a filter, in sessions that go on.
func sharers(t *testing.T, n *node, qos byte) (one, two *client) {
	t.Helper()
	one, two = n.open(t, clean("one")), n.open(t, clean("two"))
	one.subscribe(packet.Options{QoS: qos}, "$share/g/a")
	two.subscribe(packet.Options{QoS: qos}, "$share/g/a")
	return one, two
}

// TestV5_4_8_2_3: both members get their share, each with its own QoS.
func TestV5_4_8_2_3(t *testing.T) {
	n := start(t, nil)
	low, high := n.join(t, v5, "low"), n.join(t, v5, "high")
	low.subscribe(packet.Options{QoS: 0}, "$share/g/a")
	high.subscribe(packet.Options{QoS: 2}, "$share/g/a")
	p := n.join(t, v5, "p")
	const count = 20
	for i := range count {
		p.say("a", fmt.Sprint(i), byte(i%3))
	}
	lows := low.all()
	highs := high.all()
	if len(lows)+len(highs) != count || len(lows) == 0 || len(highs) == 0 {
		t.Errorf("%d and %d messages of %d", len(lows), len(highs), count)
	}
	for _, m := range lows {
		if m.QoS != 0 {
			t.Errorf("%s has QoS %d, granted 0", m.Payload, m.QoS)
		}
	}
	for i := range count {
		if m, there := highs[fmt.Sprint("a=", i)]; there && m.QoS != byte(i%3) {
			t.Errorf("%d has QoS %d, granted 2, published with %d", i, m.QoS, i%3)
		}
	}
}

// hold waits until one of the two has a message, and returns that one, the other one, and the message, which is not acknowledged.
func hold(t *testing.T, one, two *client) (has, hasNot *client, m packet.Publish) {
	t.Helper()
	for k, got := range one.all() {
		t.Logf("%s went to the first", k)
		two.silent()
		return one, two, got
	}
	m = two.message()
	return two, one, m
}

// idOf is the identifier of a client of sharers.
func idOf(c, one *client) string {
	if c == one {
		return "one"
	}
	return "two"
}

func TestV5_4_8_2_4(t *testing.T) {
	n := start(t, nil)
	one, two := sharers(t, n, 2)
	n.join(t, v5, "p").say("a", "x", 2)
	has, hasNot, m := hold(t, one, two)
	id := idOf(has, one)
	has.drop(n, id)
	hasNot.silent()
	has = n.stay(t, v5, id)
	has.expects("x", 2, m.PacketID, true)
	has.send(packet.PUBREC, m.PacketID)
	has.ack(packet.PUBREL, m.PacketID)
	has.drop(n, id)
	has = n.stay(t, v5, id)
	has.ack(packet.PUBREL, m.PacketID)
	has.send(packet.PUBCOMP, m.PacketID)
	has.silent()
	hasNot.silent()
}

func TestV5_4_8_2_5(t *testing.T) {
	n := start(t, nil)
	one, two := sharers(t, n, 2)
	n.join(t, v5, "p").say("a", "x", 2)
	has, hasNot, _ := hold(t, one, two)
	id := idOf(has, one)
	has.drop(n, id)
	c := n.open(t, clean(id)) // ends the session
	c.silent()
	hasNot.silent()
}

func TestV5_4_8_2_6(t *testing.T) {
	for qos, typ := range map[byte]packet.Type{1: packet.PUBACK, 2: packet.PUBREC} {
		t.Run(typ.String(), func(t *testing.T) {
			n := start(t, nil)
			one, two := sharers(t, n, 2)
			n.join(t, v5, "p").say("a", "x", qos)
			has, hasNot, m := hold(t, one, two)
			has.sendCode(typ, m.PacketID, packet.UnspecifiedError)
			has.silent()
			hasNot.silent()
		})
	}
}
