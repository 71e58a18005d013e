package broker

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestConnect(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		id := "client-" + v.String()
		c, ack := n.connect(t, packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true, KeepAlive: 60})
		if ack.Code != packet.Success || ack.SessionPresent { // [MQTT-3.2.2-2]
			t.Fatalf("%+v", ack)
		}
		c.silent()
		info, _ := n.Client(id)
		if info.Version != v || info.Listener != "mqtt" || info.Addr.String() != c.conn.LocalAddr().String() || time.Since(info.Since) > patience {
			t.Errorf("Clients: %+v", info)
		}
		c.bye()
	})
}

// TestConnectRefused: each CONNECT that a node must or may refuse, with what it says.
func TestConnectRefused(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxQoS = 1 })
	auth := packet.Properties{}
	auth.AddBytes(packet.AuthMethod, []byte("SCRAM-SHA-1"))
	deep := []byte(strings.Repeat("/", 200))
	tests := []struct {
		name string
		p    packet.Connect
		code packet.ReasonCode // Success = closed without a word
	}{
		{"[MQTT-3.1.3-8 of 3.1.1] no identifier and no clean session", packet.Connect{Version: packet.V311}, packet.ClientIDNotValid},
		{"no identifier in 3.1", packet.Connect{Version: packet.V31, CleanStart: true}, packet.ClientIDNotValid},
		{"[MQTT-4.12.0-1] an authentication method", packet.Connect{Version: packet.V5, ClientID: []byte("a"), Properties: auth}, packet.BadAuthenticationMethod},
		{"[MQTT-3.2.2-12] a will above the maximum QoS", packet.Connect{Version: packet.V5, ClientID: []byte("a"), Will: &packet.Will{Topic: []byte("w"), QoS: 2}}, packet.QoSNotSupported},
		{"the same in 3.1.1, which has no code", packet.Connect{Version: packet.V311, ClientID: []byte("a"), Will: &packet.Will{Topic: []byte("w"), QoS: 2}}, packet.Success},
		{"a will to a topic that is too deep", packet.Connect{Version: packet.V5, ClientID: []byte("a"), Will: &packet.Will{Topic: deep}}, packet.TopicNameInvalid},
		{"a will in the server's name", packet.Connect{Version: packet.V311, ClientID: []byte("a"), CleanStart: true, Will: &packet.Will{Topic: []byte("$SYS/x")}}, packet.NotAuthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := talk(t, n.dial(t), tt.p.Version)
			c.write(tt.p.Append(nil))
			if tt.code != packet.Success {
				if ack := c.connack(); ack.Code != tt.code || ack.SessionPresent { // [MQTT-3.2.2-6]
					t.Errorf("%v, want %v", ack.Code, tt.code)
				}
			}
			c.gone() // [MQTT-3.2.2-7]
		})
	}
}

// TestNotACONNECT: what is no CONNECT ends the connection; a version we do not speak is told so.
func TestNotACONNECT(t *testing.T) {
	n := start(t, nil)
	connect := (&packet.Connect{Version: packet.V311, ClientID: []byte("a"), CleanStart: true}).Append(nil)
	tests := []struct {
		name, sent, answer string
	}{
		{"an HTTP request", "GET / HTTP/1.1\r\n\r\n", ""},
		{"a ClientHello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""},
		{"noughts", strings.Repeat("\x00", 100), ""},
		{"[MQTT-3.1.0-1] a PINGREQ first", "\xc0\x00", ""},
		{"[MQTT-3.1.2-1] another protocol name", "\x10\x0c\x00\x04HTTP\x04\x02\x00\x3c\x00\x00", ""},
		{"[MQTT-3.1.2-2] a version of the future", "\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00", "\x20\x02\x00\x01"},
		{"[MQTT-3.1.2-3] the reserved flag in MQTT 5", "\x10\x0d\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x00", "\x20\x03\x00\x81\x00"},
		{"[MQTT-3.1.2-3] the reserved flag in 3.1.1", "\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00", ""},
		{"half a CONNECT", string(connect[:9]), ""},
		{"a length of five bytes", "\x10\xff\xff\xff\xff\x01", ""},
		{"a CONNECT of 256 MiB", "\x10\xff\xff\xff\x7f\x00\x04MQTT", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := n.dial(t)
			if _, err := conn.Write([]byte(tt.sent)); err != nil {
				t.Fatal(err)
			}
			if tt.name == "half a CONNECT" {
				conn.(*net.TCPConn).CloseWrite()
			}
			conn.SetReadDeadline(time.Now().Add(patience))
			got := make([]byte, 100)
			m := 0
			for err := error(nil); err == nil && m < len(got); {
				var k int
				k, err = conn.Read(got[m:])
				m += k
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Fatal("the connection stays open")
				}
			}
			if string(got[:m]) != tt.answer {
				t.Errorf("answer % x, want % x", got[:m], tt.answer)
			}
		})
	}
	if n.Stats().Ended["not_mqtt"] == 0 {
		t.Error("nothing was counted")
	}
}

