package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestV311_3_8_1_1(t *testing.T) {
	n := start(t, nil)
	n.bears(t, packetsWith("a")["SUBSCRIBE"])
	n.checkFlags(t, packetsWith("a")["SUBSCRIBE"])
}

func TestV311_3_8_3_1(t *testing.T) { start(t, nil).checkString(t, "SUBSCRIBE", illFormed()) }

// TestV311_3_8_3_2: the node has wildcards, so it grants such filters, and serves them.
func TestV311_3_8_3_2(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	for i, filter := range []string{"#", "+/+", "a/#", "a/+"} {
		c := n.join(t, v4, fmt.Sprint("c", i))
		if codes := c.subscribe(packet.Options{QoS: 1}, filter); codes[0] != 1 {
			t.Errorf("%s: code 0x%02x", filter, codes[0])
		}
		p.say("a/b", filter, 1)
		c.hears("a/b", filter)
	}
}

func TestV311_3_8_3_3(t *testing.T) {
	n := start(t, nil)
	n.cuts(t, assemble(0x82, "\x00\x01"))
	n.cuts(t, assemble(0x82, "\x00\x01", field("a"))) // nor without its QoS
}

func TestV311_3_8_3_4(t *testing.T) {
	n := start(t, nil)
	for _, options := range []byte{3, 4, 5, 6, 7, 8, 9, 0x10, 0x12, 0x20, 0x40, 0x41, 0x80, 0x82, 0xff} {
		n.cuts(t, assemble(0x82, "\x00\x01", field("a"), string([]byte{options})))
		n.cuts(t, assemble(0x82, "\x00\x01", field("a"), "\x01", field("b"), string([]byte{options})))
	}
}

func TestV311_3_8_4_1(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	for _, filter := range []string{"a", "a", "+", "a/b/c", "a/#/b", "$SYS/#", "$share/g/a"} { // granted or not
		c.write(packetsWith(filter)["SUBSCRIBE"])
		c.answer(packet.SUBACK)
	}
	c.early = nil
	c.write(packet.AppendPingreq(nil))
	c.answer(packet.PINGRESP) // one for each
}

func TestV311_3_8_4_2(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	var all []byte
	for _, id := range identifiers() { // all at once, so that none answers another's
		all = append(all, assemble(0x82, string([]byte{byte(id >> 8), byte(id)}), field("a"), "\x00")...)
	}
	c.write(all)
	for _, id := range identifiers() {
		var ack packet.Suback
		h, body := c.want(packet.SUBACK)
		c.ok(ack.Decode(v4, h, body))
		if ack.PacketID != id {
			t.Errorf("SUBACK of %d, want %d", ack.PacketID, id)
		}
	}
}

func TestV311_3_8_4_3(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	p.retain("r/1", "retained", 2)
	for _, filter := range []string{"r/1", "r/+", "#"} {
		c := n.listener(t, "c", filter)
		if m := c.hears("r/1", "retained"); m.QoS != 2 {
			t.Errorf("%s: QoS %d, want 2", filter, m.QoS)
		}
		for _, qos := range []byte{0, 2, 1} {
			c.subscribe(packet.Options{QoS: qos}, filter)
			if m := c.hears("r/1", "retained"); m.QoS != qos || !m.Retain {
				t.Errorf("%s: retained with QoS %d, RETAIN %t; want %d, true", filter, m.QoS, m.Retain, qos)
			}
			p.say("r/1", "live", 2)
			if m := c.hears("r/1", "live"); m.QoS != qos {
				t.Errorf("%s: QoS %d, want %d", filter, m.QoS, qos)
			}
			c.silent() // there is one subscription
		}
		c.unsubscribe(filter)
		p.say("r/1", "for nobody", 2)
		c.subscribe(packet.Options{QoS: 1}, "marker")
		c.hearsNothingBut(p, "marker", "1")
	}
}

// TestSubscribingAgainInterruptsNothing is the second half of [MQTT-3.8.4-3].
func TestSubscribingAgainInterruptsNothing(t *testing.T) {
	n := start(t, nil)
	c, p := n.listener(t, "c", "a/+"), n.join(t, v4, "p")
	const messages = 100
	for i := range messages {
		p.write((&packet.Publish{Topic: []byte("a/b"), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i + 1)}).Append(nil, v4))
		if i%5 == 0 {
			c.write(assemble(0x82, "\x00\x01", field("a/+"), "\x01"))
			c.write(assemble(0x82, "\x00\x01", field("a/+"), "\x02")) // either way they come with QoS 1, in order
		}
	}
	for i := range messages {
		for h, body := c.next(); ; h, body = c.next() {
			if h.Type == packet.SUBACK {
				continue
			}
			var m packet.Publish
			c.ok(m.Decode(v4, h, body))
			if string(m.Payload) != fmt.Sprint(i) {
				t.Fatalf("message %s, want %d", m.Payload, i)
			}
			c.acknowledge(m)
			break
		}
	}
}

