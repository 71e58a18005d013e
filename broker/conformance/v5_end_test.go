package conformance

import (
	"bytes"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestV5_3_12_4_1(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	for range 3 {
		c.write(frame(0xc0))
		if h, body := c.want(packet.PINGRESP); h.Flags != 0 || len(body) != 0 {
			t.Errorf("flags %04b, % x", h.Flags, body)
		}
		c.subscribe(packet.Options{}, "a") // whose answer comes next
	}
}

// TestV5_3_14_0_1: neither a CONNECT that is refused, nor anything before it, nor the end of the node.
func TestV5_3_14_0_1(t *testing.T) {
	n := start(t, nil)
	for _, b := range refusals() {
		c := n.dial(t, v5)
		c.write(b)
		if h, body := c.next(); h.Type == packet.DISCONNECT {
			t.Errorf("a DISCONNECT % x", body)
		}
	}
	for _, b := range [][]byte{frame(0xc0), frame(0x10), frame(0x10, text("MQTT")), frame(0x10, text("MQTT"), []byte{5, 2, 0, 60, 9})} {
		n.begins(t, b, packet.MalformedPacket)
	}
	c := n.dial(t, v5)
	c.write([]byte{0x10})
	n.stop()
	c.rejected(packet.ServerUnavailable, packet.ServerBusy)
}

func TestV5_3_14_1_1(t *testing.T) {
	n := start(t, nil)
	for flags := byte(1); flags < 16; flags++ {
		c := n.join(t, v5, "c")
		c.write(frame(0xe0 | flags))
		c.told(packet.MalformedPacket)
	}
}

// goodbyes makes the node end connections for various reasons, and calls see with each DISCONNECT.
func goodbyes(t *testing.T, n *node, open func(id string) *client, see func(c *client, body []byte)) {
	t.Helper()
	for _, b := range [][]byte{
		frame(0x36), frame(0x10, text("MQTT")), frame(0xf0), frame(0x30, text("")), frame(0x30, text("a/+"), sized()), aliased("a", 999), frame(0x20, []byte{0, 0, 0}),
		frame(0x30, make([]byte, 2<<20)),
	} {
		c := open("c")
		c.write(b)
		c.parting(see)
	}
	old := open("c")
	open("c").conn.Close()
	old.parting(see)
	last := open("last")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.stop()
	}()
	last.parting(see)
	<-ended
}

// parting takes a DISCONNECT for see, and closes: the node need not wait for that.
func (c *client) parting(see func(c *client, body []byte)) {
	c.t.Helper()
	_, body := c.want(packet.DISCONNECT)
	see(c, body)
	c.conn.Close()
}

// joined returns how goodbyes is to connect.
func joined(t *testing.T, n *node) func(string) *client {
	return func(id string) *client { return n.join(t, v5, id) }
}

func TestV5_3_14_2_1(t *testing.T) {
	n := start(t, nil)
	for _, code := range []byte{1, 2, 0x10, 0x18, 0x84, 0x85, 0x88, 0x8a, 0x91, 0x92, 0xff} {
		n.breaks(t, frame(0xe0, []byte{code}), packet.ProtocolError, packet.MalformedPacket)
	}
	section := []byte{ // 3.14.2.1, those of a server
		0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d,
		0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
	}
	goodbyes(t, n, joined(t, n), func(_ *client, body []byte) {
		if len(body) > 0 && !bytes.Contains(section, body[:1]) {
			t.Errorf("DISCONNECT % x", body)
		}
	})
}

func TestV5_3_14_2_2(t *testing.T) {
	n := start(t, nil)
	open := func(id string) *client { return n.open(t, clean(id)) }
	goodbyes(t, n, open, func(_ *client, body []byte) {
		if described(t, packet.Header{Type: packet.DISCONNECT}, body).Has(packet.AnyProperty(packet.SessionExpiry)) {
			t.Errorf("DISCONNECT % x", body)
		}
	})
}

// checkDisconnectFits gives every reason to clients that take no more than they must.
func checkDisconnectFits(t *testing.T) {
	t.Helper()
	n := start(t, nil)
	least := smallest(t, n)
	open := func(id string) *client { return narrow(t, n, id, least) }
	goodbyes(t, n, open, func(c *client, body []byte) {
		if len(c.r.Packet()) > int(least) {
			t.Errorf("a DISCONNECT of %d bytes for %d", len(c.r.Packet()), least)
		}
	})
}

func TestV5_3_14_2_3(t *testing.T) { checkDisconnectFits(t) }

func TestV5_3_14_2_4(t *testing.T) { checkDisconnectFits(t) }

// TestV5_3_14_4_1: the node falls silent after its own; what a client sends after its own is not looked at.
func TestV5_3_14_4_1(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	c := n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "a")
	after := frame(0x30, text("a"), sized(), []byte("after"))
	c.write(append(frame(0xe0), append(after, frame(0xc0)...)...))
	c.gone()
	c = n.join(t, v5, "c")
	c.subscribe(packet.Options{}, "b")
	c.write(append(frame(0x36), append(after, frame(0xc0)...)...))
	c.want(packet.DISCONNECT)
	w.say("b", "x", 0)
	w.hears("b", "x")
	c.gone()
	w.silent()
}

func TestV5_3_14_4_2(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.write(frame(0x36))
	c.told(packet.MalformedPacket)
	c = n.join(t, v5, "c")
	c.quit(packet.NormalDisconnection) // the node does not wait for the client to close
	until(t, "the connections are closed", func() bool { return n.Stats().Connections == 0 })
}

