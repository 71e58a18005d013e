package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The ports that scripts listen on are below those that Linux and the BSDs give to outgoing connections
// (32768 and 49152 upwards): one of these could be taken again between choosing and listening.
const (
	firstPort = 20000
	portCount = 12000
)

// ports gives every port to one script only.
type ports struct{ next atomic.Uint32 }

// newPorts begins anywhere, so that two runs on one machine do not meet.
func newPorts() *ports {
	p := new(ports)
	p.next.Store(rand.Uint32N(portCount))
	return p
}

func (p *ports) free(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, len(args), "free-ports NAME")
	for range portCount {
		port := strconv.Itoa(firstPort + int(p.next.Add(1)%portCount))
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		ln.Close()
		ts.Setenv(args[0], port)
		args = args[1:]
		if len(args) == 0 {
			return
		}
	}
	ts.Fatalf("no free ports among %d", portCount)
}

func echoServer(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "echo-server NAME")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ts.Setenv(args[0], port)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(2 * patience)) // ends it when the script has failed
				io.Copy(conn, conn)
			})
		}
	})
	ts.Defer(func() {
		ln.Close()
		serving.Wait()
	})
}

// A device is a client in a script.
type device struct {
	net.Conn
	reader *bufio.Reader
}

func dial(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "[!] dial NAME PORT")
	conn, err := connect(ts, args[1:])
	if neg {
		if err == nil {
			conn.Close()
			ts.Fatalf("dial %s: connected", args[1])
		}
		return
	}
	ts.Check(err)
	d := &device{Conn: conn, reader: bufio.NewReader(conn)}
	ts.Defer(func() { d.Close() })
	stageOf(ts).clients[args[0]] = d
	ts.Check(d.echo())
}

// connect opens a connection to a port, with TLS when a file with a CA follows.
func connect(ts *testscript.TestScript, args []string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: patience}
	address := net.JoinHostPort("127.0.0.1", args[0])
	if len(args) == 1 {
		return dialer.Dial("tcp", address)
	}
	pool := x509.NewCertPool()
	text, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	if !pool.AppendCertsFromPEM(text) {
		ts.Fatalf("%s holds no certificate", args[1])
	}
	return tls.DialWithDialer(dialer, "tcp", address, &tls.Config{RootCAs: pool})
}

// echo sends a line and waits until it comes back.
func (d *device) echo() error {
	d.SetDeadline(time.Now().Add(patience))
	const said = "hello\n"
	if _, err := io.WriteString(d, said); err != nil {
		return err
	}
	heard, err := d.reader.ReadString('\n')
	if err == nil && heard != said {
		err = errors.New("something else came back: " + strconv.Quote(heard))
	}
	return err
}

func (s *stage) client(ts *testscript.TestScript, name string) *device {
	d := s.clients[name]
	if d == nil {
		ts.Fatalf("no client %q was connected", name)
	}
	return d
}

func echoed(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "echoed NAME")
	ts.Check(stageOf(ts).client(ts, args[0]).echo())
}

func hangUp(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "hang-up NAME")
	ts.Check(stageOf(ts).client(ts, args[0]).Close())
}

// cut waits for the end of the connection. How it looks, an end of file or a reset, is the relay's business.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "cut NAME")
	d := stageOf(ts).client(ts, args[0])
	d.SetDeadline(time.Now().Add(patience))
	_, err := d.reader.ReadByte()
	var late net.Error
	switch {
	case err == nil:
		ts.Fatalf("%s received something", args[0])
	case errors.As(err, &late) && late.Timeout():
		ts.Fatalf("%s is still connected after %s", args[0], patience)
	}
}