func TestV311_3_8_4_4(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	p.retain("r", "retained", 1)
	c := n.join(t, v4, "c")
	c.write(assemble(0x82, "\x00\x09", field("a"), "\x00", field("b/+"), "\x01", field("a"), "\x02", field("r"), "\x01"))
	if _, body := c.answer(packet.SUBACK); string(body) != "\x00\x09\x00\x01\x02\x01" {
		t.Errorf("SUBACK % x", body)
	}
	c.hears("r", "retained")
	p.say("a", "1", 2)
	if m := c.hears("a", "1"); m.QoS != 2 {
		t.Errorf("QoS %d, want 2 of the later one for the same filter", m.QoS)
	}
	p.say("b/c", "2", 2)
	c.hears("b/c", "2")
	c.silent()
}

func TestV311_3_8_4_5(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v4, "c")
	for _, tt := range []struct {
		qos     byte
		filters []string
	}{{0, []string{"a"}}, {1, []string{"a", "b"}}, {2, []string{"a", "b", "c/#"}}} {
		codes := c.subscribe(packet.Options{QoS: tt.qos}, tt.filters...) // compares the numbers
		for i, code := range codes {
			if code != tt.qos {
				t.Errorf("%s with QoS %d: code 0x%02x", tt.filters[i], tt.qos, code)
			}
		}
	}
	if codes := c.subscribe(packet.Options{QoS: 1}, "a", "b/#/c", "d"); string(codes) != "\x01\x80\x01" {
		t.Errorf("codes % x, want 01 80 01", codes)
	}
	c.subscribe(packet.Options{QoS: 1}, "end")
	p := n.join(t, v4, "p")
	p.say("b/x/c", "for nobody", 1)
	c.hearsNothingBut(p, "end", "1")
}

func TestV311_3_8_4_6(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	for granted := byte(0); granted <= 2; granted++ {
		for sent := byte(0); sent <= 2; sent++ {
			p.retain("r", "retained", sent)
			p.silent()
			c := n.join(t, v4, "c")
			c.subscribe(packet.Options{QoS: granted}, "r")
			if m := c.hears("r", "retained"); m.QoS != min(granted, sent) {
				t.Errorf("retained with QoS %d for %d: comes with %d", sent, granted, m.QoS)
			}
			p.say("r", "live", sent)
			if m := c.hears("r", "live"); m.QoS != min(granted, sent) {
				t.Errorf("QoS %d for %d: comes with %d", sent, granted, m.QoS)
			}
			c.silent()
		}
	}
}

func TestV311_3_9_3_1(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	var p packet.Subscribe
	p.PacketID = 1
	for i := range 50 {
		p.Subscriptions.Add(fmt.Append(nil, "filter/", (i*37)%50), packet.Options{QoS: byte(i*i) % 3})
	}
	for i, code := range c.subscribeWith(p) {
		if code != byte(i*i)%3 {
			t.Errorf("the code of filter %d is 0x%02x, want 0x%02x", i, code, byte(i*i)%3)
		}
	}
}

// TestV311_3_9_3_2: whatever is wrong with a filter has a code of its own in MQTT 5 only.
func TestV311_3_9_3_2(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	filters := []string{"a", "a/#/b", "a+", "$share/g", "$share//a", "$share/+/a", strings.Repeat("/", 1000), "$SYS/broker/#", "$other/#"}
	for _, filter := range filters {
		c.write(packetsWith(filter)["SUBSCRIBE"])
		_, body := c.answer(packet.SUBACK)
		if code := body[2]; len(body) != 3 || code > 2 && code != 0x80 {
			t.Errorf("%.20q: SUBACK % x", filter, body)
		}
	}
}

func TestV311_3_10_1_1(t *testing.T) {
	n := start(t, nil)
	n.bears(t, packetsWith("a")["UNSUBSCRIBE"])
	n.checkFlags(t, packetsWith("a")["UNSUBSCRIBE"])
}

