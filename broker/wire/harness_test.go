//go:build linux

package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/websocket"
	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/socket"
	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/limit"
)

// patience bounds each wait of a test. One that passes never waits so long.
const patience = time.Minute

// A kind is what may lie between a client's packets and its socket.
type kind struct {
	name      string
	tls       uint16 // version; 0 = none
	webSocket bool
}

var kinds = []kind{
	{"plain", 0, false},
	{"TLS 1.3", tls.VersionTLS13, false},
	{"TLS 1.2", tls.VersionTLS12, false},
	{"WebSocket", 0, true},
	{"WebSocket over TLS", tls.VersionTLS13, true},
}

// A node is loops, and a port whose connections they can take.
type node struct {
	loops     *Loops
	ln        net.Listener
	server    *tls.Config // of handshake.Prepare
	roots     *x509.CertPool
	computing limit.Gate
	stop      func() // ends the loops, and waits for them
}

func newNode(t testing.TB, n int, o Options) *node {
	t.Helper()
	loops, err := Open(n, o)
	must(t, err)
	poller, err := socket.Open()
	must(t, err)
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	ln, err := poller.Listener(tcp, net.KeepAliveConfig{})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- loops.Run(ctx) }()
	nd := &node{loops: loops, ln: ln}
	nd.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the loops ended with %v", err)
		}
	})
	t.Cleanup(func() {
		nd.stop()
		ln.Close()
		poller.Close()
	})
	return nd
}

// identity makes the certificate of a node, once.
func (nd *node) identity(t testing.TB) {
	if nd.server != nil {
		return
	}
	ca, err := devca.New(devca.ECDSA, time.Now())
	must(t, err)
	own, err := ca.Issue(devca.Options{Hosts: []string{"node"}})
	must(t, err)
	nd.roots = ca.Pool()
	nd.server = handshake.Prepare(&tls.Config{Certificates: []tls.Certificate{own.TLS()}, MinVersion: tls.VersionTLS12})
}

// A link is a client's end of a connection, as a stream of MQTT.
type link struct {
	net.Conn
	t     testing.TB
	tcp   *net.TCPConn // its socket
	held  *held        // what is between TLS or WebSocket and that
	under net.Conn     // what a WebSocket is on
}

// held keeps what is written to it while it is told to.
type held struct {
	*net.TCPConn
	mu   sync.Mutex
	keep bool
	kept []byte
}

func (h *held) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keep {
		h.kept = append(h.kept, p...)
		return len(p), nil
	}
	return h.TCPConn.Write(p)
}

// wire is what goes over the socket for a write of each of pieces.
func (l *link) wire(t testing.TB, pieces ...[]byte) []byte {
	t.Helper()
	if l.held == nil {
		return bytes.Join(pieces, nil)
	}
	l.held.set(true)
	for _, p := range pieces {
		must(t, second(l.Write(p)))
	}
	return l.held.set(false)
}

func (h *held) set(keep bool) (kept []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keep, kept, h.kept = keep, h.kept, nil
	return kept
}

// connect makes a connection of a kind for p, with an hour for its first packet unless start says otherwise.
func (nd *node) connect(t testing.TB, k kind, p *peer, start Start) *link {
	t.Helper()
	l, nc, rest := nd.accept(t, k)
	start.Peer, start.WebSocket, start.Rest = p, k.webSocket, append(rest, start.Rest...)
	if start.Timeout == 0 {
		start.Timeout = time.Hour
	}
	must(t, nd.loops.Adopt(&p.Conn, nc, start))
	return l
}

