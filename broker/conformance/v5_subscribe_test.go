package conformance

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestV5_3_8_1_1(t *testing.T) {
	n := start(t, nil)
	for flags := range byte(16) {
		if flags != 2 {
			n.breaks(t, frame(0x80|flags, []byte{0, 1}, sized(), text("a"), []byte{0}), packet.MalformedPacket)
		}
	}
}

func TestV5_3_8_3_1(t *testing.T) {
	n := start(t, nil)
	for _, s := range notText {
		n.breaks(t, frame(0x82, []byte{0, 1}, sized(), text(s), []byte{0}), packet.MalformedPacket, packet.TopicFilterInvalid)
	}
}

func TestV5_3_8_3_2(t *testing.T) {
	n := start(t, nil)
	n.breaks(t, frame(0x82, []byte{0, 1}, sized()), packet.ProtocolError, packet.MalformedPacket)
	n.breaks(t, frame(0x82, []byte{0, 1}, sized(), text("a")), packet.ProtocolError, packet.MalformedPacket) // without options
}

// TestV5_3_8_3_3: whatever connection of that client they came on.
func TestV5_3_8_3_3(t *testing.T) {
	n := start(t, nil)
	other := n.join(t, v5, "other")
	other.subscribe(packet.Options{}, "a")
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{NoLocal: true, QoS: 1}, "a")
	c.say("a", "mine", 1)
	c.silent()
	other.hears("a", "mine")
	other.say("a", "another's", 0)
	c.hears("a", "another's")
	c = n.stay(t, v5, "c")
	c.say("a", "mine again", 1)
	c.silent()
}

func TestV5_3_8_3_4(t *testing.T) {
	n := start(t, nil)
	n.breaks(t, frame(0x82, []byte{0, 1}, sized(), text("$share/g/a"), []byte{4}), packet.ProtocolError)
	n.breaks(t, frame(0x82, []byte{0, 1}, sized(), text("a"), []byte{0}, text("$share/g/a"), []byte{5}), packet.ProtocolError)
}

func TestV5_3_8_3_5(t *testing.T) {
	n := start(t, nil)
	for _, options := range []byte{0x40, 0x80, 0xc0, 0x41} {
		n.breaks(t, frame(0x82, []byte{0, 1}, sized(), text("a"), []byte{options}), packet.MalformedPacket)
		n.breaks(t, frame(0x82, []byte{0, 1}, sized(), text("b"), []byte{0}, text("a"), []byte{options}), packet.MalformedPacket)
	}
}

func TestV5_3_8_4_1(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	for range 3 { // new, and again
		c.subscribe(packet.Options{}, "a")
	}
	c.subscribe(packet.Options{}, "a/#/b") // even if it fails
	c.silent()                             // once for each
}

func TestV5_3_8_4_2(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	for _, id := range []uint16{65535, 1, 256} { // subscribeWith looks at the identifier
		p := packet.Subscribe{PacketID: id}
		p.Subscriptions.Add([]byte("a"), packet.Options{})
		c.subscribeWith(p)
	}
	c.write(append(frame(0x82, []byte{0, 8}, sized(), text("a"), []byte{0}), frame(0x82, []byte{0, 9}, sized(), text("b"), []byte{0})...))
	for _, id := range []byte{8, 9} { // two at once
		if _, body := c.want(packet.SUBACK); body[1] != id {
			t.Errorf("SUBACK % x, want %d", body, id)
		}
	}
}

func TestV5_3_8_4_3(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	p := n.join(t, v5, "p")
	for _, o := range []packet.Options{{QoS: 2}, {QoS: 0, RetainAsPublished: true}, {QoS: 1}, {QoS: 1, NoLocal: true}} {
		c.subscribe(o, "a/+")
		p.publish(packet.Publish{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 2, Retain: true})
		list := copies(c, "a/b", "x")
		if m := list[0]; len(list) != 1 || m.QoS != o.QoS || m.Retain != o.RetainAsPublished {
			t.Errorf("%d copies, the first with QoS %d and RETAIN %t, for %+v", len(list), m.QoS, m.Retain, o)
		}
		p.retain("a/b", "", 0)
		p.silent()
		for range copies(c, "a/b", "") {
			continue
		}
	}
	c.say("a/b", "mine", 1)
	c.silent()
	c.unsubscribe("a/+") // one takes them all away
	p.say("a/b", "x", 1)
	c.silent()
	if s := n.Stats(); s.Subscriptions != 0 {
		t.Errorf("%d subscriptions", s.Subscriptions)
	}
}

