package conformance

import (
	"fmt"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// receiver opens a session that goes on, of client c, which subscribes to a.
func receiver(t *testing.T, n *node, qos byte) *client {
	t.Helper()
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: qos}, "a")
	return c
}

// back drops client c and resumes its session.
func (c *client) back(n *node) *client {
	c.t.Helper()
	c.drop(n, "c")
	return n.stay(c.t, v5, "c")
}

// expects takes a message without acknowledging it, and compares all that the protocol makes of it.
func (c *client) expects(text string, qos byte, id uint16, dup bool) {
	c.t.Helper()
	if m := c.message(); string(m.Payload) != text || m.QoS != qos || m.PacketID != id || m.Dup != dup {
		c.t.Fatalf("%s with QoS %d, identifier %d, DUP %t, want %s with %d, %d, %t",
			m.Payload, m.QoS, m.PacketID, m.Dup, text, qos, id, dup)
	}
}

func TestV5_4_3_1_1(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 0)
	p := n.join(t, v5, "p")
	for qos := range byte(3) {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: qos, Dup: qos > 0})
		c.expects("x", 0, 0, false)
	}
}

// checkNew sends new messages of a QoS while others are on the way, and looks at what they have.
func checkNew(t *testing.T, qos byte) {
	t.Helper()
	n := start(t, nil)
	c := receiver(t, n, qos)
	p := n.join(t, v5, "p")
	open := make(map[uint16]bool)
	for i := range 60 {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: qos, PacketID: 9, Dup: i%2 == 0})
		m := c.message()
		if m.PacketID == 0 || open[m.PacketID] || m.QoS != qos || m.Dup {
			t.Fatalf("identifier %d, QoS %d, DUP %t, with %v on the way", m.PacketID, m.QoS, m.Dup, open)
		}
		open[m.PacketID] = true
		if len(open) > 10 {
			c.finish(m)
			delete(open, m.PacketID)
		}
	}
}

// finish acknowledges a message to the end.
func (c *client) finish(m packet.Publish) {
	c.t.Helper()
	if m.QoS == 1 {
		c.send(packet.PUBACK, m.PacketID)
		return
	}
	c.send(packet.PUBREC, m.PacketID)
	c.ack(packet.PUBREL, m.PacketID)
	c.send(packet.PUBCOMP, m.PacketID)
}

func TestV5_4_3_2_1(t *testing.T) { checkNew(t, 1) }

func TestV5_4_3_2_2(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	n.join(t, v5, "p").publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, Dup: true, PacketID: 500})
	if m := c.message(); m.QoS != 1 || m.Dup || m.PacketID == 0 {
		t.Errorf("QoS %d, DUP %t, identifier %d", m.QoS, m.Dup, m.PacketID)
	}
}

func TestV5_4_3_2_3(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 1)
	n.join(t, v5, "p").say("a", "x", 1)
	m := c.message()
	c.send(packet.PUBACK, m.PacketID+1) // of nothing
	c.send(packet.PUBCOMP, m.PacketID)  // none of a PUBLISH of QoS 1
	c = c.back(n)
	c.expects("x", 1, m.PacketID, true)
	c = c.back(n)
	c.expects("x", 1, m.PacketID, true)
	c.finish(m)
	c.back(n).silent()
}

// TestV5_4_3_2_4: the message is on its way when its PUBACK comes.
func TestV5_4_3_2_4(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 1)
	c.drop(n, "c")
	p := n.join(t, v5, "p")
	for id := uint16(65530); id != 0; id++ {
		p.write((&packet.Publish{Topic: []byte("a"), Payload: fmt.Append(nil, id), QoS: 1, PacketID: id}).Append(nil, v5))
		p.ack(packet.PUBACK, id)
	}
	p.silent() // once for each
	c = n.stay(t, v5, "c")
	for id := uint16(65530); id != 0; id++ {
		c.hears("a", fmt.Sprint(id))
	}
}