// accept makes both ends of a connection of a kind.
func (nd *node) accept(t testing.TB, k kind) (l *link, nc net.Conn, rest []byte) {
	t.Helper()
	c, err := net.Dial("tcp", nd.ln.Addr().String())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(patience)))
	nc, err = nd.ln.Accept()
	must(t, err)
	l = &link{Conn: c, t: t, tcp: c.(*net.TCPConn)}
	if k.tls == 0 && !k.webSocket {
		return l, nc, nil
	}
	l.held = &held{TCPConn: l.tcp}
	l.Conn = l.held
	if k.tls != 0 {
		nd.identity(t)
	}
	served := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		var err error
		if k.tls != 0 {
			nc, _, err = handshake.Server(ctx, nc, nd.server, &nd.computing)
		}
		if err == nil && k.webSocket {
			rest, err = websocket.Upgrade(nc, websocket.Options{}, time.Now().Add(patience))
		}
		served <- err
	}()
	if k.tls != 0 {
		client := tls.Client(l.held, &tls.Config{ServerName: "node", RootCAs: nd.roots, MaxVersion: k.tls})
		must(t, client.HandshakeContext(ctx))
		l.Conn = client
	}
	if k.webSocket {
		l.upgrade(t, ctx)
	}
	must(t, <-served)
	return l, nc, rest
}

// upgrade makes a WebSocket of a link.
func (l *link) upgrade(t testing.TB, ctx context.Context) {
	under := l.Conn
	l.under = under
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return under, nil }}
	ws, _, err := coder.Dial(ctx, "ws://node/mqtt", &coder.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"mqtt"}, CompressionMode: coder.CompressionDisabled,
	})
	must(t, err)
	t.Cleanup(func() { _ = ws.CloseNow() })
	ws.SetReadLimit(-1)
	l.Conn = coder.NetConn(context.Background(), ws, coder.MessageBinary)
}

// A pack is a packet as a peer has seen it.
type pack struct {
	header packet.Header
	body   string
}

// A peer writes down what happens to it. What its functions return goes for the loop; nil: packets are Done, there are no last words.
type peer struct {
	Conn
	t      testing.TB
	handle func(h packet.Header, body []byte) (Verdict, error) // within Packet
	fill   func(dst []byte, most int) ([]byte, bool)           // instead of what Fill gives otherwise
	words  []byte                                              // the last words
	keep   bool                                                // it does not call SetIdle with the first packet
	closed chan struct{}

	mu     sync.Mutex // guards the fields below
	packs  []pack     // that were handled; only their headers with sparing
	queue  [][]byte   // what Fill takes, a packet each
	fills  []int      // what each Fill has found in dst
	ended  []error
	over   bool // Closed was called
	inode  uint64
	aside  bool // the last words were said
	silent bool // packs are counted, not kept
	count  int
}

func newPeer(t testing.TB) *peer { return &peer{t: t, closed: make(chan struct{})} }

func (p *peer) Packet(h packet.Header, body []byte) (verdict Verdict, err error) {
	if h.Type == packet.CONNECT && !p.keep && p.flags&settled == 0 {
		p.SetIdle(0)
	}
	if p.handle != nil {
		verdict, err = p.handle(h, body)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ended) > 0 {
		p.t.Errorf("%v comes after the end", h.Type)
	}
	if verdict == Done && err == nil {
		p.count++
		if !p.silent {
			p.packs = append(p.packs, pack{h, string(body)})
		}
	}
	return verdict, err
}

func (p *peer) Fill(dst []byte, most int) ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		p.t.Error("Fill after Closed")
	}
	p.fills = append(p.fills, len(dst)-headroom)
	if p.fill != nil {
		return p.fill(dst, most)
	}
	for len(p.queue) > 0 && len(dst) < most {
		dst, p.queue = append(dst, p.queue[0]...), p.queue[1:]
	}
	if len(p.queue) == 0 && len(p.ended) > 0 && !p.aside {
		p.aside = true
		dst = append(dst, p.words...)
	}
	return dst, len(p.queue) > 0
}

func (p *peer) Ended(err error) (speak bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		p.t.Error("Ended after Closed")
	}
	p.ended = append(p.ended, err)
	if p.ref != 0 { // it had one
		p.inode = inodeOf(int(p.fd))
	}
	return p.words != nil
}

func (p *peer) Closed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over:
		p.t.Error("Closed is called twice")
	case len(p.ended) != 1:
		p.t.Errorf("Closed after %d calls of Ended", len(p.ended))
	case p.inode != 0 && inodeOf(int(p.fd)) == p.inode:
		p.t.Error("the descriptor is open when Closed is called")
	}
	if !p.over {
		p.over = true
		close(p.closed)
	}
}

