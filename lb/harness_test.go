package lb_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb"
)

// patience bounds every wait of these tests; one that passes never waits so long, whatever the machine.
const patience = 60 * time.Second

// connectPacket is a CONNECT of MQTT 3.1.1 with keep alive 60 s and client identifier "device".
const connectPacket = "\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06device"

// connack is the answer to it.
const connack = "\x20\x02\x00\x00"

// A rig is a load balancer under test, with its folder.
type rig struct {
	*lb.Server
	t    *testing.T
	dir  string
	path string
	ca   *devca.CA
	log  *lockedBuffer
	stop func() // ends it gracefully and waits
}

// newRig prepares a folder with certificates in certs/.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), log: &lockedBuffer{}}
	r.path = filepath.Join(r.dir, "mqttlb.yaml")
	if _, err := devca.Write(filepath.Join(r.dir, "certs"), nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	ca, err := devca.Open(filepath.Join(r.dir, "certs"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r.ca = ca
	return r
}

// write replaces the configuration, as an editor does.
func (r *rig) write(text string) {
	r.t.Helper()
	r.writeFile("mqttlb.yaml", text)
}

func (r *rig) writeFile(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.t.Fatal(err)
	}
}

// certify replaces the server's certificate.
func (r *rig) certify(o devca.Options) devca.Issued {
	r.t.Helper()
	issued, err := r.ca.Issue(o)
	if err != nil {
		r.t.Fatal(err)
	}
	pem, err := issued.PEM()
	if err != nil {
		r.t.Fatal(err)
	}
	r.writeFile("certs/server.pem", string(pem))
	return issued
}

// run starts the load balancer with a configuration.
func (r *rig) run(text string) {
	r.t.Helper()
	r.write(text)
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv, err := lb.New(lb.Options{Path: r.path, Log: log})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Server = srv
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				r.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			r.t.Error("Run did not return")
		}
	})
	r.t.Cleanup(func() {
		r.stop()
		if r.t.Failed() {
			r.t.Logf("log:\n%s", r.log.tail(8<<10))
		}
	})
	select {
	case <-srv.Ready():
	case err := <-ended:
		ended <- err
		r.t.Fatalf("Run: %v", err)
	case <-time.After(patience):
		r.t.Fatal("never ready")
	}
}

// dial connects to a listener.
func (r *rig) dial(listener string) net.Conn {
	r.t.Helper()
	return r.dialFrom(listener, "")
}

// dialFrom connects from a given local address.
func (r *rig) dialFrom(listener, source string) net.Conn {
	r.t.Helper()
	d := net.Dialer{Timeout: patience}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	c, err := d.Dial("tcp", r.Addr(listener))
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { c.Close() })
	return c
}

// dialTLS connects to a TLS listener and completes the handshake; change may be nil.
func (r *rig) dialTLS(listener string, change func(*tls.Config)) *tls.Conn {
	r.t.Helper()
	c, err := r.tryTLS(listener, change)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) tryTLS(listener string, change func(*tls.Config)) (*tls.Conn, error) {
	r.t.Helper()
	cfg := &tls.Config{RootCAs: r.ca.Pool(), ServerName: "localhost"}
	if change != nil {
		change(cfg)
	}
	c := tls.Client(r.dial(listener), cfg)
	return c, c.Handshake()
}

// ended returns how often a listener's connections ended for a reason.
func (r *rig) ended(listener string, reason lb.Reason) uint64 {
	for _, l := range r.Status().Listeners {
		if l.Name == listener {
			return l.Ended[reason.String()]
		}
	}
	return 0
}

// listener returns the status of a listener.
func (r *rig) listener(name string) lb.ListenerStatus {
	r.t.Helper()
	for _, l := range r.Status().Listeners {
		if l.Name == name {
			return l
		}
	}
	r.t.Fatalf("no listener %s", name)
	return lb.ListenerStatus{}
}