func TestV5_4_3_2_5(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 1)
	p := n.join(t, v5, "p")
	for _, dup := range []bool{false, true, true} {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, PacketID: 3, Dup: dup})
		c.hears("a", "x")
	}
}

func TestV5_4_3_3_1(t *testing.T) { checkNew(t, 2) }

func TestV5_4_3_3_2(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	n.join(t, v5, "p").publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 2, Dup: true, PacketID: 500})
	if m := c.message(); m.QoS != 2 || m.Dup || m.PacketID == 0 {
		t.Errorf("QoS %d, DUP %t, identifier %d", m.QoS, m.Dup, m.PacketID)
	}
}

func TestV5_4_3_3_3(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	n.join(t, v5, "p").say("a", "x", 2)
	m := c.message()
	c.send(packet.PUBACK, m.PacketID) // none of a PUBLISH of QoS 2
	c = c.back(n)
	c.expects("x", 2, m.PacketID, true)
	c = c.back(n)
	c.expects("x", 2, m.PacketID, true)
	c.send(packet.PUBREC, m.PacketID)
	c.ack(packet.PUBREL, m.PacketID)
	c = c.back(n)
	c.ack(packet.PUBREL, m.PacketID) // and no PUBLISH
	c.silent()
}

func TestV5_4_3_3_4(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	p := n.join(t, v5, "p")
	for _, code := range []packet.ReasonCode{packet.Success, packet.NoMatchingSubscribers} {
		p.say("a", "x", 2)
		m := c.message()
		c.sendCode(packet.PUBREC, m.PacketID, code)
		if got := c.ack(packet.PUBREL, m.PacketID); got != packet.Success {
			t.Errorf("PUBREL: %v", got)
		}
		c.send(packet.PUBCOMP, m.PacketID)
	}
	p.say("a", "x", 2)
	c.sendCode(packet.PUBREC, c.message().PacketID, packet.QuotaExceeded)
	c.silent()
}

func TestV5_4_3_3_5(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	n.join(t, v5, "p").say("a", "x", 2)
	m := c.message()
	c.send(packet.PUBREC, m.PacketID)
	c.ack(packet.PUBREL, m.PacketID)
	for range 2 {
		c = c.back(n)
		c.ack(packet.PUBREL, m.PacketID)
		c.silent()
	}
	c.send(packet.PUBCOMP, m.PacketID)
	c.back(n).silent()
}

func TestV5_4_3_3_6(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	n.join(t, v5, "p").say("a", "x", 2)
	m := c.message()
	c.send(packet.PUBREC, m.PacketID)
	c.ack(packet.PUBREL, m.PacketID)
	c = c.back(n)
	c.ack(packet.PUBREL, m.PacketID)
	c.send(packet.PUBREC, m.PacketID) // once more
	c.ack(packet.PUBREL, m.PacketID)
	c.silent()
	c.back(n).ack(packet.PUBREL, m.PacketID)
}

// TestV5_4_3_3_7: a message that was sent is sent again, expired or not. Section 4.3.3 says so for QoS 2.
func TestV5_4_3_3_7(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	short := expiring("short", 1)
	short.QoS = 2
	n.join(t, v5, "p").publish(short)
	m := c.message()
	over := time.Now().Add(time.Second)
	c.drop(n, "c")
	past(t, over)
	c = n.stay(t, v5, "c")
	c.expects("short", 2, m.PacketID, true)
	c.finish(m)
	c.back(n).silent()
}

// TestV5_4_3_3_8: the message is on its way when its PUBREC comes.
func TestV5_4_3_3_8(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	c.drop(n, "c")
	p := n.join(t, v5, "p")
	for id := uint16(65530); id != 0; id++ {
		p.write((&packet.Publish{Topic: []byte("a"), Payload: fmt.Append(nil, id), QoS: 2, PacketID: id}).Append(nil, v5))
		p.ack(packet.PUBREC, id)
	}
	p.silent() // once for each
	c = n.stay(t, v5, "c")
	for id := uint16(65530); id != 0; id++ {
		c.hears("a", fmt.Sprint(id))
	}
}

