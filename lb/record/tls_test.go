package record

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// patience bounds every wait of these tests: one that passes never waits so long.
const patience = time.Minute

// certificate makes one for 127.0.0.1.
func certificate(t testing.TB, withRSA bool) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}}
	var der []byte
	var key, public any
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, public = ec, &ec.PublicKey
	if withRSA {
		var k *rsa.PrivateKey
		k, err = rsa.GenerateKey(rand.Reader, 2048)
		key, public = k, &k.PublicKey
	}
	if err == nil {
		der, err = x509.CreateCertificate(rand.Reader, template, template, public, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// loopback returns the two ends of a TCP connection.
func loopback(t testing.TB) (cl, sv net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if cl, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if sv, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{cl, sv} {
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return cl, sv
}

// A recordwise connection gives crypto/tls one record for each Read, and looks for the ServerHello.
type recordwise struct {
	net.Conn
	in     *bufio.Reader
	rest   []byte      // of the record that is being read
	random [2][32]byte // of ClientHello and ServerHello
}

func (r *recordwise) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		header, err := r.in.Peek(HeaderSize)
		if err != nil {
			return 0, err
		}
		r.rest = make([]byte, Size(header))
		if _, err := io.ReadFull(r.in, r.rest); err != nil {
			return 0, err
		}
		r.look(r.rest)
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *recordwise) Write(p []byte) (int, error) {
	r.look(p)
	return r.Conn.Write(p)
}

// look finds the random of a ClientHello or ServerHello, which is at the front of a flight. The first of each is the one: in a Finished of
// TLS 1.2, which is encrypted, OpenSSL's nonce stands where a message has its type, and begins with 1 or 2 now and then.
func (r *recordwise) look(p []byte) {
	at := HeaderSize + 6
	if len(p) <= at+32 || p[0] != byte(typeHandshake) || p[HeaderSize] != 1 && p[HeaderSize] != 2 {
		return
	}
	if random := &r.random[p[HeaderSize]-1]; *random == [32]byte{} {
		copy(random[:], p[at:])
	}
}

// A peer is one side that crypto/tls does the handshake for.
type peer struct {
	*tls.Conn
	under   *recordwise
	keys    KeyLog
	tickets uint64
	client  bool
}

func newPeer(conn net.Conn, cfg *tls.Config, client bool) *peer {
	p := &peer{under: &recordwise{Conn: conn, in: bufio.NewReaderSize(conn, 1<<16)}, client: client}
	cfg = cfg.Clone()
	cfg.KeyLogWriter = &p.keys
	if client {
		p.Conn = tls.Client(p.under, cfg)
		return p
	}
	cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		p.tickets++
		p.keys.Save(cs, ss)
		return cfg.EncryptTicket(cs, ss)
	}
	cfg.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		session, err := cfg.DecryptTicket(ticket, cs)
		if session != nil {
			p.keys.Load(session)
		}
		return session, err
	}
	p.Conn = tls.Server(p.under, cfg)
	return p
}

// takeOver goes on with a Conn where crypto/tls has stopped.
func (p *peer) takeOver(t testing.TB) *Conn {
	t.Helper()
	done := p.ConnectionState()
	h := Handshake{Version: done.Version, Suite: done.CipherSuite, Client: p.client, ServerRandom: p.under.random[1], Resumed: done.DidResume, ClientRandom: p.under.random[0], Written: p.tickets}
	s, err := p.keys.State(h)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := p.under.in.Peek(p.under.in.Buffered())
	if err != nil {
		t.Fatal(err)
	}
	return NewConn(p.under.Conn, s, bytes.Clone(raw))
}

// shake does the handshakes of both sides.
func shake(t testing.TB, cfg *tls.Config) (cl, sv *peer) {
	t.Helper()
	a, b := loopback(t)
	cl, sv = newPeer(a, cfg, true), newPeer(b, cfg, false)
	both(t, cl.Handshake, sv.Handshake)
	return cl, sv
}

