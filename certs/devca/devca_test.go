package devca_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

func newCA(t *testing.T, key devca.KeyType) *devca.CA {
	t.Helper()
	ca, err := devca.New(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// write calls Write in a folder that does not exist yet, or does if dir was given.
func write(t *testing.T, dir string, hosts ...string) devca.Files {
	t.Helper()
	files, err := devca.Write(dir, hosts, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestIssue(t *testing.T) {
	long := strings.Repeat("a", 60) + ".example.org"
	tests := []struct {
		name string
		o    devca.Options
		want string // common name, DNS names, addresses; or the error
	}{
		{"this machine", devca.Options{}, "localhost [localhost] [127.0.0.1 ::1]"},
		{"hosts", devca.Options{Hosts: []string{"mqtt.example.org", "*.example.org", "10.0.0.1", "fe80::1"}},
			"mqtt.example.org [mqtt.example.org *.example.org localhost] [10.0.0.1 fe80::1 127.0.0.1 ::1]"},
		{"twice", devca.Options{Hosts: []string{"localhost", "127.0.0.1", "a_b", "a_b"}}, "localhost [localhost a_b] [127.0.0.1 ::1]"},
		{"without loopback", devca.Options{Hosts: []string{"10.0.0.1"}, NoLoopback: true}, "10.0.0.1 [] [10.0.0.1]"},
		{"a name too long to be a common name", devca.Options{Hosts: []string{long}, NoLoopback: true}, " [" + long + "] []"},
		{"client", devca.Options{Client: true, CommonName: "device-1"}, "device-1 [] []"},
		{"nobody", devca.Options{Client: true}, "nothing identifies the certificate: give a common name or a host"},
		{"nowhere", devca.Options{NoLoopback: true}, "nothing identifies the certificate: give a common name or a host"},
		{"long name", devca.Options{CommonName: long}, fmt.Sprintf("common name %q is longer than 64 bytes", long)},
		{"unknown key", devca.Options{Key: 7}, "generate key: unknown key type 7"},
		{"port", devca.Options{Hosts: []string{"a:8883"}}, `host "a:8883" is neither a DNS name nor an IP address: give it without scheme, port or path`},
		{"scheme", devca.Options{Hosts: []string{"mqtts://a"}}, `host "mqtts://a" is neither`},
		{"empty host", devca.Options{Hosts: []string{""}}, `host "" is neither`},
		{"empty label", devca.Options{Hosts: []string{"a..b"}}, `host "a..b" is neither`},
		{"trailing dot", devca.Options{Hosts: []string{"a."}}, `host "a." is neither`},
		{"star inside", devca.Options{Hosts: []string{"a.*.b"}}, `host "a.*.b" is neither`},
		{"long label", devca.Options{Hosts: []string{strings.Repeat("a", 64)}}, "is neither"},
		{"long host", devca.Options{Hosts: []string{strings.Repeat("a.", 127)}}, "is neither"},
	}
	ca := newCA(t, devca.ECDSA)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			issued, err := ca.Issue(tt.o)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v\nwant %s", err, tt.want)
				}
				return
			}
			c := issued.Cert
			if got := fmt.Sprint(c.Subject.CommonName, " ", c.DNSNames, " ", c.IPAddresses); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			usage := x509.ExtKeyUsageServerAuth
			if tt.o.Client {
				usage = x509.ExtKeyUsageClientAuth
			}
			if _, err := c.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Error(err)
			}
			if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{usage}) {
				t.Errorf("usage %v", c.ExtKeyUsage)
			}
		})
	}
}

func TestValidity(t *testing.T) {
	now := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	day := 24 * time.Hour
	ca, err := devca.New(devca.ECDSA, now)
	if err != nil {
		t.Fatal(err)
	}
	if c := ca.Cert(); !c.NotBefore.Equal(now.Add(-time.Hour)) || !c.NotAfter.Equal(now.Add(3650*day)) {
		t.Errorf("authority: %s to %s", c.NotBefore, c.NotAfter)
	}
	for _, tt := range []struct {
		name             string
		o                devca.Options
		wantFrom, wantTo time.Time
	}{
		{"default", devca.Options{}, now.Add(-time.Hour), now.Add(825 * day)},
		{"expired", devca.Options{NotBefore: now.Add(-2 * day), NotAfter: now.Add(-day)}, now.Add(-2 * day), now.Add(-day)},
		{"later", devca.Options{NotBefore: now.Add(day)}, now.Add(day), now.Add(825 * day)},
	} {
		issued, err := ca.Issue(tt.o)
		if err != nil {
			t.Fatal(err)
		}
		if c := issued.Cert; !c.NotBefore.Equal(tt.wantFrom) || !c.NotAfter.Equal(tt.wantTo) {
			t.Errorf("%s: %s to %s, want %s to %s", tt.name, c.NotBefore, c.NotAfter, tt.wantFrom, tt.wantTo)
		}
	}
}

