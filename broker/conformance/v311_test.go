package conformance

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// v4 is the protocol level of MQTT 3.1.1, whose tests stand in the files v311_*.
const v4 = packet.V311

// assemble makes a packet of a first byte and of parts that may be anything.
func assemble(first byte, parts ...string) []byte {
	body := strings.Join(parts, "")
	b := []byte{first}
	for n := len(body); ; n >>= 7 {
		if n < 0x80 {
			return append(append(b, byte(n)), body...)
		}
		b = append(b, byte(n)|0x80)
	}
}

// field is a string as it is on the wire, whatever is in it.
func field(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

// connectOf makes a CONNECT that may be wrong, with a keep alive of a minute.
func connectOf(name string, level, flags byte, fields ...string) []byte {
	parts := []string{field(name), string([]byte{level, flags, 0, 60})}
	for _, f := range fields {
		parts = append(parts, field(f))
	}
	return assemble(0x10, parts...)
}

// connect4 is connectOf for MQTT 3.1.1.
func connect4(flags byte, fields ...string) []byte { return connectOf("MQTT", 4, flags, fields...) }

// rejects sends bytes on a new connection, and wants it to end without an answer.
func (n *node) rejects(t *testing.T, b []byte) {
	t.Helper()
	c := n.dial(t, v4)
	c.write(b)
	c.gone()
}

// admits sends a CONNECT on a new connection, and wants it to be accepted.
func (n *node) admits(t *testing.T, b []byte) *client {
	t.Helper()
	c := n.dial(t, v4)
	c.write(b)
	if ack := c.connack(); ack.Code != packet.Success {
		t.Fatalf("CONNACK: %v", ack.Code)
	}
	return c
}

// cuts sends bytes on the connection of a client, and wants it to end without an answer.
func (n *node) cuts(t *testing.T, b []byte) {
	t.Helper()
	c := n.join(t, v4, "culprit")
	c.write(b)
	c.gone()
}

// bears sends bytes on the connection of a client, and wants it to go on.
func (n *node) bears(t *testing.T, b []byte) {
	t.Helper()
	c := n.join(t, v4, "innocent")
	c.write(b)
	c.write(packet.AppendPingreq(nil))
	for h, _ := c.next(); h.Type != packet.PINGRESP; h, _ = c.next() {
		continue
	}
}

// listener is a client that has subscribed with QoS 2.
func (n *node) listener(t *testing.T, id string, filters ...string) *client {
	t.Helper()
	c := n.join(t, v4, id)
	c.subscribe(packet.Options{QoS: 2}, filters...)
	return c
}

// away makes a session that is kept, with a subscription, whose client has gone.
func (n *node) away(t *testing.T, id string, qos byte, filters ...string) {
	t.Helper()
	c := n.stay(t, v4, id)
	c.subscribe(packet.Options{QoS: qos}, filters...)
	c.bye(n, id)
}

// resume connects without a clean session, and wants to hear that there is one.
func (n *node) resume(t *testing.T, id string) *client {
	t.Helper()
	c, ack := n.connect(t, lasting(v4, id))
	if ack.Code != packet.Success || !ack.SessionPresent {
		t.Fatalf("CONNACK: %v with session present %t, want %v with", ack.Code, ack.SessionPresent, packet.Success)
	}
	return c
}

// hearsNothingBut is for what must not have come before this: the text comes from the same client, later.
func (c *client) hearsNothingBut(p *client, topic, text string) {
	c.t.Helper()
	p.say(topic, text, 2)
	c.hears(topic, text)
	c.silent()
}

// connectsWith returns a CONNECT for each place where one has a string, with s there.
func connectsWith(s string) map[string][]byte {
	return map[string][]byte{
		"client identifier": connect4(0x02, s),
		"will topic":        connect4(0x06, "id", s, "m"),
		"user name":         connect4(0x82, "id", s),
	}
}

// packetsWith returns each packet that has a string, with s there.
func packetsWith(s string) map[string][]byte {
	return map[string][]byte{
		"PUBLISH":     assemble(0x30, field(s), "m"),
		"SUBSCRIBE":   assemble(0x82, "\x00\x01", field(s), "\x00"),
		"UNSUBSCRIBE": assemble(0xa2, "\x00\x01", field(s)),
	}
}

// illFormed returns what is not UTF-8 (RFC 3629, section 3), by what is wrong with it.
func illFormed() map[string]string {
	return map[string]string{
		"a byte of no character":    "a\xff",
		"a continuation alone":      "\x80",
		"a character cut short":     "\xe2\x82",
		"a longer form than needed": "\xc0\xaf",
		"the first surrogate":       "\xed\xa0\x80",
		"the last surrogate":        "\xed\xbf\xbf",
		"a pair of surrogates":      "\xed\xa0\xbd\xed\xb8\x80",
		"beyond U+10FFFF":           "\xf4\x90\x80\x80",
	}
}

// checkString sends packets with a good string, and with each of the bad ones, in the place of that name.
func (n *node) checkString(t *testing.T, place string, bad map[string]string) {
	t.Helper()
	const good = "gr\u00fc\u00df \u20ac \U0001f600"
	connect := connectsWith(good)[place] != nil
	if connect {
		n.admits(t, connectsWith(good)[place])
	} else {
		n.bears(t, packetsWith(good)[place])
	}
	for name, s := range bad {
		t.Run(place+": "+name, func(t *testing.T) {
			if connect {
				n.rejects(t, connectsWith(s)[place])
			} else {
				n.cuts(t, packetsWith(s)[place])
			}
		})
	}
}

func (n *node) checkStrings(t *testing.T, bad map[string]string) {
	t.Helper()
	for place := range connectsWith("") {
		n.checkString(t, place, bad)
	}
	for place := range packetsWith("") {
		n.checkString(t, place, bad)
	}
}

func TestV311_1_5_3_1(t *testing.T) { start(t, nil).checkStrings(t, illFormed()) }

func TestV311_1_5_3_2(t *testing.T) {
	start(t, nil).checkStrings(t, map[string]string{"alone": "\x00", "at the end": "a\x00", "between": "a\x00b"})
}

func TestV311_1_5_3_3(t *testing.T) {
	const mark = "\ufeff"
	n := start(t, nil)
	with, without := n.listener(t, mark+"id", mark+"a", "a"+mark), n.listener(t, "id", "a")
	p := n.join(t, v4, "p")
	p.say(mark+"a", "1", 1)
	with.hears(mark+"a", "1")
	p.say("a"+mark, "2", 1)
	with.hears("a"+mark, "2")
	without.hearsNothingBut(p, "a", "3") // and has its session beside that of the other identifier
	with.silent()
}

func TestV311_2_2_2_1(t *testing.T) {
	n := start(t, nil)
	c := n.dial(t, v4)
	want := func(typ packet.Type, flags byte) uint16 {
		t.Helper()
		h, body := c.answer(typ)
		if h.Flags != flags {
			t.Errorf("%v with the flags %04b, want %04b", typ, h.Flags, flags)
		}
		if len(body) < 2 {
			return 0
		}
		return binary.BigEndian.Uint16(body)
	}
	c.write(connect4(0x02, "c"))
	want(packet.CONNACK, 0)
	c.write(packetsWith("a")["SUBSCRIBE"])
	want(packet.SUBACK, 0)
	c.write(assemble(0x32, field("b"), "\x00\x01"))
	want(packet.PUBACK, 0)
	c.write(assemble(0x34, field("b"), "\x00\x02"))
	want(packet.PUBREC, 0)
	c.send(packet.PUBREL, 2)
	want(packet.PUBCOMP, 0)
	c.subscribe(packet.Options{QoS: 2}, "q")
	n.join(t, v4, "p").say("q", "m", 2)
	m := c.message()
	c.send(packet.PUBREC, m.PacketID)
	want(packet.PUBREL, 2)
	c.send(packet.PUBCOMP, m.PacketID)
	c.write(packetsWith("a")["UNSUBSCRIBE"])
	want(packet.UNSUBACK, 0)
	c.write(packet.AppendPingreq(nil))
	want(packet.PINGRESP, 0)
}

// checkFlags sends a packet with each value of its flags but the right one, on new connections.
func (n *node) checkFlags(t *testing.T, b []byte) {
	t.Helper()
	for flags := range byte(16) {
		wrong := slices.Clone(b)
		wrong[0] = b[0]&0xf0 | flags
		switch {
		case wrong[0] == b[0]:
		case b[0]>>4 == byte(packet.CONNECT):
			n.rejects(t, wrong)
		default:
			n.cuts(t, wrong)
		}
	}
}

// clientPackets returns a packet of each type that a client sends after its CONNECT.
func clientPackets() map[string][]byte {
	list := packetsWith("a")
	list["PUBLISH"] = assemble(0x32, field("a"), "\x00\x01", "m")
	list["PUBACK"] = assemble(0x40, "\x00\x01")
	list["PUBREC"] = assemble(0x50, "\x00\x01")
	list["PUBREL"] = assemble(0x62, "\x00\x01")
	list["PUBCOMP"] = assemble(0x70, "\x00\x01")
	list["PINGREQ"] = assemble(0xc0)
	list["DISCONNECT"] = assemble(0xe0)
	return list
}

func TestV311_2_2_2_2(t *testing.T) {
	n := start(t, nil)
	t.Run("CONNECT", func(t *testing.T) { n.checkFlags(t, connect4(0x02, "id")) })
	for name, b := range clientPackets() {
		if name != "PUBLISH" { // has no reserved flags
			t.Run(name, func(t *testing.T) { n.checkFlags(t, b) })
		}
	}
}

func TestV311_2_3_1_1(t *testing.T) {
	n := start(t, nil)
	for name, with := range map[string]func(id string) []byte{
		"SUBSCRIBE":        func(id string) []byte { return assemble(0x82, id, field("a"), "\x00") },
		"UNSUBSCRIBE":      func(id string) []byte { return assemble(0xa2, id, field("a")) },
		"PUBLISH of QoS 1": func(id string) []byte { return assemble(0x32, field("a"), id, "m") },
		"PUBLISH of QoS 2": func(id string) []byte { return assemble(0x34, field("a"), id, "m") },
	} {
		t.Run(name, func(t *testing.T) {
			n.bears(t, with("\x00\x01"))
			n.cuts(t, with("\x00\x00"))
		})
	}
	c, p := n.listener(t, "c", "a"), n.join(t, v4, "p")
	for qos := byte(1); qos <= 2; qos++ {
		p.say("a", "m", qos)
		if m := c.hears("a", "m"); m.PacketID == 0 {
			t.Errorf("a PUBLISH of QoS %d without an identifier", qos)
		}
	}
}

func TestV311_2_3_1_4(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, v4, "c")
	c.subscribe(packet.Options{QoS: 1}, "a")
	p := n.join(t, v4, "p")
	open := make(map[uint16]string) // what is not acknowledged
	var order []uint16
	take := func() {
		t.Helper()
		m := c.message()
		if other, used := open[m.PacketID]; used || m.PacketID == 0 {
			t.Errorf("%s has the identifier %d of %s", m.Payload, m.PacketID, other)
		}
		open[m.PacketID] = string(m.Payload)
		order = append(order, m.PacketID)
	}
	for i := range 20 {
		p.say("a", fmt.Sprint("first ", i), 1)
		take()
	}
	for _, id := range []uint16{order[0], order[7], order[8], order[19]} {
		c.send(packet.PUBACK, id)
		delete(open, id)
	}
	for i := range 10 {
		p.say("a", fmt.Sprint("second ", i), 1)
		take()
	}
	c.drop(n, "c")
	c = n.resume(t, "c")
	for range len(open) {
		m := c.message()
		if open[m.PacketID] != string(m.Payload) {
			t.Errorf("%s comes again with the identifier %d of %q", m.Payload, m.PacketID, open[m.PacketID])
		}
		delete(open, m.PacketID)
		c.send(packet.PUBACK, m.PacketID)
	}
	c.silent()
}

