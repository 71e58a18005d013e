package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestV311_3_3_1_1(t *testing.T) {
	n := start(t, nil)
	n.away(t, "c", 2, "a", "b")
	n.away(t, "d", 2, "a")
	p := n.join(t, v4, "p")
	p.say("a", "for both", 1)
	p.say("a", "for both", 2)
	p.say("b", "for one", 1)
	for _, dup := range []bool{false, true, true} { // each on a connection of its own
		for id, messages := range map[string]int{"c": 3, "d": 2} {
			c := n.resume(t, id)
			for range messages {
				if m := c.message(); m.Dup != dup {
					t.Errorf("%s, %s of QoS %d comes with DUP %t, want %t", id, m.Payload, m.QoS, m.Dup, dup)
				}
			}
			c.drop(n, id)
		}
	}
}

func TestV311_3_3_1_2(t *testing.T) {
	n := start(t, nil)
	n.cuts(t, assemble(0x38, field("a"), "m"))
	c := n.join(t, v4, "c")
	c.subscribe(packet.Options{QoS: 0}, "a")
	p := n.join(t, v4, "p")
	for qos := byte(0); qos <= 2; qos++ {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("m"), QoS: qos, Dup: qos > 0})
		if h, _ := c.want(packet.PUBLISH); h.Flags != 0 {
			t.Errorf("flags %04b, want none", h.Flags)
		}
	}
}

func TestV311_3_3_1_3(t *testing.T) {
	n := start(t, nil)
	c, p := n.listener(t, "c", "a"), n.join(t, v4, "p")
	for qos := byte(1); qos <= 2; qos++ {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("m"), QoS: qos, Dup: true, Retain: true})
		if m := c.hears("a", "m"); m.Dup {
			t.Errorf("QoS %d: DUP is passed on", qos)
		}
		if m := n.listener(t, "late", "a").hears("a", "m"); m.Dup {
			t.Errorf("QoS %d: DUP is retained", qos)
		}
	}
}

func TestV311_3_3_1_4(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "a")
	for _, first := range []byte{0x36, 0x37, 0x3e, 0x3f} {
		n.cuts(t, assemble(first, field("a"), "\x00\x01", "m"))
	}
	w.hearsNothingBut(n.join(t, v4, "p"), "a", "marker")
}

func TestV311_3_3_1_5(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	for qos := byte(0); qos <= 2; qos++ {
		topic := fmt.Sprint("r/", qos)
		p.retain(topic, "m", qos)
		p.silent()
		for range 2 { // it stays
			c := n.listener(t, "late", topic)
			if m := c.hears(topic, "m"); m.QoS != qos {
				t.Errorf("retained with QoS %d, comes with %d", qos, m.QoS)
			}
			c.silent()
		}
	}
}

func TestV311_3_3_1_6(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	for _, topic := range []string{"a/1", "a/2", "a", "b/1"} {
		p.retain(topic, "old", 1)
		p.retain(topic, "new", 1)
	}
	c := n.listener(t, "c", "a/#")
	got := make(map[string]string)
	for range 3 {
		m := c.message()
		got[string(m.Topic)] += string(m.Payload)
	}
	if want := map[string]string{"a": "new", "a/1": "new", "a/2": "new"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	c.silent()
}

func TestV311_3_3_1_7(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	p.retain("a", "old", 2)
	p.retain("a", "new", 0)
	p.silent()
	c := n.listener(t, "c", "a")
	c.hears("a", "new")
	c.silent()
}

func TestV311_3_3_1_8(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	p.retain("a", "m", 1)
	c := n.stay(t, v4, "c")
	for range 2 { // new, and anew
		c.subscribe(packet.Options{QoS: 1}, "a")
		if m := c.hears("a", "m"); !m.Retain {
			t.Error("RETAIN is 0")
		}
	}
	c.silent()
}

func TestV311_3_3_1_9(t *testing.T) {
	n := start(t, nil)
	n.away(t, "away", 2, "a")
	c, p := n.listener(t, "c", "a"), n.join(t, v4, "p")
	for qos := byte(0); qos <= 2; qos++ {
		p.retain("a", "m", qos)
		if m := c.hears("a", "m"); m.Retain {
			t.Errorf("QoS %d: RETAIN is set", qos)
		}
	}
	away := n.resume(t, "away")
	for range 2 { // QoS 1 and 2
		if m := away.hears("a", "m"); m.Retain {
			t.Errorf("QoS %d: RETAIN is set after an absence", m.QoS)
		}
	}
}

func TestV311_3_3_1_10(t *testing.T) {
	n := start(t, nil)
	c, p := n.listener(t, "c", "a"), n.join(t, v4, "p")
	for qos := byte(0); qos <= 2; qos++ {
		p.retain("a", "m", 1)
		c.hears("a", "m")
		p.retain("a", "", qos)
		p.silent()
		if m := c.hears("a", ""); m.QoS != qos {
			t.Errorf("an empty message of QoS %d comes with %d", qos, m.QoS)
		}
		n.listener(t, "late", "a").silent()
	}
}

func TestV311_3_3_1_11(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	for qos := byte(0); qos <= 2; qos++ {
		p.retain("a", "", qos)
	}
	p.silent()
	n.listener(t, "late", "a").silent()
	if retained := n.Stats().Retained; retained != 0 {
		t.Errorf("%d messages are retained", retained)
	}
}

func TestV311_3_3_1_12(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	p.say("a", "m", 1)
	n.listener(t, "late", "a").silent()
	p.retain("a", "kept", 1)
	p.say("a", "not kept", 1)
	p.say("a", "", 1)
	late := n.listener(t, "late", "a")
	late.hears("a", "kept")
	late.silent()
}

func TestV311_3_3_2_1(t *testing.T) {
	n := start(t, nil)
	n.checkString(t, "PUBLISH", illFormed())
	for name, b := range map[string][]byte{
		"nothing":                  assemble(0x30),
		"half a length":            assemble(0x30, "\x00"),
		"a topic that is too long": assemble(0x30, "\x00\x05a/bc"),
		"the identifier first":     assemble(0x32, "\x7f\x01", field("a")),
	} {
		t.Run(name, func(t *testing.T) { n.cuts(t, b) })
	}
	c, p := n.listener(t, "c", "gr\u00fc\u00df"), n.join(t, v4, "p")
	for qos := byte(0); qos <= 2; qos++ {
		p.say("gr\u00fc\u00df", "m", qos)
		c.hears("gr\u00fc\u00df", "m")
	}
}

// wildNames returns what would be filters and cannot be names.
func wildNames() []string { return []string{"#", "+", "a/#", "a/+", "+/a", "a/+/b", "a#", "a+"} }

func TestV311_3_3_2_2(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "#")
	for _, name := range wildNames() {
		for _, b := range [][]byte{assemble(0x30, field(name), "m"), assemble(0x32, field(name), "\x00\x01m"), assemble(0x35, field(name), "\x00\x01m")} {
			n.cuts(t, b)
		}
	}
	w.hearsNothingBut(n.join(t, v4, "p"), "a", "marker")
}

