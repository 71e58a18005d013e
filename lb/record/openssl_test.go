package record

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// opensslSuites are the arguments that choose a cipher suite.
var opensslSuites = map[string][]string{
	"TLS_AES_128_GCM_SHA256":        {"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"},
	"TLS_AES_256_GCM_SHA384":        {"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"},
	"TLS_CHACHA20_POLY1305_SHA256":  {"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"},
	"ECDHE-ECDSA-AES128-GCM-SHA256": {"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"},
	"ECDHE-ECDSA-AES256-GCM-SHA384": {"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"},
	"ECDHE-ECDSA-CHACHA20-POLY1305": {"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"},
}

// A program is one of OpenSSL's, with what it says, on both outputs.
type program struct {
	t     *testing.T
	stdin io.WriteCloser
	lines chan string
	cmd   *exec.Cmd
}

// openssl starts a program, which ends with the test.
func openssl(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	cmd := exec.CommandContext(ctx, peertest.Path(t, "openssl", "openssl"), args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p := &program{t: t, stdin: stdin, lines: make(chan string, 10_000), cmd: cmd}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		stdin.Close()
		cancel()
		cmd.Wait()
		<-ended
		r.Close()
	})
	return p
}

// until waits for a line with what, and returns it.
func (p *program) until(what string) string {
	p.t.Helper()
	timeout := time.After(patience)
	var lines []string
	for {
		select {
		case line, ok := <-p.lines:
			if lines = append(lines, line); strings.Contains(line, what) {
				return line
			}
			if !ok {
				p.t.Fatalf("openssl has ended without %q: %q", what, lines)
			}
		case <-timeout:
			p.t.Fatalf("openssl does not say %q: %q", what, lines)
		}
	}
}

// says writes a line to openssl's standard input.
func (p *program) says(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// TestOpenSSLClient lets s_client talk to a Conn. Its commands K and k send a KeyUpdate, which asks for ours or does not.
func TestOpenSSLClient(t *testing.T) {
	leaktest.Check(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{certificate(t, false)}}
	for name, args := range opensslSuites {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			client := openssl(t, append([]string{"s_client", "-connect", ln.Addr().String()}, args...)...)
			socket, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			socket.SetDeadline(time.Now().Add(patience))
			server := newPeer(socket, cfg, false)
			if err := server.Handshake(); err != nil {
				t.Fatal(err)
			}
			conn := server.takeOver(t)
			echoed := make(chan error, 1)
			go func() { _, err := io.Copy(conn, conn); echoed <- err }()
			for i := range 6 {
				line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", i*i*200))
				client.says(line)
				client.until(line)
				if args[0] == "-tls1_3" {
					client.says([]string{"K", "k"}[i%2])
					client.until("KEYUPDATE")
				}
			}
			client.says("Q") // ends with close_notify
			if err := <-echoed; err != nil {
				t.Errorf("the end: %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOpenSSLServer lets a Conn talk to s_server, which reverses lines, and begins with session tickets.
func TestOpenSSLServer(t *testing.T) {
	leaktest.Check(t)
	cert, key := pemFiles(t)
	for name, args := range opensslSuites {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // s_server -rev sleeps a second
			server := openssl(t, append([]string{"s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", cert, "-key", key}, args...)...)
			_, address, _ := strings.Cut(server.until("ACCEPT "), "ACCEPT ")
			socket, err := net.DialTimeout("tcp", address, patience)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			socket.SetDeadline(time.Now().Add(patience))
			client := newPeer(socket, &tls.Config{InsecureSkipVerify: true}, true)
			if err := client.Handshake(); err != nil {
				t.Fatal(err)
			}
			conn := client.takeOver(t)
			for i := range 6 {
				if i%3 == 1 && args[0] == "-tls1_3" {
					conn.push(t, func(e *end) []byte { return e.says(asks) })
				}
				if _, err := io.WriteString(conn, "abc\n"); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 4)
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != "cba\n" {
					t.Fatalf("%q, %v", got, err)
				}
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// pemFiles writes a certificate and its key.
func pemFiles(t *testing.T) (cert, key string) {
	t.Helper()
	c := certificate(t, false)
	der, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "EC PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
