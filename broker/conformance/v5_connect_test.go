package conformance

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestV5_3_1_0_1(t *testing.T) {
	n := start(t, nil)
	for name, b := range map[string][]byte{
		"PUBLISH":    frame(0x30, text("a"), sized(), []byte("x")),
		"SUBSCRIBE":  frame(0x82, []byte{0, 1}, sized(), text("a"), []byte{0}),
		"PINGREQ":    frame(0xc0),
		"DISCONNECT": frame(0xe0),
		"AUTH":       frame(0xf0, []byte{0x18}, sized(property(packet.AuthMethod, "m"))),
		"CONNACK":    frame(0x20, []byte{0, 0, 0}),
	} {
		t.Run(name, func(t *testing.T) {
			c := n.dial(t, v5)
			c.write(b)
			c.gone()
		})
	}
}

func TestV5_3_1_0_2(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.write((&packet.Connect{Version: v5, ClientID: []byte("c"), CleanStart: true}).Append(nil))
	c.ends(packet.ProtocolError)
	c = n.join(t, v5, "c")
	c.write((&packet.Connect{Version: v5, ClientID: []byte("d"), CleanStart: true}).Append(nil))
	c.ends(packet.ProtocolError)
	n.waitAway(t, "c")
	n.waitAway(t, "d")
}

func TestV5_3_1_2_1(t *testing.T) {
	n := start(t, nil)
	rest := append([]byte{5, 2, 0, 60, 0}, text("c")...)
	for _, name := range []string{"", "MQT", "MQTX", "mqtt", "MQTT5", "HTTP/1.1", "MQIsdp"} {
		t.Run(name, func(t *testing.T) {
			c := n.dial(t, v5)
			c.write(frame(0x10, text(name), rest))
			unsupported(t, c)
		})
	}
	c := n.dial(t, v5)
	c.write(frame(0x10, text("MQTT"), rest))
	if ack := c.connack(); ack.Code != packet.Success {
		t.Errorf("MQTT: %v", ack.Code)
	}
}

// unsupported waits for the end, before which a CONNACK may say that the version is not served: 0x84 in the form of MQTT 5, or in
// that of the versions before it, which a client of an unknown version may know as well.
func unsupported(t *testing.T, c *client) {
	t.Helper()
	body := c.last(packet.CONNACK)
	if body != nil && !bytes.Equal(body, []byte{0, 0x84, 0}) && !bytes.Equal(body, []byte{0, 1}) {
		t.Errorf("CONNACK % x", body)
	}
}

func TestV5_3_1_2_2(t *testing.T) {
	n := start(t, nil)
	for _, level := range []byte{0, 1, 2, 3, 6, 7, 0x45, 0x85, 255} {
		t.Run(fmt.Sprint(level), func(t *testing.T) {
			c := n.dial(t, v5)
			c.write(frame(0x10, text("MQTT"), []byte{level, 2, 0, 60, 0}, text("c")))
			unsupported(t, c)
		})
	}
}

func TestV5_3_1_2_3(t *testing.T) {
	n := start(t, nil)
	n.begins(t, connectFrame(3, nil, text("c")), packet.MalformedPacket)
	n.begins(t, connectFrame(1, nil, text("c")), packet.MalformedPacket)
}

// clean is a CONNECT with Clean Start for a session that outlives the connection.
func clean(id string) packet.Connect {
	p := lasting(v5, id)
	p.CleanStart = true
	return p
}

// checkCleanStart makes a session with a subscription and a message that waits, and takes it over with Clean Start.
func checkCleanStart(t *testing.T, n *node, connected bool) {
	t.Helper()
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 1}, "a")
	n.join(t, v5, "p").say("a", "waits", 1)
	if connected {
		c.message() // and is not acknowledged
	} else {
		c.drop(n, "c")
	}
	c, ack := n.connect(t, clean("c"))
	if ack.SessionPresent {
		t.Error("there is a session")
	}
	c.say("a", "later", 1)
	c.silent()
	c.drop(n, "c")
	c = n.stay(t, v5, "c") // nor does the old one come back
	c.silent()
}

