package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestV5_3_3_4_1(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.write((&packet.Publish{Topic: []byte("a")}).Append(nil, v5))
	c.silent()
	c.write((&packet.Publish{Topic: []byte("a"), QoS: 1, PacketID: 4}).Append(nil, v5))
	c.ack(packet.PUBACK, 4)
	c.silent()
	c.write((&packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: 5}).Append(nil, v5))
	c.ack(packet.PUBREC, 5)
	c.silent()
}

// subscribeID subscribes with a subscription identifier.
func (c *client) subscribeID(id uint32, o packet.Options, filters ...string) {
	c.t.Helper()
	p := packet.Subscribe{PacketID: 3}
	p.Properties.AddSubscriptionID(id)
	for _, f := range filters {
		p.Subscriptions.Add([]byte(f), o)
	}
	c.subscribeWith(p)
}

// copies takes all copies of a message that reach a client, acknowledged, of which there is one at least.
func copies(c *client, topic, text string) (list []packet.Publish) {
	c.t.Helper()
	list = append(list, c.hears(topic, text))
	c.settle()
	list, c.early = append(list, c.early...), nil
	return list
}

// TestV5_3_3_4_2: whichever of the filters has the highest.
func TestV5_3_3_4_2(t *testing.T) {
	n := start(t, nil)
	filters := []string{"a/b", "a/+", "#"}
	p := n.join(t, v5, "p")
	for highest := range filters {
		c := n.join(t, v5, "c")
		for i := range filters {
			c.subscribe(packet.Options{QoS: byte((i + 5 - highest) % 3)}, filters[i]) // 2 for the highest, 0 and 1 for the others
		}
		for qos := range byte(3) {
			p.say("a/b", "x", qos)
			most := byte(0)
			for _, m := range copies(c, "a/b", "x") {
				most = max(most, m.QoS)
			}
			if most != qos {
				t.Errorf("QoS %d, published with %d, %s has 2", most, qos, filters[highest])
			}
		}
	}
}

// overlapping subscribes to three filters that match a/b, with identifiers 1 and 300,000 and none, and to one that does not match, and
// returns the copies of one message.
func overlapping(t *testing.T, n *node) []packet.Publish {
	t.Helper()
	c := n.join(t, v5, "c")
	c.subscribeID(1, packet.Options{QoS: 1}, "a/b")
	c.subscribeID(300_000, packet.Options{}, "a/+", "c")
	c.subscribe(packet.Options{}, "#")
	c.subscribeID(7, packet.Options{}, "c/d")
	n.join(t, v5, "p").say("a/b", "x", 1)
	return copies(c, "a/b", "x")
}

