package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestV311_3_1_0_1(t *testing.T) {
	n := start(t, nil)
	for name, b := range clientPackets() {
		t.Run(name, func(t *testing.T) { n.rejects(t, b) })
	}
	for name, b := range serverPackets() {
		t.Run(name, func(t *testing.T) { n.rejects(t, b) })
	}
}

func TestV311_3_1_0_2(t *testing.T) {
	n := start(t, nil)
	for name, second := range map[string][]byte{"the same": connect4(0x02, "culprit"), "another client": connect4(0x02, "b")} {
		t.Run(name, func(t *testing.T) { n.cuts(t, second) })
	}
}

// unaccepted sends a CONNECT that may be refused or not be answered, but not be accepted.
func (n *node) unaccepted(t *testing.T, b []byte) {
	t.Helper()
	c := n.dial(t, v4)
	c.write(b)
	if body := c.last(packet.CONNACK); body != nil && body[1] == 0 {
		t.Errorf("CONNACK % x", body)
	}
}

func TestV311_3_1_2_1(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connectOf("MQTT", 4, 0x02, "id"))
	for _, name := range []string{"", "M", "MQT", "MQTTT", "mqtt", "MQTX", "MQIsdp", "HTTP", "MQTT\x00", strings.Repeat("M", 1000)} {
		t.Run(name[:min(len(name), 8)], func(t *testing.T) { n.unaccepted(t, connectOf(name, 4, 0x02, "id")) })
	}
}

func TestV311_3_1_2_2(t *testing.T) {
	n := start(t, nil)
	for _, level := range []byte{0, 1, 2, 3, 6, 7, 0x80, 0x83, 0x84, 0xff} {
		t.Run(packet.Version(level).String(), func(t *testing.T) {
			c := n.dial(t, v4)
			c.write(connectOf("MQTT", level, 0x02, "id"))
			if _, body := c.want(packet.CONNACK); string(body) != "\x00\x01" {
				t.Errorf("CONNACK % x, want 00 01", body)
			}
			c.gone()
		})
	}
}

func TestV311_3_1_2_3(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connect4(0x02, "id"))
	n.rejects(t, connect4(0x03, "id"))
	n.rejects(t, connect4(0x01, "id"))
}

func TestV311_3_1_2_4(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	c, ack := n.connect(t, lasting(v4, "c")) // nothing to resume: it is made
	if ack.Code != packet.Success || ack.SessionPresent {
		t.Fatalf("CONNACK: %+v", ack)
	}
	c.subscribe(packet.Options{QoS: 1}, "a")
	c.bye(n, "c")
	c = n.resume(t, "c")
	p.say("a", "after DISCONNECT", 1)
	c.hears("a", "after DISCONNECT")
	c.drop(n, "c")
	c = n.resume(t, "c")
	p.say("a", "after a break", 1)
	c.hears("a", "after a break")
	c.silent()
}

func TestV311_3_1_2_5(t *testing.T) {
	n := start(t, nil)
	n.away(t, "c", 2, "a", "b/+")
	p := n.join(t, v4, "p")
	p.say("a", "1", 1)
	p.say("b/c", "2", 2)
	p.say("other", "3", 2)
	c := n.resume(t, "c")
	if m := c.hears("a", "1"); m.QoS != 1 {
		t.Errorf("QoS %d, want 1", m.QoS)
	}
	if m := c.hears("b/c", "2"); m.QoS != 2 {
		t.Errorf("QoS %d, want 2", m.QoS)
	}
	c.silent()
}

func TestV311_3_1_2_6(t *testing.T) {
	n := start(t, nil)
	n.away(t, "c", 1, "a", "marker")
	p := n.join(t, v4, "p")
	p.say("a", "for the old session", 1)
	c := n.join(t, v4, "c") // clean: neither subscriptions nor messages
	p.say("a", "for nobody", 1)
	c.subscribe(packet.Options{QoS: 1}, "marker")
	c.hearsNothingBut(p, "marker", "1")
	c.bye(n, "c") // with the connection the clean session ends
	p.say("marker", "for nobody", 1)
	c, ack := n.connect(t, lasting(v4, "c"))
	if ack.SessionPresent {
		t.Error("a clean session is resumed")
	}
	p.say("marker", "for nobody", 1)
	c.subscribe(packet.Options{QoS: 1}, "end")
	c.hearsNothingBut(p, "end", "2")
}

