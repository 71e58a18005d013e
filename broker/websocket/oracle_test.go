package websocket

import (
	"bytes"
	"context"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/gobwas/ws"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// echo is a server that sends back each client's payload, read and answered in pieces of random sizes. It returns its address, and a
// channel with how each connection has ended.
func echo(t *testing.T) (addr string, ends <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 10)
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { ended <- echoOne(conn) })
		}
	})
	return l.Addr().String(), ended
}

func echoOne(conn net.Conn) error {
	defer conn.Close()
	rest, err := Upgrade(conn, Options{Path: "/mqtt"}, time.Now().Add(time.Minute))
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	var d Decoder
	buf := make([]byte, 128<<10)
	for in := rest; ; {
		payload, reply, err := d.Decode(in, nil)
		var out []byte
		if len(payload) > 0 {
			out = append(AppendHeader(nil, len(payload)), payload...)
		}
		if out = append(out, reply...); len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		n, err := conn.Read(buf[:1+rand.IntN(1+rand.IntN(len(buf)))])
		if err != nil {
			return err
		}
		in = buf[:n]
	}
}

// dial connects with coder/websocket.
func dial(ctx context.Context, t *testing.T, addr string, o coder.DialOptions) *coder.Conn {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	o.HTTPClient = &http.Client{Transport: transport}
	o.Subprotocols = []string{"mqttv3.1", "mqtt"}
	c, _, err := coder.Dial(ctx, "ws://"+addr+"/mqtt", &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if c.Subprotocol() != "mqtt" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	c.SetReadLimit(-1)
	return c
}

func minute(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// total is how many bytes are sent to and fro.
const total = 2 << 20

// random returns what is sent.
func random(rnd *rand.Rand) []byte {
	b := make([]byte, total)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// pieces cuts what is sent, mostly into short pieces.
func pieces(rnd *rand.Rand, b []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for i := 0; len(b) > 0; i++ {
			n := min(rnd.IntN(2<<rnd.IntN(18)), len(b))
			if !yield(i, b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// seeded logs the seed of a test.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestCoder talks to a client of coder/websocket that offers compression and sends messages in fragments, with pings in between.
func TestCoder(t *testing.T) {
	leaktest.Check(t)
	addr, ends := echo(t)
	ctx := minute(t)
	c := dial(ctx, t, addr, coder.DialOptions{CompressionMode: coder.CompressionContextTakeover, CompressionThreshold: 1})
	rnd := seeded(t)
	want := random(rnd)
	sent := make(chan error, 1)
	go func() { sent <- sendCoder(ctx, c, rnd, want) }()

	var got []byte
	for len(got) < total {
		kind, part, err := c.Read(ctx)
		if err != nil || kind != coder.MessageBinary {
			t.Fatalf("after %d bytes: %v, %v", len(got), kind, err)
		}
		got = append(got, part...)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("not what was sent has come back")
	}
	c.CloseRead(ctx) // lets the last pong come
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if err := c.Close(coder.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("close: %v", err)
	}
	checkEnd(t, <-ends, event{status: StatusNormal, closed: true})
}

// sendCoder sends messages of up to five fragments, and pings at any place.
func sendCoder(ctx context.Context, c *coder.Conn, rnd *rand.Rand, b []byte) error {
	var w io.WriteCloser
	for i, part := range pieces(rnd, b) {
		var err error
		if w == nil {
			w, err = c.Writer(ctx, coder.MessageBinary)
		}
		if err == nil {
			_, err = w.Write(part)
		}
		if err == nil && i%5 == 0 {
			err = w.Close()
			w = nil
		}
		if err == nil && rnd.IntN(20) == 0 {
			err = c.Ping(ctx)
		}
		if err != nil {
			return err
		}
	}
	if w == nil {
		return nil
	}
	return w.Close()
}

// TestCoderText sends text, which is not MQTT [MQTT-6.0.0-1].
func TestCoderText(t *testing.T) {
	leaktest.Check(t)
	addr, ends := echo(t)
	ctx := minute(t)
	c := dial(ctx, t, addr, coder.DialOptions{})
	if err := c.Write(ctx, coder.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(ctx); coder.CloseStatus(err) != coder.StatusUnsupportedData {
		t.Errorf("the client's end: %v", err)
	}
	checkEnd(t, <-ends, event{status: StatusUnsupported})
}

// TestGobwas talks to a client of gobwas/ws: frames of any kind, packed without regard to their ends.
func TestGobwas(t *testing.T) {
	leaktest.Check(t)
	addr, ends := echo(t)
	conn, buffered, handshake, err := ws.Dialer{Protocols: []string{"mqttv3.1"}}.Dial(minute(t), "ws://"+addr+"/mqtt")
	if err != nil || buffered != nil || handshake.Protocol != "mqttv3.1" {
		t.Fatalf("%+v, %v", handshake, err)
	}
	defer conn.Close()
	rnd := seeded(t)
	want := random(rnd)
	out, pings := gobwasFrames(rnd, want)
	go func() {
		for _, part := range pieces(rnd, out) {
			if _, err := conn.Write(part); err != nil {
				return // reading finds out as well
			}
		}
	}()
	var got []byte
	for answered := 0; ; {
		h, err := ws.ReadHeader(conn)
		if err != nil || h.Masked || !h.Fin || h.Length > total {
			t.Fatalf("after %d bytes: %+v, %v", len(got), h, err)
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(conn, payload); err != nil {
			t.Fatal(err)
		}
		switch h.OpCode {
		case ws.OpBinary:
			got = append(got, payload...)
		case ws.OpPong:
			n, err := strconv.Atoi(string(payload))
			if err != nil || n <= answered || n > pings {
				t.Fatalf("pong %q after that for ping %d of %d", payload, answered, pings)
			}
			answered = n
		case ws.OpClose:
			code, _ := ws.ParseCloseFrameData(payload)
			if !bytes.Equal(got, want) || answered != pings || code != ws.StatusGoingAway {
				t.Errorf("%d of %d bytes have come, a pong for ping %d of %d; closed with %d", len(got), len(want), answered, pings, code)
			}
			checkEnd(t, <-ends, event{status: StatusGoingAway, closed: true})
			return
		}
	}
}

// gobwasFrames are frames with b, numbered pings among them, and the number of the last ping; then a close frame.
func gobwasFrames(rnd *rand.Rand, b []byte) (out []byte, pings int) {
	message := false
	add := func(code ws.OpCode, fin bool, payload []byte) {
		out = append(out, ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(code, fin, payload)))...)
	}
	for _, part := range pieces(rnd, b) {
		code := ws.OpBinary
		if message {
			code = ws.OpContinuation
		}
		fin := rnd.IntN(3) > 0
		add(code, fin, part)
		message = !fin
		for range rnd.IntN(3) {
			pings++
			add(ws.OpPing, true, []byte(strconv.Itoa(pings)))
		}
		if rnd.IntN(5) == 0 {
			add(ws.OpPong, true, []byte("unasked"))
		}
	}
	add(ws.OpClose, true, ws.NewCloseFrameBody(ws.StatusGoingAway, "bye"))
	return out, pings
}
