package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/certs/devca"
)

// proxied returns a header that names 192.0.2.7:4711 as the client, or [2001:db8::7]:4711.
func proxied(t *testing.T, version byte, address string) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version,
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)),
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if version == 2 {
		if err := h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("mqtt.example.org")}}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestProxyProtocol: each kind of listener with each kind of header; the client's address is the one in the header.
func TestProxyProtocol(t *testing.T) {
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	headers := []struct {
		name   string
		bytes  []byte
		source string // "" = the peer's own
	}{
		{"none", nil, ""},
		{"version 1", proxied(t, 1, "192.0.2.7:4711"), "192.0.2.7:4711"},
		{"version 1 with IPv6", proxied(t, 1, "[2001:db8::7]:4711"), "[2001:db8::7]:4711"},
		{"version 1 of an unknown client", []byte("PROXY UNKNOWN\r\n"), ""},
		{"version 2", proxied(t, 2, "192.0.2.7:4711"), "192.0.2.7:4711"},
		{"version 2 with IPv6", proxied(t, 2, "[2001:db8::7]:4711"), "[2001:db8::7]:4711"},
		{"LOCAL, of a health check", []byte(local), ""},
	}
	for _, mode := range []config.ProxyProtocol{config.ProxyNone, config.ProxyOptional, config.ProxyRequire} {
		n := start(t, func(o *Options) { o.Config.Listeners[0].ProxyProtocol = mode })
		for _, h := range headers {
			t.Run(string(mode)+" "+h.name, func(t *testing.T) {
				good := mode == config.ProxyOptional || (mode == config.ProxyNone) == (h.bytes == nil)
				c := talk(t, n.dial(t), packet.V311)
				connect := (&packet.Connect{Version: packet.V311, ClientID: []byte("c"), CleanStart: true}).Append(nil)
				for _, b := range append(h.bytes, connect...) { // in the smallest pieces
					if _, err := c.conn.Write([]byte{b}); err != nil {
						if good {
							t.Fatal(err)
						}
						break
					}
				}
				if !good {
					c.gone()
					return
				}
				c.connack()
				want := h.source
				if want == "" {
					want = c.conn.LocalAddr().String()
				}
				if got, _ := n.Client("c"); got.Addr.String() != want {
					t.Errorf("the client is %s, want %s", got.Addr, want)
				}
				c.bye()
				n.waitAway(t, "c")
			})
		}
		if got := n.Stats().Ended["proxy_header"]; (got > 0) != (mode == config.ProxyRequire) {
			t.Errorf("%s: %d counted", mode, got)
		}
		n.stop()
	}
}

// TestBrokenProxyHeader: a header that is announced and is none, or never ends, ends the connection.
func TestBrokenProxyHeader(t *testing.T) {
	n := start(t, func(o *Options) {
		o.Config.Listeners[0].ProxyProtocol = config.ProxyOptional
		o.ConnectTimeout = 300 * time.Millisecond
	})
	for name, sent := range map[string]string{
		"nonsense":                     "PROXY TCP4 nobody nowhere 1 2\r\n",
		"a line without an end":        "PROXY TCP4 " + strings.Repeat("1", 300),
		"version 2 of 64 KiB":          "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",
		"a version 2 that never comes": "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00",
		"the beginning of version 1":   "PROX",
	} {
		t.Run(name, func(t *testing.T) {
			c := talk(t, n.dial(t), packet.V5)
			c.write([]byte(sent))
			c.gone()
		})
	}
}