// TestV5_3_8_4_4: a client subscribes again and again while messages come.
func TestV5_3_8_4_4(t *testing.T) {
	const count, rounds = 200, 50
	n := start(t, limits(func(l *config.Limits) { l.ReceiveMaximum = count })) // p does not wait for answers
	p := n.join(t, v5, "p")
	p.retain("a/kept", "x", 1)
	c := n.join(t, v5, "c")
	for range 3 {
		c.subscribe(packet.Options{QoS: 1}, "a/#")
		if m := c.hears("a/kept", "x"); !m.Retain {
			t.Error("without RETAIN")
		}
	}
	var messages, again []byte
	for i := range count {
		m := packet.Publish{Topic: []byte("a/live"), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i + 1)}
		messages = m.Append(messages, v5)
	}
	for range rounds {
		again = append(again, frame(0x82, []byte{0, 1}, sized(), text("a/#"), []byte{1})...)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.conn.Write(messages) // a failure shows in what c hears
	}()
	c.write(again)
	kept := 0
	for want := 0; want < count || kept < rounds; {
		h, body := c.next()
		if h.Type == packet.SUBACK {
			continue
		}
		var m packet.Publish
		c.ok(m.Decode(v5, h, body))
		c.send(packet.PUBACK, m.PacketID)
		switch string(m.Topic) {
		case "a/kept":
			kept++
		default:
			if string(m.Payload) != fmt.Sprint(want) {
				t.Fatalf("heard %s, want %d", m.Payload, want)
			}
			want++
		}
	}
	<-done
}

func TestV5_3_8_4_5(t *testing.T) {
	n := start(t, nil)
	n.join(t, v5, "p").retain("a", "kept", 1)
	c := n.join(t, v5, "c")
	p := packet.Subscribe{PacketID: 1}
	p.Subscriptions.Add([]byte("a"), packet.Options{QoS: 1, RetainHandling: 1})
	p.Subscriptions.Add([]byte("a/#/b"), packet.Options{})
	p.Subscriptions.Add([]byte("b"), packet.Options{QoS: 2})
	p.Subscriptions.Add([]byte("a"), packet.Options{QoS: 0, RetainHandling: 1}) // exists by now
	if codes := c.subscribeWith(p); !bytes.Equal(codes, []byte{1, byte(packet.TopicFilterInvalid), 2, 0}) {
		t.Errorf("codes % x", codes)
	}
	c.hears("a", "kept")
	c.silent()
	c.say("a", "x", 1)
	if m := c.hears("a", "x"); m.QoS != 0 {
		t.Errorf("QoS %d, want that of the last", m.QoS)
	}
	c.say("b", "x", 2)
	c.hears("b", "x")
}

func TestV5_3_8_4_6(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	for count := range 20 { // subscribeWith counts the codes
		p := packet.Subscribe{PacketID: 1}
		for i := range count + 1 {
			p.Subscriptions.Add(fmt.Append(nil, "a/", i%7), packet.Options{})
		}
		c.subscribeWith(p)
	}
}

func TestV5_3_8_4_7(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxQoS = 1 }))
	c := n.join(t, v5, "c")
	for qos, want := range []byte{0, 1, 1} {
		if codes := c.subscribe(packet.Options{QoS: byte(qos)}, "a"); codes[0] != want {
			t.Errorf("code %#x for QoS %d", codes[0], qos)
		}
	}
	if codes := c.subscribe(packet.Options{}, "a+"); codes[0] < 0x80 {
		t.Errorf("code %#x for a filter that is none", codes[0])
	}
}

func TestV5_3_8_4_8(t *testing.T) {
	for most := range 3 {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			n := start(t, limits(func(l *config.Limits) { l.MaxQoS = most }))
			for asked := range byte(3) {
				c := n.join(t, v5, "c")
				granted := c.subscribe(packet.Options{QoS: asked}, "a")[0]
				for qos := range byte(most + 1) {
					c.say("a", "x", qos)
					if m := c.hears("a", "x"); m.QoS != min(qos, granted) {
						t.Errorf("QoS %d, published with %d, granted %d", m.QoS, qos, granted)
					}
				}
			}
		})
	}
}

func TestV5_3_9_2_1(t *testing.T) { checkFits(t, packet.SUBACK) }

func TestV5_3_9_2_2(t *testing.T) { checkFits(t, packet.SUBACK) }

func TestV5_3_9_3_1(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	p := packet.Subscribe{PacketID: 1}
	var want []byte
	for i, filter := range []string{"a", "b", "#a", "c", "+b", "a", "d/#", "$share/g", "e"} {
		qos := byte(i % 3)
		p.Subscriptions.Add([]byte(filter), packet.Options{QoS: qos})
		if filter == "#a" || filter == "+b" || filter == "$share/g" {
			qos = byte(packet.TopicFilterInvalid)
		}
		want = append(want, qos)
	}
	if codes := c.subscribeWith(p); !bytes.Equal(codes, want) {
		t.Errorf("codes % x, want % x", codes, want)
	}
}

func TestV5_3_9_3_2(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	section := []byte{0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2} // 3.9.3
	for _, filter := range []string{"a", "$SYS/#", "$share/g/a", "$share/g", "#/a", "a+", "$share/+/a", string(bytes.Repeat([]byte("/"), 60_000))} {
		for qos := range byte(3) {
			if codes := c.subscribe(packet.Options{QoS: qos}, filter); !bytes.Contains(section, codes) {
				t.Errorf("%.20s: code %#x", filter, codes)
			}
		}
	}
}