func TestV311_3_10_3_1(t *testing.T) {
	n := start(t, nil)
	n.checkString(t, "UNSUBSCRIBE", illFormed())
	n.cuts(t, assemble(0xa2, "\x00\x01", field("a"), "\x00", field("b")))
	n.cuts(t, assemble(0xa2, "\x00\x01", field("a"), "\x00"))
}

func TestV311_3_10_3_2(t *testing.T) { start(t, nil).cuts(t, assemble(0xa2, "\x00\x01")) }

func TestV311_3_10_4_1(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	filters := []string{"a/b", "a/+", "#", "a/#", "A/b"}
	others := []string{"a/b/", "/a/b", "a/c", "+/b", "+/+", "a", "a/B", "+/#", "a/b/#"}
	for _, filter := range filters {
		c := n.listener(t, "c", filter)
		for _, other := range append(filters, others...) {
			if other != filter {
				c.unsubscribe(other)
			}
		}
		topic := strings.NewReplacer("#", "a/b", "+", "b").Replace(filter)
		p.say(topic, "still there", 1)
		c.hears(topic, "still there")
		c.unsubscribe(filter)
		p.say(topic, "for nobody", 1)
		c.subscribe(packet.Options{QoS: 2}, "marker")
		c.hearsNothingBut(p, "marker", "1")
	}
}

func TestV311_3_10_4_2(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	for qos := byte(0); qos <= 2; qos++ {
		c := n.listener(t, "c", "a", "a/+", "marker")
		c.unsubscribe("a")
		p.say("a", "for nobody", qos)
		p.say("a/b", "for the other filter", qos)
		c.hears("a/b", "for the other filter")
		c.unsubscribe("a/+")
		p.say("a/b", "for nobody", qos)
		c.hearsNothingBut(p, "marker", "1")
	}
}

func TestV311_3_10_4_3(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, v4, "c")
	c.subscribe(packet.Options{QoS: 2}, "a")
	p := n.join(t, v4, "p")
	p.say("a", "1", 1)
	p.say("a", "2", 2)
	p.say("a", "3", 2)
	one, two, three := c.message(), c.message(), c.message()
	c.unsubscribe("a")
	c.send(packet.PUBREC, two.PacketID)
	c.ack(packet.PUBREL, two.PacketID)
	c.drop(n, "c")
	c = n.resume(t, "c")
	if m := c.hears("a", "1"); m.PacketID != one.PacketID || !m.Dup {
		t.Errorf("QoS 1 goes on as %d with DUP %t, want %d with", m.PacketID, m.Dup, one.PacketID)
	}
	c.ack(packet.PUBREL, two.PacketID)
	c.send(packet.PUBCOMP, two.PacketID)
	if m := c.hears("a", "3"); m.PacketID != three.PacketID || !m.Dup {
		t.Errorf("QoS 2 goes on as %d with DUP %t, want %d with", m.PacketID, m.Dup, three.PacketID)
	}
	c.silent()
}

// unsubacked takes the UNSUBACK of an identifier; before MQTT 5 it is nothing else.
func (c *client) unsubacked(id uint16) {
	c.t.Helper()
	if _, body := c.answer(packet.UNSUBACK); string(body) != string([]byte{byte(id >> 8), byte(id)}) {
		c.t.Errorf("UNSUBACK % x, want %04x", body, id)
	}
}

func TestV311_3_10_4_4(t *testing.T) {
	c := start(t, nil).listener(t, "c", "a")
	var all []byte
	for _, id := range identifiers() {
		all = append(all, assemble(0xa2, string([]byte{byte(id >> 8), byte(id)}), field("a"))...)
	}
	c.write(all)
	for _, id := range identifiers() {
		c.unsubacked(id)
	}
	c.silent()
}

func TestV311_3_10_4_5(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	for _, filter := range []string{"never/subscribed", "#", "a/#/b", "$share/g/a", "$share/g"} {
		c.write(assemble(0xa2, "\x00\x07", field(filter)))
		c.unsubacked(7)
	}
	c.silent()
}

func TestV311_3_10_4_6(t *testing.T) {
	n := start(t, nil)
	c, p := n.listener(t, "c", "a", "b", "c/+", "d"), n.join(t, v4, "p")
	c.write(assemble(0xa2, "\x00\x07", field("a"), field("none"), field("c/+"), field("a"), field("b")))
	c.unsubacked(7)
	for _, topic := range []string{"a", "b", "c/c"} {
		p.say(topic, "for nobody", 2)
	}
	c.hearsNothingBut(p, "d", "1")
}
