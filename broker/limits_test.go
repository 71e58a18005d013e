package broker

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestPropertiesGoOn unaltered and in their order [MQTT-3.3.2-4] [MQTT-3.3.2-15] to [MQTT-3.3.2-18] [MQTT-3.3.2-20], also
// through an offline queue and a retained message; clients before MQTT 5 get the message without.
func TestPropertiesGoOn(t *testing.T) {
	n := start(t, nil)
	m := packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, Retain: true}
	m.Properties.AddUser([]byte("k"), []byte("1"))
	m.Properties.AddInt(packet.PayloadFormat, 1)
	m.Properties.AddBytes(packet.ContentType, []byte("text"))
	m.Properties.AddBytes(packet.ResponseTopic, []byte("reply"))
	m.Properties.AddBytes(packet.CorrelationData, []byte{0, 255})
	m.Properties.AddUser([]byte("k"), []byte("2"))
	want := (&packet.Publish{Topic: []byte("a"), Properties: m.Properties}).Append(nil, packet.V5)

	away := n.stay(t, packet.V5, "away")
	away.subscribe(packet.Options{QoS: 1}, "a")
	away.drop(n, "away")
	there, old := n.join(t, packet.V5, "there"), n.join(t, packet.V311, "old")
	there.subscribe(packet.Options{}, "a")
	old.subscribe(packet.Options{}, "a")
	n.join(t, packet.V5, "p").publish(m)
	late := n.join(t, packet.V5, "late")
	late.subscribe(packet.Options{}, "a")
	for name, c := range map[string]*client{"away": n.stay(t, packet.V5, "away"), "there": there, "late": late} {
		got := c.hears("a", "x")
		if b := (&packet.Publish{Topic: []byte("a"), Properties: got.Properties}).Append(nil, packet.V5); !bytes.Equal(b, want) {
			t.Errorf("%s: % x, want % x", name, b, want)
		}
	}
	old.hears("a", "x")
}

// TestMessageExpiry [MQTT-3.3.2-5] [MQTT-3.3.2-6]: in the queue, retained, and what is left of it.
func TestMessageExpiry(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, packet.V5, "c")
	c.subscribe(packet.Options{QoS: 1}, "a")
	c.drop(n, "c")
	p := n.join(t, packet.V5, "p")
	for _, seconds := range []uint32{0, 1, 3600} {
		m := packet.Publish{Topic: []byte("a"), Payload: []byte("x"), QoS: 1, Retain: seconds < 3600}
		m.Properties.AddInt(packet.MessageExpiry, seconds)
		p.publish(m)
	}
	until(t, "the retained message has expired", func() bool {
		n.table.Purge(time.Now())
		return n.Stats().Retained == 0
	})
	c = n.stay(t, packet.V5, "c")
	m := c.hears("a", "x")
	if left, _ := m.Properties.Int(packet.MessageExpiry); left == 0 || left >= 3600 {
		t.Errorf("%d s are left", left)
	}
	c.silent()
	if got := n.Stats().Dropped["expired"]; got != 2 {
		t.Errorf("%d counted, want 2", got)
	}
}

// TestMaxPacketSizeOfTheNode: 0x95 where there is a code, and the next client is served.
func TestMaxPacketSizeOfTheNode(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxPacketSize = 1000 })
	versions(t, func(t *testing.T, v packet.Version) {
		for _, size := range []int{900, 1000, 1 << 20} {
			c := n.join(t, v, "c")
			c.conn.Write((&packet.Publish{Topic: []byte("a"), Payload: make([]byte, size)}).Append(nil, v)) // may be cut short
			if size < 1000 {
				c.silent()
				c.bye()
			} else {
				c.told(packet.PacketTooLarge)
			}
		}
	})
}

// TestMaxPacketSizeOfTheClient [MQTT-3.1.2-24] [MQTT-3.1.2-25]: what is too large is left out, whatever its QoS, and what comes after
// it is not held up.
func TestMaxPacketSizeOfTheClient(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V311, "p")
	p.retain("kept", strings.Repeat("x", 500), 1)
	p.retain("kept/small", "x", 1)
	con := lasting("c", false, 60)
	con.Properties.AddInt(packet.MaximumPacketSize, 100)
	con.Properties.AddInt(packet.ReceiveMaximum, 1)
	c := n.open(t, con)
	c.subscribe(packet.Options{QoS: 2}, "a", "kept/#")
	c.hears("kept/small", "x")
	for qos := range byte(3) {
		p.say("a", strings.Repeat("x", 200), qos)
		p.say("a", "small", qos)
		c.hears("a", "small")
	}
	c.silent()
	c.drop(n, "c")
	p.say("a", strings.Repeat("x", 200), 2)
	p.say("a", "small", 1)
	c = n.open(t, con)
	c.hears("a", "small")
	c.silent()
	if got := n.Stats().Dropped["too_large"]; got != 5 {
		t.Errorf("%d counted, want 5", got)
	}
}

