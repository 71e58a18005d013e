//go:build linux

package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/limit"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A site is a server's TLS, and what its clients must know.
type site struct{ server, client *tls.Config }

func newSite(t *testing.T, key devca.KeyType) site {
	t.Helper()
	ca, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(devca.Options{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return site{
		server: handshake.Prepare(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{issued.TLS()}}),
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"},
	}
}

// greet does a handshake as the product does it, for a client whose own part is do, and relays.
func (p *plane) greet(t *testing.T, s site, do func(far net.Conn) (*tls.Conn, error)) (f *fixture, near net.Conn) {
	t.Helper()
	far, a := p.connect(t)
	server, b := p.connect(t)
	type greeted struct {
		c   *tls.Conn
		err error
	}
	client := make(chan greeted, 1)
	go func() { c, err := do(far); client <- greeted{c, err} }()
	near, _, err := handshake.Server(t.Context(), a, s.server, new(limit.Gate))
	g := <-client
	if err != nil || g.err != nil {
		t.Fatalf("handshake: client %v, server %v", g.err, err)
	}
	f = &fixture{client: g.c, server: server}
	f.begin(t, p.loops.Start, Pair{Client: near, Server: b}, nil)
	return f, near
}

// plain is what most clients do.
func plain(cfg *tls.Config) func(net.Conn) (*tls.Conn, error) {
	return func(far net.Conn) (*tls.Conn, error) {
		c := tls.Client(far, cfg)
		return c, c.Handshake()
	}
}

// A holder keeps back what is written behind the first flight, until release.
type holder struct {
	net.Conn
	writes   int
	held     []byte
	released bool
}

func (h *holder) Write(b []byte) (int, error) {
	if h.writes++; h.writes == 1 || h.released {
		return h.Conn.Write(b)
	}
	h.held = append(h.held, b...)
	return len(b), nil
}

func (h *holder) release() error {
	_, err := h.Conn.Write(h.held)
	h.released = true
	return err
}

// What a client sends right behind its Finished, in the same segment, is not lost, and not taken twice.
func TestDataWithFinished(t *testing.T) {
	leaktest.Check(t)
	p, s := newPlane(t, 1), newSite(t, devca.ECDSA)
	for _, packets := range [][]string{{"CONNECT"}, {"CONNECT", "SUBSCRIBE", "PUBLISH"}, {strings.Repeat("CONNECT", 2000), "SUBSCRIBE"}} {
		t.Run(fmt.Sprintf("%d packets, %d bytes", len(packets), len(strings.Join(packets, ""))), func(t *testing.T) {
			f, _ := p.greet(t, s, func(far net.Conn) (*tls.Conn, error) {
				h := &holder{Conn: far}
				c, err := plain(s.client)(h)
				for _, packet := range packets {
					if err == nil {
						_, err = io.WriteString(c, packet)
					}
				}
				if err == nil {
					err = h.release()
				}
				return c, err
			})
			expect(t, f.server, strings.Join(packets, ""))
			send(t, f.server, "CONNACK")
			expect(t, f.client, "CONNACK")
			send(t, f.client, "PINGREQ")
			expect(t, f.server, "PINGREQ")
		})
	}
}

// Bytes may come one by one.
func TestOneByteASegment(t *testing.T) {
	leaktest.Check(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		p := newPlane(t, 1)
		cs, ss := states(t, version, 0)
		f := p.secured(t, ss, nil, nil)
		go func() {
			stream := slices.Concat(seal(&cs, []byte("one ")), seal(&cs, nil), seal(&cs, []byte("two")), cs.AppendAlert(record.NewCache(1), nil, record.CloseNotify))
			for _, b := range stream {
				f.client.Write([]byte{b})
			}
		}()
		expect(t, f.server, "one two")
		expectEOF(t, f.server)
		f.server.Close()
		if r := f.wait(t); r.End != ClientClosed || r.Err != nil || r.In != 7 {
			t.Errorf("result %+v", r)
		}
	}
}

// Records have any size from nothing to the most there may be.
func TestRecordSizes(t *testing.T) {
	leaktest.Check(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		p := newPlane(t, 1)
		cs, ss := states(t, version, 0)
		f := p.secured(t, ss, nil, nil)
		reader := record.NewConn(f.client, cs, nil) // only reads: cs goes on sealing
		for _, sizes := range [][]int{{0, 1}, {16384}, {0, 16384, 0}, {16384, 16384, 16384, 16384, 16384}, {16383, 1, 16384}} {
			var up, stream []byte
			for i, n := range sizes {
				data := random(uint64(i), n)
				up, stream = append(up, data...), append(stream, seal(&cs, data)...)
			}
			go f.client.Write(stream)
			expect(t, f.server, string(up))
			for _, n := range sizes {
				if n > 0 {
					down := random(uint64(n), n)
					go f.server.Write(down)
					expect(t, reader, string(down))
				}
			}
		}
	}
}

// Whatever crypto/tls negotiates is relayed with the same result, by Copy where package record has no say.
func TestCipherSuites(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	sites := map[bool]site{true: newSite(t, devca.RSA), false: newSite(t, devca.ECDSA)}
	suites := append(tls.CipherSuites(), &tls.CipherSuite{Name: "TLS_RSA_WITH_AES_128_GCM_SHA256", ID: tls.TLS_RSA_WITH_AES_128_GCM_SHA256, SupportedVersions: []uint16{tls.VersionTLS12}})
	for _, suite := range suites {
		for _, version := range suite.SupportedVersions {
			if version < tls.VersionTLS12 {
				continue
			}
			t.Run(tls.VersionName(version)+" "+suite.Name, func(t *testing.T) {
				s := sites[strings.Contains(suite.Name, "RSA_WITH") && !strings.Contains(suite.Name, "ECDSA")]
				s.client, s.server = s.client.Clone(), s.server.Clone()
				s.client.MaxVersion = version
				s.client.CipherSuites, s.server.CipherSuites = []uint16{suite.ID}, []uint16{suite.ID} // of TLS 1.2 alone
				f, near := p.greet(t, s, plain(s.client))
				if got := f.client.(*tls.Conn).ConnectionState().CipherSuite; version == tls.VersionTLS12 && got != suite.ID {
					t.Errorf("negotiated %s", tls.CipherSuiteName(got))
				}
				if _, ours := near.(*record.Conn); ours == strings.Contains(suite.Name, "CBC") {
					t.Errorf("relayed over a %T", near)
				}
				converse(t, f)
			})
		}
	}
}

// converse sends much both ways, ends in order, and checks the result.
func converse(t *testing.T, f *fixture) {
	t.Helper()
	up, down := random(1, 200_000), random(2, 300_000)
	if err := carry(f.client, f.server, [][]byte{up[:1], up[1:]}); err != nil {
		t.Error(err)
	}
	if err := carry(f.server, f.client, [][]byte{down[:1], down[1:]}); err != nil {
		t.Error(err)
	}
	closeWrite(t, f.client)
	expectEOF(t, f.server)
	f.server.Close()
	expectEOF(t, f.client)
	want := Result{End: ClientClosed, In: uint64(len(up)), Out: uint64(len(down))}
	if r := f.wait(t); r != want {
		t.Errorf("result %+v, want %+v", r, want)
	}
}

// Resumed handshakes leave other keys, and end in another order.
func TestResumedSessions(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := newSite(t, devca.ECDSA)
			s.client.MaxVersion, s.client.ClientSessionCache = version, tls.NewLRUClientSessionCache(1)
			s.server.SetSessionTicketKeys(new(handshake.Tickets).Keys("", time.Now()))
			for i := range 4 {
				f, near := p.greet(t, s, plain(s.client))
				if _, ours := near.(*record.Conn); !ours {
					t.Errorf("relayed over a %T", near)
				}
				if did := f.client.(*tls.Conn).ConnectionState().DidResume; did != (i > 0) {
					t.Errorf("handshake %d resumed: %v", i, did)
				}
				converse(t, f)
			}
		})
	}
}

