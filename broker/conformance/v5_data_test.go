package conformance

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

const v5 = packet.V5

// notText are sequences of bytes that no string holds: no UTF-8, a surrogate, two forms that are too long, beyond the last character.
var notText = []string{"a\xff", "\xed\xa0\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xf4\x90\x80\x80", "a\xc3"}

// breaks sends bytes on a connection of its own, which must end, with one of codes.
func (n *node) breaks(t *testing.T, b []byte, codes ...packet.ReasonCode) {
	t.Helper()
	c := n.join(t, v5, "breaker")
	c.write(b)
	c.ends(codes...)
	c.conn.Close() // the node need not wait for that
}

// begins sends bytes in the place of a CONNECT, which must be rejected, with one of codes.
func (n *node) begins(t *testing.T, b []byte, codes ...packet.ReasonCode) {
	t.Helper()
	c := n.dial(t, v5)
	c.write(b)
	c.rejected(codes...)
	c.conn.Close()
}

// connectFrame is a CONNECT with the flags, properties and payload as given, right or wrong.
func connectFrame(flags byte, properties []byte, payload ...[]byte) []byte {
	head := append(text("MQTT"), 5, flags, 0, 60, byte(len(properties)))
	return frame(0x10, append([][]byte{head, properties}, payload...)...)
}

// property is one on the wire that has a string or binary data.
func property(id packet.BytesProperty, s string) []byte { return append([]byte{byte(id)}, text(s)...) }

// userProperty is one on the wire.
func userProperty(name, value string) []byte {
	return append(append([]byte{byte(packet.UserProperty)}, text(name)...), text(value)...)
}

// sized is a list of properties on the wire, with its length.
func sized(properties ...[]byte) []byte {
	b := bytes.Join(properties, nil)
	return append([]byte{byte(len(b))}, b...)
}

// stringFields are packets with a string wherever a client has one to send, by what the string is.
func stringFields(s string) map[string][]byte {
	publish := func(p []byte) []byte { return frame(0x30, text("a"), sized(p), []byte("x")) }
	return map[string][]byte{
		"topic name":              frame(0x30, text(s), sized(), []byte("x")),
		"content type":            publish(property(packet.ContentType, s)),
		"response topic":          publish(property(packet.ResponseTopic, s)),
		"user property's name":    publish(userProperty(s, "v")),
		"user property's value":   publish(userProperty("n", s)),
		"filter":                  frame(0x82, []byte{0, 1}, sized(), text(s), []byte{0}),
		"second filter":           frame(0x82, []byte{0, 1}, sized(), text("a"), []byte{0}, text(s), []byte{0}),
		"filter to be given back": frame(0xa2, []byte{0, 1}, sized(), text(s)),
		"reason of a PUBACK":      frame(0x40, []byte{0, 1, 0}, sized(property(packet.ReasonString, s))),
		"reason of a DISCONNECT":  frame(0xe0, []byte{0}, sized(property(packet.ReasonString, s))),
	}
}

// connectStrings are CONNECT packets with a string in each place that takes one.
func connectStrings(s string) map[string][]byte {
	return map[string][]byte{
		"client identifier":    connectFrame(2, nil, text(s)),
		"user name":            connectFrame(0x82, nil, text("c"), text(s)),
		"will topic":           connectFrame(6, nil, text("c"), sized(), text(s), text("x")),
		"will's content type":  connectFrame(6, nil, text("c"), sized(property(packet.ContentType, s)), text("w"), text("x")),
		"will's user property": connectFrame(6, nil, text("c"), sized(userProperty(s, s)), text("w"), text("x")),
		"user property":        connectFrame(2, userProperty(s, s), text("c")),
		"authentication":       connectFrame(2, property(packet.AuthMethod, s), text("c")),
	}
}

// noString checks that s is accepted nowhere.
func noString(t *testing.T, n *node, s string) {
	for field, b := range stringFields(s) {
		t.Run(fmt.Sprintf("%x as %s", s, field), func(t *testing.T) { n.breaks(t, b, packet.MalformedPacket) })
	}
	for field, b := range connectStrings(s) {
		t.Run(fmt.Sprintf("%x as %s", s, field), func(t *testing.T) { n.begins(t, b, packet.MalformedPacket) })
	}
}

func TestV5_1_5_4_1(t *testing.T) {
	n := start(t, nil)
	for _, s := range notText {
		noString(t, n, s)
	}
}

func TestV5_1_5_4_2(t *testing.T) {
	n := start(t, nil)
	noString(t, n, "a\x00b")
	noString(t, n, "\x00")
}

