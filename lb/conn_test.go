package lb_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
	"github.com/mqttlb/mqttlb/lb"
)

// config is a load balancer with a TLS and a plain listener. The backend's lines are indented by four.
func config(backend string) string {
	return `
admin: {listen: ""}
shutdown_timeout: 200ms
log: {connections: all}
listeners:
  - {name: mqtts, listen: "127.0.0.1:0", backend: nodes, tls: {certificates: [{cert: certs/server.pem}]}}
  - {name: mqtt, listen: "127.0.0.1:0", backend: nodes}
backends:
  - name: nodes
` + backend
}

func servers(nodes ...*node) string {
	addresses := make([]string, len(nodes))
	for i, n := range nodes {
		addresses[i] = n.addr()
	}
	return list(addresses...)
}

// list writes the servers n1, n2, … of a backend.
func list(addresses ...string) string {
	var b strings.Builder
	b.WriteString("    servers:\n")
	for i, address := range addresses {
		fmt.Fprintf(&b, "      - {name: n%d, address: %q}\n", i+1, address)
	}
	return b.String()
}

const quickChecks = "    check: {interval: 50ms, timeout: 2s, fall: 2, rise: 2}\n"

func TestTLSClientReachesServer(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(config(servers(n)))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := r.dialTLS("mqtts", func(cfg *tls.Config) { cfg.MaxVersion = version })
		send(t, c, connectPacket)
		expect(t, c, connack)
		send(t, c, "hello")
		expect(t, c, "hello")
		if got := r.server("n1").Active; got != 1 {
			t.Errorf("active sessions %d, want 1", got)
		}
		c.Close()
		eventually(t, "the end of the session", func() bool { return r.server("n1").Active == 0 })
	}
	l := r.listener("mqtts")
	if l.Ended["client_close"] != 2 || l.BytesIn != 2*uint64(len(connectPacket)+5) || l.BytesOut != 2*uint64(len(connack)+5) {
		t.Errorf("counted %+v", l)
	}
	for _, h := range l.Handshakes {
		if want := uint64(1); !h.Resumed && h.Count != want {
			t.Errorf("handshakes %+v, want %d", h, want)
		}
	}
}

func TestProxyHeader(t *testing.T) {
	leaktest.Check(t)
	r := newRig(t)
	issued, err := r.ca.Issue(devca.Options{CommonName: "meter-7", Client: true})
	if err != nil {
		t.Fatal(err)
	}
	cert := issued.TLS()
	tests := []struct {
		name, backend, listen, source, version string
	}{
		{"version 1, IPv4", "    send_proxy: v1\n", "127.0.0.1:0", "127.0.0.9", "v1"},
		{"version 1, IPv6", "    send_proxy: v1\n", "[::1]:0", "::1", "v1"},
		{"version 2, IPv4", "    send_proxy: v2\n", "127.0.0.1:0", "127.0.0.9", "v2"},
		{"version 2, IPv6", "    send_proxy: v2\n", "[::1]:0", "::1", "v2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, "", true)
			r := &rig{t: t, dir: r.dir, path: r.path, ca: r.ca, log: r.log}
			text := strings.ReplaceAll(config(tt.backend+servers(n)), "127.0.0.1:0", tt.listen)
			r.run(strings.Replace(text, "tls: {", "tls: {client_auth: optional, client_ca: certs/ca.pem, ", 1))
			c := tls.Client(r.dialFrom("mqtts", tt.source), &tls.Config{
				RootCAs: r.ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12,
			})
			send(t, c, connectPacket)
			expect(t, c, connack)
			s := n.wait(t, 0)
			source, destination := tcpAddr(t, s.header.SourceAddr), tcpAddr(t, s.header.DestinationAddr)
			if source != tcpAddr(t, c.LocalAddr()) || destination != tcpAddr(t, c.RemoteAddr()) {
				t.Errorf("header says %v to %v, it was %v to %v", source, destination, c.LocalAddr(), c.RemoteAddr())
			}
			if string(s.connect) != connectPacket {
				t.Errorf("after the header came %q", s.connect)
			}
			if tt.version == "v2" {
				checkExtensions(t, s.header)
			}
		})
	}
}

