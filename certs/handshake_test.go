package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// patience bounds every handshake of the tests; a loaded machine under the race detector is slow.
const patience = 30 * time.Second

// A server makes handshakes on a port of its own, one after the other.
type server struct {
	addr    string
	results chan error // of each handshake, in order
}

// serve answers every client that gets through with one byte, so that it has read the session
// tickets that come before.
func serve(t *testing.T, conf *tls.Config) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: ln.Addr().String(), results: make(chan error, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.results <- answer(c.(*net.TCPConn), conf)
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return s
}

func answer(raw *net.TCPConn, conf *tls.Config) error {
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	c := tls.Server(raw, conf)
	if err := c.Handshake(); err != nil {
		// What the client has still sent is read before closing: a reset could overtake the alert.
		raw.CloseWrite()
		io.Copy(io.Discard, raw)
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	return c.Close()
}

// connect makes one connection, until the server's byte has come. wrap, if not nil, is put under TLS.
func (s *server) connect(t *testing.T, conf *tls.Config, wrap func(net.Conn) net.Conn) (tls.ConnectionState, error) {
	t.Helper()
	raw, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	under := raw
	if wrap != nil {
		under = wrap(raw)
	}
	c := tls.Client(under, conf)
	_, err = io.ReadFull(c, make([]byte, 1))
	return c.ConnectionState(), err
}

// result waits for the server's side of the handshake.
func (s *server) result(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.results:
		return err
	case <-time.After(patience):
		t.Fatal("the server has not finished the handshake")
		return nil
	}
}

// bothKinds is a set with an ECDSA and an RSA certificate for two of its names.
func bothKinds(t *testing.T) (*devca.CA, *certs.Set) {
	t.Helper()
	ca := newCA(t)
	return ca, mustLoad(t,
		pair(t, ca, devca.Options{CommonName: "rsa", Key: devca.RSA, Hosts: []string{"127.0.0.1", "mqtt.example.org"}}),
		pair(t, ca, devca.Options{CommonName: "ecdsa", Hosts: []string{"127.0.0.1", "mqtt.example.org"}}),
		pair(t, ca, devca.Options{CommonName: "wild", Hosts: []string{"*.example.org"}}),
	)
}

func TestHandshake(t *testing.T) {
	leaktest.Check(t)
	ca, set := bothKinds(t)
	s := serve(t, &tls.Config{GetCertificate: set.Get})
	ecdsaOnly := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	rsaOnly := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	tests := []struct {
		name    string
		server  string
		version uint16
		suites  []uint16 // of TLS 1.2
		want    string
	}{
		{"exact, 1.3", "mqtt.example.org", tls.VersionTLS13, nil, "ecdsa"},
		{"exact, 1.2", "mqtt.example.org", tls.VersionTLS12, nil, "ecdsa"},
		{"exact, 1.2, ECDSA only", "mqtt.example.org", tls.VersionTLS12, ecdsaOnly, "ecdsa"},
		{"exact, 1.2, RSA only", "mqtt.example.org", tls.VersionTLS12, rsaOnly, "rsa"},
		{"wildcard, 1.3", "other.example.org", tls.VersionTLS13, nil, "wild"},
		{"wildcard, 1.2", "other.example.org", tls.VersionTLS12, nil, "wild"},
		{"no SNI, 1.3", "127.0.0.1", tls.VersionTLS13, nil, "ecdsa"},
		{"no SNI, 1.2, ECDSA only", "127.0.0.1", tls.VersionTLS12, ecdsaOnly, "ecdsa"},
		{"no SNI, 1.2, RSA only", "127.0.0.1", tls.VersionTLS12, rsaOnly, "rsa"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, err := s.connect(t, &tls.Config{
				RootCAs: ca.Pool(), ServerName: tt.server, CipherSuites: tt.suites,
				MinVersion: tt.version, MaxVersion: tt.version,
			}, nil)
			if err := errors.Join(err, s.result(t)); err != nil {
				t.Fatal(err)
			}
			if got := state.PeerCertificates[0].Subject.CommonName; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestHandshakeUnknownName: the first certificate is served, and the client is the one to refuse it.
func TestHandshakeUnknownName(t *testing.T) {
	leaktest.Check(t)
	_, set := bothKinds(t)
	s := serve(t, &tls.Config{GetCertificate: set.Get})
	state, err := s.connect(t, &tls.Config{InsecureSkipVerify: true, ServerName: "unknown.example.com"}, nil)
	if err := errors.Join(err, s.result(t)); err != nil {
		t.Fatal(err)
	}
	if got := state.PeerCertificates[0].Subject.CommonName; got != "ecdsa" {
		t.Errorf("got %q", got)
	}
}

// TestHandshakeNothingSuits: crypto/tls tells a client that takes none of our keys.
func TestHandshakeNothingSuits(t *testing.T) {
	leaktest.Check(t)
	ca := newCA(t)
	set := mustLoad(t, pair(t, ca, devca.Options{Hosts: []string{"mqtt.example.org"}}))
	s := serve(t, &tls.Config{GetCertificate: set.Get})
	_, err := s.connect(t, &tls.Config{
		RootCAs: ca.Pool(), ServerName: "mqtt.example.org", MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	}, nil)
	if !refusedByAlert(err) {
		t.Errorf("the client was not told: %v", err)
	}
	if s.result(t) == nil {
		t.Error("the handshake went well")
	}
}

// refusedByAlert reports whether err is an alert that the other side has sent.
func refusedByAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // so crypto/tls marks alerts
}

// TestHandshakeTLS13SignatureAlgorithms reaches the choice of TLS 1.3, for which a Go client cannot be
// configured, by changing its ClientHello on the way. The handshake fails after the choice,
// because the two sides have seen different hellos.
func TestHandshakeTLS13SignatureAlgorithms(t *testing.T) {
	leaktest.Check(t)
	ca, set := bothKinds(t)
	for _, tt := range []struct {
		scheme tls.SignatureScheme
		server string
		want   string
	}{
		{tls.PSSWithSHA256, "mqtt.example.org", "rsa"},
		{tls.PSSWithSHA256, "127.0.0.1", "rsa"},
		{tls.ECDSAWithP256AndSHA256, "mqtt.example.org", "ecdsa"},
		{tls.ECDSAWithP256AndSHA256, "127.0.0.1", "ecdsa"},
	} {
		t.Run(tt.scheme.String()+" "+tt.server, func(t *testing.T) {
			chosen := make(chan string, 1)
			s := serve(t, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				cert, err := set.Get(h)
				chosen <- cert.Leaf.Subject.CommonName
				return cert, err
			}})
			_, err := s.connect(t, &tls.Config{RootCAs: ca.Pool(), ServerName: tt.server, MinVersion: tls.VersionTLS13},
				func(c net.Conn) net.Conn { return &onlyScheme{Conn: c, t: t, scheme: tt.scheme} })
			if err == nil || s.result(t) == nil {
				t.Error("nobody has noticed the changed hello")
			}
			select {
			case got := <-chosen:
				if got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			default:
				t.Error("no certificate was chosen")
			}
		})
	}
}

