package conformance

import (
	"fmt"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// watch joins and subscribes to everything, as things were published.
func watch(t *testing.T, n *node) *client {
	t.Helper()
	w := n.join(t, v5, "watcher")
	w.subscribe(packet.Options{QoS: 2, RetainAsPublished: true}, "#")
	return w
}

// mortal is a CONNECT with a will for topic "will", whose text is the identifier. Delay and expiry are in seconds.
func mortal(id string, delay, expiry uint32) packet.Connect {
	p := packet.Connect{Version: v5, ClientID: []byte(id), KeepAlive: 60}
	p.Will = &packet.Will{Topic: []byte("will"), Payload: []byte(id)}
	if delay > 0 {
		p.Will.Properties.AddInt(packet.WillDelay, delay)
	}
	if expiry > 0 {
		p.Properties.AddInt(packet.SessionExpiry, expiry)
	}
	return p
}

// quit says DISCONNECT with a code.
func (c *client) quit(code packet.ReasonCode) {
	c.t.Helper()
	c.write((&packet.Disconnect{Code: code}).Append(nil, c.v))
	c.gone()
}

func TestV5_3_1_2_7(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	c, d := n.open(t, mortal("c", 0, 0)), n.open(t, mortal("d", 0, 0))
	c.silent()
	d.silent()
	w.silent()
	d.drop(n, "d")
	w.hears("will", "d")
	w.silent() // c is there
	c.drop(n, "c")
	w.hears("will", "c")
}

func TestV5_3_1_2_8(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	for _, test := range []struct {
		name          string
		delay, expiry uint32
		end           func(c *client)
		least         time.Duration // until the will comes; below 0 = never
	}{
		{"lost", 0, 0, func(c *client) { c.conn.Close() }, 0},
		{"lost, session goes on", 0, 3600, func(c *client) { c.conn.Close() }, 0},
		{"protocol error", 0, 0, func(c *client) { c.write(frame(0x36)); c.ends(packet.MalformedPacket) }, 0},
		{"asked for", 0, 3600, func(c *client) { c.quit(packet.DisconnectWithWill) }, 0},
		{"left with an error", 0, 0, func(c *client) { c.quit(packet.UnspecifiedError) }, 0},
		{"left", 0, 0, func(c *client) { c.quit(packet.NormalDisconnection) }, -1},
		{"left, session goes on", 1, 3600, func(c *client) { c.quit(packet.NormalDisconnection) }, -1},
		{"session ends before the delay", 3600, 0, func(c *client) { c.conn.Close() }, 0},
		{"session ends during the delay", 3600, 1, func(c *client) { c.conn.Close() }, time.Second},
		{"delay", 1, 3600, func(c *client) { c.conn.Close() }, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := n.open(t, mortal("c", test.delay, test.expiry))
			c.silent()
			since := time.Now()
			test.end(c)
			n.waitAway(t, "c")
			if test.least < 0 {
				n.open(t, mortal("marker", 0, 0)).drop(n, "marker")
				w.hears("will", "marker")
			} else {
				w.hears("will", "c")
			}
			if took := time.Since(since); took < test.least {
				t.Errorf("after %v, want %v", took, test.least)
			}
			w.silent()
			c, ack := n.connect(t, packet.Connect{Version: v5, ClientID: []byte("c")})
			if goesOn := test.expiry == 3600; ack.SessionPresent != goesOn { // the will does not end it
				t.Errorf("session present %t, want %t", ack.SessionPresent, goesOn)
			}
			c.bye(n, "c")
		})
	}
}

func TestV5_3_1_2_9(t *testing.T) {
	n := start(t, nil)
	id, properties := text("c"), sized()
	for name, b := range map[string][]byte{
		"nothing":                connectFrame(6, nil, id),
		"properties":             connectFrame(6, nil, id, properties),
		"properties and topic":   connectFrame(6, nil, id, properties, text("w")),
		"topic and payload":      connectFrame(6, nil, id, text("w"), text("x")),
		"a part of the payload":  connectFrame(6, nil, id, properties, text("w"), []byte{0, 2, 'x'}),
		"all, without the flag":  connectFrame(2, nil, id, properties, text("w"), text("x")),
		"all, and one byte more": connectFrame(6, nil, id, properties, text("w"), text("x"), []byte("x")),
	} {
		t.Run(name, func(t *testing.T) { n.begins(t, b, packet.MalformedPacket, packet.ProtocolError) })
	}
}

