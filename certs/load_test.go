package certs_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs"
	"github.com/mqttlb/mqttlb/certs/devca"
)

// TestLoadAccepts holds the files that work.
func TestLoadAccepts(t *testing.T) {
	root := authority(t, "root", nil)
	sub := authority(t, "sub", &root)
	srv := leaf(t, &sub, "mqtt.example.org", "mqtt.example.org")
	other := authority(t, "other root", nil)
	cross := issue(t, authorityTemplate("sub"), &other, sub.key)
	expired := authorityTemplate("old root")
	expired.NotAfter = time.Now().Add(-time.Minute)
	oldRoot := issue(t, expired, nil, newKey(t))
	oldSrv := leaf(t, &oldRoot, "old", "old.example.org")

	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaSrv := issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "rsa"}}, &root, rsaKey)
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	ecDER, err := x509.MarshalECPrivateKey(srv.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	sec1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ecDER})
	params := []byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n")

	tests := []struct {
		name      string
		cert, key []byte // key nil: in cert
	}{
		{"leaf and key in two files", srv.certPEM(), srv.keyPEM(t)},
		{"key behind the chain", cat(srv.certPEM(), sub.certPEM(), srv.keyPEM(t)), nil},
		{"key before the chain", cat(srv.keyPEM(t), srv.certPEM(), sub.certPEM()), nil},
		{"key between", cat(srv.certPEM(), srv.keyPEM(t), sub.certPEM()), nil},
		{"chain with its root", cat(srv.certPEM(), sub.certPEM(), root.certPEM(), srv.keyPEM(t)), nil},
		{"cross-signed intermediate", cat(srv.certPEM(), sub.certPEM(), cross.certPEM(), other.certPEM()), srv.keyPEM(t)},
		{"expired root behind the leaf", cat(oldSrv.certPEM(), oldRoot.certPEM()), oldSrv.keyPEM(t)},
		{"SEC 1 key with parameters", srv.certPEM(), cat(params, sec1)},
		{"PKCS #1 key", rsaSrv.certPEM(), pkcs1},
		{"several keys, one fits", srv.certPEM(), cat(sub.keyPEM(t), srv.keyPEM(t))},
		{"separate key goes before a bad one in the chain", cat(srv.certPEM(), locked()), srv.keyPEM(t)},
		{"text around, CRLF and byte order mark", cat([]byte("\xef\xbb\xbf"), crlf(srv.certPEM()), []byte("subject=CN = x\r\n"), crlf(sub.certPEM())), srv.keyPEM(t)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := certs.Pair{Cert: file(t, "server.pem", tt.cert)}
			if tt.key != nil {
				p.Key = file(t, "server.key", tt.key)
			}
			set, err := certs.Load([]certs.Pair{p}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got := len(set.Leaves()); got != 1 {
				t.Errorf("%d leaves, want 1", got)
			}
		})
	}
}

// A refusal is a pair of files, server.pem and server.key, and what Load says to them.
type refusal struct {
	name      string
	cert, key []byte // nil: cert is missing; key is in cert
	want      []string
}

func (r refusal) run(t *testing.T, now time.Time) {
	p := certs.Pair{Cert: filepath.Join(t.TempDir(), "server.pem")}
	if r.cert != nil {
		p.Cert = file(t, "server.pem", r.cert)
	}
	if r.key != nil {
		p.Key = file(t, "server.key", r.key)
	}
	set, err := certs.Load([]certs.Pair{p}, now)
	if set != nil {
		t.Fatal("a set in spite of the problems")
	}
	wantProblems(t, err, r.want)
	noKeyBytes(t, err, r.cert, r.key)
}