// TestV5_4_3_3_9: an identifier whose message was refused serves another one, without a PUBREL.
func TestV5_4_3_3_9(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	p := n.join(t, v5, "p")
	for _, text := range []string{"1", "2"} {
		if code := p.publish(packet.Publish{Topic: []byte("$SYS/x"), QoS: 2, PacketID: 4}); !code.Failed() {
			t.Fatalf("PUBREC: %v", code)
		}
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte(text), QoS: 2, PacketID: 4, Dup: text == "2"})
		c.hears("a", text)
	}
}

// TestV5_4_3_3_10: whatever the flag DUP says, and after another connection.
func TestV5_4_3_3_10(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	c := n.open(t, clean("c"))
	m := packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 2, PacketID: 6}
	for round := range 4 {
		m.Dup = round%2 == 1
		c.write(m.Append(nil, v5))
		if code := c.ack(packet.PUBREC, 6); code.Failed() {
			t.Errorf("PUBREC: %v", code)
		}
		if round == 2 {
			c = c.back(n)
		}
	}
	c.send(packet.PUBREL, 6)
	c.ack(packet.PUBCOMP, 6)
	w.hears("a", "x")
	w.silent()
}

func TestV5_4_3_3_11(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	for _, id := range []uint16{6, 65535} {
		c.write((&packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: id}).Append(nil, v5))
		c.ack(packet.PUBREC, id)
		c = c.back(n) // the exchange goes on where it was
		c.send(packet.PUBREL, id)
		if code := c.ack(packet.PUBCOMP, id); code != packet.Success {
			t.Errorf("PUBCOMP: %v", code)
		}
		c.send(packet.PUBREL, id) // a repetition is answered as well
		c.ack(packet.PUBCOMP, id)
	}
}

func TestV5_4_3_3_12(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	p := n.join(t, v5, "p")
	for _, dup := range []bool{false, true, false} {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 2, PacketID: 3, Dup: dup})
		c.hears("a", "x")
	}
	c.silent()
}

// TestV5_4_3_3_13: the node has the message, which expires before its PUBREL comes, and before it could be passed on.
func TestV5_4_3_3_13(t *testing.T) {
	n := start(t, nil)
	receiver(t, n, 2).drop(n, "c")
	p := n.join(t, v5, "p")
	short := expiring("short", 1)
	short.QoS, short.PacketID = 2, 6
	p.write(short.Append(nil, v5))
	p.ack(packet.PUBREC, 6)
	past(t, time.Now().Add(time.Second))
	n.stay(t, v5, "c").silent() // expiry has applied
	short.Dup = true
	p.write(short.Append(nil, v5))
	p.ack(packet.PUBREC, 6)
	p.send(packet.PUBREL, 6)
	if code := p.ack(packet.PUBCOMP, 6); code != packet.Success {
		t.Errorf("PUBCOMP: %v", code)
	}
}

// TestV5_4_4_0_1: PUBLISH and PUBREL with their identifiers, in their order; and nothing before another connection.
func TestV5_4_4_0_1(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	p := n.join(t, v5, "p")
	for i := range 6 {
		p.say("a", fmt.Sprint(i), 1+byte(i%2))
	}
	ids := make([]uint16, 6)
	for i := range ids {
		ids[i] = c.message().PacketID
	}
	c.send(packet.PUBREC, ids[3])
	c.ack(packet.PUBREL, ids[3])
	c.send(packet.PUBACK, ids[2])
	for range 10 { // other traffic is no reason
		p.say("b", "x", 1)
		c.silent()
	}
	for range 2 {
		c = c.back(n)
		c.expects("0", 1, ids[0], true)
		c.expects("1", 2, ids[1], true)
		c.ack(packet.PUBREL, ids[3])
		c.expects("4", 1, ids[4], true)
		c.expects("5", 2, ids[5], true)
		c.silent()
	}
}