func TestV5_3_1_2_10(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	n.open(t, mortal("c", 0, 3600)).drop(n, "c")
	w.hears("will", "c")
	n.stay(t, v5, "c").drop(n, "c") // once more, without a will
	n.open(t, mortal("d", 0, 3600)).bye(n, "d")
	n.stay(t, v5, "d").drop(n, "d")
	w.silent()
}

func TestV5_3_1_2_11(t *testing.T) {
	n := start(t, nil)
	for _, flags := range []byte{0x0a, 0x12, 0x1a} {
		n.begins(t, connectFrame(flags, nil, text("c")), packet.MalformedPacket)
	}
}

func TestV5_3_1_2_12(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	for qos := range byte(3) {
		p := mortal(fmt.Sprint("c", qos), 0, 0)
		p.Will.QoS = qos
		n.open(t, p).drop(n, string(p.ClientID))
		if m := w.hears("will", string(p.ClientID)); m.QoS != qos {
			t.Errorf("QoS %d, want %d", m.QoS, qos)
		}
	}
	n.begins(t, connectFrame(0x1e, nil, text("c"), sized(), text("w"), text("x")), packet.MalformedPacket)
}

func TestV5_3_1_2_13(t *testing.T) {
	n := start(t, nil)
	n.begins(t, connectFrame(0x22, nil, text("c")), packet.MalformedPacket)
}

// checkWillRetain publishes a will with and without RETAIN.
func checkWillRetain(t *testing.T, retain bool) {
	t.Helper()
	n := start(t, nil)
	w := watch(t, n)
	w.retain("will", "before", 0)
	w.hears("will", "before")
	p := mortal("c", 0, 0)
	p.Will.Retain = retain
	n.open(t, p).drop(n, "c")
	if m := w.hears("will", "c"); m.Retain != retain {
		t.Errorf("RETAIN %t, want %t", m.Retain, retain)
	}
	late := n.join(t, v5, "late")
	late.subscribe(packet.Options{}, "will")
	if retain {
		late.hears("will", "c")
	} else {
		late.hears("will", "before")
	}
	late.silent()
}

func TestV5_3_1_2_14(t *testing.T) { checkWillRetain(t, false) }

func TestV5_3_1_2_15(t *testing.T) { checkWillRetain(t, true) }

// TestV5_3_1_3_9: the will of a second client, lost later, tells when that of the first would have come.
func TestV5_3_1_3_9(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	n.open(t, mortal("c", 1, 3600)).drop(n, "c")
	back := n.stay(t, v5, "c")
	n.open(t, mortal("marker", 1, 3600)).drop(n, "marker")
	w.hears("will", "marker")
	w.silent()
	back.silent()
}

func TestV5_3_1_3_10(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	p := mortal("c", 0, 0)
	want := fill(&p.Will.Properties)
	n.open(t, p).drop(n, "c")
	sameUser(t, w.hears("will", "c"), want)
}

// pair is a user property.
type pair struct{ name, value string }

// fill adds user properties whose order is not that of their names, and one name twice, and returns them.
func fill(p *packet.Properties) []pair {
	pairs := []pair{{"b", "1"}, {"a", "2"}, {"", ""}, {"b", "0"}, {"a", "2"}}
	for _, u := range pairs {
		p.AddUser([]byte(u.name), []byte(u.value))
	}
	return pairs
}

