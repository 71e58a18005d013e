package api

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

const patience = 30 * time.Second

// node returns a broker that nobody has run, and closes it in the end.
func node(t *testing.T) *broker.Broker {
	t.Helper()
	c := config.Default()
	c.Node = "n1"
	c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
	b, err := broker.New(broker.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// running starts f and returns what ends it and waits.
func running(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return func() {
		cancel()
		select {
		case err := <-done:
			done <- nil
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	}
}

// An api is a node with its HTTP side, both running.
type api struct {
	t        *testing.T
	broker   *broker.Broker
	base     string
	client   http.Client
	stopNode func()
}

// start serves at a loopback address, or as o says.
func start(t *testing.T, o Options) *api {
	t.Helper()
	leaktest.Check(t)
	o.Broker, o.Version = node(t), "1.2.3"
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:0")
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := &api{t: t, broker: o.Broker, base: "http://127.0.0.1:" + port, stopNode: running(t, o.Broker.Run)}
	a.client = http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	stop := running(t, s.Run)
	t.Cleanup(func() {
		a.client.CloseIdleConnections()
		a.stopNode()
		stop()
	})
	until(t, "the node is ready", func() bool { return o.Broker.Unready() == "" })
	return a
}

// until polls for something that nothing announces.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// ask sends a request with headers, "Name: value" each, and returns what came back.
func (a *api) ask(method, path, body string, headers ...string) (*http.Response, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.base+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := a.client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp, string(text)
}

// want is ask for a request that is to be answered with that status; a failure has to be in JSON and say something.
func (a *api) want(status int, method, path, body string, headers ...string) string {
	a.t.Helper()
	resp, text := a.ask(method, path, body, headers...)
	if resp.StatusCode != status {
		a.t.Errorf("%s %.100s %v: %d, want %d\n%.1000s", method, path, headers, resp.StatusCode, status, text)
		return text
	}
	var f Failure
	if status >= 400 && (json.Unmarshal([]byte(text), &f) != nil || f.Error == "" || resp.Header.Get("Content-Type") != "application/json") {
		a.t.Errorf("%s %.100s: the failure is %q", method, path, text)
	}
	return text
}

// get reads what a path shows into v.
func (a *api) get(path string, v any) {
	a.t.Helper()
	dec := json.NewDecoder(strings.NewReader(a.want(http.StatusOK, "GET", path, "")))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		a.t.Fatalf("%s: %v", path, err)
	}
}

// device is a client of the node.
type device struct {
	t    *testing.T
	conn net.Conn
	r    *packet.Reader
}

// connect connects a client of MQTT 5 whose session stays for an hour.
func (a *api) connect(id string) *device {
	a.t.Helper()
	conn, err := net.Dial("tcp", a.broker.Addr("mqtt").String())
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	d := &device{t: a.t, conn: conn, r: packet.NewReader(conn, 0)}
	p := packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: true, KeepAlive: 60}
	p.Properties.AddInt(packet.SessionExpiry, 3600)
	d.write(p.Append(nil))
	d.next(packet.CONNACK)
	return d
}

func (d *device) write(b []byte) {
	d.t.Helper()
	if _, err := d.conn.Write(b); err != nil {
		d.t.Fatal(err)
	}
}

// next returns the next packet, which must be of that type.
func (d *device) next(typ packet.Type) (packet.Header, []byte) {
	d.t.Helper()
	h, body, err := d.r.Next()
	if err != nil || h.Type != typ {
		d.t.Fatalf("a %v, %v; want a %v", h.Type, err, typ)
	}
	return h, body
}

func (d *device) subscribe(o packet.Options, filters ...string) {
	d.t.Helper()
	p := packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		p.Subscriptions.Add([]byte(f), o)
	}
	d.write(p.Append(nil, packet.V5))
	d.next(packet.SUBACK)
}

// retain publishes with RETAIN and QoS 1.
func (d *device) retain(topic string, payload []byte, properties packet.Properties) {
	d.t.Helper()
	p := packet.Publish{Topic: []byte(topic), Payload: payload, QoS: 1, PacketID: 1, Retain: true, Properties: properties}
	d.write(p.Append(nil, packet.V5))
	d.next(packet.PUBACK)
}

