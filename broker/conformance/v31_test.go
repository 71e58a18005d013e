package conformance

import (
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// What MQTT 3.1 asks for otherwise than 3.1.1 (its sections have no numbered statements).

// v3 is the protocol level of MQTT 3.1.
const v3 = packet.V31

// connect3 is connectOf for MQTT 3.1.
func connect3(flags byte, fields ...string) []byte { return connectOf("MQIsdp", 3, flags, fields...) }

// TestMQTT31Names: each name goes with its own level (section 3.1).
func TestMQTT31Names(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connect3(0x02, "id"))
	for _, b := range [][]byte{
		connectOf("MQIsdp", 4, 0x02, "id"), connectOf("MQIsdp", 5, 0x02, "id"),
		connectOf("MQIsdp", 2, 0x02, "id"), connectOf("MQTT", 3, 0x02, "id"),
	} {
		c := n.dial(t, v3)
		c.write(b)
		c.refused(packet.UnsupportedProtocolVersion)
	}
}

// TestMQTT31ClientIdentifiers: from 1 to 23 characters (section 3.1). Longer ones, which its clients use all the time, the
// node takes; an empty one has no meaning there, with a clean session or without.
func TestMQTT31ClientIdentifiers(t *testing.T) {
	n := start(t, nil)
	for _, length := range []int{1, 22, 23, 24, 100} {
		id := strings.Repeat("x", length)
		n.admits(t, connect3(0x02, id))
		if !n.connected(id) {
			t.Errorf("a client with an identifier of %d characters is not known by it", length)
		}
	}
	for _, flags := range []byte{0x00, 0x02} {
		c := n.dial(t, v3)
		c.write(connect3(flags, ""))
		c.refused(packet.ClientIDNotValid)
	}
}

// TestMQTT31ReservedFlags: bit 0 of the connect flags is not used, and will QoS and retain mean nothing without a will (section 3.1).
func TestMQTT31ReservedFlags(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connect3(0x03, "id"))
	n.admits(t, connect3(0x2a, "id"))
}

// TestMQTT31UserNameLeftOut: a packet may end before user name and password that its flags speak of (section 3.1).
func TestMQTT31UserNameLeftOut(t *testing.T) {
	n := start(t, nil)
	for _, fields := range [][]string{{"id"}, {"id", "user"}, {"id", "user", "password"}} {
		n.admits(t, connect3(0xc2, fields...))
	}
}

// TestMQTT31Connack: its first byte is not used, so nothing is said of a session; which is resumed all the same (section 3.2).
func TestMQTT31Connack(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, v3, "c")
	c.subscribe(packet.Options{QoS: 1}, "a")
	c.bye(n, "c")
	n.join(t, v4, "p").say("a", "m", 1)
	c = n.dial(t, v3)
	c.write(connect3(0x00, "c"))
	if _, body := c.want(packet.CONNACK); string(body) != "\x00\x00" {
		t.Errorf("CONNACK % x, want 00 00", body)
	}
	c.hears("a", "m")
}

// TestMQTT31Suback: 0x80 does not exist; a subscription that is not to be is granted as any other (section 3.8), or the
// connection ends because of a filter that is none.
func TestMQTT31Suback(t *testing.T) {
	n := start(t, nil)
	for _, filter := range []string{"a", "a/#/b", "a+", "$share//a", "$share/g", strings.Repeat("/", 1000)} {
		c := n.join(t, v3, "c")
		c.write(packetsWith(filter)["SUBSCRIBE"])
		if body := c.unlessGone(packet.SUBACK); body != nil && (len(body) != 3 || body[2] > 2) {
			t.Errorf("%.20q: SUBACK % x", filter, body)
		}
		c.drop(n, "c")
	}
}

// TestMQTT31Repeated: SUBSCRIBE, UNSUBSCRIBE and PUBREL are messages of QoS 1, which a client may send again with DUP (section 2.1).
func TestMQTT31Repeated(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v3, "c")
	c.write(assemble(0x82, "\x00\x01", field("a"), "\x02"))
	c.write(assemble(0x8a, "\x00\x01", field("a"), "\x02"))
	c.want(packet.SUBACK)
	c.want(packet.SUBACK)
	p := n.join(t, v3, "p")
	p.write((&packet.Publish{Topic: []byte("a"), Payload: []byte("m"), QoS: 2, PacketID: 9}).Append(nil, v3))
	p.ack(packet.PUBREC, 9)
	p.send(packet.PUBREL, 9)
	p.ack(packet.PUBCOMP, 9)
	p.write(assemble(0x6a, "\x00\x09"))
	p.ack(packet.PUBCOMP, 9)
	c.hears("a", "m")
	c.write(assemble(0xaa, "\x00\x02", field("a")))
	c.want(packet.UNSUBACK)
	c.silent()
}

// TestMQTT31AmongOthers: messages go between the versions, with their QoS, retained ones and wills as well.
func TestMQTT31AmongOthers(t *testing.T) {
	n := start(t, nil)
	old, young := n.join(t, v3, "old"), n.join(t, v4, "young")
	for _, c := range []*client{old, young} {
		c.subscribe(packet.Options{QoS: 2}, "a", "will")
	}
	for qos := byte(0); qos <= 2; qos++ {
		for _, from := range []*client{old, young} {
			from.retain("a", "m", qos)
			for _, to := range []*client{old, young} {
				if m := to.hears("a", "m"); m.QoS != qos || m.Retain {
					t.Errorf("%v to %v, QoS %d: comes with QoS %d, RETAIN %t", from.v, to.v, qos, m.QoS, m.Retain)
				}
			}
		}
	}
	late := n.join(t, v3, "late")
	late.subscribe(packet.Options{QoS: 2}, "a")
	if m := late.hears("a", "m"); m.QoS != 2 || !m.Retain {
		t.Errorf("retained: QoS %d, RETAIN %t", m.QoS, m.Retain)
	}
	c := n.dial(t, v3)
	c.write(connect3(0x06, "c", "will", "last words"))
	c.connack()
	c.drop(n, "c")
	old.hears("will", "last words")
	young.hears("will", "last words")
}

// TestMQTT31Violations end the connection as they do later.
func TestMQTT31Violations(t *testing.T) {
	n := start(t, nil)
	for name, b := range map[string][]byte{
		"a second CONNECT":        connect3(0x02, "c"),
		"QoS 3":                   assemble(0x36, field("a"), "\x00\x01"),
		"a wildcard in a name":    assemble(0x30, field("a/#"), "m"),
		"no filter":               assemble(0x82, "\x00\x01"),
		"no identifier":           assemble(0x82, "\x00\x00", field("a"), "\x00"),
		"what only a server says": assemble(0x90, "\x00\x01\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			c := n.join(t, v3, "c")
			c.write(b)
			c.gone()
		})
	}
}