// TestCleanSessionForgetsWhatCame is the part of [MQTT-3.1.2-6] about messages of QoS 2 from the client.
func TestCleanSessionForgetsWhatCame(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "a")
	for _, text := range []string{"1", "2"} { // which have the same identifier
		c := n.join(t, v4, "c")
		c.write((&packet.Publish{Topic: []byte("a"), Payload: []byte(text), QoS: 2, PacketID: 9}).Append(nil, v4))
		c.ack(packet.PUBREC, 9)
		w.hears("a", text)
		c.drop(n, "c")
	}
}

func TestV311_3_1_2_7(t *testing.T) {
	n := start(t, nil)
	clean := n.join(t, v4, "clean")
	clean.retain("r/clean", "1", 1)
	clean.bye(n, "clean")
	kept := n.stay(t, v4, "kept")
	kept.retain("r/kept", "2", 1)
	kept.bye(n, "kept")
	n.join(t, v4, "kept").bye(n, "kept") // the end of that session
	c := n.join(t, v4, "c")
	c.subscribe(packet.Options{QoS: 1}, "r/clean")
	c.hears("r/clean", "1")
	c.subscribe(packet.Options{QoS: 1}, "r/kept")
	c.hears("r/kept", "2")
}

func TestV311_3_1_2_18(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connect4(0x82, "id", "user"))
	n.rejects(t, connect4(0x02, "id", "user"))
}

func TestV311_3_1_2_19(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connect4(0x82, "id", ""))
	n.rejects(t, connect4(0x82, "id"))
}

func TestV311_3_1_2_20(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connect4(0xc2, "id", "user", "password"))
	n.rejects(t, connect4(0x82, "id", "user", "password"))
}

func TestV311_3_1_2_21(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connect4(0xc2, "id", "user", ""))
	n.rejects(t, connect4(0xc2, "id", "user"))
}

func TestV311_3_1_2_22(t *testing.T) {
	n := start(t, nil)
	n.rejects(t, connect4(0x42, "id", "password"))
	n.rejects(t, connect4(0x42, "id", "user", "password"))
}

// connected reports whether a client of that identifier is.
func (n *node) connected(id string) bool {
	for _, c := range n.Clients() {
		if c.ID == id {
			return true
		}
	}
	return false
}

// TestV311_3_1_2_24: one client is silent, one says something all the time, and one has no keep alive. The latter two were there
// first.
func TestV311_3_1_2_24(t *testing.T) {
	n := start(t, nil)
	open := func(id string, keepAlive uint16) *client {
		return n.open(t, packet.Connect{Version: v4, ClientID: []byte(id), CleanStart: true, KeepAlive: keepAlive})
	}
	without, busy := open("without", 0), open("busy", 1)
	began := time.Now()
	silent := open("silent", 1)
	until(t, "the silent client is away", func() bool {
		busy.silent()
		return !n.connected("silent")
	})
	silent.gone()
	if took := time.Since(began); took < time.Second {
		t.Errorf("cut after %v of a keep alive of a second", took)
	}
	busy.silent()
	without.silent()
}

func TestV311_3_1_3_1(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "topic")
	c := n.admits(t, connect4(0xce, "id", "topic", "message", "user", "password"))
	if !n.connected("id") {
		t.Error("the first field is not the client identifier")
	}
	c.drop(n, "id")
	w.hears("topic", "message")
}

func TestV311_3_1_3_2(t *testing.T) {
	n := start(t, nil)
	n.away(t, "a", 1, "for/a")
	n.away(t, "b", 1, "for/b")
	if _, ack := n.connect(t, lasting(v4, "A")); ack.SessionPresent {
		t.Error("another identifier has a session")
	}
	p := n.join(t, v4, "p")
	p.say("for/a", "1", 1)
	p.say("for/b", "2", 1)
	b, a := n.resume(t, "b"), n.resume(t, "a")
	a.hears("for/a", "1")
	b.hears("for/b", "2")
	a.silent()
	b.silent()
}

func TestV311_3_1_3_3(t *testing.T) {
	n := start(t, nil)
	n.rejects(t, connect4(0x02))
	n.rejects(t, connect4(0x82)) // nor is the user name taken for it
}

func TestV311_3_1_3_4(t *testing.T)  { start(t, nil).checkString(t, "client identifier", illFormed()) }
func TestV311_3_1_3_10(t *testing.T) { start(t, nil).checkString(t, "will topic", illFormed()) }
func TestV311_3_1_3_11(t *testing.T) { start(t, nil).checkString(t, "user name", illFormed()) }