// server returns the status of a server of the first backend.
func (r *rig) server(name string) lb.ServerStatus {
	for _, s := range r.Status().Backends[0].Servers {
		if s.Name == name {
			return s
		}
	}
	return lb.ServerStatus{}
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // the deadline loop: what is waited for gives no signal
	}
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v; want %q", got, err, text)
	}
}

// expectEnd wants the connection to be ended by the other side, in whatever way.
func expectEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); err != nil && os.IsTimeout(err) {
		t.Fatal("the connection was not ended")
	}
}

// A node is a server behind the load balancer: it takes the PROXY header, if there is one, answers
// CONNECT with CONNACK, and echoes everything after it.
type node struct {
	ln      net.Listener
	proxy   bool
	stopped chan struct{} // closed by stop
	once    sync.Once     // of stop

	mu       sync.Mutex // guards the fields below
	open     map[net.Conn]bool
	sessions []*session
	done     sync.WaitGroup
}

// A session is what a node saw of one connection.
type session struct {
	header  *proxyproto.Header
	connect []byte
	conn    net.Conn
}

// newNode starts a node on a loopback address; address may be "" for any.
func newNode(t *testing.T, address string, proxy bool) *node {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{ln: ln, proxy: proxy}
	n.run(t, n.serve)
	return n
}

// raw starts a node that treats each connection by f, and then leaves it open until its end.
func raw(t *testing.T, f func(net.Conn)) *node {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{ln: ln}
	n.run(t, func(c net.Conn) {
		f(c)
		<-n.stopped
	})
	return n
}

// run accepts connections until stop, and hands each to serve.
func (n *node) run(t *testing.T, serve func(net.Conn)) {
	n.open, n.stopped = make(map[net.Conn]bool), make(chan struct{})
	n.done.Go(func() { n.accept(serve) })
	t.Cleanup(n.stop)
}

func (n *node) addr() string { return n.ln.Addr().String() }

// stop closes the port and every connection.
func (n *node) stop() {
	n.once.Do(func() { close(n.stopped) })
	n.ln.Close()
	n.mu.Lock()
	for c := range n.open {
		c.Close()
	}
	n.mu.Unlock()
	n.done.Wait()
}

func (n *node) accept(serve func(net.Conn)) {
	for {
		c, err := n.ln.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		n.open[c] = true
		n.mu.Unlock()
		n.done.Go(func() {
			serve(c)
			c.Close()
			n.mu.Lock()
			delete(n.open, c)
			n.mu.Unlock()
		})
	}
}

func (n *node) serve(c net.Conn) {
	r := bufio.NewReaderSize(c, 1<<10)
	s := &session{conn: c}
	if n.proxy {
		header, err := proxyproto.Read(r)
		if err != nil {
			return
		}
		s.header = header
	}
	start, err := r.Peek(2)
	if err != nil {
		return
	}
	if start[0] == 0x10 { // CONNECT, short enough for one byte of length in these tests
		s.connect = make([]byte, 2+int(start[1]))
		if _, err := io.ReadFull(r, s.connect); err != nil {
			return
		}
	}
	n.mu.Lock() // before the answer: whoever has read it finds the session
	n.sessions = append(n.sessions, s)
	n.mu.Unlock()
	if s.connect != nil {
		if _, err := io.WriteString(c, connack); err != nil {
			return
		}
	}
	leaktest.Copy(c, r)
}

// seen returns the sessions so far.
func (n *node) seen() []*session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*session(nil), n.sessions...)
}

// wait returns session i as soon as it is there.
func (n *node) wait(t *testing.T, i int) *session {
	t.Helper()
	eventually(t, fmt.Sprintf("session %d of the node", i), func() bool { return len(n.seen()) > i })
	return n.seen()[i]
}

// A lockedBuffer takes a log.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) tail(n int) string {
	s := b.String()
	return s[max(0, len(s)-n):]
}
