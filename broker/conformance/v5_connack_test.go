package conformance

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestV5_3_2_0_1: whatever waits for the client, and whatever it has said together with its CONNECT.
func TestV5_3_2_0_1(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 2}, "a")
	c.drop(n, "c")
	p := n.join(t, v5, "p")
	for range 10 {
		p.say("a", "x", 2)
	}
	c = n.dial(t, v5)
	con := lasting(v5, "c")
	b := con.Append(nil)
	b = append(b, frame(0x30, text("a"), sized(), []byte("now"))...)
	b = append(b, frame(0x82, []byte{0, 1}, sized(), text("b"), []byte{0})...)
	c.write(packet.AppendPingreq(b))
	if ack := c.connack(); ack.Code != packet.Success { // before all else
		t.Error(ack.Code)
	}
	c.answer(packet.SUBACK)
	c.answer(packet.PINGRESP)
}

func TestV5_3_2_0_2(t *testing.T) {
	n := start(t, nil)
	c := n.dial(t, v5)
	con := packet.Connect{Version: v5, ClientID: []byte("c"), CleanStart: true}
	b := con.Append(nil)
	c.write(append(packet.AppendPingreq(b), con.Append(nil)...))
	c.connack()
	c.want(packet.PINGRESP)
	c.ends(packet.ProtocolError)
	n.begins(t, connectFrame(3, nil, text("c")), packet.MalformedPacket) // one CONNACK, then the end
}

// connackBody returns the body of the answer to a CONNECT.
func connackBody(t *testing.T, n *node, b []byte) []byte {
	t.Helper()
	c := n.dial(t, v5)
	c.write(b)
	_, body := c.want(packet.CONNACK)
	return body
}

func TestV5_3_2_2_1(t *testing.T) {
	n := start(t, nil)
	con := lasting(v5, "c")
	for name, b := range map[string][]byte{
		"first time": con.Append(nil), "resumed": con.Append(nil), "refused": connectFrame(2, property(packet.AuthMethod, "m"), text("c")),
	} {
		if body := connackBody(t, n, b); body[0]&0xfe != 0 {
			t.Errorf("%s: % x", name, body)
		}
	}
}

func TestV5_3_2_2_2(t *testing.T) {
	n := start(t, nil)
	n.stay(t, v5, "c").drop(n, "c")
	con := clean("c")
	for _, what := range []string{"with a session", "with a connected client"} {
		if body := connackBody(t, n, con.Append(nil)); body[0] != 0 || body[1] != 0 {
			t.Errorf("%s: % x", what, body)
		}
	}
}

func TestV5_3_2_2_3(t *testing.T) {
	n := start(t, nil)
	con := lasting(v5, "c")
	b := con.Append(nil)
	for i, present := range []byte{0, 1, 1} { // the last two displace the one before
		if body := connackBody(t, n, b); body[0] != present || body[1] != 0 {
			t.Errorf("%d: % x, want %d", i, body, present)
		}
	}
	// A session that ends with its connection is not there afterwards, nor for the one who takes it over.
	con = packet.Connect{Version: v5, ClientID: []byte("short")}
	b = con.Append(nil)
	for range 2 {
		if body := connackBody(t, n, b); body[0] != 0 || body[1] != 0 {
			t.Errorf("% x", body)
		}
	}
}

// refusals are CONNECT packets that the node refuses, where max_qos is 1, of the client "c".
func refusals() map[string][]byte {
	return map[string][]byte{
		"authentication method": connectFrame(0, property(packet.AuthMethod, "m"), text("c")),
		"QoS of the will":       connectFrame(0x14, nil, text("c"), sized(), text("w"), text("x")),
		"topic of the will":     connectFrame(4, nil, text("c"), sized(), text("$SYS/x"), text("x")),
		"reserved flag":         connectFrame(1, nil, text("c")),
		"property twice":        connectFrame(0, []byte{byte(packet.RequestProblemInfo), 1, byte(packet.RequestProblemInfo), 1}, text("c")),
	}
}

// checkRefusals calls see for each CONNACK that refuses, and waits for the end.
func checkRefusals(t *testing.T, see func(t *testing.T, body []byte)) {
	t.Helper()
	n := start(t, limits(func(l *config.Limits) { l.MaxQoS = 1 }))
	n.stay(t, v5, "c").drop(n, "c") // there is a session that it could speak of
	for name, b := range refusals() {
		t.Run(name, func(t *testing.T) {
			c := n.dial(t, v5)
			c.write(b)
			_, body := c.want(packet.CONNACK)
			if body[1] < 0x80 {
				t.Fatalf("CONNACK % x", body)
			}
			see(t, body)
			c.gone()
		})
	}
}

func TestV5_3_2_2_6(t *testing.T) {
	checkRefusals(t, func(t *testing.T, body []byte) {
		if body[0] != 0 {
			t.Errorf("CONNACK % x", body)
		}
	})
}

func TestV5_3_2_2_7(t *testing.T) { checkRefusals(t, func(*testing.T, []byte) {}) } // it waits for the end

// connectCodes is table 3-1, Connect Reason Code values.
var connectCodes = []byte{0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f}