// TestLoadRefusesFiles is about files that do not hold what they should.
func TestLoadRefusesFiles(t *testing.T) {
	root := authority(t, "root", nil)
	srv := leaf(t, &root, "mqtt", "mqtt.example.org")
	stranger := authority(t, "stranger", nil)
	chain := cat(srv.certPEM(), root.certPEM())
	key := srv.keyPEM(t)
	notDER := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	badKey := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret bytes")})
	sshKey := pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("secret bytes")})

	for _, r := range []refusal{
		{"empty", []byte{}, key, []string{"server.pem: no CERTIFICATE block: the file must hold the server's certificate, then its issuers, in PEM"}},
		{"binary", srv.cert.Raw, key, []string{"server.pem: no CERTIFICATE block, the file is binary (DER or PKCS #12): convert it to PEM"}},
		{"files swapped", key, chain, []string{"server.pem: no CERTIFICATE block", "server.key: no PRIVATE KEY block: the file must hold the private key of "}},
		{"no key in the chain", chain, nil, []string{"server.pem: no private key: append it to this file, or name the file that holds it"}},
		{"empty key file", chain, []byte{}, []string{"server.key: no PRIVATE KEY block"}},
		{"nothing at all in one file", []byte{}, nil, []string{"server.pem: no CERTIFICATE block", "server.pem: no private key: append"}},
		{"encrypted PKCS #8", chain, locked(), []string{`server.key: the private key is encrypted, and there is nobody to ask for its passphrase: write it without one with "openssl pkey`}},
		{"encrypted as OpenSSL once did", cat(chain, lockedOld()), nil, []string{"server.pem: the private key is encrypted"}},
		{"unreadable key", chain, badKey, []string{"server.key: the private key cannot be read: it must be ECDSA"}},
		{"foreign kind of key", chain, sshKey, []string{"server.key: the private key cannot be read: it must be ECDSA"}},
		{"unreadable certificate", cat(srv.certPEM(), notDER), key, []string{"server.pem: certificate 2 cannot be read: x509: "}},
		{"cut off", chain[:len(chain)-40], key, []string{"server.pem: 1 of 2 PEM blocks damaged (cut off, or altered by an editor): copy the file anew"}},
		{"key cut off", chain, key[:len(key)-40], []string{"server.key: 1 of 1 PEM blocks damaged"}},
		{"another key", chain, stranger.keyPEM(t), []string{`server.key: the private key does not belong to certificate "mqtt" of `}},
		{"another key in the chain", cat(chain, stranger.keyPEM(t)), nil, []string{`server.pem: the private key does not belong to certificate "mqtt" of `}},
		{"larger than any chain", bytes.Repeat([]byte{'\n'}, 4<<20+1), key, []string{"server.pem: is larger than 4 MiB: this is not the file that was meant"}},
		{"missing", nil, nil, []string{"server.pem: no such file or directory: check the path"}},
	} {
		t.Run(r.name, func(t *testing.T) { r.run(t, time.Now()) })
	}
}

// TestLoadRefusesChains is about certificates that do not work, or not together.
func TestLoadRefusesChains(t *testing.T) {
	root := authority(t, "root", nil)
	sub := authority(t, "sub", &root)
	renewed := authority(t, "sub", &root) // same name, another key
	srv := leaf(t, &sub, "mqtt", "mqtt.example.org")
	stranger := authority(t, "stranger", nil)
	key := srv.keyPEM(t)
	now := time.Now()
	at := func(from, to time.Duration) node {
		return issue(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: "mqtt"}, NotBefore: now.Add(from), NotAfter: now.Add(to),
		}, &sub, newKey(t))
	}
	expired, early := at(-2*time.Hour, -time.Hour), at(time.Hour, 2*time.Hour)
	oldSub := authorityTemplate("sub")
	oldSub.NotBefore, oldSub.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour)
	expiredSub := issue(t, oldSub, &root, sub.key)
	p224Key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224 := issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mqtt"}}, &root, p224Key)

	for _, r := range []refusal{
		{"leaf last", cat(sub.certPEM(), srv.certPEM()), key, []string{`server.pem: the private key belongs to certificate 2 "mqtt", not to the first: put the server's own certificate first`}},
		{"root before intermediate", cat(srv.certPEM(), root.certPEM(), sub.certPEM()), key, []string{`server.pem: wrong order: certificate 2 "root" is the issuer of certificate 3 "sub" and must come after it`}},
		{"stranger in the chain", cat(srv.certPEM(), stranger.certPEM()), key, []string{`server.pem: certificate 2 "stranger" did not issue any before it: remove it, or put the issuer of "mqtt" ("CN=sub") in its place`}},
		{"renewed intermediate", cat(srv.certPEM(), renewed.certPEM()), key, []string{`server.pem: certificate 2 "sub" did not issue any before it`}},
		{"expired", expired.certPEM(), expired.keyPEM(t), []string{`server.pem: certificate 1 "mqtt" expired on ` + stamp(expired.cert.NotAfter) + ": renew it"}},
		{"not yet valid", early.certPEM(), early.keyPEM(t), []string{`server.pem: certificate 1 "mqtt" is not valid before ` + stamp(early.cert.NotBefore) + ": wait, or correct this machine's clock (" + stamp(now) + ")"}},
		{"expired intermediate", cat(srv.certPEM(), expiredSub.certPEM()), key, []string{`server.pem: certificate 2 "sub" expired on `}},
		{"curve that TLS lacks", p224.certPEM(), p224.keyPEM(t), []string{`server.pem: certificate 1 "mqtt" has a key on the curve P-224, which TLS does not know: request one with P-256`}},
		{"expired, out of order and without key", cat(expired.certPEM(), root.certPEM(), sub.certPEM()), nil,
			[]string{"server.pem: no private key", "expired on", "wrong order"}},
	} {
		t.Run(r.name, func(t *testing.T) { r.run(t, now) })
	}
}