func TestV5_3_1_2_4(t *testing.T) {
	n := start(t, nil)
	checkCleanStart(t, n, false)
}

func TestV5_3_1_2_5(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 1}, "a")
	c.drop(n, "c")
	p := n.join(t, v5, "p")
	p.say("a", "1", 1)
	c, ack := n.connect(t, lasting(v5, "c"))
	if !ack.SessionPresent {
		t.Error("there is no session")
	}
	c.hears("a", "1")
	p.say("a", "2", 1)
	c.hears("a", "2")
}

func TestV5_3_1_2_6(t *testing.T) {
	n := start(t, nil)
	c, ack := n.connect(t, lasting(v5, "c"))
	if ack.SessionPresent || ack.Code != packet.Success {
		t.Errorf("CONNACK %v, session present %t", ack.Code, ack.SessionPresent)
	}
	c.subscribe(packet.Options{}, "a")
	c.say("a", "1", 0)
	c.hears("a", "1")
	c.drop(n, "c")
	if _, ack = n.connect(t, lasting(v5, "c")); !ack.SessionPresent {
		t.Error("no session was made")
	}
}

func TestV5_3_1_2_16(t *testing.T) {
	n := start(t, nil)
	n.begins(t, connectFrame(2, nil, text("c"), text("name")), packet.MalformedPacket)
}

func TestV5_3_1_2_17(t *testing.T) {
	n := start(t, nil)
	n.begins(t, connectFrame(0x82, nil, text("c")), packet.MalformedPacket)
}

func TestV5_3_1_2_18(t *testing.T) {
	n := start(t, nil)
	n.begins(t, connectFrame(0x82, nil, text("c"), text("name"), text("password")), packet.MalformedPacket)
}

func TestV5_3_1_2_19(t *testing.T) {
	n := start(t, nil)
	n.begins(t, connectFrame(0xc2, nil, text("c"), text("name")), packet.MalformedPacket)
	n.begins(t, connectFrame(0x42, nil, text("c")), packet.MalformedPacket)
}

// checkKeepAlive waits for the end of a connection that was opened after since, and for the will that comes with it.
func checkKeepAlive(t *testing.T, n *node, p packet.Connect, keepAlive time.Duration) {
	t.Helper()
	w := n.join(t, v5, "watcher")
	w.subscribe(packet.Options{}, "gone")
	p.Will = &packet.Will{Topic: []byte("gone"), Payload: p.ClientID}
	since := time.Now()
	c := n.open(t, p)
	c.ends(packet.KeepAliveTimeout)
	if took := time.Since(since); took < keepAlive {
		t.Errorf("the connection ended after %v of %v", took, keepAlive)
	}
	w.hears("gone", string(p.ClientID))
}

func TestV5_3_1_2_22(t *testing.T) {
	n := start(t, nil)
	checkKeepAlive(t, n, packet.Connect{Version: v5, ClientID: []byte("c"), KeepAlive: 1}, time.Second)
}

// TestV5_3_1_2_23: subscriptions, messages on the way, and identifiers of QoS 2 that were received.
func TestV5_3_1_2_23(t *testing.T) {
	n := start(t, nil)
	w := n.join(t, v5, "watcher")
	w.subscribe(packet.Options{QoS: 2}, "out")
	c := n.open(t, clean("c"))
	c.subscribe(packet.Options{QoS: 1}, "in")
	w.say("in", "on the way", 1)
	id := c.message().PacketID
	c.write((&packet.Publish{Topic: []byte("out"), Payload: []byte("once"), QoS: 2, PacketID: 5}).Append(nil, v5))
	c.ack(packet.PUBREC, 5)
	w.hears("out", "once")
	c.drop(n, "c")
	w.say("in", "waits", 1)
	c = n.stay(t, v5, "c")
	if m := c.hears("in", "on the way"); m.PacketID != id || !m.Dup {
		t.Errorf("identifier %d, DUP %t, want %d with", m.PacketID, m.Dup, id)
	}
	c.hears("in", "waits")
	c.write((&packet.Publish{Topic: []byte("out"), Payload: []byte("once"), QoS: 2, PacketID: 5, Dup: true}).Append(nil, v5))
	c.ack(packet.PUBREC, 5)
	c.send(packet.PUBREL, 5)
	c.ack(packet.PUBCOMP, 5)
	w.silent()
}