func TestV5_4_4_0_2(t *testing.T) {
	n := start(t, nil)
	c := receiver(t, n, 2)
	p := n.join(t, v5, "p")
	for qos, typ := range map[byte]packet.Type{1: packet.PUBACK, 2: packet.PUBREC} {
		p.say("a", "x", qos)
		c.sendCode(typ, c.message().PacketID, packet.ImplementationError)
		c.silent()
		c = c.back(n)
		c.silent()
	}
}

func TestV5_4_5_0_1(t *testing.T) {
	n := start(t, nil)
	away, other := n.open(t, clean("away")), n.open(t, clean("other"))
	away.subscribe(packet.Options{QoS: 2}, "a/+")
	other.subscribe(packet.Options{QoS: 2}, "b")
	c := receiver(t, n, 1)
	away.drop(n, "away")
	p := n.join(t, v5, "p")
	p.say("a", "1", 1)
	p.say("a/b", "2", 2)
	p.say("a/c", "3", 1)
	c.hears("a", "1")
	c.silent()
	other.silent()
	away = n.stay(t, v5, "away")
	away.hears("a/b", "2")
	away.hears("a/c", "3")
	away.silent()
}

// inOrder publishes numbers to topics in turn, all at once, and compares their order, topic by topic; halfway through the subscriber's
// connection is replaced.
func inOrder(t *testing.T, qos byte, filter string, topics ...string) {
	t.Helper()
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: qos}, filter)
	p := n.join(t, v5, "p")
	const count = 120
	for i := range count {
		p.say(topics[i%len(topics)], fmt.Sprint(i), qos)
	}
	next := make(map[string]int)
	for i, topic := range topics {
		next[topic] = i
	}
	for i := range count {
		if i == count/2 && qos > 0 {
			c = c.back(n)
		}
		m := c.message()
		if got := string(m.Payload); got != fmt.Sprint(next[string(m.Topic)]) {
			t.Fatalf("%s on %s, want %d", got, m.Topic, next[string(m.Topic)])
		}
		next[string(m.Topic)] += len(topics)
		if m.QoS > 0 {
			c.finish(m)
		}
	}
}

func TestV5_4_6_0_5(t *testing.T) {
	for qos := range byte(3) {
		t.Run(fmt.Sprint(qos), func(t *testing.T) { inOrder(t, qos, "a", "a") })
	}
}

func TestV5_4_6_0_6(t *testing.T) {
	for qos := range byte(3) {
		t.Run(fmt.Sprint(qos), func(t *testing.T) { inOrder(t, qos, "#", "a", "b/c", "/", "ä") })
	}
}

func TestV5_4_9_0_1(t *testing.T) {
	n := start(t, nil)
	for most := uint32(1); most <= 3; most++ {
		c := windowed(t, n, most)
		p := n.join(t, v5, "p")
		for range 5 {
			p.say("a", "x", 1)
		}
		for range most {
			c.message()
		}
		c.silent()
	}
}

func TestV5_4_9_0_2(t *testing.T) {
	n := start(t, nil)
	c := windowed(t, n, 1)
	p := n.join(t, v5, "p")
	for i := range 4 {
		p.say("a", fmt.Sprint(i), 1+byte(i%2))
	}
	m := c.message()
	for i := range 4 {
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("%s, want %d", m.Payload, i)
		}
		c.silent()
		c.finish(m)
		if i < 3 {
			m = c.message()
		}
	}
	c.silent()
}

func TestV5_4_9_0_3(t *testing.T) {
	n := start(t, nil)
	c := windowed(t, n, 1)
	p := n.join(t, v5, "p")
	p.say("a", "x", 2)
	p.say("a", "y", 2)
	m := c.message()
	c.silent()
	c.subscribe(packet.Options{QoS: 1}, "b")
	c.say("c", "x", 2)
	c.unsubscribe("b")
	c.send(packet.PUBREL, 999)
	c.ack(packet.PUBCOMP, 999)
	c.finish(m)
	c.hears("a", "y")
	c.say("d", "x", 1)
}