// both runs two sides at once.
func both(t testing.TB, one, other func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- one() }()
	if err := other(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// configs are what crypto/tls can be made to negotiate. Its suites of TLS 1.3 cannot be chosen: the processor decides.
func configs(t *testing.T) map[string]*tls.Config {
	ec, rsa := certificate(t, false), certificate(t, true)
	list := map[string]*tls.Config{
		"TLS 1.3": {MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ec}, InsecureSkipVerify: true},
	}
	for _, c := range tls.CipherSuites() {
		if suiteOf(tls.VersionTLS12, c.ID) == 0 {
			continue
		}
		cert := ec
		if strings.Contains(c.Name, "_RSA_") {
			cert = rsa
		}
		list[c.Name] = &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{c.ID}, Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true}
	}
	return list
}

func TestAgainstCryptoTLS(t *testing.T) {
	leaktest.Check(t)
	for name, cfg := range configs(t) {
		for _, role := range []string{"client", "server", "both"} {
			t.Run(name+" "+role, func(t *testing.T) {
				cl, sv := shake(t, cfg)
				if version := cl.ConnectionState().Version; version == tls.VersionTLS13 {
					t.Log(tls.CipherSuiteName(cl.ConnectionState().CipherSuite))
				}
				var a, b duplex = cl, sv
				if role != "server" {
					a = cl.takeOver(t)
				}
				if role != "client" {
					b = sv.takeOver(t)
				}
				converse(t, a, b)
			})
		}
	}
}

// noAES makes crypto/tls prefer ChaCha20-Poly1305 in TLS 1.3; the test runs once more so.
const noAES = "GODEBUG=cpu.aes=off,cpu.pclmulqdq=off"

func TestAgainstCryptoTLSWithoutAES(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), "cpu.aes=off") {
		return // this is that run
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestAgainstCryptoTLS$/^TLS_1.3", "-test.v")
	cmd.Env = append(os.Environ(), noAES)
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "TLS_CHACHA20_POLY1305_SHA256") != 3 {
		t.Errorf("%v\n%s", err, out)
	}
}

// A duplex is a Conn or a tls.Conn.
type duplex interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// converse sends a lot both ways at once, then half-closes one way after the other.
func converse(t *testing.T, a, b duplex) {
	t.Helper()
	var sent []byte
	for n := 1; n < 1<<17; n = n*5/2 + 1 {
		sent = append(sent, noise(source(uint64(n)), n)...)
	}
	side := func(d duplex, first bool) func() error {
		return func() error {
			both := make(chan error, 1)
			go func() { both <- send(d, sent) }()
			got := make([]byte, len(sent))
			_, err := io.ReadFull(d, got)
			if err = errors.Join(err, <-both); err != nil {
				return err
			}
			if !bytes.Equal(got, sent) {
				return errors.New("what came is not what was sent")
			}
			return end12(d, first)
		}
	}
	both(t, side(a, true), side(b, false))
	if _, err := a.Write([]byte("x")); err == nil {
		t.Error("a write after CloseWrite")
	}
}

// send writes data in pieces of growing size.
func send(d io.Writer, data []byte) error {
	for n := 1; len(data) > 0; n = n*5/2 + 1 {
		m, err := d.Write(data[:min(n, len(data))])
		if err != nil {
			return err
		}
		data = data[m:]
	}
	return nil
}

// end12 ends a conversation: the first closes its way, the second still sends something and then closes too.
func end12(d duplex, first bool) error {
	if first {
		if err := d.CloseWrite(); err != nil {
			return err
		}
		rest, err := io.ReadAll(d)
		if string(rest) != "the last word" && err == nil {
			err = errors.New("the last word is missing: " + string(rest))
		}
		return err
	}
	if rest, err := io.ReadAll(d); len(rest) > 0 || err != nil {
		return errors.Join(errors.New("no end of file"), err)
	}
	if _, err := d.Write([]byte("the last word")); err != nil {
		return err
	}
	return d.CloseWrite()
}