// smallest returns the least Maximum Packet Size with which a client is still served: the length of its CONNACK.
func smallest(t *testing.T, n *node) uint32 {
	t.Helper()
	p := packet.Connect{Version: v5, ClientID: []byte("probe"), CleanStart: true, KeepAlive: 60}
	p.Properties.AddInt(packet.MaximumPacketSize, 1000)
	c := n.open(t, p)
	defer c.bye(n, "probe")
	return uint32(len(c.r.Packet()))
}

// narrow connects with a Maximum Packet Size.
func narrow(t *testing.T, n *node, id string, size uint32) *client {
	t.Helper()
	p := packet.Connect{Version: v5, ClientID: []byte(id), CleanStart: true, KeepAlive: 60}
	p.Properties.AddInt(packet.MaximumPacketSize, size)
	return n.open(t, p)
}

// TestV5_3_1_2_24: messages and answers around the limit.
func TestV5_3_1_2_24(t *testing.T) {
	n := start(t, nil)
	const most = 100
	c := narrow(t, n, "c", most)
	c.subscribe(packet.Options{QoS: 1}, "a")
	p := n.join(t, v5, "p")
	const around = 2 + 3 + 2 + 1 // fixed header, topic, identifier, properties
	for size := most - 5; size < most+5; size++ {
		p.say("a", strings.Repeat("x", size-around), 1)
		if size <= most {
			c.hears("a", strings.Repeat("x", size-around))
			if got := len(c.r.Packet()); got != size {
				t.Fatalf("a packet of %d bytes, want %d", got, size)
			}
		}
	}
	c.silent()

	many := packet.Subscribe{PacketID: 1}
	for i := range most {
		many.Subscriptions.Add(fmt.Append(nil, i), packet.Options{})
	}
	c.write(many.Append(nil, v5)) // the answer would be too large
	if body := c.last(packet.DISCONNECT); len(body) > most-2 {
		t.Errorf("a DISCONNECT of %d bytes", len(body))
	}
}

func TestV5_3_1_2_25(t *testing.T) {
	n := start(t, nil)
	con := clean("c")
	con.Properties.AddInt(packet.MaximumPacketSize, 100)
	con.Properties.AddInt(packet.ReceiveMaximum, 1)
	c := n.open(t, con)
	c.subscribe(packet.Options{QoS: 2}, "a")
	p := n.join(t, v5, "p")
	for qos := range byte(3) {
		p.say("a", strings.Repeat("x", 100), qos)
		p.say("a", "small", qos)
		c.hears("a", "small")
	}
	c.drop(n, "c")
	p.say("a", strings.Repeat("x", 100), 1)
	con.CleanStart = false
	c = n.open(t, con)
	c.silent()
	c.drop(n, "c")
	c = n.stay(t, v5, "c") // which would take it
	c.silent()
}

// checkAliases lets a client hear ten topics again and again, and looks at the aliases that come.
func checkAliases(t *testing.T, n *node, most uint32) {
	t.Helper()
	con := packet.Connect{Version: v5, ClientID: []byte("c"), CleanStart: true, KeepAlive: 60}
	if most > 0 {
		con.Properties.AddInt(packet.TopicAliasMaximum, most)
	}
	c := n.open(t, con)
	c.subscribe(packet.Options{QoS: 1}, "t/#")
	p := n.join(t, v5, "p")
	for i := range 40 {
		p.say(fmt.Sprintf("t/%d", i%10), "x", byte(i%2))
		m := c.message()
		if m.QoS == 1 {
			c.send(packet.PUBACK, m.PacketID)
		}
		if alias, there := m.Properties.Int(packet.TopicAlias); there && (alias == 0 || alias > most) {
			t.Fatalf("topic alias %d, the client takes %d", alias, most)
		}
	}
	c.bye(n, "c")
}

