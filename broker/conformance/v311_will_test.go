package conformance

import (
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// bequeath connects with a will to topic "will", and clean session or not.
func (n *node) bequeath(t *testing.T, id string, clean bool, w packet.Will) *client {
	t.Helper()
	w.Topic = []byte("will")
	return n.open(t, packet.Connect{Version: v4, ClientID: []byte(id), CleanStart: clean, KeepAlive: 60, Will: &w})
}

// noWillBut lets a client with another will die, and wants its will to be the next: one before would have come before it.
func (c *client) noWillBut(n *node, text string) {
	c.t.Helper()
	n.bequeath(c.t, "dies", true, packet.Will{Payload: []byte(text), QoS: 1}).drop(n, "dies")
	c.hears("will", text)
	c.silent()
}

func TestV311_3_1_2_8(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "will")
	end := map[string]func(c *client){
		"closed":          func(c *client) { c.conn.Close() },
		"a malformed one": func(c *client) { c.write(assemble(0x00)) },
		"a violation":     func(c *client) { c.write(connect4(0x02, "c")) },
		"taken over":      func(c *client) { n.join(t, v4, "c") },
		"half a packet": func(c *client) {
			c.write([]byte{0x30, 10, 0})
			c.conn.Close()
		},
	}
	for _, clean := range []bool{true, false} {
		for name, end := range end {
			t.Run(name, func(t *testing.T) {
				c := n.bequeath(t, "c", clean, packet.Will{Payload: []byte(name)})
				w.silent()
				end(c)
				w.hears("will", name)
			})
		}
	}
	t.Run("silent for too long", func(t *testing.T) {
		will := &packet.Will{Topic: []byte("will"), Payload: []byte("silent")}
		n.open(t, packet.Connect{Version: v4, ClientID: []byte("c"), CleanStart: true, KeepAlive: 1, Will: will})
		w.hears("will", "silent")
	})
	t.Run("not accepted", func(t *testing.T) {
		c := n.dial(t, v4)
		c.write(connect4(0x04, "", "will", "of a stranger"))
		c.refused(packet.ClientIDNotValid)
		w.noWillBut(n, "of a client")
	})
	t.Run("of a connection, not a session", func(t *testing.T) {
		n.bequeath(t, "s", false, packet.Will{Payload: []byte("first")}).bye(n, "s")
		n.resume(t, "s").drop(n, "s")
		w.noWillBut(n, "second")
	})
}

func TestV311_3_1_2_9(t *testing.T) {
	n := start(t, nil)
	for name, fields := range map[string][]string{"neither": {"id"}, "no message": {"id", "will"}} {
		t.Run(name, func(t *testing.T) { n.rejects(t, connect4(0x06, fields...)) })
	}
	w := n.listener(t, "w", "will")
	for qos := byte(0); qos <= 2; qos++ {
		n.bequeath(t, "c", true, packet.Will{Payload: []byte("m"), QoS: qos, Retain: true}).drop(n, "c")
		if m := w.hears("will", "m"); m.QoS != qos {
			t.Errorf("a will of QoS %d comes with %d", qos, m.QoS)
		}
		late := n.listener(t, "late", "will")
		if m := late.hears("will", "m"); m.QoS != qos || !m.Retain {
			t.Errorf("a will of QoS %d is retained with %d, RETAIN %t", qos, m.QoS, m.Retain)
		}
	}
}

func TestV311_3_1_2_10(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "will")
	for name, end := range map[string]func(c *client){
		"published": func(c *client) {
			c.drop(n, "c")
			w.hears("will", "once")
		},
		"DISCONNECT": func(c *client) { c.bye(n, "c") },
	} {
		t.Run(name, func(t *testing.T) {
			end(n.bequeath(t, "c", false, packet.Will{Payload: []byte("once")}))
			n.resume(t, "c").drop(n, "c")
			n.join(t, v4, "c").bye(n, "c") // which ends the session
			w.noWillBut(n, "another")
		})
	}
}

func TestV311_3_1_2_11(t *testing.T) {
	n := start(t, nil)
	n.rejects(t, connect4(0x2a, "id")) // QoS 1 and retain
	n.rejects(t, connect4(0x02, "id", "will"))
	n.rejects(t, connect4(0x02, "id", "will", "message"))
}

func TestV311_3_1_2_12(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "#")
	n.join(t, v4, "c").drop(n, "c")
	n.stay(t, v4, "c").drop(n, "c")
	w.noWillBut(n, "of another client")
}

func TestV311_3_1_2_13(t *testing.T) {
	n := start(t, nil)
	for qos := byte(1); qos <= 2; qos++ {
		n.rejects(t, connect4(0x02|qos<<3, "id"))
	}
}

func TestV311_3_1_2_14(t *testing.T) {
	n := start(t, nil)
	n.admits(t, connect4(0x16, "id", "will", "message"))
	n.rejects(t, connect4(0x1e, "id", "will", "message"))
}

func TestV311_3_1_2_15(t *testing.T) { start(t, nil).rejects(t, connect4(0x22, "id")) }

func TestV311_3_1_2_16(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "will")
	n.bequeath(t, "c", true, packet.Will{Payload: []byte("m"), QoS: 1}).drop(n, "c")
	if m := w.hears("will", "m"); m.Retain {
		t.Error("RETAIN is set")
	}
	n.listener(t, "late", "will").silent()
}

func TestV311_3_1_2_17(t *testing.T) {
	n := start(t, nil)
	w := n.listener(t, "w", "will")
	n.bequeath(t, "c", true, packet.Will{Payload: []byte("m"), QoS: 1, Retain: true}).drop(n, "c")
	w.hears("will", "m")
	if m := n.listener(t, "late", "will").hears("will", "m"); !m.Retain {
		t.Error("RETAIN is not set")
	}
}
