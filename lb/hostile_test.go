package lb_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
	"github.com/mqttlb/mqttlb/lb"
	"github.com/mqttlb/mqttlb/lb/handshake"
)

// impatient has short deadlines: TLS clients may take 300 ms for each step.
func impatient(backend string) string {
	text := strings.Replace(config(backend), "tls: {", "tls: {handshake_timeout: 300ms, ", 1)
	return strings.Replace(text, "listeners:\n", `listeners:
  - name: proxied
    listen: "127.0.0.1:0"
    backend: nodes
    accept_proxy: true
    trusted_proxies: ["127.0.0.1/32"]
    tls: {handshake_timeout: 300ms, certificates: [{cert: certs/server.pem}]}
`, 1)
}

// clientHello returns the first flight of a TLS client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		defer near.Close()
		tls.Client(near, &tls.Config{ServerName: "localhost"}).Handshake() // it fails when the test has seen enough
	}()
	buf := make([]byte, 8<<10)
	n, err := far.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// Whatever a stranger sends ends with its reason, reaches no server, and disturbs nobody.
func TestHostileClients(t *testing.T) {
	hello := clientHello(t)
	tests := []struct {
		name     string
		listener string
		sent     string
		overTLS  bool // sent inside TLS
		reason   lb.Reason
		failure  handshake.Failure // with HandshakeFailed
	}{
		{name: "garbage on TLS", listener: "mqtts", sent: "\x00\x01garbage\xff\xfe", reason: lb.HandshakeFailed, failure: handshake.NotTLS},
		{name: "half a ClientHello", listener: "mqtts", sent: string(hello[:len(hello)/2]), reason: lb.HandshakeFailed, failure: handshake.Timeout},
		{name: "a ClientHello and silence", listener: "mqtts", sent: string(hello), reason: lb.HandshakeFailed, failure: handshake.Timeout},
		{name: "nothing on TLS", listener: "mqtts", sent: "", reason: lb.HandshakeFailed, failure: handshake.Timeout},
		{name: "MQTT on TLS", listener: "mqtts", sent: connectPacket, reason: lb.HandshakeFailed, failure: handshake.NotTLS},
		{name: "HTTP on TLS", listener: "mqtts", sent: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", reason: lb.HandshakeFailed, failure: handshake.NotTLS},
		{name: "TLS on plain", listener: "mqtt", sent: string(hello), reason: lb.NotMQTT},
		{name: "HTTP on plain", listener: "mqtt", sent: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", reason: lb.NotMQTT},
		{name: "a header where none is expected", listener: "mqtt", sent: "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + connectPacket, reason: lb.NotMQTT},
		{name: "PINGREQ first", listener: "mqtt", sent: "\xc0\x00", reason: lb.NotMQTT},
		{name: "a CONNECT of 256 MiB", listener: "mqtt", sent: "\x10\xff\xff\xff\x7f", reason: lb.ConnectTooLarge},
		{name: "a length of five bytes", listener: "mqtt", sent: "\x10\xff\xff\xff\xff\x7f", reason: lb.NotMQTT},
		{name: "a CONNECT that says nothing", listener: "mqtt", sent: "\x10\x00", reason: lb.NotMQTT},
		{name: "a CONNECT of another protocol", listener: "mqtt", sent: "\x10\x0c\x00\x04AMQP\x04\x02\x00\x3c\x00\x00", reason: lb.NotMQTT},
		{name: "a CONNECT that never ends", listener: "mqtts", overTLS: true, sent: connectPacket[:9], reason: lb.MQTTConnectTimeout},
		{name: "a handshake and silence", listener: "mqtts", overTLS: true, sent: "", reason: lb.MQTTConnectTimeout},
		{name: "HTTP inside TLS", listener: "mqtts", overTLS: true, sent: "GET / HTTP/1.1\r\n\r\n", reason: lb.NotMQTT},
		{name: "no PROXY header", listener: "proxied", sent: string(hello), reason: lb.ProxyHeader},
		{name: "half a PROXY header", listener: "proxied", sent: "PROXY TCP4 1", reason: lb.ProxyHeader},
		{name: "a PROXY header and no TLS", listener: "proxied", sent: "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + connectPacket, reason: lb.HandshakeFailed, failure: handshake.NotTLS},
	}
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(impatient(servers(n)))
	neighbour := r.dialTLS("mqtts", nil)
	neighbour.SetDeadline(time.Now().Add(10 * patience)) // it outlives every row
	send(t, neighbour, connectPacket)
	expect(t, neighbour, connack)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, failures := r.ended(tt.listener, tt.reason), r.listener(tt.listener).Failures[tt.failure.String()]
			var c net.Conn
			if tt.overTLS {
				c = r.dialTLS(tt.listener, nil)
			} else {
				c = r.dial(tt.listener)
			}
			c.Write([]byte(tt.sent)) // the other side may be gone before the last byte
			expectEnd(t, c)
			eventually(t, "one more "+tt.reason.String(), func() bool { return r.ended(tt.listener, tt.reason) == before+1 })
			if got := r.listener(tt.listener).Failures[tt.failure.String()]; tt.reason == lb.HandshakeFailed && got != failures+1 {
				t.Errorf("%d failures of kind %v, want %d", got, tt.failure, failures+1)
			}
			send(t, neighbour, "ping")
			expect(t, neighbour, "ping")
		})
	}
	if got := len(n.seen()); got != 1 {
		t.Errorf("%d connections reached the node, want the neighbour's alone", got)
	}
}

// Whoever comes and goes without a byte, as port checks do, is no failure.
func TestPortChecksAreNoFailures(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(impatient(servers(n)))
	for _, listener := range []string{"mqtts", "mqtt", "proxied"} {
		r.dial(listener).Close()
		eventually(t, "a clean end on "+listener, func() bool { return r.ended(listener, lb.ClientClose) == 1 })
		for failure, count := range r.listener(listener).Failures {
			if count != 0 {
				t.Errorf("%d failures %s", count, failure)
			}
		}
	}
}

func TestHostileServers(t *testing.T) {
	t.Run("resets at once", func(t *testing.T) {
		leaktest.Check(t)
		n := raw(t, func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() })
		r := newRig(t)
		r.run(config("    check: {type: none}\n" + servers(n)))
		c := r.dialTLS("mqtts", nil)
		send(t, c, connectPacket)
		expectEnd(t, c)
		eventually(t, "the end", func() bool {
			return r.ended("mqtts", lb.ServerRejected)+r.ended("mqtts", lb.DialFailed) == 1
		})
	})
	t.Run("accepts and says nothing", func(t *testing.T) {
		leaktest.Check(t)
		n := raw(t, func(net.Conn) {})
		r := newRig(t)
		r.run(config("    check: {type: none}\n    server_timeout: 100ms\n" + servers(n)))
		c := r.dialTLS("mqtts", nil)
		send(t, c, connectPacket)
		expectEnd(t, c)
		eventually(t, "a server timeout", func() bool { return r.ended("mqtts", lb.ServerTimeout) == 1 })
	})
	t.Run("never reads", func(t *testing.T) {
		leaktest.Check(t)
		n := raw(t, func(c net.Conn) { io.WriteString(c, connack) })
		r := newRig(t)
		r.run(config("    check: {type: none}\n    server_timeout: 2s\n" + servers(n)))
		c := r.dialTLS("mqtts", nil)
		send(t, c, connectPacket)
		expect(t, c, connack)
		for chunk := bytes.Repeat([]byte("x"), 1<<20); ; {
			if _, err := c.Write(chunk); err != nil {
				break
			}
		}
		eventually(t, "a server timeout", func() bool { return r.ended("mqtts", lb.ServerTimeout) == 1 })
	})
}