func TestV5_1_5_4_3(t *testing.T) {
	n := start(t, nil)
	const mark = "\ufeff"
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, mark+"a")
	for _, topic := range []string{"a", mark + "a", "a" + mark, mark + mark + "a"} {
		p := packet.Publish{Topic: []byte(topic), Payload: []byte(topic)}
		p.Properties.AddBytes(packet.ContentType, []byte(mark+"text"))
		p.Properties.AddUser([]byte(mark), []byte("x"+mark))
		c.publish(p)
	}
	m := c.hears(mark+"a", mark+"a")
	if s := string(m.Properties.Bytes(packet.ContentType)); s != mark+"text" {
		t.Errorf("content type %q", s)
	}
	for name, value := range m.Properties.User() {
		if string(name) != mark || string(value) != "x"+mark {
			t.Errorf("user property %q: %q", name, value)
		}
	}
	c.silent()
}

// TestV5_1_5_5_1: what the node reads, where the number is not the length of the whole packet, and what it writes.
func TestV5_1_5_5_1(t *testing.T) {
	n := start(t, nil)
	for name, b := range map[string][]byte{
		"properties of a PUBLISH":      frame(0x30, text("a"), []byte{0x80, 0}, []byte("x")),
		"properties of a SUBSCRIBE":    frame(0x82, []byte{0, 1, 0x80, 0x80, 0}, text("a"), []byte{0}),
		"subscription identifier":      frame(0x82, []byte{0, 1, 3, 0x0b, 0x81, 0}, text("a"), []byte{0}),
		"properties of an UNSUBSCRIBE": frame(0xa2, []byte{0, 1, 0x80, 0x80, 0x80, 0}, text("a")),
	} {
		t.Run(name, func(t *testing.T) { n.breaks(t, b, packet.MalformedPacket) })
	}
	n.begins(t, frame(0x10, text("MQTT"), []byte{5, 2, 0, 60, 0x80, 0}, text("c")), packet.MalformedPacket)

	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "a")
	const before = 2 + 1 + 1 // topic and length of the properties
	for _, remaining := range []int{127, 128, 16_383, 16_384} {
		c.say("a", strings.Repeat("x", remaining-before), 0)
		c.message()
		header := 2
		for n := remaining; n >= 0x80; n >>= 7 {
			header++
		}
		if got := len(c.r.Packet()); got != header+remaining {
			t.Errorf("%d bytes for a remaining length of %d, want a header of %d", got, remaining, header)
		}
	}
}

func TestV5_1_5_7_1(t *testing.T) {
	n := start(t, nil)
	for _, s := range append([]string{"\x00"}, notText...) {
		for name, p := range map[string][]byte{"name": userProperty(s, "v"), "value": userProperty("n", s)} {
			t.Run(fmt.Sprintf("%s %x", name, s), func(t *testing.T) {
				n.breaks(t, frame(0x30, text("a"), sized(p), []byte("x")), packet.MalformedPacket)
				n.breaks(t, frame(0x82, []byte{0, 1}, sized(p), text("a"), []byte{0}), packet.MalformedPacket)
				n.breaks(t, frame(0xa2, []byte{0, 1}, sized(p), text("a")), packet.MalformedPacket)
				n.breaks(t, frame(0xe0, []byte{0}, sized(p)), packet.MalformedPacket)
				n.begins(t, connectFrame(2, p, text("c")), packet.MalformedPacket)
			})
		}
	}
}

func TestV5_2_1_3_1(t *testing.T) {
	n := start(t, nil)
	filter := append(append([]byte{0, 1, 0}, text("a")...), 0)
	for typ, right := range map[byte]byte{
		byte(packet.PUBACK): 0, byte(packet.PUBREC): 0, byte(packet.PUBREL): 2, byte(packet.PUBCOMP): 0, byte(packet.SUBSCRIBE): 2,
		byte(packet.UNSUBSCRIBE): 2, byte(packet.PINGREQ): 0, byte(packet.DISCONNECT): 0, byte(packet.AUTH): 0,
	} {
		body := []byte{0, 1}
		switch packet.Type(typ) {
		case packet.SUBSCRIBE:
			body = filter
		case packet.UNSUBSCRIBE:
			body = filter[:len(filter)-1]
		case packet.PINGREQ, packet.DISCONNECT, packet.AUTH:
			body = nil
		}
		for flags := range byte(16) {
			if flags != right {
				t.Run(fmt.Sprintf("%v %04b", packet.Type(typ), flags), func(t *testing.T) {
					n.breaks(t, frame(typ<<4|flags, body), packet.MalformedPacket)
				})
			}
		}
	}
	for flags := byte(1); flags < 16; flags++ {
		b := connectFrame(2, nil, text("c"))
		b[0] |= flags
		n.begins(t, b, packet.MalformedPacket)
	}
}