// OpenSSL's client changes its keys, with K and with our answer, with k without. R renegotiates, which ends it.
func TestOpenSSLClient(t *testing.T) {
	leaktest.Check(t)
	path := peertest.Path(t, "openssl", "openssl")
	s := newSite(t, devca.ECDSA)
	for _, version := range []string{"-tls1_3", "-tls1_2"} {
		t.Run(version, func(t *testing.T) {
			p := newPlane(t, 1)
			ln := p.listen(t)
			defer ln.Close()
			says, hears := run(t, path, "s_client", "-connect", ln.Addr().String(), version)
			a, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			near, _, err := handshake.Server(t.Context(), a, s.server, new(limit.Gate))
			if err != nil {
				t.Fatal(err)
			}
			server, b := p.connect(t)
			f := &fixture{client: a, server: server}
			f.begin(t, p.loops.Start, Pair{Client: near, Server: b}, nil)
			go func() { leaktest.Copy(server, server); server.Close() }() // ends with the test
			for i := range 6 {
				line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", i*i*200))
				io.WriteString(says, line+"\n")
				hears(line)
				if version == "-tls1_3" {
					io.WriteString(says, []string{"K\n", "k\n"}[i%2])
					hears("KEYUPDATE")
				}
			}
			if version == "-tls1_2" {
				io.WriteString(says, "R\n")
				wantAlert(t, f.wait(t), ClientReset, record.NoRenegotiation, false)
				return
			}
			io.WriteString(says, "Q\n")
			if r := f.wait(t); r.End != ClientClosed || r.Err != nil || r.In != r.Out {
				t.Errorf("result %+v", r)
			}
		})
	}
}

// run starts a program, which ends with the test; hears waits for a line of its output with what.
func run(t *testing.T, path string, args ...string) (says io.Writer, hears func(what string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	cmd := exec.CommandContext(ctx, path, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); cmd.Wait(); w.Close() }()
	t.Cleanup(func() {
		cancel()
		in.Close()
		r.Close()
		<-ended
	})
	lines := bufio.NewScanner(r)
	var seen bytes.Buffer
	return in, func(what string) {
		t.Helper()
		for lines.Scan() {
			if seen.WriteString(lines.Text() + "\n"); strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("it does not say %q: %q", what, seen.String())
	}
}