// onlyScheme replaces every entry of signature_algorithms in the first thing written, a ClientHello.
type onlyScheme struct {
	net.Conn
	t      *testing.T
	scheme tls.SignatureScheme
	done   bool
}

func (c *onlyScheme) Write(p []byte) (int, error) {
	if c.done {
		return c.Conn.Write(p)
	}
	c.done = true
	p = bytes.Clone(p)
	// Extension 13, its length, and the length of the list in it, which is 2 less (RFC 8446, section 4.2.3).
	for i := 0; i+6 <= len(p); i++ {
		outer, inner := int(binary.BigEndian.Uint16(p[i+2:])), int(binary.BigEndian.Uint16(p[i+4:]))
		if p[i] == 0 && p[i+1] == 13 && outer == inner+2 && inner%2 == 0 && inner > 4 && i+6+inner <= len(p) {
			for at := i + 6; at < i+6+inner; at += 2 {
				binary.BigEndian.PutUint16(p[at:], uint16(c.scheme))
			}
			return c.Conn.Write(p)
		}
	}
	c.t.Error("no signature_algorithms in the hello")
	return c.Conn.Write(p)
}

// TestHandshakeOpenSSL lets another implementation say the same, where it is installed; everything it shows is
// also shown without it.
func TestHandshakeOpenSSL(t *testing.T) {
	openssl := peertest.Path(t, "openssl", "openssl")
	leaktest.Check(t)
	ca, set := bothKinds(t)
	s := serve(t, &tls.Config{GetCertificate: set.Get})
	caFile := file(t, "ca.pem", ca.CertPEM())
	for _, tt := range []struct{ args, want string }{
		{"-tls1_3 -servername mqtt.example.org", "CN = ecdsa"},
		{"-tls1_3 -servername mqtt.example.org -sigalgs RSA-PSS+SHA256", "CN = rsa"},
		{"-tls1_3 -servername mqtt.example.org -sigalgs ECDSA+SHA256", "CN = ecdsa"},
		{"-tls1_2 -servername mqtt.example.org -cipher ECDHE-RSA-AES128-GCM-SHA256", "CN = rsa"},
		{"-tls1_3 -servername a.example.org", "CN = wild"},
		{"-tls1_3 -noservername -sigalgs RSA-PSS+SHA256", "CN = rsa"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			args := append([]string{"s_client", "-connect", s.addr, "-CAfile", caFile, "-verify_return_error"}, strings.Fields(tt.args)...)
			out, err := exec.CommandContext(ctx, openssl, args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if err := s.result(t); err != nil {
				t.Error(err)
			}
			// Before OpenSSL 3.2 there are blanks around the sign, since then there are none.
			if got := strings.ReplaceAll(string(out), "CN=", "CN = "); !strings.Contains(got, tt.want+"\n") {
				t.Errorf("no %q in\n%s", tt.want, out)
			}
		})
	}
}
