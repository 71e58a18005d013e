package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// patience bounds what a test waits for; a test that passes never waits so long.
const patience = 30 * time.Second

// A fixture is a pair in flight: client and server are the far ends.
type fixture struct {
	client, server net.Conn
	session        Session
	done           chan Result
}

// A starter relays between two new connections, the client's over TLS if asked.
type starter func(t *testing.T, withTLS bool, change func(*Pair)) *fixture

// each runs a test with every relay there is.
func each(t *testing.T, test func(t *testing.T, start starter)) {
	for name, start := range relays {
		t.Run(name, func(t *testing.T) { test(t, start) })
	}
}

// startCopy is the starter of Copy over the standard library's sockets and TLS.
func startCopy(t *testing.T, withTLS bool, change func(*Pair)) *fixture {
	t.Helper()
	leaktest.Check(t)
	client, a := connect(t)
	b, server := connect(t)
	p := Pair{Client: a, Server: b}
	f := &fixture{client: client, server: server}
	if withTLS {
		f.client, p.Client = secure(t, client, a)
	}
	f.begin(t, Copy{}.Start, p, change)
	return f
}

// begin relays between the near ends.
func (f *fixture) begin(t *testing.T, start func(Pair, Owner) Session, p Pair, change func(*Pair)) {
	if change != nil {
		change(&p)
	}
	f.done = make(chan Result, 2)
	f.session = start(p, Func(func(r Result) { f.done <- r }))
	t.Cleanup(func() {
		f.client.Close()
		f.server.Close()
		f.session.Close()
	})
}

// connect returns both ends of a TCP connection.
func connect(t *testing.T) (dialled, accepted net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{dialled, accepted} {
		c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { c.Close() })
	}
	return dialled, accepted
}

func secure(t *testing.T, client, server net.Conn) (c, s *tls.Conn) {
	t.Helper()
	ca, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(devca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c = tls.Client(client, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"})
	s = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{issued.TLS()}})
	var both sync.WaitGroup
	both.Go(func() { err = c.Handshake() })
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	both.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func (f *fixture) wait(t *testing.T) Result {
	t.Helper()
	select {
	case r := <-f.done:
		return r
	case <-time.After(patience):
		t.Fatal("the pair did not end")
		return Result{}
	}
}

func closeWrite(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v; want %q", got, err, text)
	}
}

func expectEOF(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes, %v; want the end of the stream", n, err)
	}
}

func TestHalfClosePassesOn(t *testing.T) { each(t, testHalfClosePassesOn) }

func testHalfClosePassesOn(t *testing.T, start starter) {
	for name, withTLS := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			f := start(t, withTLS, nil)
			send(t, f.client, "ping")
			expect(t, f.server, "ping")
			closeWrite(t, f.client)
			expectEOF(t, f.server)
			send(t, f.server, "late answer")
			expect(t, f.client, "late answer")
			closeWrite(t, f.server)
			expectEOF(t, f.client)
			if r := f.wait(t); r.End != ClientClosed || r.In != 4 || r.Out != 11 {
				t.Errorf("result %+v, want client closed, 4 in, 11 out", r)
			}
		})
	}
}

func TestServerClosesFirst(t *testing.T) { each(t, testServerClosesFirst) }

func testServerClosesFirst(t *testing.T, start starter) {
	f := start(t, true, nil)
	send(t, f.server, "bye")
	f.server.Close()
	expect(t, f.client, "bye")
	expectEOF(t, f.client)
	f.client.Close()
	if r := f.wait(t); r.End != ServerClosed {
		t.Errorf("end %v, want %v", r.End, ServerClosed)
	}
}

func TestResets(t *testing.T) { each(t, testResets) }

func testResets(t *testing.T, start starter) {
	for _, client := range []bool{true, false} {
		f := start(t, false, nil)
		near, far, want := f.server, f.client, ServerReset
		if client {
			near, far, want = f.client, f.server, ClientReset
		}
		send(t, near, "x") // so that the relay is running
		expect(t, far, "x")
		near.(*net.TCPConn).SetLinger(0)
		near.Close()
		r := f.wait(t)
		if r.End != want || !errors.Is(r.Err, syscall.ECONNRESET) {
			t.Errorf("end %v, %v; want %v, connection reset", r.End, r.Err, want)
		}
	}
}

func TestTimeouts(t *testing.T) { each(t, testTimeouts) }

func testTimeouts(t *testing.T, start starter) {
	const soon = 30 * time.Millisecond
	tests := []struct {
		name   string
		change func(*Pair)
		want   End
	}{
		{"silent client", func(p *Pair) { p.ClientTimeout = soon }, ClientTimeout},
		{"silent server", func(p *Pair) { p.ServerTimeout = soon }, ServerTimeout},
		{"server never says a word", func(p *Pair) { p.ServerFirst, p.ServerTimeout = soon, time.Hour }, ServerTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, false, tt.change)
			if r := f.wait(t); r.End != tt.want || r.Err != nil {
				t.Errorf("result %+v, want %v", r, tt.want)
			}
		})
	}
}

// The timeouts are of silence, not of life: a side that speaks in time goes on.
func TestSpeakingKeepsAlive(t *testing.T) { each(t, testSpeakingKeepsAlive) }

