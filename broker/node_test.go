package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// patience bounds every wait of a test for something that must come; nothing waits for it to pass.
const patience = 30 * time.Second

// node is a broker that runs for one test.
type node struct {
	*Broker
	stop func() // ends it and waits
}

// start runs a node with one listener "mqtt" on a free port, as changed by change, and sees to it that the
// test leaves nothing behind.
func start(t *testing.T, change func(*Options)) *node {
	t.Helper()
	leaktest.Check(t)
	return launch(t, change)
}

// launch is start for a fuzz target, whose engine leaves goroutines of its own behind.
func launch(t testing.TB, change func(*Options)) *node {
	t.Helper()
	o := Options{Config: config.Default()}
	o.Config.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
	if change != nil {
		change(&o)
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	n := &node{Broker: b}
	n.stop = func() {
		cancel()
		select {
		case err := <-done:
			done <- err
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	}
	t.Cleanup(n.stop)
	return n
}

// dial opens a connection that is closed with the test.
func (n *node) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr("mqtt").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// client is a client that says exactly what the test wants.
type client struct {
	t    *testing.T
	v    packet.Version
	conn net.Conn
	r    *packet.Reader

	early []packet.Publish // came before a SUBACK, for message
}

// talk makes a client of a connection.
func talk(t *testing.T, conn net.Conn, v packet.Version) *client {
	return &client{t: t, v: v, conn: conn, r: packet.NewReader(conn, 0)}
}

// connect sends a CONNECT and returns the answer, whatever it is.
func (n *node) connect(t *testing.T, p packet.Connect) (*client, packet.Connack) {
	t.Helper()
	c := talk(t, n.dial(t), p.Version)
	c.write(p.Append(nil))
	return c, c.connack()
}

// join connects with a clean session of that identifier.
func (n *node) join(t *testing.T, v packet.Version, id string) *client {
	t.Helper()
	return n.open(t, packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true, KeepAlive: 60})
}

// stay connects with a session that outlives the connection, resumed if there is one.
func (n *node) stay(t *testing.T, v packet.Version, id string) *client {
	t.Helper()
	p := packet.Connect{Version: v, ClientID: []byte(id), KeepAlive: 60}
	if v == packet.V5 {
		p.Properties.AddInt(packet.SessionExpiry, 3600)
	}
	return n.open(t, p)
}

// open connects and is accepted.
func (n *node) open(t *testing.T, p packet.Connect) *client {
	t.Helper()
	c, ack := n.connect(t, p)
	if ack.Code != packet.Success {
		t.Fatalf("CONNACK: %v", ack.Code)
	}
	return c
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if len(b) == 0 {
		c.t.Fatal("a packet without a form")
	}
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next packet, its body copied.
func (c *client) next() (packet.Header, []byte) {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	h, body, err := c.r.Next()
	if err != nil {
		c.t.Fatalf("waiting for a packet: %v", err)
	}
	return h, bytes.Clone(body)
}

// want returns the body of the next packet, which must be of that type.
func (c *client) want(typ packet.Type) (packet.Header, []byte) {
	c.t.Helper()
	h, body := c.next()
	if h.Type != typ {
		c.t.Fatalf("a %v % x, want a %v", h.Type, body, typ)
	}
	return h, body
}

func (c *client) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) connack() (p packet.Connack) {
	c.t.Helper()
	h, body := c.want(packet.CONNACK)
	c.ok(p.Decode(c.v, h, body))
	return p
}

// publish sends a PUBLISH and takes its acknowledgements; it returns the code of the last.
func (c *client) publish(p packet.Publish) packet.ReasonCode {
	c.t.Helper()
	if p.QoS > 0 && p.PacketID == 0 {
		p.PacketID = 1
	}
	c.write(p.Append(nil, c.v))
	switch p.QoS {
	case 1:
		return c.ack(packet.PUBACK, p.PacketID)
	case 2:
		code := c.ack(packet.PUBREC, p.PacketID)
		if code.Failed() {
			return code
		}
		c.send(packet.PUBREL, p.PacketID)
		c.ack(packet.PUBCOMP, p.PacketID)
		return code
	}
	return packet.Success
}

// say publishes text to a topic and, above QoS 0, waits until the node has taken it.
func (c *client) say(topic, text string, qos byte) {
	c.t.Helper()
	c.publish(packet.Publish{Topic: []byte(topic), Payload: []byte(text), QoS: qos})
}

// retain is say with RETAIN.
func (c *client) retain(topic, text string, qos byte) {
	c.t.Helper()
	c.publish(packet.Publish{Topic: []byte(topic), Payload: []byte(text), QoS: qos, Retain: true})
}

// send sends an acknowledgement.
func (c *client) send(typ packet.Type, id uint16) {
	c.t.Helper()
	c.write((&packet.Ack{Type: typ, PacketID: id}).Append(nil, c.v))
}

// ack takes an acknowledgement.
func (c *client) ack(typ packet.Type, id uint16) packet.ReasonCode {
	c.t.Helper()
	h, body := c.want(typ)
	var p packet.Ack
	c.ok(p.Decode(c.v, h, body))
	if p.PacketID != id {
		c.t.Fatalf("%v of %d, want %d", typ, p.PacketID, id)
	}
	return p.Code
}

// subscribe subscribes to filters and returns the codes.
func (c *client) subscribe(o packet.Options, filters ...string) []byte {
	c.t.Helper()
	p := packet.Subscribe{PacketID: 7}
	for _, f := range filters {
		p.Subscriptions.Add([]byte(f), o)
	}
	return c.subscribeWith(p)
}

func (c *client) subscribeWith(p packet.Subscribe) []byte {
	c.t.Helper()
	c.write(p.Append(nil, c.v))
	h, body := c.next()
	for h.Type == packet.PUBLISH { // a server may begin to send before it has answered (MQTT 3.1.1 and 5, section 3.8.4)
		var m packet.Publish
		c.ok(m.Decode(c.v, h, bytes.Clone(body)))
		c.early = append(c.early, m)
		h, body = c.next()
	}
	if h.Type != packet.SUBACK {
		c.t.Fatalf("a %v % x, want a SUBACK", h.Type, body)
	}
	var ack packet.Suback
	c.ok(ack.Decode(c.v, h, body))
	if ack.PacketID != p.PacketID || len(ack.Codes) != p.Subscriptions.Len() {
		c.t.Fatalf("SUBACK %d with %d codes, want %d with %d", ack.PacketID, len(ack.Codes), p.PacketID, p.Subscriptions.Len())
	}
	return ack.Codes
}

// message takes a PUBLISH.
func (c *client) message() (p packet.Publish) {
	c.t.Helper()
	if len(c.early) > 0 {
		p, c.early = c.early[0], c.early[1:]
		return p
	}
	h, body := c.want(packet.PUBLISH)
	c.ok(p.Decode(c.v, h, body))
	return p
}

// hears takes a PUBLISH with that topic and text, and acknowledges it.
func (c *client) hears(topic, text string) packet.Publish {
	c.t.Helper()
	p := c.message()
	if string(p.Topic) != topic || string(p.Payload) != text {
		c.t.Fatalf("heard %s: %.40q, want %s: %q", p.Topic, p.Payload, topic, text)
	}
	switch p.QoS {
	case 1:
		c.send(packet.PUBACK, p.PacketID)
	case 2:
		c.send(packet.PUBREC, p.PacketID)
		c.ack(packet.PUBREL, p.PacketID)
		c.send(packet.PUBCOMP, p.PacketID)
	}
	return p
}

// silent fails if anything was sent to the client before now: packets keep their order, so the answer to a PINGREQ
// comes after them.
func (c *client) silent() {
	c.t.Helper()
	c.write(packet.AppendPingreq(nil))
	c.want(packet.PINGRESP)
}

// gone waits for the end of the connection, and for nothing before it.
func (c *client) gone() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	h, _, err := c.r.Next()
	if err == nil {
		c.t.Fatalf("a %v, want the end", h.Type)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("%v, want the end", err)
	}
}