// TestConnectCostsNothing: connections that announce a CONNECT of nearly the largest size that is allowed, and go on with a few
// bytes, do not make the node allocate what they announce; what is larger is refused at once.
func TestConnectCostsNothing(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxPacketSize = packet.MaxRemaining + packet.MaxHeader })
	const clients = 100
	before := heap()
	for range clients {
		conn := n.dial(t)
		conn.Write([]byte("\x10\xe0\x98\x17\x00\x04MQTT\x05\x02\x00\x00")) // 380,000
	}
	until(t, "all are there", func() bool { return n.Stats().Connections == clients })
	if grown := heap() - before; grown > 8<<20 && grown < 1<<60 {
		t.Errorf("%d connections that announced 380 kB each cost %d bytes", clients, grown)
	}
	c := talk(t, n.dial(t), packet.V5)
	c.write([]byte("\x10\xff\xff\xff\x7f\x00\x04MQTT\x05\x02\x00\x00"))
	c.gone()
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestNoCONNECT: a connection that says nothing, or not all of a CONNECT, is cut.
func TestNoCONNECT(t *testing.T) {
	n := start(t, func(o *Options) { o.ConnectTimeout = 100 * time.Millisecond })
	for _, sent := range []string{"", "\x10", "\x10\x10\x00\x04MQ"} {
		c := talk(t, n.dial(t), packet.V311)
		if sent != "" {
			c.write([]byte(sent))
		}
		c.gone()
	}
	if got := n.Stats().Ended["connect_timeout"]; got != 3 {
		t.Errorf("%d counted, want 3", got)
	}
}

func TestAssignedClientID(t *testing.T) {
	n := start(t, nil)
	seen := map[string]bool{}
	for range 3 {
		c, ack := n.connect(t, packet.Connect{Version: packet.V5, CleanStart: true}) // [MQTT-3.1.3-6]
		id := string(ack.Properties.Bytes(packet.AssignedClientID))
		if id == "" || seen[id] { // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
			t.Errorf("assigned %q", id)
		}
		seen[id] = true
		defer c.bye()
	}
	c, ack := n.connect(t, packet.Connect{Version: packet.V311, CleanStart: true}) // [MQTT-3.1.3-6 of 3.1.1]
	if ack.Code != packet.Success {
		t.Errorf("%v", ack.Code)
	}
	c.bye()
	if _, total := n.Clients(ClientQuery{Connected: true}); total != 3 {
		t.Errorf("%d clients, want 3", total)
	}
}

// TestConnackSaysLimits: what differs from the defaults of the protocol is told (section 3.2.2.3).
func TestConnackSaysLimits(t *testing.T) {
	n := start(t, func(o *Options) {
		o.Config.Limits.MaxQoS = 1
		o.Config.Limits.MaxTopicAlias = 5
		o.Config.Limits.ReceiveMaximum = 7
		o.Config.Limits.MaxPacketSize = 4096
		o.Config.Session.MaxExpiry = time.Minute
		o.Config.Session.MaxKeepAlive = 30 * time.Second
	})
	p := packet.Connect{Version: packet.V5, ClientID: []byte("a"), KeepAlive: 600}
	p.Properties.AddInt(packet.SessionExpiry, 0xffffffff)
	_, ack := n.connect(t, p)
	for id, want := range map[packet.IntProperty]uint32{
		packet.MaximumQoS: 1, packet.TopicAliasMaximum: 5, packet.ReceiveMaximum: 7, packet.MaximumPacketSize: 4096,
		packet.SessionExpiry: 60, packet.ServerKeepAlive: 30, // [MQTT-3.2.2-21]
	} {
		if got, there := ack.Properties.Int(id); got != want || !there {
			t.Errorf("property 0x%02x is %d, %v; want %d", byte(id), got, there, want)
		}
	}
}

// TestSecondCONNECT [MQTT-3.1.0-2].
func TestSecondCONNECT(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		c := n.join(t, v, "a")
		c.write((&packet.Connect{Version: v, ClientID: []byte("b"), CleanStart: true}).Append(nil))
		c.told(packet.ProtocolError)
	})
}