func TestV5_3_1_2_26(t *testing.T) {
	n := start(t, nil)
	checkAliases(t, n, 1)
	checkAliases(t, n, 3)
}

func TestV5_3_1_2_27(t *testing.T) {
	n := start(t, nil)
	checkAliases(t, n, 0)
}

func TestV5_3_1_2_28(t *testing.T) {
	n := start(t, nil)
	for _, said := range []bool{true, false} {
		con := packet.Connect{Version: v5, ClientID: []byte("c"), CleanStart: true}
		if said {
			con.Properties.AddInt(packet.RequestResponseInfo, 0)
		}
		if _, ack := n.connect(t, con); ack.Properties.Has(packet.AnyProperty(packet.ResponseInfo)) {
			t.Error("there is Response Information")
		}
	}
}

// failures makes the node answer with a failure in every packet that can tell one, and calls see with each packet.
func failures(c *client, see func(h packet.Header, body []byte)) {
	c.t.Helper()
	steps := []struct {
		say  []byte
		hear packet.Type
	}{
		{(&packet.Publish{Topic: []byte("$SYS/x"), QoS: 1, PacketID: 1}).Append(nil, v5), packet.PUBACK},
		{(&packet.Publish{Topic: []byte("$SYS/x"), QoS: 2, PacketID: 1}).Append(nil, v5), packet.PUBREC},
		{(&packet.Ack{Type: packet.PUBREC, PacketID: 999}).Append(nil, v5), packet.PUBREL},
		{(&packet.Ack{Type: packet.PUBREL, PacketID: 999}).Append(nil, v5), packet.PUBCOMP},
		{frame(0x82, []byte{0, 1}, sized(), text("a/#/b"), []byte{0}), packet.SUBACK},
		{frame(0xa2, []byte{0, 1}, sized(), text("nothing")), packet.UNSUBACK},
		{(&packet.Connect{Version: v5}).Append(nil), packet.DISCONNECT},
	}
	for _, s := range steps {
		c.write(s.say)
		see(c.want(s.hear))
	}
}

// described returns the properties of an answer.
func described(t *testing.T, h packet.Header, body []byte) packet.Properties {
	t.Helper()
	var ack packet.Ack
	var sub packet.Suback
	var unsub packet.Unsuback
	var bye packet.Disconnect
	var err error
	var p *packet.Properties
	switch h.Type {
	case packet.SUBACK:
		err, p = sub.Decode(v5, h, body), &sub.Properties
	case packet.UNSUBACK:
		err, p = unsub.Decode(v5, h, body), &unsub.Properties
	case packet.DISCONNECT:
		err, p = bye.Decode(v5, h, body), &bye.Properties
	default:
		err, p = ack.Decode(v5, h, body), &ack.Properties
	}
	if err != nil {
		t.Fatal(err)
	}
	return *p
}

func TestV5_3_1_2_29(t *testing.T) {
	n := start(t, nil)
	con := packet.Connect{Version: v5, ClientID: []byte("c"), CleanStart: true, KeepAlive: 60}
	con.Properties.AddInt(packet.RequestProblemInfo, 0)
	failures(n.open(t, con), func(h packet.Header, body []byte) {
		p := described(t, h, body)
		if h.Type != packet.DISCONNECT && (p.Has(packet.UserProperty) || p.Has(packet.AnyProperty(packet.ReasonString))) {
			t.Errorf("%v % x", h.Type, body)
		}
	})
}

func TestV5_3_1_3_1(t *testing.T) {
	n := start(t, nil)
	w := n.join(t, v5, "watcher")
	w.subscribe(packet.Options{}, "topic")
	c := n.dial(t, v5)
	c.write(connectFrame(0xc6, nil, text("c"), sized(property(packet.ContentType, "type")), text("topic"), text("payload"), text("name"), text("password")))
	if ack := c.connack(); ack.Code != packet.Success {
		t.Fatal(ack.Code)
	}
	c.drop(n, "c")
	if m := w.hears("topic", "payload"); string(m.Properties.Bytes(packet.ContentType)) != "type" {
		t.Errorf("content type %q", m.Properties.Bytes(packet.ContentType))
	}
}

