package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestV311_4_1_0_1: all that section 4.1 counts as state of a session in a server.
func TestV311_4_1_0_1(t *testing.T) {
	n := start(t, nil)
	p, w := n.join(t, v4, "p"), n.listener(t, "w", "b")
	c := n.stay(t, v4, "c")
	c.subscribe(packet.Options{QoS: 2}, "a")
	p.say("a", "not acknowledged", 1)
	c.message()
	p.say("a", "half acknowledged", 2)
	released := c.message().PacketID
	c.send(packet.PUBREC, released)
	c.ack(packet.PUBREL, released)
	from := packet.Publish{Topic: []byte("b"), Payload: []byte("from c"), QoS: 2, PacketID: 9}
	c.write(from.Append(nil, v4))
	c.ack(packet.PUBREC, 9)
	w.hears("b", "from c")
	c.drop(n, "c")
	p.say("a", "waiting", 1)
	for range 2 { // for more than one connection
		c = n.resume(t, "c")
		if m := c.message(); string(m.Payload) != "not acknowledged" {
			t.Errorf("first comes %s", m.Payload)
		}
		c.ack(packet.PUBREL, released)
		if m := c.message(); string(m.Payload) != "waiting" {
			t.Errorf("last comes %s", m.Payload)
		}
		from.Dup = true
		c.write(from.Append(nil, v4))
		c.ack(packet.PUBREC, 9) // and is not passed on again
		c.drop(n, "c")
	}
	w.hearsNothingBut(p, "b", "marker")
	c = n.resume(t, "c")
	c.ack(packet.PUBREL, released)
	for range 2 {
		c.message()
	}
	p.say("a", "subscribed", 1)
	if m := c.message(); string(m.Payload) != "subscribed" {
		t.Errorf("a message %s", m.Payload)
	}
}

func TestV311_4_1_0_2(t *testing.T) {
	n := start(t, shortSessions)
	kept, clean := n.stay(t, v4, "kept"), n.join(t, v4, "clean")
	for _, c := range []*client{kept, clean} {
		c.subscribe(packet.Options{QoS: 1}, "a")
	}
	past(t, time.Now().Add(50*time.Millisecond))
	n.join(t, v4, "p").say("a", "m", 1)
	kept.hears("a", "m")
	clean.hears("a", "m")
	kept.drop(n, "kept")
	until(t, "the kept session is over, the others last", func() bool { return n.Stats().Sessions == 2 })
}

func TestV311_4_3_1_1(t *testing.T) {
	n := start(t, nil)
	c, p := n.listener(t, "c", "a"), n.join(t, v4, "p")
	p.say("a", "m", 0)
	if h, body := c.want(packet.PUBLISH); h.Flags != 0 || string(body) != field("a")+"m" {
		t.Errorf("PUBLISH with flags %04b and % x", h.Flags, body)
	}
	c.silent()
}

// resumes leaves without a word and comes back to the session.
func (c *client) resumes(n *node, id string) *client {
	c.t.Helper()
	c.drop(n, id)
	return n.resume(c.t, id)
}

func TestV311_4_3_2_1(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, v4, "c")
	c.subscribe(packet.Options{QoS: 1}, "a")
	p := n.join(t, v4, "p")
	p.say("a", "1", 1)
	p.say("a", "2", 1)
	one, two := c.message(), c.message()
	if one.Dup || two.Dup || one.QoS != 1 || two.QoS != 1 || one.PacketID == two.PacketID {
		t.Errorf("sent %+v and %+v", one, two)
	}
	for range 2 {
		c = c.resumes(n, "c")
		if m := c.message(); m.PacketID != one.PacketID || string(m.Payload) != "1" {
			t.Errorf("unacknowledged is %+v", m)
		}
		if m := c.message(); m.PacketID != two.PacketID || string(m.Payload) != "2" {
			t.Errorf("unacknowledged is %+v", m)
		}
	}
	c.send(packet.PUBACK, one.PacketID)
	c.silent() // it has been read
	c = c.resumes(n, "c")
	if m := c.message(); m.PacketID != two.PacketID {
		t.Errorf("after the PUBACK of %d comes %d", one.PacketID, m.PacketID)
	}
	c.send(packet.PUBACK, two.PacketID)
	c.silent()
	c.resumes(n, "c").silent()
}

func TestV311_4_3_2_2(t *testing.T) {
	n := start(t, nil)
	w, p := n.listener(t, "w", "a"), n.join(t, v4, "p")
	for i, dup := range []bool{false, false, true} {
		text := fmt.Sprint(i)
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte(text), QoS: 1, PacketID: 9, Dup: dup})
		w.hears("a", text)
	}
	p.silent()
	w.silent()
}