func checkExtensions(t *testing.T, h *proxyproto.Header) {
	t.Helper()
	tlvs, err := h.TLVs()
	if err != nil {
		t.Fatal(err)
	}
	ssl, ok := tlvparse.FindSSL(tlvs)
	if !ok {
		t.Fatal("no ssl extension")
	}
	version, _ := ssl.SSLVersion()
	cipher, _ := ssl.SSLCipher()
	cn, _ := ssl.ClientCN()
	if version != "TLSv1.2" || !strings.HasPrefix(cipher, "ECDHE-ECDSA-") || cn != "meter-7" || !ssl.Verified() || !ssl.ClientSSL() || !ssl.ClientCertConn() {
		t.Errorf("ssl extension: version %q, cipher %q, common name %q, %+v", version, cipher, cn, ssl)
	}
	got := map[proxyproto.PP2Type]string{}
	for _, tlv := range tlvs {
		got[tlv.Type] = string(tlv.Value)
	}
	if got[proxyproto.PP2_TYPE_AUTHORITY] != "localhost" || got[proxyproto.PP2_TYPE_UNIQUE_ID] == "" {
		t.Errorf("extensions %q", got)
	}
}

func tcpAddr(t *testing.T, a net.Addr) netip.AddrPort {
	t.Helper()
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		t.Fatalf("no TCP address: %v", a)
	}
	return netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
}

func TestAcceptProxy(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", true)
	r := newRig(t)
	text := config("    send_proxy: v2\n" + servers(n))
	text = strings.Replace(text, "backend: nodes}", `backend: nodes, accept_proxy: true, trusted_proxies: ["127.0.0.2/32"]}`, 1)
	r.run(text)

	c := r.dialFrom("mqtt", "127.0.0.2")
	for _, piece := range []string{"PROXY TCP4 192.0.2.7 ", "192.0.2.8 4711 1883\r", "\n" + connectPacket} {
		send(t, c, piece)
	}
	expect(t, c, connack)
	if s := n.wait(t, 0); s.header.SourceAddr.String() != "192.0.2.7:4711" || s.header.DestinationAddr.String() != "192.0.2.8:1883" {
		t.Errorf("the node was told %v to %v", s.header.SourceAddr, s.header.DestinationAddr)
	}

	stranger := r.dialFrom("mqtt", "127.0.0.3")
	expectEnd(t, stranger)
	eventually(t, "the stranger refused", func() bool { return r.ended("mqtt", lb.Refused) == 1 })

	headless := r.dialFrom("mqtt", "127.0.0.2")
	send(t, headless, connectPacket)
	expectEnd(t, headless)
	eventually(t, "the headless refused", func() bool { return r.ended("mqtt", lb.ProxyHeader) == 1 })
	if len(n.seen()) != 1 {
		t.Errorf("%d sessions reached the node, want 1", len(n.seen()))
	}
}

func TestSourceBalancingKeepsClients(t *testing.T) {
	leaktest.Check(t)
	a, b := newNode(t, "", true), newNode(t, "", true)
	r := newRig(t)
	r.run(config("    send_proxy: v2\n" + quickChecks + servers(a, b)))
	for range 3 {
		for i := 1; i <= 20; i++ {
			c := r.dialFrom("mqtt", fmt.Sprintf("127.0.1.%d", i))
			send(t, c, connectPacket)
			expect(t, c, connack)
			c.Close()
		}
	}
	owner := make(map[string]*node)
	for _, n := range []*node{a, b} {
		eventually(t, "sessions on every node", func() bool { return len(n.seen()) > 0 })
		for _, s := range n.seen() {
			ip := tcpAddr(t, s.header.SourceAddr).Addr().String()
			if owner[ip] != nil && owner[ip] != n {
				t.Errorf("%s reached two nodes", ip)
			}
			owner[ip] = n
		}
	}
	if got := len(a.seen()) + len(b.seen()); got != 60 {
		t.Errorf("%d sessions, want 60", got)
	}
}

func TestRetriesOnOtherServers(t *testing.T) {
	leaktest.Check(t)
	alive := newNode(t, "", false)
	r := newRig(t)
	r.run(config("    balance: roundrobin\n    check: {type: none}\n" + list(peertest.Nobody(t), alive.addr())))
	for range 6 {
		c := r.dial("mqtt")
		send(t, c, connectPacket)
		expect(t, c, connack)
		c.Close()
	}
	if r.server("n1").ConnectErrors == 0 || r.server("n2").Total != 6 {
		t.Errorf("n1 %+v, n2 %+v", r.server("n1"), r.server("n2"))
	}
}