func TestClientTimeout(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(strings.Replace(config(servers(n)), "backend: nodes}", "backend: nodes, client_timeout: 100ms}", 1))
	c := r.dial("mqtt")
	send(t, c, connectPacket)
	expect(t, c, connack)
	expectEnd(t, c)
	eventually(t, "a client timeout", func() bool { return r.ended("mqtt", lb.ClientTimeout) == 1 })
}

func TestClientCertificates(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	good, err := r.ca.Issue(devca.Options{CommonName: "good", Client: true})
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := r.ca.Issue(devca.Options{CommonName: "revoked", Client: true})
	if err != nil {
		t.Fatal(err)
	}
	crl, err := r.ca.CRL([]*x509.Certificate{revoked.Cert}, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r.writeFile("clients.crl", string(crl))
	other, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Issue(devca.Options{CommonName: "foreign", Client: true})
	if err != nil {
		t.Fatal(err)
	}
	r.run(strings.Replace(config(servers(n)), "tls: {", "tls: {client_auth: require, client_ca: certs/ca.pem, client_crl: clients.crl, ", 1))
	with := func(list ...tls.Certificate) func(*tls.Config) {
		return func(cfg *tls.Config) { cfg.Certificates = list }
	}
	c := r.dialTLS("mqtts", with(good.TLS()))
	send(t, c, connectPacket)
	expect(t, c, connack)
	for i, list := range [][]tls.Certificate{nil, {revoked.TLS()}, {foreign.TLS()}} {
		c, err := r.tryTLS("mqtts", with(list...))
		if err == nil { // TLS 1.3 clients learn of it after their own Finished
			expectEnd(t, c)
		}
		eventually(t, "a refused certificate", func() bool {
			return r.listener("mqtts").Failures[handshake.Certificate.String()] == uint64(i+1)
		})
	}
}

// The commonest failure of all has its name, whichever library the client uses.
func TestClientsThatDoNotTrustUs(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(config(servers(n)))
	other, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if _, err := r.tryTLS("mqtts", func(cfg *tls.Config) { cfg.RootCAs, cfg.MaxVersion = other.Pool(), version }); err == nil {
			t.Fatal("a handshake with an unknown authority succeeded")
		}
		eventually(t, "an alert counted", func() bool { return r.listener("mqtts").Failures[handshake.Alert.String()] == uint64(i+1) })
	}
	t.Run("openssl", func(t *testing.T) {
		openssl := peertest.Path(t, "openssl", "openssl")
		r.writeFile("other.pem", string(other.CertPEM()))
		for i, version := range []string{"-tls1_2", "-tls1_3"} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, openssl, "s_client", "-connect", r.Addr("mqtts"), version, "-verify_return_error", "-CAfile", filepath.Join(r.dir, "other.pem"))
			if err := cmd.Run(); err == nil {
				t.Fatal("openssl trusted an unknown authority")
			}
			eventually(t, "an alert counted for "+version, func() bool { return r.listener("mqtts").Failures[handshake.Alert.String()] == uint64(i+3) })
		}
	})
}

// Two sides that disagree about the PROXY header are the commonest mistake of a change-over: the reason says so.
func TestServersThatReject(t *testing.T) {
	tests := []struct{ name, backend, hint string }{
		{"it expects a header", "    send_proxy: none\n", "does it expect a PROXY header?"},
		{"it expects none", "    send_proxy: v2\n", "does it expect no PROXY header?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leaktest.Check(t)
			n := raw(t, func(c net.Conn) { c.Read(make([]byte, 1)); c.Close() })
			r := newRig(t)
			r.run(config("    check: {type: none}\n" + tt.backend + servers(n)))
			c := r.dial("mqtt")
			send(t, c, connectPacket)
			expectEnd(t, c)
			c.Close()
			eventually(t, "a rejected connection", func() bool { return r.ended("mqtt", lb.ServerRejected) == 1 })
			eventually(t, "its line", func() bool { return strings.Contains(r.log.String(), tt.hint) })
		})
	}
}