func TestV311_3_3_2_3(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	p.retain("r/1", "retained", 1)
	p.retain("s/1", "retained", 1)
	c := n.listener(t, "c", "r/+", "a/b", "+/c")
	c.hears("r/1", "retained")
	for _, topic := range []string{"a/a", "a/b", "a/c", "b/b", "r/2/3", "c", "d/c"} {
		p.say(topic, topic, 1)
	}
	for _, topic := range []string{"a/b", "a/c", "d/c"} {
		c.hears(topic, topic)
	}
	c.silent()
}

func TestV311_3_3_4_1(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	for _, retain := range []byte{0, 1} {
		c.write(assemble(0x30|retain, field("a"), "m"))
		c.silent()
		c.write(assemble(0x32|retain, field("a"), "\x00\x05m"))
		c.ack(packet.PUBACK, 5)
		c.silent()
		c.write(assemble(0x34|retain, field("a"), "\x00\x06m"))
		c.ack(packet.PUBREC, 6)
		c.silent()
		c.send(packet.PUBREL, 6)
		c.ack(packet.PUBCOMP, 6)
	}
}

// TestV311_3_3_5_1: a server may send one copy or one for each subscription, but one of them has the highest QoS. Each of the
// filters in turn is that with the highest.
func TestV311_3_3_5_1(t *testing.T) {
	n := start(t, nil)
	filters := []string{"a/#", "a/+", "+/b", "a/b", "a/b/#"}
	for _, highest := range filters {
		c := n.join(t, v4, "c")
		for i, filter := range filters {
			c.subscribe(packet.Options{QoS: byte(i % 2)}, filter)
		}
		c.subscribe(packet.Options{QoS: 2}, highest)
		c.subscribe(packet.Options{QoS: 1}, "marker")
		p := n.join(t, v4, "p")
		for qos := byte(0); qos <= 2; qos++ {
			p.say("a/b", "m", qos)
			p.say("marker", "end", 1)
			var got []byte
			for m := c.message(); string(m.Topic) != "marker"; m = c.message() {
				got = append(got, m.QoS)
			}
			if len(got) == 0 || slices.Max(got) != qos {
				t.Errorf("a message of QoS %d comes with %d where %s has the highest", qos, got, highest)
			}
		}
	}
}

// TestV311_3_3_5_2: clients may not publish to the topics of the server.
func TestV311_3_3_5_2(t *testing.T) {
	n := start(t, nil)
	const topic = "$SYS/conformance"
	w := n.listener(t, "w", topic, "marker")
	for qos := byte(0); qos <= 2; qos++ {
		c := n.join(t, v4, "c")
		c.publish(packet.Publish{Topic: []byte(topic), Payload: []byte("m"), QoS: qos, Retain: true})
		c.silent()
	}
	w.hearsNothingBut(n.join(t, v4, "p"), "marker", "1")
	n.listener(t, "late", topic).silent()
}

func TestV311_3_6_1_1(t *testing.T) {
	n := start(t, nil)
	n.bears(t, assemble(0x62, "\x00\x01"))
	n.checkFlags(t, assemble(0x62, "\x00\x01"))
}
