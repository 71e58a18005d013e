package listen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// failing is a listener whose accept fails as often as it is told, then gives conn, then is closed.
type failing struct {
	net.Listener
	err   error
	times int
	conn  net.Conn
}

func (f *failing) Accept() (net.Conn, error) {
	if f.times > 0 {
		f.times--
		return nil, &net.OpError{Op: "accept", Err: f.err}
	}
	if conn := f.conn; conn != nil {
		f.conn = nil
		return conn, nil
	}
	return nil, net.ErrClosed
}

func TestAcceptorSurvivesWhateverAcceptReports(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPERM} {
		t.Run(errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, other := net.Pipe()
				defer conn.Close()
				defer other.Close()
				var pauses []Pause
				a := Acceptor{Listener: &failing{err: errno, times: 12, conn: conn}, OnPause: func(p Pause) { pauses = append(pauses, p) }}

				got, err := a.Accept(t.Context())
				if err != nil || got != conn {
					t.Fatalf("Accept = %v, %v; want the connection after the failures", got, err)
				}
				if len(pauses) != 12 || !pauses[0].First || pauses[1].First || pauses[0].For != firstPause || pauses[11].For != lastPause {
					t.Errorf("pauses = %v", pauses)
				}
				if _, err := a.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Accept of a closed listener: %v, want net.ErrClosed", err)
				}
			})
		})
	}
}

func TestAcceptorEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := Acceptor{Listener: &failing{err: syscall.EMFILE, times: 1 << 30}, OnPause: func(Pause) { cancel() }}
	if _, err := a.Accept(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Accept = %v, want context.Canceled", err)
	}
}

