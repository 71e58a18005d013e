package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// request is what a browser sends, with changes: of each pair the first is replaced by the second.
func request(changes ...string) string {
	const good = "GET /mqtt HTTP/1.1\r\nHost: broker.example:8083\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Origin: https://elsewhere.example\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	s := strings.NewReplacer(changes...).Replace(good)
	if len(changes) > 0 && s == good {
		panic("the request has nothing of " + changes[0])
	}
	return s
}

// accepted are requests that become WebSockets.
var accepted = []struct{ name, in, protocol string }{
	{"a browser's", request(), "mqtt"},
	{"a client older than MQTT 3.1.1", request("Protocol: mqtt", "Protocol: mqttv3.1"), "mqttv3.1"},
	{"MQTT-6.0.0-4 mqtt before others", request("Protocol: mqtt", "Protocol: mqttv3.1,chat ,\tmqtt"), "mqtt"},
	{"subprotocols in two headers", request("Sec-WebSocket-Protocol: mqtt", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqtt"), "mqtt"},
	{"two headers Connection", request("keep-alive, Upgrade", "keep-alive\r\nConnection: upgrade"), "mqtt"},
	{"other letters", request("Host:", "hOST:", "Upgrade: websocket", "uPGRADE: WebSocket", "Sec-WebSocket-Key", "sec-websocket-key"), "mqtt"},
	{"a query", request("/mqtt", "/mqtt?token=1"), "mqtt"},
	{"an absolute URI", request("/mqtt", "http://broker.example/mqtt"), "mqtt"},
	{"an escaped path", request("/mqtt", "/mq%74t"), "mqtt"},
	{"an empty body", request("Origin", "Content-Length: 0\r\nOrigin"), "mqtt"},
	{"HTTP/1.2", request("HTTP/1.1", "HTTP/1.2"), "mqtt"},
	{"lines without CR", request("\r\n", "\n"), "mqtt"},
	{"the largest", request("Origin: ", "Origin: "+strings.Repeat("x", maxRequest-len(request()))), "mqtt"},
}

func TestAccepted(t *testing.T) {
	for _, c := range accepted {
		t.Run(c.name, func(t *testing.T) {
			leaktest.Check(t)
			// The client's first frames come with the request, and after it.
			frames := string(frame(binaryFrame, text(200)))
			answer, rest, err := exchange(t, c.in+frames, Options{Path: "/mqtt"})
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
			if err != nil {
				t.Fatal(err)
			}
			h := response.Header
			if response.StatusCode != http.StatusSwitchingProtocols || h.Get("Upgrade") != "websocket" || h.Get("Connection") != "Upgrade" {
				t.Errorf("%s %v", response.Status, h)
			}
			if got := h.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455 section 1.3
				t.Errorf("accepts with %q", got)
			}
			if got := h["Sec-Websocket-Protocol"]; len(got) != 1 || got[0] != c.protocol || len(h) != 4 {
				t.Errorf("subprotocols %q, want %q; %v", got, c.protocol, h)
			}
			if rest != frames {
				t.Errorf("%.200q has come after the request, want %.200q", rest, frames)
			}
		})
	}
}

// refusals are requests that are answered with an error.
var refusals = []struct {
	name, in string
	status   int
	problem  string // a part of it
}{
	{"another path", request("/mqtt", "/chat\x7f"), 400, "malformed"},
	{"another path", request("/mqtt", "/chat"), 404, `"/chat"`},
	{"a long path", request("/mqtt", "/"+text(1000)), 404, `"/` + text(63) + `"`},
	{"a path that is to be escaped", request("/mqtt", "/%0a%1b[31m"), 404, `"/\n\x1b[31m"`},
	{"another method", request("GET", "POST"), 405, `"POST"`},
	{"WebSocket of before RFC 6455", request("Version: 13", "Version: 8"), 426, `"8"`},
	{"no version", request("Sec-WebSocket-Version: 13\r\n", ""), 426, "version"},
	{"plain HTTP", "GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n", 426, "without an upgrade"},
	{"another upgrade", request("Upgrade: websocket", "Upgrade: h2c"), 426, "without an upgrade"},
	{"not the connection's upgrade", request("keep-alive, Upgrade", "keep-alive"), 426, "without an upgrade"},
	{"HTTP/1.0", request("HTTP/1.1", "HTTP/1.0"), 505, "HTTP/1.0"},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2.0"},
	{"no host", request("Host: broker.example:8083\r\n", ""), 400, "Host"},
	{"two hosts", request("Origin", "Host"), 400, "malformed"},
	{"no key", request("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 400, "Sec-WebSocket-Key"},
	{"two keys", request("Origin: https://elsewhere.example", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "Sec-WebSocket-Key"},
	{"a short key", request("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), 400, "Sec-WebSocket-Key"},
	{"a key of other letters", request("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSB?b25jZQ=="), 400, "Sec-WebSocket-Key"},
	{"MQTT-6.0.0-3 no subprotocol", request("Sec-WebSocket-Protocol: mqtt\r\n", ""), 400, "mqtt"},
	{"MQTT-6.0.0-3 other subprotocols", request("Protocol: mqtt", "Protocol: MQTT, mqttv5, hunter2"), 400, "mqtt"},
	{"a body", request("Origin", "Content-Length: 5\r\nOrigin"), 400, "body"},
	{"a body in chunks", request("Origin", "Transfer-Encoding: chunked\r\nOrigin"), 400, "body"},
	{"a blank before the colon", request("Origin:", "Origin :"), 400, "malformed"},
	{"a line without a colon", request("Origin: https://elsewhere.example", "hunter2"), 400, "malformed"},
	{"NUL", request("elsewhere", "else\x00where"), 400, "malformed"},
	{"a method and nothing", "GET\r\n\r\n", 400, "malformed"},
	{"MQTT", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", 400, "0x10; MQTT without WebSocket"},
	{"TLS", "\x16\x03\x01\x02\x00", 400, "0x16"},
	{"an empty line", "\r\n" + request(), 400, "0x0d"},
	{"one byte too many", request("Origin: ", "Origin: "+strings.Repeat("x", maxRequest+1-len(request()))), 431, "8192"},
	{"a line without an end", strings.Repeat("G", 1<<16), 431, "8192"},
	{"headers without an end", "GET /mqtt HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", 1<<16), 431, "8192"},
}

func TestRefused(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			leaktest.Check(t)
			answer, _, err := exchange(t, c.in, Options{Path: "/mqtt"})
			var r *Refusal
			if !errors.As(err, &r) || r.Status != c.status || !strings.Contains(r.Problem, c.problem) {
				t.Fatalf("%v; want status %d, %q", err, c.status, c.problem)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("what may be a secret is in %q", err)
			}
			if answer == "" && c.status == http.StatusRequestHeaderFieldsTooLarge {
				return // the system may have thrown the answer away, because the client went on
			}
			checkRefusal(t, answer, r)
		})
	}
}

// checkRefusal checks the answer: with the headers that belong to its status, and of the client's only what is in the problem.
func checkRefusal(t *testing.T, answer string, r *Refusal) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
	if err != nil || response.StatusCode != r.Status {
		t.Fatalf("answered %q, %v, want %d", answer, err, r.Status)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != r.Problem+"\n" || !response.Close {
		t.Errorf("body %q, %v; the connection closes: %t", body, err, response.Close)
	}
	h := response.Header
	if got := h.Get("Allow") == "GET"; got != (r.Status == 405) {
		t.Errorf("header Allow: %q", h.Get("Allow"))
	}
	upgrade := h.Get("Upgrade") == "websocket" && h.Get("Sec-WebSocket-Version") == "13" && strings.Contains(answer, "\r\nConnection: Upgrade, close\r\n")
	if upgrade != (r.Status == 426) {
		t.Errorf("headers of %q", answer)
	}
}

// exchange sends a client's bytes and an end to a server that calls Upgrade, and returns the answer, "" if there was none, and what the
// server can read after the request.
func exchange(t *testing.T, in string, o Options) (answer, after string, err error) {
	t.Helper()
	client, server := pair(t)
	go func() {
		_, _ = io.WriteString(client, in) // fails when the server has had enough
		_ = client.(*net.TCPConn).CloseWrite()
	}()
	counted := &counter{Conn: server}
	rest, err := Upgrade(counted, o, time.Now().Add(time.Minute))
	if counted.read > maxRequest {
		t.Errorf("%d bytes have been read, %d at most are allowed", counted.read, maxRequest)
	}
	if err == nil {
		more, _ := io.ReadAll(server)
		after = string(rest) + string(more)
	}
	server.Close()
	answered, _ := io.ReadAll(client)
	return string(answered), after, err
}

// pair is a TCP connection; both ends are closed with the test.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if err := client.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// A counter counts what is read.
type counter struct {
	net.Conn
	read int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read += n
	return n, err
}

// TestAnyPath is what no path in the options means.
func TestAnyPath(t *testing.T) {
	for _, path := range []string{"/", "/a/b"} {
		if _, err := upgrade(&stream{Reader: strings.NewReader(request("/mqtt", path))}, Options{}); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestCutRequest: how the request arrives changes nothing.
func TestCutRequest(t *testing.T) {
	in := request() + "\x82\x80frames\r\n\r\n"
	for at := range in {
		s := &stream{Reader: io.MultiReader(strings.NewReader(in[:at]), strings.NewReader(in[at:]))}
		rest, err := upgrade(s, Options{Path: "/mqtt"})
		left, _ := io.ReadAll(s.Reader)
		if got := request() + string(rest) + string(left); err != nil || got != in {
			t.Fatalf("cut at %d: %q, %v", at, got, err)
		}
	}
}

// TestSlowClient sends a byte a second, which never ends but for the deadline.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		var sending sync.WaitGroup
		sending.Go(func() {
			for i := range request() {
				if _, err := client.Write([]byte{request()[i]}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		start := time.Now()
		_, err := Upgrade(server, Options{}, start.Add(10*time.Second))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 10*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		server.Close()
		sending.Wait()
	})
}

// TestDeafClient does not read the answer.
func TestDeafClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, in := range []string{request(), request("GET", "PUT")} {
			client, server := net.Pipe()
			go func() { _, _ = io.WriteString(client, in) }()
			start := time.Now()
			_, err := Upgrade(server, Options{}, start.Add(10*time.Second))
			if took := time.Since(start); err == nil || took != 10*time.Second {
				t.Errorf("after %v: %v", took, err)
			}
			server.Close()
			client.Close()
		}
	})
}

// TestEndOfRequest: a connection that is opened and closed, as by a check of its health, differs from one that breaks off. Afterwards a
// connection has no deadline.
func TestEndOfRequest(t *testing.T) {
	leaktest.Check(t)
	_, _, err := exchange(t, "", Options{})
	if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("nothing sent: %v", err)
	}
	if _, _, err = exchange(t, request()[:100], Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a part sent: %v", err)
	}
	_, server := pair(t)
	if _, err := Upgrade(server, Options{}, time.Now().Add(-time.Second)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("too late: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		go func() {
			_, _ = io.WriteString(client, request())
			_, _ = http.ReadResponse(bufio.NewReader(client), nil)
			time.Sleep(time.Hour)
			_, _ = client.Write([]byte{1})
		}()
		_, err := Upgrade(server, Options{}, time.Now().Add(time.Second))
		if n, errRead := server.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("an hour later: %d bytes, %v, %v", n, err, errRead)
		}
	})
}

