package handshake

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/mqttlb/mqttlb/lb/limit"
	"github.com/mqttlb/mqttlb/lb/record"
)

// selfTests are the handshakes of SelfTest. The cipher suites of TLS 1.3 cannot be chosen; record.SelfTest knows them all.
var selfTests = [...]struct{ version, suite uint16 }{
	{version: tls.VersionTLS13},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
}

// selfTestTimeout bounds each of them; one takes milliseconds.
const selfTestTimeout = 30 * time.Second

// SelfTest checks, without a network, that package record agrees with known answers, and that Server hands it what crypto/tls has:
// which keys, which sequence numbers. A Go release that did something of it differently is found out at the start of the
// process, and not by its clients. It takes some milliseconds.
func SelfTest(ctx context.Context) error {
	if fips140.Enforced() {
		return nil // every connection stays with crypto/tls
	}
	if err := record.SelfTest(); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"self-test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(leaf)
	cfg := Prepare(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}})
	cfg.SetSessionTicketKeys(new(Tickets).Keys("", time.Now()))
	for _, tt := range selfTests {
		if fips140.Enabled() && tt.suite == tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 {
			continue // crypto/tls does not offer it then
		}
		client := &tls.Config{RootCAs: trusted, ServerName: "self-test", MaxVersion: tt.version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		if tt.suite != 0 {
			client.CipherSuites = []uint16{tt.suite}
		}
		for _, resumed := range []bool{false, true} {
			if err := selfTest(ctx, cfg, client, resumed); err != nil {
				return fmt.Errorf("self-test of %s, resumed %v: %w (this program and the release of Go that it was built with do not fit: report it, with `mqttlb version`)",
					tls.VersionName(tt.version), resumed, err)
			}
		}
	}
	return nil
}

// selfTest does one handshake over a pipe, and sends a few bytes both ways.
func selfTest(ctx context.Context, server, client *tls.Config, resumed bool) error {
	near, pipe := net.Pipe()
	defer near.Close()
	ctx, cancel := context.WithTimeout(ctx, selfTestTimeout)
	defer cancel()
	far := buffered{pipe, make(chan []byte, 16)} // of writes: a client has a handful
	go far.send()                                // ends with far.written
	answered := make(chan error, 1)
	go func() { // ends with far, at the latest by its deadline
		defer close(far.written)
		far.SetDeadline(time.Now().Add(selfTestTimeout))
		answered <- converse(tls.Client(far, client))
	}()
	err := echo(ctx, near, server, resumed)
	if err != nil {
		near.Close()
	}
	return errors.Join(err, <-answered)
}

// A buffered end of a pipe does not wait for the other to read: in a handshake both may write before they read.
type buffered struct {
	net.Conn
	written chan []byte
}

func (b buffered) Write(p []byte) (int, error) {
	b.written <- bytes.Clone(p)
	return len(p), nil
}

// send passes on what was written, and closes the pipe behind it.
func (b buffered) send() {
	defer b.Conn.Close()
	for p := range b.written {
		b.Conn.Write(p) // when it fails, the reader knows why
	}
}

var selfTestWords = []byte("known to both ends")

// echo is the server's part: it sends back what comes.
func echo(ctx context.Context, near net.Conn, cfg *tls.Config, resumed bool) error {
	c, state, err := Server(ctx, near, cfg, new(limit.Gate))
	if err != nil {
		return err
	}
	if _, ours := c.(*record.Conn); !ours {
		return errors.New("crypto/tls did not tell the keys of the connection")
	}
	if state.DidResume != resumed {
		return errors.New("a session ticket was not taken, or a session resumed that was never there")
	}
	c.SetDeadline(time.Now().Add(selfTestTimeout))
	b := make([]byte, len(selfTestWords))
	if _, err := io.ReadFull(c, b); err != nil {
		return fmt.Errorf("open a record: %w", err)
	}
	_, err = c.Write(b)
	return err
}

// converse is the client's part.
func converse(c *tls.Conn) error {
	if _, err := c.Write(selfTestWords); err != nil {
		return err
	}
	b := make([]byte, len(selfTestWords))
	if _, err := io.ReadFull(c, b); err != nil {
		return fmt.Errorf("open the answer: %w", err)
	}
	if !bytes.Equal(b, selfTestWords) {
		return errors.New("the answer is not what was sent")
	}
	return nil
}