func TestTCP(t *testing.T) {
	leaktest.Check(t)
	ln, err := TCP(t.Context(), "127.0.0.1:0", Options{ReusePort: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	address := ln.Addr().String()

	second, err := TCP(t.Context(), address, Options{ReusePort: true})
	if err != nil {
		t.Fatalf("a shared port could not be opened twice: %v", err)
	}
	second.Close()
	if _, err := TCP(t.Context(), address, Options{}); err == nil || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("a taken port: %v, want a hint", err)
	}
}

const v2Proxy = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x22\xb3"

func TestReadProxy(t *testing.T) {
	source, destination := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("192.0.2.2:8883")
	tests := []struct {
		name string
		sent string
		want Header
		rest string
		err  error  // nil = a header
		text string // part of the error's text, when no program branches on it
	}{
		{name: "version 1, TCP4", sent: "PROXY TCP4 192.0.2.1 192.0.2.2 1234 8883\r\nrest", want: Header{Source: source, Destination: destination}, rest: "rest"},
		{name: "version 1, TCP6", sent: "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", want: Header{Source: netip.MustParseAddrPort("[2001:db8::1]:1"), Destination: netip.MustParseAddrPort("[2001:db8::2]:2")}},
		{name: "version 1, UNKNOWN", sent: "PROXY UNKNOWN\r\nrest", want: Header{Local: true}, rest: "rest"},
		{name: "version 1, IPv4 in TCP6", sent: "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1234 8883\r\n", want: Header{Source: source, Destination: destination}},
		{name: "version 1, 107 bytes without an end", sent: "PROXY TCP4 " + strings.Repeat("1", 200), err: proxyproto.ErrVersion1HeaderTooLong},
		{name: "version 1, nonsense", sent: "PROXY TCP4 nobody nowhere 1 2\r\n", err: proxyproto.ErrInvalidAddress},
		{name: "version 1, cut", sent: "PROXY TCP4 192.0.2.1 19", err: io.ErrUnexpectedEOF},
		{name: "version 2, cut", sent: v2Proxy[:20], err: io.ErrUnexpectedEOF},
		{name: "version 2, with an extension", sent: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x11" + v2Proxy[16:] + "\x05\x00\x02ab", want: Header{Source: source, Destination: destination, TLVs: []proxyproto.TLV{{Type: proxyproto.PP2_TYPE_UNIQUE_ID, Value: []byte("ab")}}}},
		{name: "version 2", sent: v2Proxy + "rest", want: Header{Source: source, Destination: destination}, rest: "rest"},
		{name: "version 2, LOCAL", sent: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00rest", want: Header{Local: true}, rest: "rest"},
		{name: "version 2, LOCAL with addresses", sent: "\r\n\r\n\x00\r\nQUIT\n\x20" + v2Proxy[13:], want: Header{Local: true}},
		{name: "version 2, announces 64 KiB", sent: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", err: proxyproto.ErrInvalidLength},
		{name: "version 2, broken extension", sent: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0f" + v2Proxy[16:] + "\x20\x00\x09", text: "extensions"},
		{name: "MQTT", sent: "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", rest: "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", err: ErrNoProxy},
		{name: "begins like version 1", sent: "PRINT me", rest: "PRINT me", err: ErrNoProxy},
		{name: "begins like version 2", sent: "\r\n\r\nGET", rest: "\r\n\r\nGET", err: ErrNoProxy},
		{name: "nothing", sent: "", err: io.EOF},
		{name: "half a signature", sent: "PRO", err: io.ErrUnexpectedEOF},
	}
	for _, pieces := range []int{1, 1 << 16} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, in pieces of %d", tt.name, pieces), func(t *testing.T) {
				conn := serve(t, tt.sent, pieces)
				p, rest, err := ReadProxy(conn, time.Now().Add(time.Minute))
				switch {
				case tt.text != "":
					if err == nil || !strings.Contains(err.Error(), tt.text) {
						t.Fatalf("error %v, want one with %q", err, tt.text)
					}
					return
				case !errors.Is(err, tt.err):
					t.Fatalf("error %v, want %v", err, tt.err)
				case err != nil && !errors.Is(err, ErrNoProxy):
					return
				}
				if p.Source != tt.want.Source || p.Destination != tt.want.Destination || p.Local != tt.want.Local || !slices.EqualFunc(p.TLVs, tt.want.TLVs, sameTLV) {
					t.Errorf("header %+v, want %+v", p, tt.want)
				}
				if got, err := io.ReadAll(rest); err != nil || string(got) != tt.rest {
					t.Errorf("what follows is %q, %v; want %q", got, err, tt.rest)
				}
			})
		}
	}
}

func sameTLV(a, b proxyproto.TLV) bool { return a.Type == b.Type && bytes.Equal(a.Value, b.Value) }

// serve returns one end of a TCP connection whose other end writes text in pieces of n bytes, and closes.
func serve(t *testing.T, text string, n int) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return
		}
		defer c.Close()
		for b := []byte(text); len(b) > 0; {
			m := min(n, len(b))
			if _, err := c.Write(b[:m]); err != nil {
				return
			}
			b = b[m:]
		}
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c) // until the reader closes
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); <-done })
	return conn
}

func TestReadProxyDeadline(t *testing.T) {
	leaktest.Check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	silent, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, _, err := ReadProxy(conn, time.Now().Add(20*time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a silent peer: %v, want a timeout", err)
	}
}

// FuzzReadProxy feeds bytes of a stranger: no crash, and nothing of what follows a header, or stands
// in the place of one, is lost or invented.
func FuzzReadProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1234 8883\r\nrest"))
	f.Add([]byte(v2Proxy + "rest"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte("\x16\x03\x01\x02\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		a, b := net.Pipe()
		defer a.Close()
		go func() {
			defer b.Close()
			b.Write(sent)
		}()
		p, conn, err := ReadProxy(a, time.Now().Add(time.Minute))
		if err != nil && !errors.Is(err, proxyproto.ErrNoProxyProtocol) {
			return
		}
		rest, rerr := io.ReadAll(conn)
		if rerr != nil {
			t.Fatal(rerr)
		}
		if !bytes.HasSuffix(sent, rest) {
			t.Fatalf("%q went on as %q", sent, rest)
		}
		if err != nil && len(rest) != len(sent) {
			t.Fatalf("no header in %q, yet %d bytes are gone", sent, len(sent)-len(rest))
		}
		if p.Local && p.Source.IsValid() {
			t.Fatalf("LOCAL with an address: %+v", p)
		}
	})
}