// wantProblems wants one *Problem for each text, in order.
func wantProblems(t *testing.T, err error, want []string) {
	t.Helper()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("error %v is not joined from problems", err)
	}
	problems := joined.Unwrap()
	if len(problems) != len(want) {
		t.Fatalf("%d problems, want %d:\n%v", len(problems), len(want), err)
	}
	for i, p := range problems {
		problem, ok := errors.AsType[*certs.Problem](p)
		if !ok {
			t.Fatalf("%v is no *Problem", p)
		}
		if !strings.Contains(p.Error(), want[i]) {
			t.Errorf("problem %d:\n got %v\nwant %s", i, p, want[i])
		}
		if isKey := filepath.Base(problem.Path) == "server.key"; problem.Key != isKey || problem.Pair != 0 {
			t.Errorf("problem %d is of pair %d, key %t; its file is %s", i, problem.Pair, problem.Key, problem.Path)
		}
	}
}

// noKeyBytes wants no line of a private key, and nothing of those of the table that hold words, in err.
func noKeyBytes(t *testing.T, err error, files ...[]byte) {
	t.Helper()
	text := err.Error()
	if strings.Contains(text, "secret") {
		t.Errorf("key bytes in %q", text)
	}
	for _, data := range files {
		for line := range bytes.Lines(data) {
			if len(line) > 12 && !bytes.HasPrefix(line, []byte("-----")) && strings.Contains(text, string(line[:12])) {
				t.Errorf("bytes of the file in %q", text)
			}
		}
	}
}

func TestLoadReportsAllPairs(t *testing.T) {
	ca := newCA(t)
	missing := filepath.Join(t.TempDir(), "none.pem")
	good := pair(t, ca, devca.Options{Hosts: []string{"a.example.org"}})
	folder := t.TempDir()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	pairs := []certs.Pair{{Cert: missing, Key: missing}, good, {Cert: folder}, {Cert: good.Cert, Key: pipe}}
	_, err := certs.Load(pairs, time.Now())
	want := []certs.Problem{
		{Pair: 0, Path: missing, Err: errors.New("no such file or directory: check the path")},
		{Pair: 0, Key: true, Path: missing, Err: errors.New("no such file or directory: check the path")},
		{Pair: 2, Path: folder, Err: errors.New("is a folder: name each file in it by itself")},
		{Pair: 3, Key: true, Path: pipe, Err: errors.New("is not a regular file: copy its content into one")},
	}
	var lines []string
	for _, w := range want {
		lines = append(lines, w.Error())
	}
	if got := err.Error(); got != strings.Join(lines, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(lines, "\n"))
	}
	for i, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		p, ok := errors.AsType[*certs.Problem](e)
		if !ok || p.Pair != want[i].Pair || p.Key != want[i].Key || p.Path != want[i].Path {
			t.Errorf("problem %d is %+v, want %+v", i, p, want[i])
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the error is not fs.ErrNotExist")
	}
}

func TestLoadNothing(t *testing.T) {
	if _, err := certs.Load(nil, time.Now()); err == nil || err.Error() != "no certificate: name at least one" {
		t.Errorf("got %v", err)
	}
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func crlf(data []byte) []byte { return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// locked is a key that is encrypted as PKCS #8 has it; nobody looks into it.
func locked() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret bytes")})
}

// lockedOld is a key that is encrypted as RFC 1421 has it.
func lockedOld() []byte {
	return pem.EncodeToMemory(&pem.Block{
		Type:    "RSA PRIVATE KEY",
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
		Bytes:   []byte("secret bytes"),
	})
}
