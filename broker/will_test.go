package broker

import (
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// mortal is a CONNECT with a will of text "gone" to topic "will".
func mortal(v packet.Version, id string, delay, expiry uint32) packet.Connect {
	p := packet.Connect{Version: v, ClientID: []byte(id), CleanStart: expiry == 0, KeepAlive: 60,
		Will: &packet.Will{Topic: []byte("will"), Payload: []byte("gone"), QoS: 1}}
	if v == packet.V5 && delay > 0 {
		p.Will.Properties.AddInt(packet.WillDelay, delay)
	}
	if v == packet.V5 && expiry > 0 {
		p.Properties.AddInt(packet.SessionExpiry, expiry)
	}
	return p
}

// TestWill: published when the connection ends in any way but a normal DISCONNECT [MQTT-3.1.2-8] [MQTT-3.1.2-10].
func TestWill(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		watcher := n.join(t, v, "watcher")
		watcher.subscribe(packet.Options{QoS: 2}, "will")

		n.open(t, mortal(v, "m", 0, 0)).drop(n, "m")
		watcher.hears("will", "gone")

		c := n.open(t, mortal(v, "m", 0, 0))
		c.write([]byte{0}) // malformed [MQTT-3.14.4-3]: no DISCONNECT
		watcher.hears("will", "gone")

		n.open(t, mortal(v, "m", 0, 0))
		n.open(t, mortal(v, "m", 0, 0)).bye() // takes over, then leaves in peace [MQTT-3.14.4-3]
		watcher.hears("will", "gone")

		if v == packet.V5 {
			c := n.open(t, mortal(v, "m", 0, 0))
			c.write((&packet.Disconnect{Code: packet.DisconnectWithWill}).Append(nil, v))
			watcher.hears("will", "gone")
		}
		watcher.silent()
		watcher.bye()
	})
}

// TestWillOfASilentClient: the keep alive runs out [MQTT-3.1.2-8].
func TestWillOfASilentClient(t *testing.T) {
	n := start(t, nil)
	watcher := n.join(t, packet.V311, "watcher")
	watcher.subscribe(packet.Options{}, "will")
	p := mortal(packet.V311, "m", 0, 0)
	p.KeepAlive = 1
	n.open(t, p)
	watcher.hears("will", "gone")
}

// TestWillIsRetained [MQTT-3.1.2-15], or not [MQTT-3.1.2-14].
func TestWillIsRetained(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		p := mortal(v, "m", 0, 0)
		p.Will.Retain = true
		n.open(t, p).drop(n, "m")
		until(t, "it is retained", func() bool { return n.Stats().Retained == 1 })
		c := n.join(t, v, "c")
		c.subscribe(packet.Options{QoS: 1}, "will")
		if m := c.hears("will", "gone"); !m.Retain {
			t.Error("not marked as retained")
		}
		c.bye()
		c = n.join(t, v, "c")
		c.retain("will", "", 1)
		c.bye()
	})
}

// TestWillProperties: they go on with the message; the expiry counts from its publication (section 3.1.3.2).
func TestWillProperties(t *testing.T) {
	n := start(t, nil)
	watcher := n.join(t, packet.V5, "watcher")
	watcher.subscribe(packet.Options{}, "will")
	p := mortal(packet.V5, "m", 0, 0)
	w := &p.Will.Properties
	w.AddInt(packet.PayloadFormat, 1)
	w.AddInt(packet.MessageExpiry, 100)
	w.AddBytes(packet.ContentType, []byte("text"))
	w.AddBytes(packet.ResponseTopic, []byte("reply"))
	w.AddBytes(packet.CorrelationData, []byte{0, 1})
	w.AddUser([]byte("k"), []byte("v"))
	n.open(t, p).drop(n, "m")
	m := watcher.message()
	format, _ := m.Properties.Int(packet.PayloadFormat)
	expiry, _ := m.Properties.Int(packet.MessageExpiry)
	if format != 1 || expiry != 100 || string(m.Properties.Bytes(packet.ContentType)) != "text" ||
		string(m.Properties.Bytes(packet.ResponseTopic)) != "reply" || string(m.Properties.Bytes(packet.CorrelationData)) != "\x00\x01" {
		t.Errorf("%+v", m.Properties)
	}
	for k, v := range m.Properties.User() {
		if string(k) != "k" || string(v) != "v" {
			t.Errorf("%s=%s", k, v)
		}
	}
	if m.Properties.Has(packet.AnyProperty(packet.WillDelay)) {
		t.Error("the will delay went on with the message")
	}
}

// TestWillDelay (section 3.1.3.2.2): the will waits; a client that comes back in time keeps it from being published [MQTT-3.1.3-9];
// the end of the session cuts the delay short.
func TestWillDelay(t *testing.T) {
	n := start(t, nil)
	watcher := n.join(t, packet.V5, "watcher")
	watcher.subscribe(packet.Options{}, "will")

	t.Run("waits", func(t *testing.T) {
		c := n.open(t, mortal(packet.V5, "m", 1, 60))
		c.drop(n, "m")
		began := time.Now()
		watcher.hears("will", "gone")
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("came after %v", took)
		}
	})
	t.Run("in time", func(t *testing.T) {
		n.open(t, mortal(packet.V5, "m", 3600, 60)).drop(n, "m")
		n.open(t, lasting("m", false, 60)).bye()
		watcher.silent()
	})
	t.Run("takeover with a delay", func(t *testing.T) {
		old := n.open(t, mortal(packet.V5, "m", 3600, 60))
		fresh := n.open(t, lasting("m", false, 60))
		old.told(packet.SessionTakenOver)
		fresh.bye()
		watcher.silent()
	})
	t.Run("clean start", func(t *testing.T) {
		n.open(t, mortal(packet.V5, "m", 3600, 60)).drop(n, "m")
		n.open(t, lasting("m", true, 0)).bye()
		watcher.hears("will", "gone")
	})
	t.Run("session expiry", func(t *testing.T) {
		n.open(t, mortal(packet.V5, "m", 3600, 1)).drop(n, "m")
		watcher.hears("will", "gone")
	})
	t.Run("session expiry 0", func(t *testing.T) {
		n.open(t, mortal(packet.V5, "m", 3600, 0)).drop(n, "m")
		watcher.hears("will", "gone")
	})
	watcher.silent()
}
