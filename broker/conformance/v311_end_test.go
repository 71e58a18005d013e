package conformance

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// serverPackets returns a packet of each type that only a server sends.
func serverPackets() map[string][]byte {
	return map[string][]byte{
		"CONNACK":  assemble(0x20, "\x00\x00"),
		"SUBACK":   assemble(0x90, "\x00\x01\x00"),
		"UNSUBACK": assemble(0xb0, "\x00\x01"),
		"PINGRESP": assemble(0xd0),
	}
}

func TestV311_4_8_0_1(t *testing.T) {
	n := start(t, nil)
	others := n.listener(t, "other", "a")
	list := serverPackets()
	for name, b := range map[string][]byte{
		"type 0":                    assemble(0x00),
		"type 15":                   assemble(0xf0),
		"a second CONNECT":          connect4(0x02, "culprit"),
		"a length of five bytes":    {0x30, 0x80, 0x80, 0x80, 0x80, 0x01},
		"a PINGREQ with a body":     assemble(0xc0, "\x00"),
		"a DISCONNECT with a body":  assemble(0xe0, "\x00"),
		"a PUBACK that is short":    assemble(0x40, "\x00"),
		"a PUBACK that is long":     assemble(0x40, "\x00\x01\x00"),
		"a PUBREL that is long":     assemble(0x62, "\x00\x01\x00"),
		"a PUBLISH without its id":  assemble(0x32, field("a")),
		"a filter that is cut":      assemble(0x82, "\x00\x01\x00\x05a/b\x00"),
		"a SUBSCRIBE of nothing":    assemble(0x82),
		"an UNSUBSCRIBE of nothing": assemble(0xa2),
	} {
		list[name] = b
	}
	for name, b := range list {
		t.Run(name, func(t *testing.T) { n.cuts(t, b) })
	}
	others.hearsNothingBut(n.join(t, v4, "p"), "a", "nobody else is disconnected")
}

func TestV311_3_12_4_1(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	c.write(bytes.Repeat(packet.AppendPingreq(nil), 100))
	for range 100 {
		if _, body := c.want(packet.PINGRESP); len(body) > 0 {
			t.Errorf("PINGRESP with % x", body)
		}
	}
	c.silent()
}

// TestV311_3_14_1_1: it counts as a violation, so that the will is published (section 3.1.2.5).
func TestV311_3_14_1_1(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "will")
	for flags := byte(1); flags < 16; flags++ {
		c := n.bequeath(t, "c", true, packet.Will{Payload: []byte{'0' + flags}})
		c.write(assemble(0xe0 | flags))
		c.gone()
		w.hears("will", string('0'+rune(flags)))
	}
}

func TestV311_3_14_4_1(t *testing.T) {
	c := start(t, nil).join(t, v4, "c")
	c.write(assemble(0xe0))
	c.gone() // the server closes, too, as it should
}

func TestV311_3_14_4_2(t *testing.T) {
	n := start(t, nil)
	w, c := n.listener(t, "w", "a"), n.join(t, v4, "c")
	c.write(append(assemble(0xe0), assemble(0x32, field("a"), "\x00\x01too late")...))
	c.gone() // without a PUBACK
	w.hearsNothingBut(n.join(t, v4, "p"), "a", "marker")
}

func TestV311_3_14_4_3(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "will")
	for _, clean := range []bool{true, false} {
		n.bequeath(t, "c", clean, packet.Will{Payload: []byte("not to be heard"), QoS: 1, Retain: true}).bye(n, "c")
		w.noWillBut(n, "of another client")
	}
	n.join(t, v4, "c").bye(n, "c") // with which the session is over
	w.noWillBut(n, "of another client")
	n.listener(t, "late", "will").silent()
}

// TestV311_7_1_1_1: bytes arrive as they were sent, in both directions, however they are cut.
func TestV311_7_1_1_1(t *testing.T) {
	n := start(t, nil)
	payload := make([]byte, 300<<10)
	for i := range payload {
		payload[i] = byte(rand.Uint32())
	}
	script := connect4(0x02, "c")
	script = append(script, packetsWith("other")["SUBSCRIBE"]...)
	script = append(script, clientPackets()["PUBLISH"]...)
	script = append(script, packetsWith("other")["UNSUBSCRIBE"]...)
	script = packet.AppendPingreq(script)
	for _, size := range []int{1, 2, 3, 7, len(script)} {
		c := n.dial(t, v4)
		c.conn.(*net.TCPConn).SetNoDelay(true)
		for b := script; len(b) > 0; b = b[min(size, len(b)):] {
			c.write(b[:min(size, len(b))])
		}
		for _, typ := range []packet.Type{packet.CONNACK, packet.SUBACK, packet.PUBACK, packet.UNSUBACK, packet.PINGRESP} {
			c.want(typ)
		}
		c.bye(n, "c")
	}
	c, p := n.listener(t, "c", "a"), n.join(t, v4, "p")
	for qos := byte(0); qos <= 2; qos++ {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: payload, QoS: qos})
		m := c.message()
		c.acknowledge(m)
		if !bytes.Equal(m.Payload, payload) {
			t.Errorf("QoS %d: %d bytes come as %d others", qos, len(payload), len(m.Payload))
		}
	}
}