func TestV5_3_2_2_8(t *testing.T) {
	checkRefusals(t, func(t *testing.T, body []byte) {
		if !bytes.Contains(connectCodes, body[1:2]) {
			t.Errorf("CONNACK % x", body)
		}
	})
}

func TestV5_3_2_2_9(t *testing.T) {
	for most := range 3 {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			n := start(t, limits(func(l *config.Limits) { l.MaxQoS = most }))
			_, ack := n.connect(t, clean("c"))
			said, there := ack.Properties.Int(packet.MaximumQoS)
			if said != uint32(most) || there != (most < 2) {
				t.Errorf("Maximum QoS %d, there %t, want %d", said, there, most)
			}
		})
	}
}

func TestV5_3_2_2_10(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxQoS = 0 }))
	c := n.join(t, v5, "c")
	for qos := range byte(3) {
		if codes := c.subscribe(packet.Options{QoS: qos}, "a"); codes[0] != 0 {
			t.Errorf("QoS %d: code %#x", qos, codes[0])
		}
		c.say("a", "x", 0)
		c.hears("a", "x")
	}
}

func TestV5_3_2_2_11(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxQoS = 1 }))
	w := watch(t, n)
	w.say("a", "x", 1)
	w.hears("a", "x")
	p := packet.Publish{Topic: []byte("a"), QoS: 2, PacketID: 1}
	n.breaks(t, p.Append(nil, v5), packet.QoSNotSupported)
	w.silent()
}

func TestV5_3_2_2_15(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxPacketSize = 1000 }))
	w := watch(t, n)
	_, ack := n.connect(t, clean("c"))
	if most, _ := ack.Properties.Int(packet.MaximumPacketSize); most != 1000 {
		t.Errorf("Maximum Packet Size %d", most)
	}
	const around = 3 + 3 + 1 // fixed header, topic, properties
	whole := frame(0x30, text("a"), sized(), make([]byte, 1000-around))
	w.write(whole)
	w.message()
	if !bytes.Equal(w.r.Packet(), whole) {
		t.Errorf("%d bytes came, want %d", len(w.r.Packet()), len(whole))
	}
	n.breaks(t, frame(0x30, text("a"), sized(), make([]byte, 1001-around)), packet.PacketTooLarge)
	w.silent()
}

// TestV5_3_2_2_16: other than those of clients that chose what the node might choose, or are away.
func TestV5_3_2_2_16(t *testing.T) {
	n := start(t, nil)
	first := checkAssigned(t, n)
	n.stay(t, v5, "away").drop(n, "away")
	seen := map[string]bool{first: true, "away": true}
	for range 10 {
		id := checkAssigned(t, n)
		if seen[id] {
			t.Fatalf("%s again", id)
		}
		seen[id] = true
	}
	if s := n.Stats(); s.Sessions != 12 {
		t.Errorf("%d sessions, want 12", s.Sessions)
	}
}

func TestV5_3_2_2_17(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxTopicAlias = 3 }))
	_, ack := n.connect(t, clean("c"))
	if most, _ := ack.Properties.Int(packet.TopicAliasMaximum); most != 3 {
		t.Errorf("Topic Alias Maximum %d", most)
	}
	for _, alias := range []uint32{4, 65535} {
		n.breaks(t, aliased("a", alias), packet.TopicAliasInvalid)
	}
}

func TestV5_3_2_2_18(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxTopicAlias = 0 }))
	_, ack := n.connect(t, clean("c"))
	if most, _ := ack.Properties.Int(packet.TopicAliasMaximum); most != 0 {
		t.Errorf("Topic Alias Maximum %d", most)
	}
	n.breaks(t, aliased("a", 1), packet.TopicAliasInvalid)
}

// aliased is a PUBLISH of QoS 0 with a topic alias; the topic may be empty.
func aliased(topic string, alias uint32) []byte {
	return frame(0x30, text(topic), sized([]byte{byte(packet.TopicAlias), byte(alias >> 8), byte(alias)}), []byte("x"))
}

// checkConnackFits connects with the least Maximum Packet Size that is served, and with one that a bare refusal fits into.
func checkConnackFits(t *testing.T) {
	t.Helper()
	n := start(t, nil)
	least := smallest(t, n)
	c := narrow(t, n, "c", least)
	if got := len(c.r.Packet()); got > int(least) {
		t.Errorf("a CONNACK of %d bytes for %d", got, least)
	}
	const bare = 5 // fixed header, flags, code, no properties
	size := []byte{byte(packet.MaximumPacketSize), 0, 0, 0, bare}
	c = n.dial(t, v5)
	c.write(connectFrame(2, append(size, property(packet.AuthMethod, "m")...), text("c")))
	if body := c.last(packet.CONNACK); body != nil && !bytes.Equal(body, []byte{0, 0x8c, 0}) {
		t.Errorf("CONNACK % x", body)
	}
}

func TestV5_3_2_2_19(t *testing.T) { checkConnackFits(t) }

func TestV5_3_2_2_20(t *testing.T) { checkConnackFits(t) }