func TestV311_4_3_3_1(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, v4, "c")
	c.subscribe(packet.Options{QoS: 2}, "a")
	p := n.join(t, v4, "p")
	p.say("a", "1", 2)
	p.say("a", "2", 2)
	one, two := c.message(), c.message()
	if one.Dup || two.Dup || one.QoS != 2 || two.QoS != 2 || one.PacketID == two.PacketID {
		t.Errorf("sent %+v and %+v", one, two)
	}
	c = c.resumes(n, "c")
	for _, id := range []uint16{one.PacketID, two.PacketID} {
		if m := c.message(); m.PacketID != id || !m.Dup {
			t.Errorf("until the PUBREC comes %+v, want %d with DUP", m, id)
		}
	}
	c.send(packet.PUBREC, one.PacketID)
	c.ack(packet.PUBREL, one.PacketID)
	for range 2 { // no PUBLISH any more, but a PUBREL each time
		c = c.resumes(n, "c")
		c.ack(packet.PUBREL, one.PacketID)
		if m := c.message(); m.PacketID != two.PacketID || len(c.early) > 0 {
			t.Errorf("beside the PUBREL of %d comes %+v", one.PacketID, m)
		}
		c.send(packet.PUBREC, one.PacketID) // once more: answered, too
		c.ack(packet.PUBREL, one.PacketID)
	}
	c.send(packet.PUBCOMP, one.PacketID)
	c.silent()
	c = c.resumes(n, "c")
	c.hears("a", "2")
	c.silent()
	c.resumes(n, "c").silent()
}

func TestV311_4_3_3_2(t *testing.T) {
	n := start(t, nil)
	w, p := n.listener(t, "w", "a"), n.join(t, v4, "p")
	m := packet.Publish{Topic: []byte("a"), Payload: []byte("1"), QoS: 2, PacketID: 9}
	for _, dup := range []bool{false, true, false, true} { // the same message, whatever DUP says
		m.Dup = dup
		p.write(m.Append(nil, v4))
		p.ack(packet.PUBREC, 9)
	}
	for range 2 {
		p.send(packet.PUBREL, 9)
		p.ack(packet.PUBCOMP, 9)
	}
	m.Payload = []byte("2") // a new one
	p.publish(m)
	w.hears("a", "1")
	w.hears("a", "2")
	w.silent()
}

func TestV311_4_4_0_1(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, v4, "c")
	c.subscribe(packet.Options{QoS: 2}, "a")
	p := n.join(t, v4, "p")
	var ids []uint16
	for i := range 6 {
		p.say("a", fmt.Sprint(i), 1+byte(i%2))
		ids = append(ids, c.message().PacketID)
	}
	for _, i := range []int{1, 3} {
		c.send(packet.PUBREC, ids[i])
		c.ack(packet.PUBREL, ids[i])
	}
	c = c.resumes(n, "c")
	publishes, releases := make(map[uint16]string), make(map[uint16]bool)
	for range ids {
		h, body := c.next()
		switch h.Type {
		case packet.PUBLISH:
			var m packet.Publish
			c.ok(m.Decode(v4, h, body))
			publishes[m.PacketID] = string(m.Payload)
		case packet.PUBREL:
			var a packet.Ack
			c.ok(a.Decode(v4, h, body))
			releases[a.PacketID] = true
		}
	}
	for i, id := range ids {
		if released := i == 1 || i == 3; releases[id] != released || !released && publishes[id] != fmt.Sprint(i) {
			t.Errorf("message %d, identifier %d: PUBLISH %q, PUBREL %t", i, id, publishes[id], releases[id])
		}
	}
	c.silent()
	n.join(t, v4, "c").silent() // a clean session gets nothing again
}

func TestV311_4_5_0_1(t *testing.T) {
	n := start(t, nil)
	n.away(t, "away", 2, "a/#")
	n.away(t, "elsewhere", 2, "b")
	there, again := n.listener(t, "there", "a/b"), n.listener(t, "again", "+/b")
	p := n.listener(t, "p", "a/b") // the publisher, too
	for qos := byte(1); qos <= 2; qos++ {
		text := fmt.Sprint("QoS ", qos)
		p.say("a/b", text, qos)
		for _, c := range []*client{there, again, p} {
			c.hears("a/b", text)
		}
	}
	away := n.resume(t, "away")
	away.hears("a/b", "QoS 1")
	away.hears("a/b", "QoS 2")
	away.silent()
	n.resume(t, "elsewhere").silent()
}