// TestIdentifiersOfBothSides: client and server choose theirs without regard to the other's (section 2.3.1).
func TestIdentifiersOfBothSides(t *testing.T) {
	n := start(t, nil)
	c, d := n.listener(t, "c", "a"), n.listener(t, "d", "b")
	n.join(t, v4, "p").say("a", "to c", 2)
	id := c.message().PacketID
	c.write((&packet.Publish{Topic: []byte("b"), Payload: []byte("from c"), QoS: 2, PacketID: id}).Append(nil, v4))
	c.ack(packet.PUBREC, id)
	c.send(packet.PUBREC, id)
	c.ack(packet.PUBREL, id)
	c.send(packet.PUBREL, id)
	c.ack(packet.PUBCOMP, id)
	c.send(packet.PUBCOMP, id)
	c.silent()
	d.hears("b", "from c")
	d.silent()
}

func TestV311_2_3_1_5(t *testing.T) {
	n := start(t, nil)
	c, p := n.listener(t, "c", "a"), n.join(t, v4, "p")
	p.write(assemble(0x30, field("a"), "\x00\x05text")) // no identifier, though it looks like one
	if _, body := c.want(packet.PUBLISH); string(body) != field("a")+"\x00\x05text" {
		t.Errorf("the body is % x", body)
	}
}

