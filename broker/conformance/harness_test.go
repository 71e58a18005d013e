package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// patience bounds every wait of a test for something that must come; nothing waits for it to pass.
const patience = 30 * time.Second

// TestMain gives the tests' own goroutines a P each for what they do at a time: event loops keep theirs for a moment while they wait.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(2*runtime.NumCPU() + 2)
	os.Exit(m.Run())
}

// node is a broker that runs for one test.
type node struct {
	*broker.Broker
	stop func() // ends it and waits
}

// start runs a node with one listener "mqtt" on a free port, as changed by change, which may be nil, and sees to it that
// the test leaves nothing behind.
func start(t *testing.T, change func(*broker.Options)) *node {
	t.Helper()
	leaktest.Check(t)
	o := broker.Options{Config: config.Default()}
	o.Config.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
	if change != nil {
		change(&o)
	}
	b, err := broker.New(o)
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

// limits is a change for start.
func limits(set func(*config.Limits)) func(*broker.Options) {
	return func(o *broker.Options) { set(&o.Config.Limits) }
}

// client is a client that says exactly what the test wants.
type client struct {
	t    *testing.T
	v    packet.Version
	conn net.Conn
	r    *packet.Reader

	early []packet.Publish // came while another packet was awaited, for message
}

// dial opens a connection that is closed with the test, and says nothing yet.
func (n *node) dial(t *testing.T, v packet.Version) *client {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr("mqtt").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t: t, v: v, conn: c, r: packet.NewReader(c, 0)}
}

// connect sends a CONNECT and returns the answer, whatever it is.
func (n *node) connect(t *testing.T, p packet.Connect) (*client, packet.Connack) {
	t.Helper()
	c := n.dial(t, p.Version)
	c.write(p.Append(nil))
	return c, c.connack()
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

// join connects with a clean session of that identifier, which ends with the connection.
func (n *node) join(t *testing.T, v packet.Version, id string) *client {
	t.Helper()
	return n.open(t, packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true, KeepAlive: 60})
}

// lasting is a CONNECT for a session that outlives the connection, resumed if there is one.
func lasting(v packet.Version, id string) packet.Connect {
	p := packet.Connect{Version: v, ClientID: []byte(id), KeepAlive: 60}
	if v == packet.V5 {
		p.Properties.AddInt(packet.SessionExpiry, 3600)
	}
	return p
}

// stay connects with lasting.
func (n *node) stay(t *testing.T, v packet.Version, id string) *client {
	t.Helper()
	return n.open(t, lasting(v, id))
}