func TestReady(t *testing.T) {
	leaktest.Check(t)
	b := node(t)
	s, err := New(Options{Listen: "127.0.0.1:0", Broker: b})
	if err != nil {
		t.Fatal(err)
	}
	defer running(t, s.Run)()
	a := &api{t: t, base: "http://" + s.Addr().String()}
	a.client = http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	ready := func(status int, why string) {
		t.Helper()
		resp, text := a.ask("GET", "/readyz", "")
		if resp.StatusCode != status || !strings.Contains(text, why) {
			t.Errorf("/readyz: %d %q, want %d %q", resp.StatusCode, text, status, why)
		}
	}
	ready(http.StatusServiceUnavailable, "starting")
	stop := running(t, b.Run)
	until(t, "the node is ready", func() bool { return b.Unready() == "" })
	ready(http.StatusOK, "ok\n")
	var st Status
	a.get("/api/v1/status", &st)
	if !st.Ready || st.Unready != "" {
		t.Errorf("%+v", st)
	}
	stop()
	ready(http.StatusServiceUnavailable, "stopping")
	a.want(http.StatusServiceUnavailable, "POST", "/api/v1/publish", `{"topic": "a"}`)
	a.get("/api/v1/status", &st)
	if st.Ready || !strings.Contains(st.Unready, "stopping") {
		t.Errorf("%+v", st)
	}
	if resp, text := a.ask("GET", "/healthz", ""); resp.StatusCode != http.StatusOK || text != "ok\n" {
		t.Errorf("/healthz: %d %q", resp.StatusCode, text)
	}
}

func TestStatus(t *testing.T) {
	a := start(t, Options{})
	d := a.connect("c")
	d.subscribe(packet.Options{}, "a", "b")
	d.retain("r", []byte("x"), packet.Properties{})
	var st Status
	a.get("/api/v1/status", &st)
	want := Listener{"mqtt", a.broker.Addr("mqtt").String(), "tcp", false, "none"}
	if st.Node != "n1" || st.Version != "1.2.3" || len(st.Listener) != 1 || st.Listener[0] != want || st.Connections != 1 || st.Clients != 1 ||
		st.Sessions != 1 || st.Subscriptions != 2 || st.Retained != 1 || st.Accepted != 1 || st.Received != [3]uint64{1: 1} {
		t.Errorf("%+v", st)
	}
	if _, there := st.Ended["administrative"]; !there {
		t.Errorf("endings: %v", st.Ended)
	}
	if _, there := st.Dropped["queue_full"]; !there {
		t.Errorf("drops: %v", st.Dropped)
	}
	a.want(http.StatusBadRequest, "GET", "/api/v1/status?pretty=1", "")
}

// TestUnknown: what is not there is told as JSON, too.
func TestUnknown(t *testing.T) {
	a := start(t, Options{})
	a.want(http.StatusNotFound, "GET", "/", "")
	a.want(http.StatusNotFound, "GET", "/api/v1/nothing", "")
	a.want(http.StatusNotFound, "GET", "/api/v1/clients/a/b", "")
	a.want(http.StatusNotFound, "DELETE", "/api/v1/clients/a/subscriptions", "")
	a.want(http.StatusNotFound, "GET", "/api/v1/clients/a/subscriptions/", "")
	a.want(http.StatusBadRequest, "GET", "/api/v1/clients/", "")
	a.want(http.StatusBadRequest, "DELETE", "/api/v1/clients/", "")
	resp, _ := a.ask("PUT", "/api/v1/clients/a", "")
	if allow := resp.Header.Get("Allow"); resp.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(allow, "DELETE") {
		t.Errorf("PUT: %d, allowed are %q", resp.StatusCode, allow)
	}
	a.want(http.StatusMethodNotAllowed, "POST", "/metrics", "")
	if resp, _ := a.ask("GET", "//healthz", ""); resp.StatusCode/100 != 3 {
		t.Errorf("//healthz: %d, want a redirection", resp.StatusCode)
	}
}

func TestTakenPort(t *testing.T) {
	b := node(t)
	s, err := New(Options{Listen: "127.0.0.1:0", Broker: b})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := New(Options{Listen: s.Addr().String(), Broker: b}); err == nil {
		t.Error("a taken port is opened")
	}
}
