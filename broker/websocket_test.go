package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	ws "github.com/coder/websocket"
	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// webSocket makes the node's listener one for WebSockets.
func webSocket(o *Options) {
	o.Config.Listeners[0].Transport = config.WebSocket
	o.Config.Listeners[0].ProxyProtocol = config.ProxyOptional
}

// dialWS opens a WebSocket; its NetConn sends each Write as a frame.
func dialWS(t *testing.T, n *node, path string, protocols ...string) (*ws.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, r, err := ws.Dial(ctx, "ws://"+n.Addr("mqtt").String()+path, &ws.DialOptions{Subprotocols: protocols, HTTPClient: &http.Client{Transport: transport}})
	if err == nil {
		c.SetReadLimit(-1)
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, r, err
}

// TestWebSocket: packets in frames, several in one and one in several [MQTT-6.0.0-2], with pings of RFC 6455 between.
func TestWebSocket(t *testing.T) {
	n := start(t, webSocket)
	conn, _, err := dialWS(t, n, "/mqtt", "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := talk(t, ws.NetConn(ctx, conn, ws.MessageBinary), packet.V5)
	for _, b := range (&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil) {
		c.write([]byte{b})
	}
	c.connack()
	c.subscribe(packet.Options{QoS: 1}, "a")
	var burst []byte
	for i := range 50 {
		burst = (&packet.Publish{Topic: []byte("a"), Payload: fmt.Append(nil, i)}).Append(burst, c.v)
	}
	c.write(burst)
	for i := range 50 {
		c.hears("a", fmt.Sprint(i))
	}
	long := strings.Repeat("x", 300<<10)
	c.write((&packet.Publish{Topic: []byte("a"), Payload: []byte(long)}).Append(nil, c.v))
	c.hears("a", long)
	heard := make(chan error, 1)
	go func() { heard <- conn.Ping(ctx) }()
	c.write(packet.AppendPingreq(nil)) // the pong comes with what is read
	c.want(packet.PINGRESP)
	c.write(packet.AppendPingreq(nil))
	c.want(packet.PINGRESP)
	select {
	case err := <-heard:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(100 * time.Millisecond): // only a read notices it
		c.write(packet.AppendPingreq(nil))
		c.want(packet.PINGRESP)
		if err := <-heard; err != nil {
			t.Error(err)
		}
	}
	c.bye()
	n.waitAway(t, "c")
}

// TestWebSocketBehindProxy: the PROXY header comes before the request, and tells who the client is.
func TestWebSocketBehindProxy(t *testing.T) {
	n := start(t, webSocket)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_, err = conn.Write(proxied(t, 2, "192.0.2.7:4711"))
		}
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	conn, _, err := ws.Dial(ctx, "ws://"+n.Addr("mqtt").String()+"/mqtt", &ws.DialOptions{Subprotocols: []string{"mqtt"}, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	c := talk(t, ws.NetConn(ctx, conn, ws.MessageBinary), packet.V5)
	c.write((&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil))
	c.connack()
	if info, _ := n.Client("c"); info.Addr.String() != "192.0.2.7:4711" {
		t.Errorf("the client is %s", info.Addr)
	}
	c.bye()
	n.waitAway(t, "c")
}

// TestWebSocketEnds: text frames [MQTT-6.0.0-1], a subprotocol that is not MQTT's [MQTT-6.0.0-3], another path.
func TestWebSocketEnds(t *testing.T) {
	n := start(t, webSocket)
	for _, refused := range []struct {
		path, protocol string
		status         int
	}{{"/mqtt", "chat", http.StatusBadRequest}, {"/other", "mqtt", http.StatusNotFound}} {
		if _, r, err := dialWS(t, n, refused.path, refused.protocol); err == nil || r == nil || r.StatusCode != refused.status {
			t.Errorf("%s, %s: %v, want %d", refused.path, refused.protocol, err, refused.status)
		}
	}
	until(t, "both are counted", func() bool { return n.Stats().Ended["websocket_upgrade"] == 2 })

	conn, r, err := dialWS(t, n, "/mqtt", "mqtt")
	if err != nil || r.Header.Get("Sec-WebSocket-Protocol") != "mqtt" { // [MQTT-6.0.0-4]
		t.Fatal(err, r)
	}
	if err := conn.Write(t.Context(), ws.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	_, _, err = conn.Read(t.Context())
	var closed ws.CloseError
	if !errors.As(err, &closed) || closed.Code != ws.StatusUnsupportedData {
		t.Errorf("a text frame is answered by %v", err)
	}
	until(t, "it is counted", func() bool { return n.Stats().Ended["protocol_error"] == 1 })

	conn, _, err = dialWS(t, n, "/mqtt", "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(ws.StatusNormalClosure, ""); err != nil { // waits for the answer
		t.Errorf("close: %v", err)
	}
}

// TestWebSocketTells: what ends a client of MQTT 5 comes before the close frame.
func TestWebSocketTells(t *testing.T) {
	n := start(t, webSocket)
	conn, _, err := dialWS(t, n, "/mqtt", "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	c := talk(t, ws.NetConn(t.Context(), conn, ws.MessageBinary), packet.V5)
	c.write((&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil))
	c.connack()
	c.write((&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil))
	h, _ := c.want(packet.DISCONNECT)
	if h.Remaining == 0 {
		t.Error("no reason code")
	}
	if _, err := c.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // NetConn's word for a normal closure
		t.Errorf("after DISCONNECT: %v", err)
	}
}

// TestPahoOverWebSocket: a client that people use, over ws and over wss.
func TestPahoOverWebSocket(t *testing.T) {
	dir := t.TempDir()
	files, err := devca.Write(dir, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := devca.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			n := start(t, func(o *Options) {
				webSocket(o)
				if scheme == "wss" {
					o.Config.Listeners[0].TLS = &config.TLS{Cert: files.Server}
				}
			})
			got := make(chan string, 10)
			o := mqtt3.NewClientOptions().AddBroker(scheme + "://" + n.Addr("mqtt").String() + "/mqtt").SetClientID("c")
			o.SetTLSConfig(&tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}).SetAutoReconnect(false)
			c := mqtt3.NewClient(o)
			wait := func(token mqtt3.Token) {
				t.Helper()
				if !token.WaitTimeout(patience) || token.Error() != nil {
					t.Fatal(token.Error())
				}
			}
			wait(c.Connect())
			wait(c.Subscribe("a/#", 2, func(_ mqtt3.Client, m mqtt3.Message) { got <- string(m.Payload()) }))
			for qos := range byte(3) {
				text := strings.Repeat(fmt.Sprint(qos), 40_000)
				wait(c.Publish("a/b", qos, false, text))
				if recv(t, got) != text {
					t.Errorf("QoS %d: another message", qos)
				}
			}
			c.Disconnect(250)
		})
	}
}

// TestMQTTJS: the client of browsers and Node.js, over TCP and over WebSocket, with MQTT 3.1.1 and 5.
func TestMQTTJS(t *testing.T) {
	node := peertest.Path(t, "node", "nodejs")
	const script = "testdata/mqttjs/client.mjs"
	if out, err := exec.Command(node, script, "--version").CombinedOutput(); err != nil {
		peertest.Lacking(t, "MQTT.js: run npm ci in broker/testdata/mqttjs ("+strings.TrimSpace(string(out))+")")
	}
	for scheme, change := range map[string]func(*Options){"mqtt": nil, "ws": webSocket} {
		n := start(t, change)
		for _, version := range []string{"4", "5"} {
			t.Run(scheme+" "+version, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				url := scheme + "://" + n.Addr("mqtt").String() + "/mqtt"
				out, err := exec.CommandContext(ctx, node, script, url, version).CombinedOutput()
				if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "done") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}