// TestMutualTLS uses everything in memory, for every kind of key.
func TestMutualTLS(t *testing.T) {
	for name, key := range map[string]devca.KeyType{"ECDSA": devca.ECDSA, "RSA": devca.RSA, "Ed25519": devca.Ed25519} {
		t.Run(name, func(t *testing.T) {
			leaktest.Check(t)
			ca := newCA(t, key)
			server, err := ca.Issue(devca.Options{Key: key})
			if err != nil {
				t.Fatal(err)
			}
			client, err := ca.Issue(devca.Options{Key: key, Client: true, CommonName: "device-1"})
			if err != nil {
				t.Fatal(err)
			}
			got := handshake(t,
				&tls.Config{Certificates: []tls.Certificate{server.TLS()}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert},
				&tls.Config{Certificates: []tls.Certificate{client.TLS()}, RootCAs: ca.Pool(), ServerName: "localhost"})
			if got != "device-1" {
				t.Errorf("the server saw %q", got)
			}
		})
	}
}

// handshake connects the two over 127.0.0.1 and returns the client's common name as the server sees it.
func handshake(t *testing.T, server, client *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialed := make(chan error, 1)
	go func() {
		c, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 30 * time.Second}, Config: client}).Dial("tcp", ln.Addr().String())
		if err == nil {
			c.Close()
		}
		dialed <- err
	}()
	raw, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := tls.Server(raw, server)
	if err := errors.Join(c.Handshake(), <-dialed); err != nil {
		t.Fatal(err)
	}
	if peers := c.ConnectionState().PeerCertificates; len(peers) > 0 {
		return peers[0].Subject.CommonName
	}
	return ""
}