// idsOf returns the subscription identifiers of a message, sorted.
func idsOf(m packet.Publish) (ids []uint32) {
	for id := range m.Properties.SubscriptionIDs() {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func TestV5_3_3_4_3(t *testing.T) {
	n := start(t, nil)
	var ids []uint32
	for _, m := range overlapping(t, n) {
		ids = append(ids, idsOf(m)...)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []uint32{1, 300_000}) {
		t.Errorf("%v", ids)
	}
	c := n.join(t, v5, "c") // one that is changed
	c.subscribeID(1, packet.Options{}, "a")
	c.subscribeID(2, packet.Options{}, "a")
	c.say("a", "x", 0)
	if ids := idsOf(c.hears("a", "x")); !slices.Equal(ids, []uint32{2}) {
		t.Errorf("%v, want 2", ids)
	}
	c.subscribe(packet.Options{}, "a")
	c.say("a", "x", 0)
	if ids := idsOf(c.hears("a", "x")); len(ids) > 0 {
		t.Errorf("%v, want none", ids)
	}
}

func TestV5_3_3_4_4(t *testing.T) {
	n := start(t, nil)
	list := overlapping(t, n)
	if len(list) > 1 {
		t.Fatalf("%d copies: MQTT-3.3.4-5 applies", len(list))
	}
	if ids := idsOf(list[0]); !slices.Equal(ids, []uint32{1, 300_000}) {
		t.Errorf("%v", ids)
	}
	c := n.join(t, v5, "c")
	n.join(t, v5, "p").retain("a", "kept", 0)
	c.subscribeID(5, packet.Options{}, "a")
	if ids := idsOf(c.hears("a", "kept")); !slices.Equal(ids, []uint32{5}) {
		t.Errorf("%v for a retained message, want 5", ids)
	}
}

// TestV5_3_3_4_5: a shared subscription of the same client has a copy of its own.
func TestV5_3_3_4_5(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribeID(1, packet.Options{}, "a")
	c.subscribeID(2, packet.Options{}, "$share/g/a")
	c.subscribe(packet.Options{}, "$share/h/a")
	c.say("a", "x", 0)
	var got []string
	for _, m := range copies(c, "a", "x") {
		got = append(got, fmt.Sprint(idsOf(m)))
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"[1]", "[2]", "[]"}) {
		t.Errorf("%v", got)
	}
}

func TestV5_3_3_4_6(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	n.breaks(t, frame(0x30, text("a"), sized([]byte{byte(packet.SubscriptionID), 1}), []byte("x")), packet.ProtocolError, packet.MalformedPacket)
	w.silent()
}

func TestV5_3_3_4_7(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.ReceiveMaximum = 3 }))
	c, ack := n.connect(t, clean("c"))
	if most, _ := ack.Properties.Int(packet.ReceiveMaximum); most != 3 {
		t.Errorf("Receive Maximum %d, want 3", most)
	}
	for id := uint16(1); id <= 3; id++ {
		c.write((&packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: id}).Append(nil, v5))
		c.ack(packet.PUBREC, id)
	}
	c.send(packet.PUBREL, 2)
	c.ack(packet.PUBCOMP, 2)
	c.write((&packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: 2}).Append(nil, v5)) // there is room again
	c.ack(packet.PUBREC, 2)
	c.write((&packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: 4}).Append(nil, v5))
	c.ends(packet.ReceiveMaximumExceeded)
}

// windowed connects with a Receive Maximum and subscribes to a.
func windowed(t *testing.T, n *node, most uint32) *client {
	t.Helper()
	con := packet.Connect{Version: v5, ClientID: []byte("c"), CleanStart: true, KeepAlive: 60}
	con.Properties.AddInt(packet.ReceiveMaximum, most)
	c := n.open(t, con)
	c.subscribe(packet.Options{QoS: 2}, "a")
	return c
}

func TestV5_3_3_4_9(t *testing.T) {
	n := start(t, nil)
	c := windowed(t, n, 2)
	p := n.join(t, v5, "p")
	for i := range 6 {
		p.say("a", fmt.Sprint(i), 1+byte(i%2))
	}
	first, second := c.message(), c.message()
	c.silent()
	c.send(packet.PUBREC, second.PacketID) // of QoS 2: still on the way
	c.ack(packet.PUBREL, second.PacketID)
	c.silent()
	c.send(packet.PUBCOMP, second.PacketID)
	third := c.message()
	c.silent()
	c.send(packet.PUBACK, first.PacketID)
	fourth := c.message()
	c.silent()
	c.sendCode(packet.PUBREC, fourth.PacketID, packet.UnspecifiedError) // is an end
	c.message()
	c.silent()
	c.sendCode(packet.PUBACK, third.PacketID, packet.QuotaExceeded) // is one as well
	c.message()
	c.silent()
}

func TestV5_3_3_4_10(t *testing.T) {
	n := start(t, nil)
	c := windowed(t, n, 1)
	p := n.join(t, v5, "p")
	p.say("a", "1", 2)
	p.say("a", "2", 2)
	m := c.message()
	c.subscribe(packet.Options{}, "b")
	c.unsubscribe("b")
	c.say("c", "x", 1)
	c.say("c", "x", 2)
	c.send(packet.PUBREC, m.PacketID)
	c.ack(packet.PUBREL, m.PacketID)
	c.silent()
	c.write(frame(0x36))
	c.told(packet.MalformedPacket)
}

// Codes of acknowledgements: sections 3.4.2.1, 3.5.2.1, 3.6.2.1 and 3.7.2.1.
var (
	pubackCodes  = []byte{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99} // and of PUBREC
	pubrelCodes  = []byte{0, 0x92}                                           // and of PUBCOMP
	foreignCodes = []byte{1, 0x04, 0x11, 0x81, 0x8e, 0xff}                   // none of these
)