func TestV5_3_15_1_1(t *testing.T) {
	n := start(t, nil)
	for flags := byte(1); flags < 16; flags++ {
		n.breaks(t, frame(0xf0|flags), packet.MalformedPacket)
		n.breaks(t, frame(0xf0|flags, []byte{0x18}, sized(property(packet.AuthMethod, "m"))), packet.MalformedPacket)
		c := n.dial(t, v5)
		c.write(frame(0xf0 | flags))
		c.gone()
	}
}

func TestV5_3_15_2_1(t *testing.T) {
	n := start(t, nil)
	for _, code := range []byte{1, 0x10, 0x17, 0x1a, 0x80, 0x8c, 0xff} {
		n.breaks(t, frame(0xf0, []byte{code}, sized(property(packet.AuthMethod, "m"))), packet.ProtocolError, packet.MalformedPacket)
	}
}

func TestV5_4_12_0_1(t *testing.T) {
	n := start(t, nil)
	for _, method := range []string{"", "SCRAM-SHA-1", "PLAIN", "GS2-KRB5"} {
		n.begins(t, connectFrame(2, property(packet.AuthMethod, method), text("c")), packet.BadAuthenticationMethod, packet.NotAuthorized)
	}
}

func TestV5_4_12_0_4(t *testing.T) {
	n := start(t, nil)
	p := append(property(packet.AuthMethod, "SCRAM-SHA-1"), property(packet.AuthData, "n,,n=user,r=x")...)
	n.begins(t, connectFrame(2, p, text("c")), packet.BadAuthenticationMethod, packet.NotAuthorized)
	if s := n.Stats(); s.Sessions != 0 {
		t.Errorf("%d sessions", s.Sessions)
	}
}

func TestV5_4_12_0_6(t *testing.T) {
	n := start(t, nil)
	for _, con := range []packet.Connect{
		clean("c"), {Version: v5, ClientID: []byte("d"), CleanStart: true, Username: []byte("name"), Password: []byte("password")},
	} {
		c, ack := n.connect(t, con) // which takes no AUTH
		if ack.Properties.Has(packet.AnyProperty(packet.AuthMethod)) || ack.Properties.Has(packet.AnyProperty(packet.AuthData)) {
			t.Error("the CONNACK speaks of an authentication method")
		}
		c.silent()
	}
}

func TestV5_4_12_0_7(t *testing.T) {
	n := start(t, nil)
	for _, code := range []byte{0x18, 0x19} {
		n.breaks(t, frame(0xf0, []byte{code}, sized(property(packet.AuthMethod, "m"))), packet.ProtocolError)
	}
	n.breaks(t, frame(0xf0), packet.ProtocolError)
}

// TestV5_4_12_1_2: nobody could authenticate in this way before, so nobody can again.
func TestV5_4_12_1_2(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, v5, "c")
	c.write(frame(0xf0, []byte{0x19}, sized(property(packet.AuthMethod, "m"))))
	c.ends(packet.ProtocolError, packet.NotAuthorized, packet.BadAuthenticationMethod)
	n.waitAway(t, "c")
}

// TestV5_4_13_1_1: one of each kind of error that a code is given for, and the node goes on for others.
func TestV5_4_13_1_1(t *testing.T) {
	n := start(t, nil)
	w := watch(t, n)
	for name, test := range map[string]struct {
		b    []byte
		code packet.ReasonCode
	}{
		"no packet":                 {frame(0x00), packet.MalformedPacket},
		"remaining length too long": {[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, packet.MalformedPacket},
		"PINGREQ with a body":       {frame(0xc0, []byte{0}), packet.MalformedPacket},
		"PUBACK cut short":          {frame(0x40, []byte{0}), packet.MalformedPacket},
		"trailing bytes":            {frame(0x40, []byte{0, 1, 0}, sized(), []byte{0}), packet.MalformedPacket},
		"packet of a server":        {frame(0xd0), packet.ProtocolError},
		"unknown property":          {frame(0x30, text("a"), sized([]byte{0x7f, 0})), packet.MalformedPacket},
		"property twice":            {frame(0x30, text("a"), sized([]byte{1, 0, 1, 0})), packet.ProtocolError},
		"property of another":       {frame(0x30, text("a"), sized([]byte{0x21, 0, 1})), packet.MalformedPacket},
		"payload format 2":          {frame(0x30, text("a"), sized([]byte{1, 2})), packet.ProtocolError},
		"QoS 3 in a SUBSCRIBE":      {frame(0x82, []byte{0, 1}, sized(), text("a"), []byte{3}), packet.ProtocolError},
		"retain handling 3":         {frame(0x82, []byte{0, 1}, sized(), text("a"), []byte{0x30}), packet.ProtocolError},
		"subscription identifier 0": {frame(0x82, []byte{0, 1}, sized([]byte{0x0b, 0}), text("a"), []byte{0}), packet.ProtocolError},
		"two of them":               {frame(0x82, []byte{0, 1}, sized([]byte{0x0b, 1, 0x0b, 2}), text("a"), []byte{0}), packet.ProtocolError},
		"session expiry set late":   {frame(0xe0, []byte{0}, sized([]byte{0x11, 0, 0, 0, 9})), packet.ProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			c := n.join(t, v5, "c")
			c.write(test.b)
			c.ends(test.code)
		})
	}
	w.silent()
}

func TestV5_4_13_2_1(t *testing.T) {
	checkRefusals(t, func(*testing.T, []byte) {}) // each waits for the end
	n := start(t, nil)
	goodbyes(t, n, joined(t, n), func(c *client, body []byte) {
		if body[0] < 0x80 {
			t.Errorf("DISCONNECT % x", body)
		}
		c.gone()
	})
}