// TestServersPackets: what only a server sends, and AUTH, which nobody asked for, ends the connection.
func TestServersPackets(t *testing.T) {
	n := start(t, nil)
	for name, b := range map[string][]byte{
		"CONNACK":  (&packet.Connack{}).Append(nil, packet.V5),
		"SUBACK":   (&packet.Suback{PacketID: 1, Codes: []byte{0}}).Append(nil, packet.V5),
		"UNSUBACK": (&packet.Unsuback{PacketID: 1, Codes: []byte{0}}).Append(nil, packet.V5),
		"PINGRESP": packet.AppendPingresp(nil),
		"AUTH":     (&packet.Auth{}).Append(nil, packet.V5),
	} {
		t.Run(name, func(t *testing.T) {
			c := n.join(t, packet.V5, "a")
			c.write(b)
			c.told(packet.ProtocolError)
		})
	}
}

// TestKeepAlive [MQTT-3.1.2-22]: after one and a half times the keep alive, not before, and not with packets on the way.
func TestKeepAlive(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		t.Parallel()
		began := time.Now()
		c := n.open(t, packet.Connect{Version: v, ClientID: fmt.Append(nil, "k", v), CleanStart: true, KeepAlive: 1})
		c.silent() // counts
		c.told(packet.KeepAliveTimeout)
		if took := time.Since(began); took < 1400*time.Millisecond {
			t.Errorf("cut after %v", took)
		}
	})
}

// TestKeepAliveCountsPackets, not bytes [MQTT-3.1.2-22]: who sends one byte after the other of a packet sends none.
func TestKeepAliveCountsPackets(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, packet.Connect{Version: packet.V5, ClientID: []byte("a"), CleanStart: true, KeepAlive: 1})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for _, b := range (&packet.Publish{Topic: []byte("t"), Payload: make([]byte, 300)}).Append(nil, packet.V5) {
			<-tick.C
			if _, err := c.conn.Write([]byte{b}); err != nil {
				return
			}
		}
	}()
	c.told(packet.KeepAliveTimeout)
	c.conn.Close()
	<-done
}

// TestKeepAliveOfALargePacket: one that is on its way for longer than the keep alive is a sign of life.
func TestKeepAliveOfALargePacket(t *testing.T) {
	const sign = 4 << 10
	n := start(t, nil)
	c := n.open(t, packet.Connect{Version: packet.V5, ClientID: []byte("a"), CleanStart: true, KeepAlive: 1})
	b := (&packet.Publish{Topic: []byte("t"), Payload: make([]byte, 10*2*sign)}).Append(nil, packet.V5)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for piece := range slices.Chunk(b, 2*sign) {
		<-tick.C
		c.write(piece)
	}
	c.silent()
}

// TestKeepAliveDoesNotOverflow: one and a half times the longest is 98,302 s, more than sixteen bits hold.
func TestKeepAliveDoesNotOverflow(t *testing.T) {
	n := start(t, nil)
	for _, seconds := range []uint16{43691, 65535} { // times 3 / 2, they would be 0 or 1 in 16 bits
		c := n.open(t, packet.Connect{Version: packet.V311, ClientID: []byte("a"), CleanStart: true, KeepAlive: seconds})
		idle := n.connOf("a").idle()
		if want := time.Duration(seconds) * time.Second * 3 / 2; idle != want {
			t.Errorf("keep alive %d: cut after %v, want %v", seconds, idle, want)
		}
		c.silent()
	}
}

// TestMaxConnections: the next one is told, and one that comes back for its own session is not counted twice.
func TestMaxConnections(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxConnections = 2 })
	a := n.join(t, packet.V5, "a")
	b := n.join(t, packet.V311, "b")
	for v, code := range map[packet.Version]packet.ReasonCode{packet.V5: packet.ServerBusy, packet.V311: packet.ServerUnavailable} {
		c, ack := n.connect(t, packet.Connect{Version: v, ClientID: []byte("c"), CleanStart: true})
		if ack.Code != code {
			t.Errorf("the third client: %v, want %v", ack.Code, code)
		}
		c.gone()
	}
	again := n.join(t, packet.V5, "a")
	a.told(packet.SessionTakenOver)
	b.bye()
	until(t, "b is away", func() bool { return n.Stats().Clients == 1 })
	n.join(t, packet.V5, "c").silent()
	again.silent()
}

// TestMoreThanMaxConnections: sockets without a CONNECT have a bound of their own, and the oldest of them makes room for
// whoever comes: they keep nobody from being served.
func TestMoreThanMaxConnections(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxConnections = 1 })
	oldest := talk(t, n.dial(t), packet.V5)
	for range sayNo {
		n.dial(t)
	}
	until(t, "all are there", func() bool { return n.Stats().Connections == 1+sayNo })
	c := n.join(t, packet.V5, "c")
	oldest.gone()
	for range 2 * sayNo {
		n.dial(t)
	}
	until(t, "some had to go", func() bool { return n.Stats().Ended["too_many"] >= 1+2*sayNo && n.Stats().Connections <= 1+2*sayNo })
	c.silent()
}
