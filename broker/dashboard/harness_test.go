package dashboard

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// patience bounds every wait of a test for something that must come; nothing waits for it to pass.
const patience = time.Minute

// A stage is a node with its page, both running until the test ends.
type stage struct {
	t      *testing.T
	node   *broker.Broker
	server *Server
	base   string // of addresses
	client *http.Client
}

// play starts a node and its page. A test's page is refreshed, and samples are taken, several times a second.
func play(t *testing.T, change func(*Options)) *stage {
	t.Helper()
	leaktest.Check(t)
	c := config.Default()
	c.Node = "node-1"
	c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0", ProxyProtocol: config.ProxyOptional}}
	c.Limits.MaxPacketSize = 256 << 10
	node, err := broker.New(broker.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	running(t, node.Run)
	o := Options{Listen: "127.0.0.1:0", Broker: node, Version: "1.2.3"}
	if change != nil {
		change(&o)
	}
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	server.sampler.every = 200 * time.Millisecond
	running(t, server.Run)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, node: node, server: server, base: "http://" + server.Addr().String()}
	if strings.HasPrefix(o.Listen, "0.0.0.0:") {
		_, port, _ := net.SplitHostPort(server.Addr().String())
		s.base = "http://127.0.0.1:" + port
	}
	s.client = &http.Client{
		Timeout: patience, Jar: jar, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.until("the node accepts clients", node.Accepting)
	return s
}

// running starts f, and ends it with the test.
func running(t *testing.T, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	})
}

// until polls for something that nothing announces.
func (s *stage) until(what string, done func() bool) {
	s.t.Helper()
	timeout := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			s.t.Fatalf("not in time: %s", what)
		}
	}
}

// An answer is what came back, read to the end.
type answer struct {
	code   int
	header http.Header
	body   string
}

// ask sends a request with headers, "Name: value" each, and as a POST if there is a form.
func (s *stage) ask(path string, form url.Values, headers ...string) answer {
	s.t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, s.base+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		} else {
			req.Header.Set(name, value)
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// want is ask for an answer with that code that holds each of some texts.
func (s *stage) want(code int, path string, texts ...string) answer {
	s.t.Helper()
	a := s.ask(path, nil)
	if a.code != code {
		s.t.Errorf("GET %.100s: %d, want %d\n%.2000s", path, a.code, code, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			s.t.Errorf("GET %.100s lacks %s in\n%.5000s", path, text, a.body)
		}
	}
	return a
}

// A device is an MQTT client that says exactly what the test wants.
type device struct {
	s    *stage
	conn net.Conn
	r    *packet.Reader
}

// join connects a client of MQTT 5 whose session outlives the connection by an hour.
func (s *stage) join(id string) *device {
	s.t.Helper()
	p := packet.Connect{Version: packet.V5, ClientID: []byte(id), KeepAlive: 60}
	p.Properties.AddInt(packet.SessionExpiry, 3600)
	return s.connect(p)
}

func (s *stage) connect(p packet.Connect) *device {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.node.Addr("mqtt").String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * patience))
	d := &device{s, conn, packet.NewReader(conn, 0)}
	d.say(p.Append(nil), packet.CONNACK)
	return d
}

// say sends a packet and waits for the answer of that type, if any.
func (d *device) say(b []byte, answer packet.Type) {
	d.s.t.Helper()
	if len(b) == 0 {
		d.s.t.Fatal("a packet without a form")
	}
	if _, err := d.conn.Write(b); err != nil {
		d.s.t.Fatal(err)
	}
	for answer != 0 {
		h, _, err := d.r.Next()
		if err != nil {
			d.s.t.Fatal(err)
		}
		if h.Type == answer {
			return
		}
	}
}

func (d *device) subscribe(o packet.Options, filters ...string) {
	d.s.t.Helper()
	p := packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		p.Subscriptions.Add([]byte(f), o)
	}
	d.say(p.Append(nil, packet.V5), packet.SUBACK)
}

// publish publishes with QoS 1 and waits until the node has it.
func (d *device) publish(topic, payload string, retain bool) {
	d.s.t.Helper()
	p := packet.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: 1, Retain: retain}
	d.say(p.Append(nil, packet.V5), packet.PUBACK)
}

// leave breaks the connection and waits until the node knows.
func (d *device) leave(id string) {
	d.s.t.Helper()
	d.conn.Close()
	d.s.until(id+" is away", func() bool {
		c, _ := d.s.node.Client(id)
		return !c.Connected
	})
}

// told waits for a DISCONNECT with that code.
func (d *device) told(code packet.ReasonCode) {
	d.s.t.Helper()
	for {
		h, body, err := d.r.Next()
		if err != nil {
			d.s.t.Fatal(err)
		}
		if h.Type != packet.DISCONNECT {
			continue
		}
		var p packet.Disconnect
		if err := p.Decode(packet.V5, h, body); err != nil || p.Code != code {
			d.s.t.Fatalf("DISCONNECT: %v %v, want %v", p.Code, err, code)
		}
		return
	}
}