func TestV5_3_1_3_2(t *testing.T) {
	n := start(t, nil)
	for _, id := range []string{"a", "A", "aa"} {
		c, ack := n.connect(t, lasting(v5, id))
		if ack.SessionPresent {
			t.Errorf("%s has the session of another one", id)
		}
		c.subscribe(packet.Options{}, "for/"+id)
		c.drop(n, id)
	}
	c, ack := n.connect(t, lasting(v5, "A"))
	if !ack.SessionPresent {
		t.Error("the session is gone")
	}
	for _, id := range []string{"a", "A", "aa"} {
		c.say("for/"+id, "x", 0)
	}
	c.hears("for/A", "x")
	c.silent()
}

func TestV5_3_1_3_3(t *testing.T) {
	n := start(t, nil)
	n.begins(t, connectFrame(2, nil), packet.MalformedPacket)
	n.begins(t, connectFrame(2, nil, []byte{0}), packet.MalformedPacket)
	n.begins(t, connectFrame(2, nil, []byte{0, 2, 'c'}), packet.MalformedPacket)
}

func TestV5_3_1_3_4(t *testing.T) {
	n := start(t, nil)
	for _, s := range notText {
		n.begins(t, connectFrame(2, nil, text(s)), packet.MalformedPacket, packet.ClientIDNotValid)
	}
}

func TestV5_3_1_3_5(t *testing.T) {
	n := start(t, nil)
	const all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for _, id := range []string{"0", "z", all[:23], all[23:46], all[39:]} {
		c := n.join(t, v5, id)
		c.silent()
		clients := n.Clients()
		if len(clients) != 1 || clients[0].ID != id {
			t.Errorf("%s is known as %v", id, clients)
		}
		c.bye(n, id)
	}
}

// checkAssigned connects without an identifier and returns the one that the node has made.
func checkAssigned(t *testing.T, n *node) string {
	t.Helper()
	p := lasting(v5, "")
	c, ack := n.connect(t, p)
	id := string(ack.Properties.Bytes(packet.AssignedClientID))
	if ack.Code != packet.Success || id == "" {
		t.Fatalf("CONNACK %v, identifier %q", ack.Code, id)
	}
	c.silent()
	return id
}

func TestV5_3_1_3_6(t *testing.T) {
	n := start(t, nil)
	seen := make(map[string]bool)
	for range 10 {
		seen[checkAssigned(t, n)] = true
	}
	if len(seen) != 10 || len(n.Clients()) != 10 {
		t.Errorf("%d identifiers, %d clients, want 10", len(seen), len(n.Clients()))
	}
}

func TestV5_3_1_3_7(t *testing.T) {
	n := start(t, nil)
	id := checkAssigned(t, n)
	if clients := n.Clients(); len(clients) != 1 || clients[0].ID != id {
		t.Errorf("%v, want %s", clients, id)
	}
	if _, ack := n.connect(t, lasting(v5, id)); !ack.SessionPresent || ack.Properties.Has(packet.AnyProperty(packet.AssignedClientID)) {
		t.Errorf("session present %t; an identifier is assigned to one who has it", ack.SessionPresent)
	}
}