func TestCRL(t *testing.T) {
	ca := newCA(t, devca.ECDSA)
	good, err := ca.Issue(devca.Options{Client: true, CommonName: "good"})
	if err != nil {
		t.Fatal(err)
	}
	bad, err := ca.Issue(devca.Options{Client: true, CommonName: "bad"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	list, err := ca.CRL([]*x509.Certificate{bad.Cert}, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	caFile, crlFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "crl.pem")
	if err := errors.Join(os.WriteFile(caFile, ca.CertPEM(), 0o600), os.WriteFile(crlFile, list, 0o600)); err != nil {
		t.Fatal(err)
	}
	cas, err := certs.LoadCAs(caFile, now)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := certs.LoadCRL(crlFile, cas, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := revoked.Check([]*x509.Certificate{good.Cert, ca.Cert()}); err != nil {
		t.Error(err)
	}
	if err := revoked.Check([]*x509.Certificate{bad.Cert, ca.Cert()}); !errors.Is(err, certs.ErrRevoked) {
		t.Errorf("got %v", err)
	}
	if _, err := ca.CRL(nil, now, now.Add(-time.Hour)); err == nil {
		t.Error("a list that ends before it begins")
	}
}

func TestWrite(t *testing.T) {
	leaktest.Check(t)
	dir := filepath.Join(t.TempDir(), "new", "certs")
	files := write(t, dir, "mqtt.example.org")
	want := devca.Files{
		CA: filepath.Join(dir, "ca.pem"), CAKey: filepath.Join(dir, "ca.key"),
		Server: filepath.Join(dir, "server.pem"), ServerKey: filepath.Join(dir, "server.key"),
	}
	if files != want {
		t.Errorf("got  %+v\nwant %+v", files, want)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, files.CAKey: 0o600, files.Server: 0o600, files.ServerKey: 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), mode)
		}
	}
	// Both ways to name them in a configuration are good.
	for _, p := range []certs.Pair{{Cert: files.Server, Key: files.ServerKey}, {Cert: files.Server}} {
		set, err := certs.Load([]certs.Pair{p}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cas, err := certs.LoadCAs(files.CA, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"mqtt.example.org", "localhost", "127.0.0.1", "::1"} {
			handshake(t, &tls.Config{GetCertificate: set.Get}, &tls.Config{RootCAs: cas.Pool(), ServerName: host})
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

func TestWriteAgain(t *testing.T) {
	dir := t.TempDir()
	first := write(t, dir)
	before := contents(t, dir)
	again := write(t, dir, "more.example.org")
	after := contents(t, dir)
	if first.ReusedCA || first.ReplacedServer || !again.ReusedCA || !again.ReplacedServer {
		t.Errorf("first %+v\nagain %+v", first, again)
	}
	for _, name := range []string{"ca.pem", "ca.key"} {
		if !bytes.Equal(before[name], after[name]) {
			t.Errorf("%s has changed", name)
		}
	}
	if bytes.Equal(before["server.pem"], after["server.pem"]) || bytes.Equal(before["server.key"], after["server.key"]) {
		t.Error("the server certificate has not changed")
	}
	ca, err := devca.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(after["server.pem"])
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "more.example.org"}); err != nil {
		t.Error(err)
	}
	// Nearly at the authority's end its certificates end with it.
	late := ca.Cert().NotAfter.Add(-24 * time.Hour)
	if ca, err = devca.Open(dir, late); err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(devca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !issued.Cert.NotAfter.Equal(ca.Cert().NotAfter) {
		t.Errorf("certificate ends %s, its authority %s", issued.Cert.NotAfter, ca.Cert().NotAfter)
	}
}

// contents returns what the files in dir hold, by name.
func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, e := range entries {
		if all[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestWriteRefuses wants the error, and every file as it was.
func TestWriteRefuses(t *testing.T) {
	other := contents(t, filepath.Dir(write(t, t.TempDir()).CA))
	foreign := foreignCA(t)
	tests := []struct {
		name   string
		change map[string][]byte // nil: the file is removed
		hosts  []string
		now    time.Time
		want   string
	}{
		{"no CA key", map[string][]byte{"ca.key": nil}, nil, time.Now(), "belong together, and one is missing: choose another folder, or remove both files"},
		{"no CA certificate", map[string][]byte{"ca.pem": nil}, nil, time.Now(), "belong together, and one is missing"},
		{"another CA's key", map[string][]byte{"ca.key": other["ca.key"]}, nil, time.Now(), "ca.key is not the key of "},
		{"broken CA key", map[string][]byte{"ca.key": []byte("x")}, nil, time.Now(), "ca.key is not the key of "},
		{"broken CA", map[string][]byte{"ca.pem": []byte("x")}, nil, time.Now(), "ca.pem is not a development CA of mqttlb and is not used"},
		{"a company's CA", map[string][]byte{"ca.pem": foreign}, nil, time.Now(), "ca.pem is not a development CA of mqttlb and is not used"},
		{"a server certificate as CA", map[string][]byte{"ca.pem": other["server.pem"]}, nil, time.Now(), "ca.pem is not a development CA"},
		{"expired CA", nil, nil, time.Now().AddDate(11, 0, 0), "ca.pem is valid from "},
		{"clock behind", nil, nil, time.Now().AddDate(-1, 0, 0), "ca.pem is valid from "},
		{"somebody's server certificate", map[string][]byte{"server.pem": other["server.pem"]}, nil, time.Now(), "server.pem was not issued by the CA in the same folder: it is not overwritten: move it away"},
		{"no certificate in server.pem", map[string][]byte{"server.pem": []byte("x")}, nil, time.Now(), "server.pem was not issued by the CA in the same folder"},
		{"somebody's server key", map[string][]byte{"server.key": other["server.key"]}, nil, time.Now(), "server.key is not the key of "},
		{"server key by itself", map[string][]byte{"server.pem": nil}, nil, time.Now(), "server.key is not the key of "},
		{"only a server certificate", map[string][]byte{"ca.pem": nil, "ca.key": nil}, nil, time.Now(), "server.pem was not issued by the CA in the same folder"},
		{"bad host", nil, []string{"a:1"}, time.Now(), `host "a:1" is neither`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir)
			for name, data := range tt.change {
				path := filepath.Join(dir, name)
				err := os.Remove(path)
				if data != nil {
					err = os.WriteFile(path, data, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			before := contents(t, dir)
			_, err := devca.Write(dir, tt.hosts, tt.now)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
			after := contents(t, dir)
			for name := range after {
				if !bytes.Equal(before[name], after[name]) {
					t.Errorf("%s has changed", name)
				}
			}
			if len(after) != len(before) {
				t.Errorf("there were %d files, now there are %d", len(before), len(after))
			}
		})
	}
}

// TestWriteNothingOnError: a bad host leaves no half-made folder behind.
func TestWriteNothingOnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := devca.Write(dir, []string{"no/name"}, time.Now()); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := devca.Write(plain, nil, time.Now()); err == nil {
		t.Error("a file was taken for a folder")
	}
	if _, err := devca.Open(dir, time.Now()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open: %v", err)
	}
}

// foreignCA is the certificate of an authority that this package has not made.
func foreignCA(t *testing.T) []byte {
	t.Helper()
	// Any CA certificate without our mark will do: ours, with the mark altered in its DER. Nobody checks the signature
	// of what is not used.
	block, _ := pem.Decode(newCA(t, devca.ECDSA).CertPEM())
	der := bytes.ReplaceAll(block.Bytes, []byte("mqttlb development"), []byte("Company Authority "))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestOpenSSLVerify lets another implementation judge, where it is installed; TestWrite shows the same
// to crypto/tls everywhere.
func TestOpenSSLVerify(t *testing.T) {
	openssl := peertest.Path(t, "openssl", "openssl")
	files := write(t, t.TempDir(), "mqtt.example.org")
	out, err := exec.CommandContext(t.Context(), openssl, "verify", "-x509_strict", "-purpose", "sslserver",
		"-verify_hostname", "mqtt.example.org", "-CAfile", files.CA, files.Server).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