// TestTLS: a TLS listener with a PROXY header before the handshake; plain MQTT and old TLS are refused.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	files, err := devca.Write(dir, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := devca.Open(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, func(o *Options) {
		o.Config.Listeners[0].ProxyProtocol = config.ProxyOptional
		o.Config.Listeners[0].TLS = &config.TLS{Cert: files.Server}
	})
	for _, header := range [][]byte{nil, proxied(t, 2, "192.0.2.7:4711")} {
		plain := n.dial(t)
		if _, err := plain.Write(header); err != nil {
			t.Fatal(err)
		}
		c := talk(t, tls.Client(plain, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}), packet.V5)
		c.write((&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil))
		c.connack()
		c.subscribe(packet.Options{QoS: 1}, "a")
		text := strings.Repeat("x", 200<<10) // many records
		c.write((&packet.Publish{Topic: []byte("a"), Payload: []byte(text)}).Append(nil, c.v))
		c.hears("a", text)
		if got, _ := n.Client("c"); (got.Addr.String() == "192.0.2.7:4711") != (header != nil) {
			t.Errorf("the client is %s", got.Addr)
		}
		c.bye()
		n.waitAway(t, "c")
	}
	for name, try := range map[string]func(net.Conn) error{
		"plain MQTT": func(c net.Conn) error {
			_, err := c.Write((&packet.Connect{Version: packet.V311, ClientID: []byte("c"), CleanStart: true}).Append(nil))
			return err
		},
		"TLS 1.1": func(c net.Conn) error {
			err := tls.Client(c, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
			if err == nil {
				return errors.New("it was accepted")
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := n.Stats().Ended["tls_handshake"]
			if err := try(n.dial(t)); err != nil {
				t.Error(err)
			}
			until(t, "it is counted", func() bool { return n.Stats().Ended["tls_handshake"] == before+1 })
		})
	}
}

// TestBadCertificates are problems of the configuration, with its path, and no port stays open.
func TestBadCertificates(t *testing.T) {
	c := config.Default()
	c.Listeners = []config.Listener{
		{Name: "mqtt", Listen: "127.0.0.1:0"},
		{Name: "mqtts", Listen: "127.0.0.1:0", TLS: &config.TLS{Cert: filepath.Join(t.TempDir(), "none.pem")}},
	}
	for name, err := range map[string]error{"Check": Check(c), "New": func() error { _, err := New(Options{Config: c}); return err }()} {
		var ps config.Problems
		if !errors.As(err, &ps) || len(ps) != 1 || ps[0].Path != "listeners[1].tls" || !strings.Contains(ps[0].What, "none.pem") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTakenPort: New says so, and closes what it had opened.
func TestTakenPort(t *testing.T) {
	n := start(t, nil)
	c := config.Default()
	c.Listeners = []config.Listener{{Name: "a", Listen: "127.0.0.1:0"}, {Name: "b", Listen: n.Addr("mqtt").String()}}
	if _, err := New(Options{Config: c}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("New: %v", err)
	}
}

// TestNeverRun: a node that is made and not run is closed by Close.
func TestNeverRun(t *testing.T) {
	c := config.Default()
	c.Listeners = []config.Listener{{Name: "a", Listen: "127.0.0.1:0"}}
	b, err := New(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if b.Addr("a") == nil || b.Addr("b") != nil || b.Node() == "" || b.Accepting() {
		t.Error("Addr, Node or Accepting is wrong")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// warned is a log that tells a channel about its first warning.
type warned struct {
	slog.Handler
	ch chan string
}

// Handle implements slog.Handler.
func (w warned) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		select {
		case w.ch <- r.Message:
		default:
		}
	}
	return nil
}

// TestNoDescriptorLeft: at the limit of open files accepting pauses, and goes on when there are descriptors again.
func TestNoDescriptorLeft(t *testing.T) {
	log := warned{slog.NewTextHandler(os.Stderr, nil), make(chan string, 1)}
	n := start(t, func(o *Options) { o.Log = slog.New(log) })
	n.join(t, packet.V311, "before").silent()

	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the test counts descriptors in /proc")
	}
	set := func(l syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
	}
	defer set(was)
	none := was
	none.Cur = 0
	for _, e := range entries { // the limit is for the number of the next one, not for how many there are
		var fd uint64
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil {
			none.Cur = max(none.Cur, fd+1)
		}
	}
	var fill []net.Conn // every number below the limit that is free, but for the one that is a client waiting to be accepted
	set(none)
	for {
		c, err := net.Dial("tcp", n.Addr("mqtt").String())
		if err != nil {
			break
		}
		fill = append(fill, c)
	}
	select {
	case <-log.ch:
	case <-time.After(patience):
		t.Fatal("nobody noticed")
	}
	set(was)
	for _, c := range fill {
		c.Close()
	}
	n.join(t, packet.V311, "after").silent()
}