func testSpeakingKeepsAlive(t *testing.T, start starter) {
	const timeout = 400 * time.Millisecond
	f := start(t, false, func(p *Pair) { p.ClientTimeout = timeout })
	for end := time.Now().Add(2 * timeout); time.Now().Before(end); {
		send(t, f.client, "x")
		expect(t, f.server, "x")
	}
	f.client.Close()
	expectEOF(t, f.server)
	f.server.Close()
	if r := f.wait(t); r.End != ClientClosed {
		t.Errorf("end %v, want %v", r.End, ClientClosed)
	}
}

func TestWatchChangesClientTimeout(t *testing.T) { each(t, testWatchChangesClientTimeout) }

func testWatchChangesClientTimeout(t *testing.T, start starter) {
	f := start(t, false, func(p *Pair) {
		var seen []byte
		p.Watch = func(b []byte) (time.Duration, bool) {
			seen = append(seen, b...)
			if len(seen) < 4 {
				return 0, true
			}
			return 20 * time.Millisecond, false
		}
	})
	send(t, f.server, "ab") // the client's read waits without end by now, or will
	expect(t, f.client, "ab")
	send(t, f.server, "cd")
	expect(t, f.client, "cd")
	if r := f.wait(t); r.End != ClientTimeout {
		t.Errorf("end %v, want %v", r.End, ClientTimeout)
	}
}

func TestWatchTurnsClientTimeoutOff(t *testing.T) { each(t, testWatchTurnsClientTimeoutOff) }

func testWatchTurnsClientTimeoutOff(t *testing.T, start starter) {
	const timeout = 200 * time.Millisecond
	f := start(t, false, func(p *Pair) {
		p.ClientTimeout = timeout
		p.Watch = func([]byte) (time.Duration, bool) { return -1, false }
	})
	send(t, f.server, "x")
	expect(t, f.client, "x")
	select {
	case r := <-f.done:
		t.Fatalf("ended: %+v", r)
	case <-time.After(2 * timeout): // nothing is to happen: only time can tell
	}
}

// A side that takes nothing ends by its timeout, and not by memory.
func TestStalledReader(t *testing.T) { each(t, testStalledReader) }

func testStalledReader(t *testing.T, start starter) {
	f := start(t, false, func(p *Pair) { p.ClientTimeout = 100 * time.Millisecond })
	chunk := make([]byte, 1<<20)
	sent := 0
	for {
		f.server.SetWriteDeadline(time.Now().Add(patience))
		n, err := f.server.Write(chunk) // the client reads nothing
		if sent += n; err != nil {
			break
		}
		if sent > 1<<30 {
			t.Fatal("a gigabyte was taken for a client that reads nothing")
		}
	}
	if r := f.wait(t); r.End != ClientTimeout {
		t.Errorf("end %v, want %v", r.End, ClientTimeout)
	}
}

func TestCloseFromOutside(t *testing.T) { each(t, testCloseFromOutside) }

func testCloseFromOutside(t *testing.T, start starter) {
	f := start(t, true, nil)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(f.session.Close)
	}
	callers.Wait()
	if r := f.wait(t); r.End != Closed {
		t.Errorf("end %v, want %v", r.End, Closed)
	}
	if _, err := f.server.Read(make([]byte, 1)); err == nil {
		t.Error("the server's connection is still open")
	}
	select {
	case r := <-f.done:
		t.Errorf("done was called twice: %+v", r)
	default:
	}
}

// Bytes arrive as they were sent, whatever the sizes, both ways at once.
func TestBytesBothWays(t *testing.T) { each(t, testBytesBothWays) }

func testBytesBothWays(t *testing.T, start starter) {
	for name, withTLS := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			var traffic Traffic
			f := start(t, withTLS, func(p *Pair) { p.Traffic = [2]*Traffic{&traffic} })
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			up, down := random(seed, 3<<20), random(seed+1, 2<<20)
			var all sync.WaitGroup
			all.Go(func() { writeInPieces(t, f.client, up, seed) })
			all.Go(func() { writeInPieces(t, f.server, down, seed+1) })
			all.Go(func() { compare(t, f.server, up) })
			all.Go(func() { compare(t, f.client, down) })
			all.Wait()
			r := f.wait(t)
			if r.In != uint64(len(up)) || r.Out != uint64(len(down)) || traffic.In.Load() != r.In || traffic.Out.Load() != r.Out {
				t.Errorf("counted %d and %d, in all %d and %d; sent %d and %d", r.In, r.Out, traffic.In.Load(), traffic.Out.Load(), len(up), len(down))
			}
		})
	}
}

func random(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

func writeInPieces(t *testing.T, c net.Conn, b []byte, seed uint64) {
	sizes := rand.New(rand.NewPCG(seed, 1))
	for len(b) > 0 {
		n := min(len(b), 1+sizes.IntN(1<<sizes.IntN(18)))
		if _, err := c.Write(b[:n]); err != nil {
			t.Errorf("write: %v", err)
			return
		}
		b = b[n:]
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
}

func compare(t *testing.T, c net.Conn, want []byte) {
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived, %v; want the %d that were sent", len(got), err, len(want))
	}
}