// checkCodes makes the node send packets of a type and looks at their codes, then sends it some that the type has not.
func checkCodes(t *testing.T, typ packet.Type, codes []byte) {
	t.Helper()
	n := start(t, nil)
	c := n.join(t, v5, "c")
	see := func(h packet.Header, body []byte) {
		switch {
		case h.Type != typ:
		case len(body) > 2 && !bytes.Contains(codes, body[2:3]):
			t.Errorf("%v % x", typ, body)
		case len(body) < 2:
			t.Errorf("%v % x, which is short", typ, body)
		}
	}
	c.subscribe(packet.Options{QoS: 2}, "b")
	for _, topic := range []string{"nobody", "b"} {
		c.write((&packet.Publish{Topic: []byte(topic), QoS: 1, PacketID: 1}).Append(nil, v5))
		see(c.answer(packet.PUBACK))
		c.write((&packet.Publish{Topic: []byte(topic), QoS: 2, PacketID: 1}).Append(nil, v5))
		see(c.answer(packet.PUBREC))
		c.send(packet.PUBREL, 1)
		see(c.answer(packet.PUBCOMP))
	}
	c.message()
	m := c.message()
	c.send(packet.PUBREC, m.PacketID)
	see(c.want(packet.PUBREL))
	failures(c, see)
	for _, code := range foreignCodes {
		flags := byte(0)
		if typ == packet.PUBREL {
			flags = 2
		}
		n.breaks(t, frame(byte(typ)<<4|flags, []byte{0, 1, code}), packet.ProtocolError, packet.MalformedPacket)
	}
}

// checkFits has every failure told to a client that takes no more than it must, and holds packets of one type against that.
func checkFits(t *testing.T, typ packet.Type) {
	t.Helper()
	n := start(t, nil)
	least := smallest(t, n)
	c := narrow(t, n, "c", least)
	failures(c, func(h packet.Header, body []byte) {
		if h.Type == typ && len(c.r.Packet()) > int(least) {
			t.Errorf("a %v of %d bytes for %d", typ, len(c.r.Packet()), least)
		}
	})
}

func TestV5_3_4_2_1(t *testing.T) { checkCodes(t, packet.PUBACK, pubackCodes) }

func TestV5_3_4_2_2(t *testing.T) { checkFits(t, packet.PUBACK) }

func TestV5_3_4_2_3(t *testing.T) { checkFits(t, packet.PUBACK) }

func TestV5_3_5_2_1(t *testing.T) { checkCodes(t, packet.PUBREC, pubackCodes) }

func TestV5_3_5_2_2(t *testing.T) { checkFits(t, packet.PUBREC) }

func TestV5_3_5_2_3(t *testing.T) { checkFits(t, packet.PUBREC) }

func TestV5_3_6_1_1(t *testing.T) {
	n := start(t, nil)
	for flags := range byte(16) {
		if flags != 2 {
			n.breaks(t, frame(0x60|flags, []byte{0, 1}), packet.MalformedPacket)
		}
	}
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{QoS: 2}, "a")
	c.say("a", "x", 2)
	m := c.message()
	c.send(packet.PUBREC, m.PacketID)
	if h, _ := c.want(packet.PUBREL); h.Flags != 2 {
		t.Errorf("flags %04b", h.Flags)
	}
}

func TestV5_3_6_2_1(t *testing.T) { checkCodes(t, packet.PUBREL, pubrelCodes) }

func TestV5_3_6_2_2(t *testing.T) { checkFits(t, packet.PUBREL) }

func TestV5_3_6_2_3(t *testing.T) { checkFits(t, packet.PUBREL) }

func TestV5_3_7_2_1(t *testing.T) { checkCodes(t, packet.PUBCOMP, pubrelCodes) }

func TestV5_3_7_2_2(t *testing.T) { checkFits(t, packet.PUBCOMP) }

func TestV5_3_7_2_3(t *testing.T) { checkFits(t, packet.PUBCOMP) }