func TestNobodyToServe(t *testing.T) {
	leaktest.Check(t)
	r := newRig(t)
	dead := list(peertest.Nobody(t))
	r.run(config("    check: {type: none}\n" + dead))
	c := r.dial("mqtt")
	send(t, c, connectPacket)
	expectEnd(t, c)
	eventually(t, "a failed dial", func() bool { return r.ended("mqtt", lb.DialFailed) == 1 })

	r.write(config(quickChecks + dead))
	eventually(t, "the server down", func() bool { return r.server("n1").State == "down" })
	if why := r.Unready(); len(why) != 1 || !strings.Contains(why[0], "backend nodes has no usable server") {
		t.Errorf("unready because of %q", why)
	}
	c = r.dial("mqtt")
	send(t, c, connectPacket)
	expectEnd(t, c)
	eventually(t, "a connection without server", func() bool { return r.ended("mqtt", lb.NoServer) == 1 })
}

func TestMaxConnectionsWaitInTheKernel(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(strings.Replace(config(servers(n)), "listen: \"127.0.0.1:0\", backend: nodes}", "listen: \"127.0.0.1:0\", backend: nodes, max_connections: 2}", 1))
	var first []net.Conn
	for range 2 {
		c := r.dial("mqtt")
		send(t, c, connectPacket)
		expect(t, c, connack)
		first = append(first, c)
	}
	third := r.dial("mqtt") // the kernel answers
	send(t, third, connectPacket)
	for range 20 {
		third.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		if _, err := third.Read(make([]byte, 1)); err == nil {
			t.Fatal("a third connection was served")
		}
		if got := r.listener("mqtt").Connections; got > 2 {
			t.Fatalf("the listener has %d connections, at most 2 are allowed", got)
		}
	}
	first[0].Close()
	third.SetReadDeadline(time.Now().Add(patience))
	expect(t, third, connack)
	if got := r.listener("mqtt").Connections; got != 2 {
		t.Errorf("the listener has %d connections, want 2", got)
	}
}

func TestServerMaxConnections(t *testing.T) {
	leaktest.Check(t)
	a, b := newNode(t, "", false), newNode(t, "", false)
	r := newRig(t)
	text := strings.Replace(config("    balance: roundrobin\n"+servers(a, b)), "name: n1,", "name: n1, max_connections: 1,", 1)
	r.run(text)
	for range 6 {
		c := r.dial("mqtt")
		send(t, c, connectPacket)
		expect(t, c, connack)
	}
	if len(a.seen()) != 1 || len(b.seen()) != 5 {
		t.Errorf("%d and %d sessions, want 1 and 5", len(a.seen()), len(b.seen()))
	}
}

func TestOnMarkedDownCloses(t *testing.T) {
	for _, mode := range []string{"keep", "close"} {
		t.Run(mode, func(t *testing.T) {
			leaktest.Check(t)
			n := newNode(t, "", false)
			r := newRig(t)
			r.run(config("    on_marked_down: " + mode + "\n" + quickChecks + servers(n)))
			c := r.dialTLS("mqtts", nil)
			send(t, c, connectPacket)
			expect(t, c, connack)
			n.ln.Close() // the port is closed, the sessions go on
			eventually(t, "the server down", func() bool { return r.server("n1").State == "down" })
			if mode == "keep" {
				send(t, c, "still here")
				expect(t, c, "still here")
				return
			}
			expectEnd(t, c)
			eventually(t, "the session closed", func() bool { return r.ended("mqtts", lb.MarkedDown) == 1 })
		})
	}
}

func TestGracefulStop(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(strings.Replace(config(servers(n)), "shutdown_timeout: 200ms", "shutdown_timeout: 8s", 1))
	var conns []net.Conn
	for range 4 {
		c := r.dialTLS("mqtts", nil)
		send(t, c, connectPacket)
		expect(t, c, connack)
		conns = append(conns, c)
	}
	address := r.Addr("mqtts")
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop() }()
	eventually(t, "nobody accepted", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if why := r.Unready(); len(why) != 1 || !strings.Contains(why[0], "stopping") {
		t.Errorf("unready because of %q", why)
	}
	send(t, conns[0], "last words") // sessions have half of shutdown_timeout for themselves
	expect(t, conns[0], "last words")
	conns[0].Close()
	for _, c := range conns[1:] {
		expectEnd(t, c)
	}
	<-stopped
	ended := r.listener("mqtts").Ended
	// The probes above may have been accepted as well, and closed.
	if ended["client_close"] < 1 || ended["drained"] != 2 || ended["stopped"] != 1 {
		t.Errorf("ended %v, want at least 1 by itself, 2 drained and the last one stopped", ended)
	}
}