// sameUser compares the user properties of a message.
func sameUser(t *testing.T, m packet.Publish, want []pair) {
	t.Helper()
	var got []pair
	for name, value := range m.Properties.User() {
		got = append(got, pair{string(name), string(value)})
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestV5_3_1_3_11(t *testing.T) {
	n := start(t, nil)
	for _, s := range notText {
		n.begins(t, connectFrame(6, nil, text("c"), sized(), text(s), text("x")), packet.MalformedPacket, packet.TopicNameInvalid)
	}
}

func TestV5_3_1_3_12(t *testing.T) {
	n := start(t, nil)
	for _, s := range notText {
		n.begins(t, connectFrame(0x82, nil, text("c"), text(s)), packet.MalformedPacket, packet.BadUsernameOrPassword)
	}
}

func TestV5_3_2_2_12(t *testing.T) {
	n := start(t, limits(func(l *config.Limits) { l.MaxQoS = 1 }))
	w := watch(t, n)
	p := mortal("c", 0, 0)
	p.Will.QoS = 2
	c := n.dial(t, v5)
	c.write(p.Append(nil))
	c.rejected(packet.QoSNotSupported)
	p.Will.QoS = 1
	n.open(t, p).drop(n, "c")
	w.hears("will", "c")
	w.silent()
}

func TestV5_3_14_4_3(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	for i, end := range [][]byte{frame(0xe0), frame(0xe0, []byte{0}), frame(0xe0, []byte{0}, sized())} {
		id := fmt.Sprint("c", i)
		c := n.open(t, mortal(id, 0, 3600))
		c.write(end)
		c.gone()
		n.waitAway(t, id)
	}
	n.open(t, mortal("marker", 0, 0)).drop(n, "marker")
	w.hears("will", "marker")
	w.silent()
}

func TestV5_4_1_0_1(t *testing.T) {
	n := start(t, nil)
	p := clean("c")
	p.Properties.Reset()
	p.Properties.AddInt(packet.SessionExpiry, 1)
	c := n.open(t, p)
	w := watch(t, n)
	c.subscribe(packet.Options{QoS: 1}, "a")
	zero := n.join(t, v5, "zero") // of a session that ends with its connection
	zero.subscribe(packet.Options{QoS: 1}, "a")
	n.open(t, mortal("clock", 1, 3600)).drop(n, "clock")
	w.hears("will", "clock") // both expiries are long over
	w.say("a", "x", 1)
	c.hears("a", "x")
	zero.hears("a", "x")
	if s := n.Stats(); s.Sessions != 4 {
		t.Errorf("%d sessions, want 4 with that of the clock", s.Sessions)
	}
}

func TestV5_4_1_0_2(t *testing.T) {
	n := start(t, nil)
	sessions := func() int { return n.Stats().Sessions }
	for seconds := range uint32(2) {
		con := clean("c")
		con.Properties.Reset()
		con.Properties.AddInt(packet.SessionExpiry, seconds)
		c := n.open(t, con)
		c.subscribe(packet.Options{QoS: 1}, "a")
		since := time.Now()
		c.drop(n, "c")
		until(t, "the session has ended", func() bool { return sessions() == 0 })
		if took := time.Since(since); took < time.Duration(seconds)*time.Second {
			t.Errorf("it ended after %v of %d s", took, seconds)
		}
		p := n.join(t, v5, "p")
		p.say("a", "x", 1)
		p.bye(n, "p")
		c, ack := n.connect(t, lasting(v5, "c"))
		if ack.SessionPresent {
			t.Error("there is a session")
		}
		c.silent()
		c.quit(packet.NormalDisconnection)
		until(t, "the client is away", func() bool { return n.Stats().Clients == 0 })
		n.open(t, packet.Connect{Version: v5, ClientID: []byte("c"), CleanStart: true}).bye(n, "c")
		until(t, "no session is left", func() bool { return sessions() == 0 })
	}
}

func TestV5_3_2_2_21(t *testing.T) {
	n := start(t, func(o *broker.Options) { o.Config.Session.MaxKeepAlive = time.Second })
	p := packet.Connect{Version: v5, ClientID: []byte("c"), KeepAlive: 60}
	c, ack := n.connect(t, p)
	if seconds, _ := ack.Properties.Int(packet.ServerKeepAlive); seconds != 1 {
		t.Errorf("Server Keep Alive %d, want 1", seconds)
	}
	c.ends(packet.KeepAliveTimeout) // a client that does not follow
}

func TestV5_3_2_2_22(t *testing.T) {
	n := start(t, nil)
	p := packet.Connect{Version: v5, ClientID: []byte("c"), KeepAlive: 1}
	c, ack := n.connect(t, p)
	if ack.Properties.Has(packet.AnyProperty(packet.ServerKeepAlive)) {
		t.Fatal("there is a Server Keep Alive")
	}
	c.bye(n, "c")
	checkKeepAlive(t, n, p, time.Second)
}