// TestAnswersWithinMaximumPacketSize [MQTT-3.1.2-24] [MQTT-3.1.2-25]: a client that does not take a CONNACK is not served, and one that asks for a
// longer answer than it takes does not wait for it in vain.
func TestAnswersWithinMaximumPacketSize(t *testing.T) {
	n := start(t, nil)
	for _, most := range []uint32{1, 3, 5, 15, 16} {
		con := lasting("c", true, 0)
		con.Properties.AddInt(packet.MaximumPacketSize, most)
		c := talk(t, n.dial(t), packet.V5)
		c.write(con.Append(nil))
		if most < 16 {
			c.gone()
			continue
		}
		c.connack()
		filters := strings.Split("abcdefghijk", "")
		c.subscribe(packet.Options{}, filters...)
		p := packet.Subscribe{PacketID: 8}
		for _, f := range append(filters, "l") {
			p.Subscriptions.Add([]byte(f), packet.Options{})
		}
		c.write(p.Append(nil, packet.V5))
		c.told(packet.PacketTooLarge)
	}
}

// TestTopicAlias [MQTT-3.3.2-8] to [MQTT-3.3.2-12]: within the maximum, changeable, and of one connection only
// [MQTT-3.3.2-7].
func TestTopicAlias(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxTopicAlias = 2 })
	s := n.join(t, packet.V311, "s")
	s.subscribe(packet.Options{}, "#")
	alias := func(topic string, alias uint32) []byte {
		m := packet.Publish{Topic: []byte(topic), Payload: []byte("x")}
		m.Properties.AddInt(packet.TopicAlias, alias)
		return m.Append(nil, packet.V5)
	}
	c := n.stay(t, packet.V5, "c")
	for _, step := range []struct {
		topic string
		alias uint32
		heard string
	}{{"a", 1, "a"}, {"", 1, "a"}, {"b", 2, "b"}, {"", 1, "a"}, {"c", 1, "c"}, {"", 1, "c"}, {"", 2, "b"}} {
		c.write(alias(step.topic, step.alias))
		s.hears(step.heard, "x")
	}
	c.write(alias("d", 3))
	c.told(packet.TopicAliasInvalid)

	c = n.stay(t, packet.V5, "c") // the session goes on, the aliases do not
	c.write(alias("", 1))
	c.told(packet.ProtocolError)
	s.silent()
}

// TestSubscriptionIdentifierFromClient [MQTT-3.3.4-6].
func TestSubscriptionIdentifierFromClient(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, packet.V5, "c")
	m := packet.Publish{Topic: []byte("a")}
	m.Properties.AddSubscriptionID(1)
	c.write(m.Append(nil, packet.V5))
	c.told(packet.ProtocolError)
}

// TestMalformed: whatever breaks the form of a packet ends the connection with its code, and only that connection.
func TestMalformed(t *testing.T) {
	n := start(t, nil)
	other := n.join(t, packet.V5, "other")
	tests := []struct {
		name string
		sent string
		code packet.ReasonCode
	}{
		{"[MQTT-3.3.1-4] QoS 3", "\x36\x05\x00\x01a\x00\x00", packet.MalformedPacket},
		{"[MQTT-3.3.1-2] DUP with QoS 0", "\x38\x04\x00\x01a\x00", packet.MalformedPacket},
		{"[MQTT-3.8.1-1] SUBSCRIBE with the wrong flags", "\x80\x07\x00\x01\x00\x00\x01a\x00", packet.MalformedPacket},
		{"[MQTT-3.8.3-2] SUBSCRIBE without a filter", "\x82\x03\x00\x01\x00", packet.ProtocolError},
		{"[MQTT-2.2.1-3] identifier 0", "\x32\x06\x00\x01a\x00\x00\x00", packet.ProtocolError},
		{"[MQTT-1.5.4-1] a topic that is not UTF-8", "\x30\x04\x00\x01\xff\x00", packet.MalformedPacket},
		{"[MQTT-3.3.2-2] a topic with a wildcard", "\x30\x04\x00\x01#\x00", packet.MalformedPacket},
		{"type 0", "\x00\x00", packet.MalformedPacket},
		{"a length of five bytes", "\x30\xff\xff\xff\xff\x01", packet.MalformedPacket},
		{"a PUBLISH of 256 MiB", "\x30\xff\xff\xff\x7f\x00\x01a", packet.PacketTooLarge},
		{"[MQTT-3.8.3-4] No Local on a shared subscription", "\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04", packet.ProtocolError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := n.join(t, packet.V5, "c")
			c.write([]byte(tt.sent))
			c.told(tt.code)
			other.silent()
		})
	}
}

// FuzzConnection feeds a node bytes after a CONNECT, and instead of one: it goes on serving.
func FuzzConnection(f *testing.F) {
	connect := (&packet.Connect{Version: packet.V5, ClientID: []byte("f"), CleanStart: true}).Append(nil)
	f.Add(byte(5), []byte("\x30\x05\x00\x01a\x00x\xc0\x00"))
	f.Add(byte(4), []byte("\x82\x06\x00\x01\x00\x01#\x00\x30\x04\x00\x01ax"))
	f.Add(byte(5), []byte("\x34\x06\x00\x01a\x00\x01\x00\x62\x02\x00\x01\xe0\x00"))
	f.Add(byte(0), connect)
	n := launch(f, func(o *Options) { o.ConnectTimeout = time.Second })
	f.Fuzz(func(t *testing.T, version byte, sent []byte) {
		c := talk(t, n.dial(t), packet.V5)
		if v := packet.Version(version); v >= packet.V31 && v <= packet.V5 {
			c.write((&packet.Connect{Version: v, ClientID: []byte("fuzz"), CleanStart: true}).Append(nil))
			c.v = v
		}
		c.conn.Write(sent)
		c.conn.Close()
		n.join(t, packet.V5, "witness").silent()
	})
}
