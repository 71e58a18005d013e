//go:build linux

package node

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

const patience = 30 * time.Second

// start runs a node until the test ends.
func start(t *testing.T, p ProxyProtocol) string {
	t.Helper()
	n, err := Listen("127.0.0.1:0", p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n.Addr().String()
}

// dial connects and sends.
func dial(t *testing.T, address string, send []byte) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(send); err != nil {
		t.Fatal(err)
	}
	return c
}

func expect(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != string(want) {
		t.Fatalf("got %x, %v, want %x", got[:n], err, want)
	}
}

// closed waits for the end of the connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	rest, err := io.ReadAll(c)
	if errors.Is(err, context.DeadlineExceeded) || len(rest) > 0 {
		t.Fatalf("got %x, %v, want the end", rest, err)
	}
}

var (
	connect   = (&packet.Connect{Version: packet.V311, CleanStart: true, ClientID: []byte("a")}).Append(nil)
	connectV5 = (&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: []byte("b")}).Append(nil)
	connack   = (&packet.Connack{}).Append(nil, packet.V311)
)

func subscribe(topics ...string) []byte {
	s := packet.Subscribe{PacketID: 7}
	for _, t := range topics {
		s.Subscriptions.Add([]byte(t), packet.Options{})
	}
	return s.Append(nil, packet.V311)
}

func TestAnswers(t *testing.T) {
	leaktest.Check(t)
	address := start(t, None)
	a := dial(t, address, append(append([]byte{}, connect...), subscribe("x", "y", "x")...))
	expect(t, a, connack)
	expect(t, a, (&packet.Suback{PacketID: 7, Codes: []byte{0, 0, 0}}).Append(nil, packet.V311))
	if _, err := a.Write(packet.AppendPingreq(nil)); err != nil {
		t.Fatal(err)
	}
	expect(t, a, packet.AppendPingresp(nil))

	b := dial(t, address, connectV5)
	expect(t, b, (&packet.Connack{}).Append(nil, packet.V5))
	m := packet.Publish{Topic: []byte("y"), QoS: 1, PacketID: 9, Payload: []byte("hello")}
	if _, err := b.Write(m.Append(nil, packet.V5)); err != nil {
		t.Fatal(err)
	}
	expect(t, b, (&packet.Ack{Type: packet.PUBACK, PacketID: 9}).Append(nil, packet.V5))
	m.QoS = 0
	expect(t, a, m.Append(nil, packet.V311))

	again := packet.Subscribe{PacketID: 7} // with another QoS, in place of the one before
	again.Subscriptions.Add([]byte("y"), packet.Options{QoS: 2})
	if _, err := a.Write(again.Append(nil, packet.V311)); err != nil {
		t.Fatal(err)
	}
	expect(t, a, (&packet.Suback{PacketID: 7, Codes: []byte{1}}).Append(nil, packet.V311))
	for id := range uint16(2) {
		m.QoS, m.PacketID = 1, 9
		if _, err := b.Write(m.Append(nil, packet.V5)); err != nil {
			t.Fatal(err)
		}
		m.PacketID = id + 1
		expect(t, a, m.Append(nil, packet.V311))
		if _, err := a.Write((&packet.Ack{Type: packet.PUBACK, PacketID: m.PacketID}).Append(nil, packet.V311)); err != nil {
			t.Fatal(err)
		}
	}
	m.QoS = 0
	if _, err := b.Write(m.Append(nil, packet.V5)); err != nil {
		t.Fatal(err)
	}
	expect(t, a, m.Append(nil, packet.V311))

	u := packet.Unsubscribe{PacketID: 8}
	u.Filters.Add([]byte("y"))
	if _, err := a.Write(u.Append(nil, packet.V311)); err != nil {
		t.Fatal(err)
	}
	expect(t, a, (&packet.Unsuback{PacketID: 8}).Append(nil, packet.V311))
	if _, err := b.Write(m.Append(nil, packet.V5)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write((&packet.Disconnect{}).Append(nil, packet.V311)); err != nil {
		t.Fatal(err)
	}
	closed(t, a)
}

func TestRefusals(t *testing.T) {
	leaktest.Check(t)
	address := start(t, None)
	tests := map[string][]byte{
		"not CONNECT first": packet.AppendPingreq(nil),
		"CONNECT twice":     append(append([]byte{}, connect...), connect...),
		"not MQTT":          []byte("GET / HTTP/1.1\r\n\r\n"),
		"QoS 2":             (&packet.Publish{Topic: []byte("x"), QoS: 2, PacketID: 1}).Append(append([]byte{}, connect...), packet.V311),
		"too large":         append(append([]byte{}, connect...), 0x30, 0xff, 0xff, 0xff, 0x7f),
	}
	for name, send := range tests {
		t.Run(name, func(t *testing.T) {
			c := dial(t, address, send)
			if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
				t.Fatalf("still open: %v", err)
			}
		})
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// TestProxyHeaders sends headers a byte at a time, and the CONNECT right behind them.
func TestProxyHeaders(t *testing.T) {
	leaktest.Check(t)
	const v1 = "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"
	const v2 = v2Signature + "\x20\x00\x00\x03abc"
	tests := []struct {
		name   string
		mode   ProxyProtocol
		header string
		ok     bool
	}{
		{"v1", Optional, v1, true},
		{"v2", Optional, v2, true},
		{"v1 required", Require, v1, true},
		{"v2 required", Require, v2, true},
		{"none", Optional, "", true},
		{"none where one is required", Require, "", false},
		{"one where there is none", None, v2, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, start(t, tt.mode), nil)
			for _, b := range append([]byte(tt.header), connect...) {
				if _, err := c.Write([]byte{b}); err != nil {
					if tt.ok {
						t.Fatal(err)
					}
					return
				}
			}
			if !tt.ok {
				if _, err := io.Copy(io.Discard, c); isTimeout(err) {
					t.Fatal("still open")
				}
				return
			}
			expect(t, c, connack)
		})
	}
}

func FuzzHeader(f *testing.F) {
	for _, seed := range []string{"", "PROXY ", "PROXY TCP4 1 2 3 4\r\nrest", v2Signature + "\x21\x11\x00\x01a", "\x10\x10", "\r\n"} {
		f.Add([]byte(seed), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		n, done, err := optionalHeader(b)
		if n < 0 || done && n > len(b) || done && err != nil {
			t.Fatalf("%d of %d, %v, %v", n, len(b), done, err)
		}
		if cut < 0 || cut > len(b) {
			return
		}
		// Less of it never says something else.
		if early, ready, _ := optionalHeader(b[:cut]); ready && len(b[:cut]) >= len(v2Signature) && (early != n || !done) {
			t.Fatalf("%d bytes: %d, all: %d %v", cut, early, n, done)
		}
	})
}

// TestStalledSubscriber has one subscriber that does not read: the other gets everything.
func TestStalledSubscriber(t *testing.T) {
	leaktest.Check(t)
	address := start(t, None)
	join := append(append([]byte{}, connect...), subscribe("x")...)
	suback := (&packet.Suback{PacketID: 7, Codes: []byte{0}}).Append(nil, packet.V311)
	dial(t, address, join) // and says nothing more
	good := dial(t, address, join)
	expect(t, good, connack)
	expect(t, good, suback)
	m := (&packet.Publish{Topic: []byte("x"), Payload: make([]byte, 256<<10)}).Append(nil, packet.V311)
	p := dial(t, address, connect)
	expect(t, p, connack)
	for range 64 {
		if _, err := p.Write(m); err != nil {
			t.Fatal(err)
		}
		expect(t, good, m)
	}
}