func TestV5_3_10_1_1(t *testing.T) {
	n := start(t, nil)
	for flags := range byte(16) {
		if flags != 2 {
			n.breaks(t, frame(0xa0|flags, []byte{0, 1}, sized(), text("a")), packet.MalformedPacket)
		}
	}
}

func TestV5_3_10_3_1(t *testing.T) {
	n := start(t, nil)
	for _, s := range notText {
		n.breaks(t, frame(0xa2, []byte{0, 1}, sized(), text(s)), packet.MalformedPacket, packet.TopicFilterInvalid)
	}
}

func TestV5_3_10_3_2(t *testing.T) {
	n := start(t, nil)
	n.breaks(t, frame(0xa2, []byte{0, 1}, sized()), packet.ProtocolError, packet.MalformedPacket)
}

func TestV5_3_10_4_1(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	filters := []string{"a/b", "a/+", "a/#", "A/b", "a/b/", "$share/g/a/b"}
	c.subscribe(packet.Options{}, filters...)
	for _, not := range []string{"+/b", "#", "a", "a/B", "a//b", "$share/G/a/b", "$share/h/a/b", "/a/b"} {
		if codes := c.unsubscribe(not); codes[0] != byte(packet.NoSubscriptionExisted) {
			t.Errorf("%s: code %#x", not, codes[0])
		}
	}
	for i, filter := range filters {
		if s := n.Stats(); s.Subscriptions != len(filters)-i {
			t.Errorf("%d subscriptions, want %d", s.Subscriptions, len(filters)-i)
		}
		if codes := c.unsubscribe(filter); codes[0] != 0 {
			t.Errorf("%s: code %#x", filter, codes[0])
		}
	}
	c.say("a/b", "x", 0)
	c.silent()
}

func TestV5_3_10_4_2(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 1}, "a", "b")
	c.unsubscribe("a")
	p := n.join(t, v5, "p")
	p.say("a", "x", 1)
	p.say("b", "x", 1)
	c.hears("b", "x")
	c.silent()
	c.drop(n, "c")
	p.say("a", "x", 1)
	n.stay(t, v5, "c").silent()
}

// TestV5_3_10_4_3: on the connection where it began, and after another one.
func TestV5_3_10_4_3(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 2}, "a")
	p := n.join(t, v5, "p")
	for _, text := range []string{"1", "2", "3"} {
		p.say("a", text, 2)
	}
	first, second, third := c.message(), c.message(), c.message()
	c.send(packet.PUBREC, second.PacketID)
	c.ack(packet.PUBREL, second.PacketID)
	c.unsubscribe("a")
	c.send(packet.PUBREC, first.PacketID)
	c.ack(packet.PUBREL, first.PacketID)
	c.send(packet.PUBCOMP, first.PacketID)
	c.drop(n, "c")
	c = n.stay(t, v5, "c")
	c.ack(packet.PUBREL, second.PacketID)
	c.send(packet.PUBCOMP, second.PacketID)
	if m := c.hears("a", "3"); !m.Dup || m.PacketID != third.PacketID {
		t.Errorf("DUP %t, identifier %d", m.Dup, m.PacketID)
	}
	c.silent()
}

func TestV5_3_10_4_4(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "a")
	for range 3 {
		c.unsubscribe("a")
	}
	c.silent() // once for each
}

func TestV5_3_10_4_5(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	for _, id := range []byte{1, 200, 3} {
		c.write(frame(0xa2, []byte{id, id}, sized(), text("nothing")))
		if _, body := c.want(packet.UNSUBACK); body[0] != id || body[1] != id {
			t.Errorf("UNSUBACK % x, want %d", body, id)
		}
	}
}

func TestV5_3_10_4_6(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "a", "b", "c")
	gone := byte(packet.NoSubscriptionExisted)
	if codes := c.unsubscribe("b", "x", "a", "b"); !bytes.Equal(codes, []byte{0, gone, 0, gone}) {
		t.Errorf("codes % x", codes)
	}
	for _, topic := range []string{"a", "b", "c"} {
		c.say(topic, "x", 0)
	}
	c.hears("c", "x")
	c.silent()
}

func TestV5_3_11_2_1(t *testing.T) { checkFits(t, packet.UNSUBACK) }

func TestV5_3_11_2_2(t *testing.T) { checkFits(t, packet.UNSUBACK) }

func TestV5_3_11_3_1(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "a", "b", "c/+")
	gone := byte(packet.NoSubscriptionExisted)
	if codes := c.unsubscribe("c/+", "c/d", "b", "c", "a"); !bytes.Equal(codes, []byte{0, gone, 0, gone, 0}) {
		t.Errorf("codes % x", codes)
	}
}

func TestV5_3_11_3_2(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "a")
	section := []byte{0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91} // 3.11.3
	for _, filter := range []string{"a", "a", "#/a", "a+", "$share/g", "$share/g/a", "$SYS/#"} {
		if codes := c.unsubscribe(filter); !bytes.Contains(section, codes) || len(codes) != 1 {
			t.Errorf("%s: codes % x", filter, codes)
		}
	}
}