// identifiers are some to try: the ends, and one whose bytes differ.
func identifiers() []uint16 { return []uint16{1, 0x1234, 0xff00, 0xffff} }

func TestV311_2_3_1_6(t *testing.T) {
	n := start(t, nil)
	c := n.listener(t, "c", "a")
	p := n.join(t, v4, "p")
	for _, id := range identifiers() {
		p.publish(packet.Publish{Topic: []byte("b"), QoS: 1, PacketID: id}) // publish compares the identifiers
		p.publish(packet.Publish{Topic: []byte("b"), QoS: 2, PacketID: id})
	}
	p.say("a", "m", 2)
	p.say("a", "m", 2)
	first, second := c.message().PacketID, c.message().PacketID
	c.send(packet.PUBREC, second)
	c.ack(packet.PUBREL, second)
	c.send(packet.PUBREC, first)
	c.ack(packet.PUBREL, first)
}

func TestV311_2_3_1_7(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	for _, id := range identifiers() {
		p := packet.Subscribe{PacketID: id}
		p.Subscriptions.Add([]byte("a"), packet.Options{})
		c.subscribeWith(p) // compares the identifiers
		u := packet.Unsubscribe{PacketID: id}
		u.Filters.Add([]byte("a"))
		c.write(u.Append(nil, v4))
		if _, body := c.want(packet.UNSUBACK); binary.BigEndian.Uint16(body) != id {
			t.Errorf("UNSUBACK % x, want %04x", body, id)
		}
	}
}