// TestV5_3_1_4_1: each is one step away from a CONNECT that is accepted.
func TestV5_3_1_4_1(t *testing.T) {
	n := start(t, nil)
	expiry := []byte{byte(packet.SessionExpiry), 0, 0, 0, 9}
	c := n.dial(t, v5)
	c.write(connectFrame(2, expiry, text("c")))
	c.connack()
	c.bye(n, "c")
	for name, b := range map[string][]byte{
		"short":                     frame(0x10, text("MQTT"), []byte{5, 2, 0}),
		"trailing bytes":            connectFrame(2, nil, text("c"), []byte("x")),
		"unknown property":          connectFrame(2, []byte{0x7f, 0}, text("c")),
		"property of a PUBLISH":     connectFrame(2, []byte{byte(packet.TopicAlias), 0, 1}, text("c")),
		"property twice":            connectFrame(2, append(expiry, expiry...), text("c")),
		"property cut short":        connectFrame(2, expiry[:4], text("c")),
		"receive maximum 0":         connectFrame(2, []byte{byte(packet.ReceiveMaximum), 0, 0}, text("c")),
		"maximum packet size 0":     connectFrame(2, []byte{byte(packet.MaximumPacketSize), 0, 0, 0, 0}, text("c")),
		"request problem info 2":    connectFrame(2, []byte{byte(packet.RequestProblemInfo), 2}, text("c")),
		"request response info 2":   connectFrame(2, []byte{byte(packet.RequestResponseInfo), 2}, text("c")),
		"authentication data alone": connectFrame(2, property(packet.AuthData, "x"), text("c")),
		"will delay of a CONNECT":   connectFrame(2, []byte{byte(packet.WillDelay), 0, 0, 0, 1}, text("c")),
		"payload format 2":          connectFrame(6, nil, text("c"), sized([]byte{byte(packet.PayloadFormat), 2}), text("w"), text("x")),
		"will topic empty":          connectFrame(6, nil, text("c"), sized(), text(""), text("x")),
	} {
		t.Run(name, func(t *testing.T) { n.begins(t, b, packet.MalformedPacket, packet.ProtocolError) })
	}
}

func TestV5_3_1_4_2(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxConnections = 1 }))
	n.join(t, v5, "first")
	c := n.dial(t, v5)
	c.write(connectFrame(2, nil, text("second")))
	c.rejected(packet.ServerBusy, packet.QuotaExceeded, packet.ServerUnavailable)
	n.begins(t, connectFrame(6, nil, text("first"), sized(), text("$SYS/x"), text("x")), packet.NotAuthorized, packet.TopicNameInvalid)
}

// TestV5_3_1_4_3: the newcomer is served, whoever it is.
func TestV5_3_1_4_3(t *testing.T) {
	n := start(t, nil)
	for _, v := range []packet.Version{packet.V311, v5} {
		old := n.stay(t, v5, "c")
		c := n.stay(t, v, "c")
		old.told(packet.SessionTakenOver)
		c.silent()
		if clients := n.Clients(); len(clients) != 1 || clients[0].Version != v {
			t.Errorf("%v", clients)
		}
	}
}

func TestV5_3_1_4_4(t *testing.T) {
	n := start(t, nil)
	checkCleanStart(t, n, true)
	checkCleanStart(t, n, false)
}

func TestV5_3_1_4_5(t *testing.T) {
	n := start(t, nil)
	for _, p := range []packet.Connect{clean("c"), lasting(v5, "c"), lasting(v5, "d"), lasting(v5, "")} {
		c := n.dial(t, v5)
		c.write(p.Append(nil))
		if _, body := c.want(packet.CONNACK); body[1] != 0 {
			t.Errorf("CONNACK % x", body)
		}
	}
}

func TestV5_3_1_4_6(t *testing.T) {
	n := start(t, func(o *broker.Options) { o.Config.Limits.MaxQoS = 1 })
	w := n.join(t, v5, "watcher")
	w.subscribe(packet.Options{}, "#")
	after := frame(0x31, text("a"), sized(), []byte("x"))
	for name, b := range map[string][]byte{
		"malformed":             connectFrame(3, nil, text("c")),
		"not supported":         connectFrame(2, property(packet.AuthMethod, "m"), text("c")),
		"will above the server": connectFrame(0x16, nil, text("c"), sized(), text("w"), text("x")),
	} {
		t.Run(name, func(t *testing.T) {
			c := n.dial(t, v5)
			c.write(append(b, after...))
			c.rejected(packet.MalformedPacket, packet.BadAuthenticationMethod, packet.QoSNotSupported)
		})
	}
	w.silent()
	if n.Stats().Retained > 0 {
		t.Error("something is retained")
	}
}