func TestV311_3_1_3_5(t *testing.T) {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	n := start(t, nil)
	for length := 1; length <= 23; length++ {
		id := letters[length : length+length]
		n.admits(t, connect4(0x02, id))
		if !n.connected(id) {
			t.Errorf("%q is not known by its name", id)
		}
	}
	for i := range letters {
		n.admits(t, connect4(0x02, letters[i:i+1]))
	}
}

func TestV311_3_1_3_6(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, v4, "p")
	var clients []*client
	for range 3 {
		c := n.admits(t, connect4(0x02, ""))
		c.subscribe(packet.Options{QoS: 1}, "a")
		clients = append(clients, c)
	}
	seen := make(map[string]bool)
	for _, c := range n.Clients() {
		if c.ID == "" || seen[c.ID] {
			t.Errorf("the identifier %q was chosen", c.ID)
		}
		seen[c.ID] = true
	}
	p.say("a", "m", 1)
	for _, c := range clients {
		c.hears("a", "m")
	}
}

func TestV311_3_1_3_7(t *testing.T) {
	n := start(t, nil)
	n.unaccepted(t, connect4(0x00, ""))
	n.admits(t, connect4(0x02, ""))
}

func TestV311_3_1_3_8(t *testing.T) {
	n := start(t, nil)
	c := n.dial(t, v4)
	c.write(connect4(0x00, ""))
	c.refused(packet.ClientIDNotValid)
}

// TestV311_3_1_3_9: whatever identifier a node does not like, and there is one at least, the answer is return code 2.
func TestV311_3_1_3_9(t *testing.T) {
	n := start(t, nil)
	refusals := 0
	for _, id := range []string{"", strings.Repeat("x", 24), strings.Repeat("x", 65535), " ", "a/b", "#", "+", "$SYS", "\u20ac", "\u0001", "a b"} {
		c := n.dial(t, v4)
		c.write(connect4(0x00, id))
		_, body := c.want(packet.CONNACK)
		switch string(body) {
		case "\x00\x00":
		case "\x00\x02":
			c.gone()
			refusals++
		default:
			t.Errorf("%.20q: CONNACK % x, want 00 00 or 00 02", id, body)
		}
	}
	if refusals == 0 {
		t.Error("none was refused")
	}
}

// TestV311_3_1_4_1: a CONNECT that ends too early, wherever that is, and some that are wrong otherwise.
func TestV311_3_1_4_1(t *testing.T) {
	n := start(t, nil)
	whole := connect4(0xee, "id", "topic", "message", "user", "password")
	n.admits(t, whole)
	body := string(whole[2:])
	for end := range body {
		n.rejects(t, assemble(0x10, body[:end]))
	}
	for name, b := range map[string][]byte{
		"a byte too many":     assemble(0x10, body, "\x00"),
		"fields too many":     connect4(0x02, "id", "topic"),
		"a will of QoS 3":     connect4(0x1e, "id", "topic", "message"),
		"an empty will topic": connect4(0x06, "id", "", "message"),
		"wildcards in a will": connect4(0x06, "id", "a/#", "message"),
		"flags of the packet": append([]byte{0x11}, whole[1:]...),
		"a reserved flag":     connect4(0x03, "id"),
	} {
		t.Run(name, func(t *testing.T) { n.rejects(t, b) })
	}
}

func TestV311_3_1_4_2(t *testing.T) {
	n := start(t, nil)
	for name, flags := range map[string]byte{"clean": 0x02, "not clean": 0x00} {
		t.Run(name, func(t *testing.T) {
			first := n.admits(t, connect4(flags, "id"))
			second := n.admits(t, connect4(flags, "id"))
			first.gone()
			second.silent()
		})
	}
}

// TestV311_3_1_4_3: clean session and not, where the session is still in use by another connection.
func TestV311_3_1_4_3(t *testing.T) {
	n := start(t, nil)
	c := n.stay(t, v4, "c")
	c.subscribe(packet.Options{QoS: 1}, "a")
	p := n.join(t, v4, "p")
	next := n.resume(t, "c")
	c.gone()
	p.say("a", "1", 1)
	next.hears("a", "1")
	clean := n.join(t, v4, "c")
	next.gone()
	p.say("a", "2", 1)
	clean.subscribe(packet.Options{QoS: 1}, "b")
	clean.hearsNothingBut(p, "b", "3")
}

func TestV311_3_1_4_4(t *testing.T) {
	n := start(t, nil)
	c := n.dial(t, v4)
	c.write(connect4(0x02, "id"))
	if _, body := c.want(packet.CONNACK); string(body) != "\x00\x00" {
		t.Errorf("CONNACK % x, want 00 00", body)
	}
	c.silent()
}