func TestV311_4_6_0_1(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, v4, "c")
	c.subscribe(packet.Options{QoS: 2}, "a/+")
	p := n.join(t, v4, "p")
	var ids []uint16
	for i := range 20 {
		p.say(fmt.Sprint("a/", i%3), fmt.Sprint(i), 1+byte(i/2%2))
		ids = append(ids, c.message().PacketID)
	}
	left := slices.Clone(ids)
	for _, i := range []int{0, 5, 9, 13} { // of QoS 1, acknowledged out of order
		c.send(packet.PUBACK, ids[i])
		left = slices.DeleteFunc(left, func(id uint16) bool { return id == ids[i] })
	}
	for range 2 {
		c = c.resumes(n, "c")
		for _, id := range left {
			if m := c.message(); m.PacketID != id {
				t.Errorf("%s is sent again as %d, want %d", m.Payload, m.PacketID, id)
			}
		}
		c.silent()
	}
}

// shuffled returns identifiers in an order without any.
func shuffled(count int) []uint16 {
	ids := make([]uint16, count)
	for i, k := range rand.Perm(count) {
		ids[i] = uint16(1 + 999*k)
	}
	return ids
}

// checkOrder sends a PUBLISH for each of the identifiers at once, and wants the answers in the same order.
func checkOrder(t *testing.T, qos byte, answer packet.Type) {
	t.Helper()
	n := start(t, nil)
	n.listener(t, "w", "a") // has no influence
	c := n.join(t, v4, "c")
	ids := shuffled(50)
	var all []byte
	for i, id := range ids {
		topic := []string{"a", "b"}[i%2]
		all = (&packet.Publish{Topic: []byte(topic), QoS: qos, PacketID: id}).Append(all, v4)
	}
	c.write(all)
	for _, id := range ids {
		c.ack(answer, id)
	}
	c.silent()
}

func TestV311_4_6_0_2(t *testing.T) { checkOrder(t, 1, packet.PUBACK) }
func TestV311_4_6_0_3(t *testing.T) { checkOrder(t, 2, packet.PUBREC) }

func TestV311_4_6_0_4(t *testing.T) {
	n := start(t, nil)
	c, p := n.listener(t, "c", "a"), n.join(t, v4, "p")
	var ids []uint16
	for range 20 {
		p.say("a", "m", 2)
		ids = append(ids, c.message().PacketID)
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	var all []byte
	for _, id := range ids {
		all = (&packet.Ack{Type: packet.PUBREC, PacketID: id}).Append(all, v4)
	}
	c.write(all)
	for _, id := range ids {
		c.ack(packet.PUBREL, id)
	}
	c.silent()
}

// checkOrdered publishes to several topics by turns, and wants each of them in order for every subscriber.
func (n *node) checkOrdered(t *testing.T, subscribers []*client, topics int) {
	t.Helper()
	const messages = 60
	p := n.join(t, v4, "p")
	for i := range messages {
		p.say(fmt.Sprint("topic/", i%topics), fmt.Sprintf("%03d", i), byte(i/topics%3))
	}
	for s, c := range subscribers {
		last := make(map[string]string) // by topic and QoS
		for range messages {
			m := c.message()
			c.acknowledge(m)
			key := fmt.Sprint(string(m.Topic), " with QoS ", m.QoS)
			if last[key] >= string(m.Payload) {
				t.Errorf("subscriber %d, %s: %s comes after %s", s, key, m.Payload, last[key])
			}
			last[key] = string(m.Payload)
		}
		c.silent()
	}
}

// acknowledge does for a message what its QoS asks for.
func (c *client) acknowledge(m packet.Publish) {
	c.t.Helper()
	switch m.QoS {
	case 1:
		c.send(packet.PUBACK, m.PacketID)
	case 2:
		c.send(packet.PUBREC, m.PacketID)
		c.ack(packet.PUBREL, m.PacketID)
		c.send(packet.PUBCOMP, m.PacketID)
	}
}

func TestV311_4_6_0_5(t *testing.T) {
	n := start(t, nil)
	n.checkOrdered(t, []*client{n.listener(t, "all", "#"), n.listener(t, "topics", "topic/+")}, 4)
}

func TestV311_4_6_0_6(t *testing.T) {
	n := start(t, nil)
	n.away(t, "away", 2, "topic/0")
	c := n.listener(t, "c", "topic/0")
	n.checkOrdered(t, []*client{c}, 1)
	away := n.resume(t, "away")
	last := ""
	for range 40 { // 60 without those of QoS 0
		m := away.message()
		away.acknowledge(m)
		if string(m.Payload) <= last {
			t.Errorf("after an absence %s comes after %s", m.Payload, last)
		}
		last = string(m.Payload)
	}
}