// told waits for a DISCONNECT with that code, or for the end alone before MQTT 5.
func (c *client) told(code packet.ReasonCode) {
	c.t.Helper()
	if c.v == packet.V5 {
		h, body := c.want(packet.DISCONNECT)
		var p packet.Disconnect
		c.ok(p.Decode(c.v, h, body))
		if p.Code != code {
			c.t.Fatalf("DISCONNECT: %v, want %v", p.Code, code)
		}
	}
	c.gone()
}

// bye says DISCONNECT and waits until the node has let go.
func (c *client) bye() {
	c.t.Helper()
	c.write((&packet.Disconnect{}).Append(nil, c.v))
	c.gone()
}

// drop breaks the connection without a word.
func (c *client) drop(n *node, id string) {
	c.t.Helper()
	c.conn.Close()
	n.waitAway(c.t, id)
}

// connOf returns the node's end of a client's connection.
func (n *node) connOf(id string) *conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.sessions[id]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// waitAway returns when no client of that identifier is connected.
func (n *node) waitAway(t *testing.T, id string) {
	t.Helper()
	until(t, "the client is away", func() bool {
		c, _ := n.Client(id)
		return !c.Connected
	})
}

// until polls for something that nothing announces.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond) // of a deadline loop
	}
}

// versions runs a test for each version of MQTT.
func versions(t *testing.T, test func(*testing.T, packet.Version)) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		t.Run(v.String(), func(t *testing.T) { test(t, v) })
	}
}