func TestV5_2_2_1_2(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{QoS: 2}, "a")
	c.write(frame(0x30, text("a"), sized(), []byte("payload"))) // two bytes of it would be the identifier
	c.hears("a", "payload")
	if got, want := c.r.Packet(), frame(0x30, text("a"), sized(), []byte("payload")); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
}

func TestV5_2_2_1_3(t *testing.T) {
	n := start(t, nil)
	for name, b := range map[string][]byte{
		"PUBLISH of QoS 1": frame(0x32, text("a"), []byte{0, 0}, sized(), []byte("x")),
		"PUBLISH of QoS 2": frame(0x34, text("a"), []byte{0, 0}, sized(), []byte("x")),
		"SUBSCRIBE":        frame(0x82, []byte{0, 0}, sized(), text("a"), []byte{0}),
		"UNSUBSCRIBE":      frame(0xa2, []byte{0, 0}, sized(), text("a")),
	} {
		t.Run(name, func(t *testing.T) { n.breaks(t, b, packet.ProtocolError, packet.MalformedPacket) })
	}
}

// TestV5_2_2_1_4: half of what is on the way is acknowledged, out of its order, and as much follows.
func TestV5_2_2_1_4(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{QoS: 2}, "#")
	p := n.join(t, v5, "p")
	used := make(map[uint16]byte)
	take := func(count int) {
		for i := range count {
			p.say(fmt.Sprint(i), "x", 1+byte(i%2))
			m := c.message()
			if _, again := used[m.PacketID]; again || m.PacketID == 0 {
				t.Fatalf("identifier %d, with %d others on the way", m.PacketID, len(used))
			}
			used[m.PacketID] = m.QoS
		}
	}
	take(20)
	for round := range 5 {
		for id, qos := range used {
			if (int(id)+round)%2 == 0 {
				continue
			}
			if qos == 1 {
				c.send(packet.PUBACK, id)
			} else {
				c.send(packet.PUBREC, id)
				c.ack(packet.PUBREL, id)
				c.send(packet.PUBCOMP, id)
			}
			delete(used, id)
		}
		take(20 - len(used))
	}
}

func TestV5_2_2_1_5(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	for _, id := range []uint16{1, 0x1234, 65535} { // publish looks at the identifiers
		c.publish(packet.Publish{Topic: []byte("a"), QoS: 1, PacketID: id})
		c.publish(packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: id})
	}
	c.subscribe(packet.Options{QoS: 2}, "a")
	c.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 2, PacketID: 77})
	c.hears("a", "x")                          // so does it
	for _, id := range []uint16{1000, 65535} { // of nothing
		c.send(packet.PUBREC, id)
		c.ack(packet.PUBREL, id)
		c.send(packet.PUBREL, id)
		c.ack(packet.PUBCOMP, id)
	}
}

func TestV5_2_2_1_6(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	for _, id := range []uint16{1, 0x1234, 65535} {
		c.write(frame(0x82, []byte{byte(id >> 8), byte(id)}, sized(), text("a"), []byte{0}))
		if _, body := c.want(packet.SUBACK); body[0] != byte(id>>8) || body[1] != byte(id) {
			t.Errorf("SUBACK % x for %#x", body, id)
		}
		c.write(frame(0xa2, []byte{byte(id >> 8), byte(id)}, sized(), text("a")))
		if _, body := c.want(packet.UNSUBACK); body[0] != byte(id>>8) || body[1] != byte(id) {
			t.Errorf("UNSUBACK % x for %#x", body, id)
		}
	}
}

func TestV5_2_2_2_1(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.write(frame(0x82, []byte{0, 9}, sized(), text("a"), []byte{0}))
	if _, body := c.want(packet.SUBACK); !bytes.Equal(body, []byte{0, 9, 0, 0}) {
		t.Errorf("SUBACK % x", body)
	}
	c.say("a", "x", 0)
	if _, body := c.want(packet.PUBLISH); !bytes.Equal(body, append(text("a"), 0, 'x')) {
		t.Errorf("PUBLISH % x", body)
	}
	c.write(frame(0xa2, []byte{0, 9}, sized(), text("a")))
	if _, body := c.want(packet.UNSUBACK); !bytes.Equal(body, []byte{0, 9, 0, 0}) {
		t.Errorf("UNSUBACK % x", body)
	}
	n.breaks(t, frame(0x30, text("a")), packet.MalformedPacket) // not even the length
	n.breaks(t, frame(0x82, []byte{0, 1}), packet.MalformedPacket)
}