// KeyUpdates in both directions while data flows.
func TestKeyUpdatesWithCryptoTLS(t *testing.T) {
	leaktest.Check(t)
	for _, ours := range []string{"client", "server"} {
		t.Run(ours, func(t *testing.T) {
			cl, sv := shake(t, configs(t)["TLS 1.3"])
			var conn *Conn
			var other io.ReadWriter
			if conn, other = cl.takeOver(t), sv; ours == "server" {
				conn, other = sv.takeOver(t), cl
			}
			echo := make(chan error, 1)
			go func() {
				_, err := io.CopyN(other, other, 100*3)
				echo <- err
			}()
			for i := range 100 {
				if i%3 == 0 { // asks for an answer, which crypto/tls sends at once
					e := end{conn.state, conn.ciphers}
					record := e.says(asks)
					conn.state = e.State
					if _, err := conn.under.Write(record); err != nil {
						t.Fatal(err)
					}
				} else {
					conn.state.flags |= answer // so that a KeyUpdate precedes the next data
				}
				echoed(t, conn, "abc")
			}
			if err := <-echo; err != nil {
				t.Error(err)
			}
		})
	}
}

// echoed writes something and waits for it to come back.
func echoed(t testing.TB, c io.ReadWriter, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("%q came back, %v; want %q", got, err, text)
	}
}

// A flight holds back what is written until it is let go, and sends it in pieces.
type flight struct {
	net.Conn
	held  []byte
	hold  bool
	piece int // 0 = whole
}

func (f *flight) Write(p []byte) (int, error) {
	f.held = append(f.held, p...)
	if f.hold && f.held[0] != byte(typeHandshake) { // after the ClientHello
		return len(p), nil
	}
	return len(p), f.release()
}

func (f *flight) release() error {
	defer func() { f.held = nil }()
	for rest := f.held; len(rest) > 0; {
		n := len(rest)
		if f.piece > 0 {
			n = min(n, f.piece)
		}
		if _, err := f.Conn.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// What a client says in the same segment as its Finished is not lost, and one byte for each segment is enough.
func TestFlights(t *testing.T) {
	leaktest.Check(t)
	for what, f := range map[string]flight{"with Finished": {hold: true}, "one byte each": {piece: 1}} {
		t.Run(what, func(t *testing.T) {
			cfg := configs(t)["TLS 1.3"]
			a, b := loopback(t)
			f.Conn = a
			cl, sv := newPeer(&f, cfg, true), newPeer(b, cfg, false)
			both(t, func() error {
				if err := cl.Handshake(); err != nil {
					return err
				}
				if _, err := cl.Write([]byte("CONNECT")); err != nil {
					return err
				}
				f.hold = false
				return f.release()
			}, sv.Handshake)
			conn := sv.takeOver(t)
			if f.hold = false; what == "with Finished" && len(conn.raw) == 0 {
				t.Error("the data did not come with the Finished: the test shows nothing")
			}
			got := make([]byte, 7)
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != "CONNECT" {
				t.Fatalf("%q, %v", got, err)
			}
			back := make(chan error, 1)
			go func() { back <- send(conn, noise(source(1), 500)) }()
			if _, err := io.ReadFull(cl, make([]byte, 500)); err != nil {
				t.Fatal(err)
			}
			if err := <-back; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Resumed handshakes end in another order of flights.
func TestResumption(t *testing.T) {
	leaktest.Check(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			cfg := &tls.Config{MaxVersion: version, Certificates: []tls.Certificate{certificate(t, false)}, InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "x"}
			cfg.SetSessionTicketKeys([][32]byte{{1}})
			for i := range 4 { // each ticket is of the handshake before
				cl, sv := shake(t, cfg)
				if did := cl.ConnectionState().DidResume; did != (i > 0) {
					t.Errorf("handshake %d resumed: %v", i, did)
				}
				converse(t, cl, sv.takeOver(t))
			}
		})
	}
}
