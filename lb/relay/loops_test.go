//go:build linux

package relay

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/socket"
	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/limit"
)

var relays = map[string]starter{"copy": startCopy, "loops": startLoops}

// A plane is what the loops' pairs live on.
type plane struct {
	sockets *socket.Poller
	loops   *Loops
}

// newPlane opens n loops, and ends them with the test.
func newPlane(t *testing.T, n int) *plane {
	t.Helper()
	sockets, err := socket.Open()
	if err != nil {
		t.Fatal(err)
	}
	loops, err := Open(n)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- loops.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the loops ended with %v", err)
		}
		sockets.Close()
	})
	return &plane{sockets, loops}
}

// listen opens a port whose connections have descriptors to give away; the caller closes it.
func (p *plane) listen(t *testing.T) net.Listener {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := p.sockets.Listener(tcp.(*net.TCPListener), net.KeepAliveConfig{})
	if err != nil {
		tcp.Close()
		t.Fatal(err)
	}
	return ln
}

// connect returns both ends of a TCP connection, the near one with a descriptor to give away.
func (p *plane) connect(t *testing.T) (far, near net.Conn) {
	t.Helper()
	ln := p.listen(t)
	defer ln.Close()
	var err error
	if far, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{far, near} {
		t.Cleanup(func() { c.Close() })
	}
	far.SetDeadline(time.Now().Add(patience))
	return far, near
}

// startLoops is the starter of Loops.
func startLoops(t *testing.T, withTLS bool, change func(*Pair)) *fixture {
	t.Helper()
	leaktest.Check(t)
	return newPlane(t, 1).start(t, withTLS, change)
}

// start relays between two new connections.
func (p *plane) start(t *testing.T, withTLS bool, change func(*Pair)) *fixture {
	t.Helper()
	client, a := p.connect(t)
	server, b := p.connect(t)
	f := &fixture{client: client, server: server}
	if withTLS {
		f.client, a = handshaken(t, client, a, new(tls.Config))
	}
	f.begin(t, p.loops.Start, Pair{Client: a, Server: b}, change)
	return f
}

// handshaken does a TLS handshake between the two ends, the near one as the product does it.
func handshaken(t *testing.T, far, near net.Conn, client *tls.Config) (*tls.Conn, net.Conn) {
	t.Helper()
	ca, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(devca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client.RootCAs, client.ServerName = ca.Pool(), "localhost"
	c := tls.Client(far, client)
	var both sync.WaitGroup
	both.Go(func() { err = c.Handshake() })
	cfg := handshake.Prepare(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{issued.TLS()}})
	s, _, serr := handshake.Server(t.Context(), near, cfg, new(limit.Gate))
	both.Wait()
	if err != nil || serr != nil {
		t.Fatalf("handshake: client %v, server %v", err, serr)
	}
	return c, s
}