// write sends bytes as they are. That the node has closed already is no error: what it said before shows in what is read.
func (c *client) write(b []byte) {
	c.t.Helper()
	if len(b) == 0 {
		c.t.Fatal("a packet without a form")
	}
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(b); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
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

// want returns header and body of the next packet, which must be of that type.
func (c *client) want(typ packet.Type) (packet.Header, []byte) {
	c.t.Helper()
	h, body := c.next()
	if h.Type != typ {
		c.t.Fatalf("a %v % x, want a %v", h.Type, body, typ)
	}
	return h, body
}

// answer is want where a PUBLISH may come first: a server may begin to send before it has answered a SUBSCRIBE
// (MQTT 3.1.1 and 5, section 3.8.4). Those are kept for message.
func (c *client) answer(typ packet.Type) (packet.Header, []byte) {
	c.t.Helper()
	h, body := c.next()
	for h.Type == packet.PUBLISH {
		var m packet.Publish
		c.ok(m.Decode(c.v, h, body))
		c.early = append(c.early, m)
		h, body = c.next()
	}
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
	c.sendCode(typ, id, packet.Success)
}

// sendCode is send with a reason code, which only MQTT 5 has.
func (c *client) sendCode(typ packet.Type, id uint16, code packet.ReasonCode) {
	c.t.Helper()
	c.write((&packet.Ack{Type: typ, PacketID: id, Code: code}).Append(nil, c.v))
}

// ack takes an acknowledgement and returns its code.
func (c *client) ack(typ packet.Type, id uint16) packet.ReasonCode {
	c.t.Helper()
	h, body := c.answer(typ)
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
	h, body := c.answer(packet.SUBACK)
	var ack packet.Suback
	c.ok(ack.Decode(c.v, h, body))
	if ack.PacketID != p.PacketID || len(ack.Codes) != p.Subscriptions.Len() {
		c.t.Fatalf("SUBACK %d with %d codes, want %d with %d", ack.PacketID, len(ack.Codes), p.PacketID, p.Subscriptions.Len())
	}
	return ack.Codes
}

// unsubscribe gives filters back and returns the codes, of which there are none before MQTT 5.
func (c *client) unsubscribe(filters ...string) []byte {
	c.t.Helper()
	p := packet.Unsubscribe{PacketID: 8}
	for _, f := range filters {
		p.Filters.Add([]byte(f))
	}
	c.write(p.Append(nil, c.v))
	h, body := c.answer(packet.UNSUBACK)
	var ack packet.Unsuback
	c.ok(ack.Decode(c.v, h, body))
	if ack.PacketID != p.PacketID {
		c.t.Fatalf("UNSUBACK of %d, want %d", ack.PacketID, p.PacketID)
	}
	return ack.Codes
}

// message takes a PUBLISH, and does not acknowledge it.
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

// settle waits until whatever was sent to the client before now has come, which is messages alone. They are kept for message. An
// answer may overtake messages that are about to be written; those that were there when the node answered the first
// PINGREQ come before the answer to the second.
func (c *client) settle() {
	c.t.Helper()
	for range 2 {
		c.write(packet.AppendPingreq(nil))
		c.answer(packet.PINGRESP)
	}
}

// silent fails if anything was sent to the client before now.
func (c *client) silent() {
	c.t.Helper()
	c.settle()
	if len(c.early) > 0 {
		c.t.Fatalf("heard %s: %.40q, want nothing", c.early[0].Topic, c.early[0].Payload)
	}
}

// gone waits for the end of the connection, and for nothing before it.
func (c *client) gone() {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	h, body, err := c.r.Next()
	if err == nil {
		c.t.Fatalf("a %v % x, want the end", h.Type, body)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("%v, want the end", err)
	}
}

// told waits for a DISCONNECT with that code and the end, or for the end alone before MQTT 5.
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

// refused waits for a CONNACK with that code and the end.
func (c *client) refused(code packet.ReasonCode) {
	c.t.Helper()
	if ack := c.connack(); ack.Code != code || ack.SessionPresent {
		c.t.Fatalf("CONNACK: %v with session present %t, want %v without", ack.Code, ack.SessionPresent, code)
	}
	c.gone()
}

// ends waits for the end of an accepted connection. A DISCONNECT may come before it (MQTT 5, section 4.13), with one of codes.
func (c *client) ends(codes ...packet.ReasonCode) {
	c.t.Helper()
	if body := c.last(packet.DISCONNECT); body != nil {
		var p packet.Disconnect
		c.ok(p.Decode(c.v, packet.Header{Type: packet.DISCONNECT}, body))
		c.oneOf(p.Code, codes)
	}
}

// rejected waits for the end of a connection that was not accepted. A CONNACK may come before it, with one of codes.
func (c *client) rejected(codes ...packet.ReasonCode) {
	c.t.Helper()
	if body := c.last(packet.CONNACK); body != nil {
		var p packet.Connack
		c.ok(p.Decode(c.v, packet.Header{Type: packet.CONNACK}, body))
		c.oneOf(p.Code, codes)
	}
}

// last waits for the end, and returns the body of the one packet of that type that may come before it; nil if none does.
func (c *client) last(typ packet.Type) []byte {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	h, body, err := c.r.Next()
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	c.ok(err)
	if h.Type != typ {
		c.t.Fatalf("a %v % x, want the end, after a %v at most", h.Type, body, typ)
	}
	body = append(make([]byte, 0, len(body)), body...)
	c.gone()
	return body
}

func (c *client) oneOf(code packet.ReasonCode, codes []packet.ReasonCode) {
	c.t.Helper()
	if !slices.Contains(codes, code) {
		c.t.Fatalf("the connection ends with %v, want one of %v", code, codes)
	}
}

// frame is a packet whose first byte and parts are as given, right or wrong.
func frame(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	b := []byte{first}
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(append(b, byte(n)), body...)
}

// text is a string or binary data on the wire, its length before it.
func text(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }

// bye says DISCONNECT and waits until the node has let go of the client.
func (c *client) bye(n *node, id string) {
	c.t.Helper()
	c.write((&packet.Disconnect{}).Append(nil, c.v))
	c.gone()
	n.waitAway(c.t, id)
}

// drop ends the connection without a word, and waits until the node has noticed. What was said before has arrived: closing at
// once could be a reset, which overtakes it.
func (c *client) drop(n *node, id string) {
	c.t.Helper()
	c.ok(c.conn.(*net.TCPConn).CloseWrite())
	c.conn.SetReadDeadline(time.Now().Add(patience))
	io.Copy(io.Discard, c.conn)
	c.conn.Close()
	n.waitAway(c.t, id)
}

// Clients returns those that are connected.
func (n *node) Clients() []broker.ClientInfo {
	page, _ := n.Broker.Clients(broker.ClientQuery{Connected: true, Limit: broker.MaxPage})
	return page
}

// waitAway returns when no client of that identifier is connected.
func (n *node) waitAway(t *testing.T, id string) {
	t.Helper()
	until(t, "the client is away", func() bool {
		for _, c := range n.Clients() {
			if c.ID == id {
				return false
			}
		}
		return true
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

// past returns when the clock is beyond a moment: for what the specification says in seconds.
func past(t testing.TB, moment time.Time) {
	t.Helper()
	until(t, "the clock goes on", func() bool { return time.Now().After(moment) })
}