// FuzzUpgrade sends any bytes at once and one at a time: they end the same, and what follows the request is all there.
func FuzzUpgrade(f *testing.F) {
	for _, c := range accepted {
		f.Add([]byte(c.in + "frames"))
	}
	for _, c := range refusals {
		f.Add([]byte(c.in[:min(len(c.in), 2*maxRequest)]))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, rest, err := attempt(t, bytes.NewReader(in))
		slow, restSlow, errSlow := attempt(t, iotest.OneByteReader(bytes.NewReader(in)))
		if whole != slow || !bytes.Equal(rest, restSlow) || (err == nil) != (errSlow == nil) {
			t.Fatalf("at once %q %q %v\none by one %q %q %v", whole, rest, err, slow, restSlow, errSlow)
		}
		if err != nil {
			return
		}
		// Where the request ends is for net/http to say.
		r := bufio.NewReader(bytes.NewReader(in))
		_, err = http.ReadRequest(r)
		if want, _ := io.ReadAll(r); err != nil || !bytes.Equal(rest, want) {
			t.Fatalf("%q has come after the request, want %q, %v", rest, want, err)
		}
	})
}

// attempt upgrades, and returns the answer and everything behind the request.
func attempt(t *testing.T, r io.Reader) (answer string, after []byte, err error) {
	s := &stream{Reader: r}
	rest, err := upgrade(s, Options{Path: "/mqtt"})
	left, _ := io.ReadAll(r)
	var refusal *Refusal
	answer = s.String()
	response, parseErr := http.ReadResponse(bufio.NewReader(&s.Buffer), nil)
	switch {
	case err == nil:
		if parseErr != nil || response.StatusCode != 101 || response.Header.Get("Sec-WebSocket-Accept") == "" {
			t.Fatalf("accepted with %q", answer)
		}
		return answer, append(rest, left...), nil
	case errors.As(err, &refusal):
		if parseErr != nil || response.StatusCode != refusal.Status {
			t.Fatalf("refused with %q", answer)
		}
	case answer != "":
		t.Fatalf("%v, but answered %q", err, answer)
	}
	return answer, nil, err
}