func TestV311_3_1_4_5(t *testing.T) {
	n := start(t, nil)
	w, p := n.listener(t, "w", "a"), n.join(t, v4, "p")
	for code, connect := range map[packet.ReasonCode][]byte{
		packet.ClientIDNotValid:           connect4(0x00, ""),
		packet.UnsupportedProtocolVersion: connectOf("MQTT", 6, 0x02, "id"),
	} {
		c := n.dial(t, v4)
		c.write(append(connect, assemble(0x33, field("a"), "\x00\x01", "from a stranger")...))
		c.refused(code)
		w.hearsNothingBut(p, "a", "from a client")
	}
	if retained := n.Stats().Retained; retained != 0 {
		t.Errorf("%d messages are retained", retained)
	}
}

// TestV311_3_2_0_1: the session has messages for the client, which for its part does not wait for the CONNACK.
func TestV311_3_2_0_1(t *testing.T) {
	n := start(t, nil)
	n.away(t, "c", 1, "a")
	p := n.join(t, v4, "p")
	for range 20 {
		p.say("a", "m", 1)
		c := n.dial(t, v4)
		b := packet.AppendPingreq(connect4(0x00, "c"))
		c.write(append(b, packetsWith("b")["SUBSCRIBE"]...))
		if ack := c.connack(); ack.Code != packet.Success {
			t.Fatalf("CONNACK: %v", ack.Code)
		}
		c.answer(packet.PINGRESP)
		c.answer(packet.SUBACK)
		c.hears("a", "m")
		c.silent() // the PUBACK has been read
		c.drop(n, "c")
	}
}

// present connects without a clean session, or with one, and returns what the CONNACK has for session present and code.
func (n *node) present(t *testing.T, flags byte, id string) string {
	t.Helper()
	c := n.dial(t, v4)
	c.write(connect4(flags, id))
	_, body := c.want(packet.CONNACK)
	c.write((&packet.Disconnect{}).Append(nil, v4))
	c.gone()
	n.waitAway(t, id)
	return string(body)
}

func TestV311_3_2_2_1(t *testing.T) {
	n := start(t, nil)
	n.away(t, "c", 1, "a")
	for range 2 {
		if got := n.present(t, 0x02, "c"); got != "\x00\x00" {
			t.Errorf("CONNACK % x, want 00 00", got)
		}
	}
}

func TestV311_3_2_2_2(t *testing.T) {
	n := start(t, nil)
	n.away(t, "c", 1, "a")
	for range 2 {
		if got := n.present(t, 0x00, "c"); got != "\x01\x00" {
			t.Errorf("CONNACK % x, want 01 00", got)
		}
	}
}

func TestV311_3_2_2_3(t *testing.T) {
	n := start(t, nil)
	for name, before := range map[string]func(){
		"new":                   func() {},
		"after a clean session": func() { n.present(t, 0x02, "c") },
	} {
		before()
		if got := n.present(t, 0x00, "c"); got != "\x00\x00" {
			t.Errorf("%s: CONNACK % x, want 00 00", name, got)
		}
		n.present(t, 0x02, "c")
	}
}

// TestV311_3_2_2_4: there is a session, but no room for the client.
func TestV311_3_2_2_4(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxConnections = 1 }))
	n.away(t, "c", 1, "a")
	other := n.join(t, v4, "other")
	c := n.dial(t, v4)
	c.write(connect4(0x00, "c"))
	if _, body := c.want(packet.CONNACK); string(body) != "\x00\x03" {
		t.Errorf("CONNACK % x, want 00 03", body)
	}
	other.bye(n, "other")
	n.resume(t, "c")
}

func TestV311_3_2_2_5(t *testing.T) {
	n := start(t, nil)
	for _, connect := range [][]byte{connect4(0x00, ""), connectOf("MQTT", 6, 0x02, "id")} {
		c := n.dial(t, v4)
		c.write(connect)
		if _, body := c.want(packet.CONNACK); body[1] == 0 {
			t.Errorf("CONNACK % x, want a refusal", body)
		}
		c.gone()
	}
}

// TestV311_3_2_2_6: no return code says that a will may not have QoS 2.
func TestV311_3_2_2_6(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxQoS = 1 }))
	n.admits(t, connect4(0x0e, "id", "topic", "message"))
	n.rejects(t, connect4(0x16, "id", "topic", "message"))
}

// shortSessions is a change for start: no session outlives its connection for long.
func shortSessions(o *broker.Options) { o.Config.Session.MaxExpiry = time.Millisecond }