// inodeOf names the socket of a descriptor for ever, which its number does not; 0 = none.
func inodeOf(fd int) uint64 {
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

// give puts packets where Fill finds them.
func (p *peer) give(list ...[]byte) {
	p.mu.Lock()
	p.queue = append(p.queue, list...)
	p.mu.Unlock()
	p.Wake()
}

func (p *peer) seen() []pack {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.packs
}

func (p *peer) handled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// end waits until the connection is closed, and returns why it is.
func (p *peer) end(t testing.TB) error {
	t.Helper()
	select {
	case <-p.closed:
	case <-time.After(patience):
		t.Fatal("Closed was not called")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended[0]
}

// check fails unless the packets were handled in this order, and no others.
func (p *peer) check(t testing.TB, want []pack) {
	t.Helper()
	if problem := differ(p.seen(), want); problem != "" {
		t.Error(problem)
	}
}

func differ(got, want []pack) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("packet %d is %v with %d bytes, want %v with %d", i, got[i].header, len(got[i].body), want[i].header, len(want[i].body))
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d packets, want %d", len(got), len(want))
	}
	return ""
}

// on runs f on the loop of a Conn that was adopted, and waits for it.
func (p *peer) on(t testing.TB, f func(l *loop)) {
	t.Helper()
	done := make(chan struct{})
	if !p.Post(func() { defer close(done); f(p.loop) }) {
		t.Fatal("the loop has ended")
	}
	<-done
}

// arrived waits until the loops have taken n bytes since before.
func (nd *node) arrived(t testing.TB, before uint64, n int) {
	t.Helper()
	eventually(t, "bytes are read", func() bool { in, _ := nd.loops.Bytes(); return in-before >= uint64(n) })
}

func (nd *node) in() uint64 { in, _ := nd.loops.Bytes(); return in }

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	again := time.NewTicker(50 * time.Microsecond) // nothing tells
	defer again.Stop()
	for deadline := time.Now().Add(patience); !done(); <-again.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func second(_ int, err error) error { return err }

func write(t testing.TB, c net.Conn, b ...byte) {
	t.Helper()
	must(t, second(c.Write(b)))
}

// expect reads exactly these bytes.
func expect(t testing.TB, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%.40x of %d bytes arrive (%v), want %.40x of %d", got[:n], n, err, want, len(want))
	}
}

// expectEnd reads to the end, and finds nothing before.
func expectEnd(t testing.TB, c net.Conn) {
	t.Helper()
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Errorf("%.40x of %d bytes before the end, %v", got, len(got), err)
	}
}

func expectError(t testing.TB, got, want error) {
	t.Helper()
	if got != want && !errors.Is(got, want) {
		t.Errorf("it ended with %v, want %v", got, want)
	}
}

var (
	connect  = []byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0} // a client's first packet
	pingreq  = []byte{0xc0, 0}
	pingresp = []byte{0xd0, 0}
	farewell = []byte{0xe0, 2, 0x8b, 0} // DISCONNECT: the server shuts down
)

// publish is a packet of n bytes after its header.
func publish(n int, fill byte) []byte {
	b := []byte{0x30}
	for left := n; ; {
		low := byte(left & 0x7f)
		if left >>= 7; left == 0 {
			b = append(b, low)
			break
		}
		b = append(b, low|0x80)
	}
	return append(b, bytes.Repeat([]byte{fill}, n)...)
}

// packs are the packets of a stream, by the reader for streams that block, and why there are no more.
func packsOf(b []byte, most int) (list []pack, end error) {
	if len(b) > 0 && b[0] != 0x10 {
		return nil, ErrNotMQTT
	}
	r := packet.NewReader(bytes.NewReader(b), most)
	for {
		h, body, err := r.Next()
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return list, err
		}
		list = append(list, pack{h, string(body)})
	}
}

func joined(pieces ...[]byte) []byte { return bytes.Join(pieces, nil) }
