package websocket

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// maxRequest bounds what one client can make us hold before it has proved anything, in bytes. A browser's request has 500 to
	// 800, and cookies, of which it sends up to 4 KiB each.
	maxRequest = 8 << 10

	// firstRead is what the buffer starts with, in bytes: enough for a client without cookies.
	firstRead = 1 << 10

	// version is the version of RFC 6455 (section 4.1).
	version = "13"

	// guid is hashed together with the client's key (RFC 6455 section 1.3).
	guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// Options say what Upgrade accepts.
type Options struct {
	// Path is the path that the request must name, such as "/mqtt"; the query does not count. "" lets every path pass.
	Path string
}

// Upgrade makes a WebSocket of a connection that has just been accepted, or whose TLS handshake is done: it reads an HTTP/1.1
// request, of 8 KiB at most, and answers it (RFC 6455 section 4.2). rest is what came with the request beyond it: the
// client's first frames, of which nothing has been read from conn and not returned. It is the caller's, nil if there is none.
//
// It blocks until the deadline at most, which it sets for reading and writing; the zero time is none, as for net.Conn. Without an
// error conn has no deadline afterwards.
//
// The error wraps a *Refusal if the request was wrong and has been answered so, io.EOF if conn ended before the first byte, and otherwise what
// conn returned, such as os.ErrDeadlineExceeded. The caller closes conn.
//
// The client must offer the subprotocol mqtt [MQTT-6.0.0-3], which is then chosen [MQTT-6.0.0-4]; mqttv3.1, which clients
// older than MQTT 3.1.1 offer in its place, is accepted too.
func Upgrade(conn net.Conn, o Options, deadline time.Time) (rest []byte, err error) {
	err = conn.SetDeadline(deadline)
	if err == nil {
		rest, err = upgrade(conn, o)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, fmt.Errorf("upgrade to WebSocket: %w", err)
	}
	return rest, nil
}

func upgrade(rw io.ReadWriter, o Options) ([]byte, error) {
	head, rest, err := readHead(rw)
	if err == nil {
		err = answer(rw, head, o)
	}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		// Whether the client still takes the answer changes nothing.
		_, _ = rw.Write(refusal.response())
	}
	if err != nil || len(rest) == 0 {
		return nil, err
	}
	return rest, nil
}

// readHead reads up to the blank line that ends a request's header, and returns with it what came beyond.
func readHead(r io.Reader) (head, rest []byte, err error) {
	buf := make([]byte, 0, firstRead)
	for searched := 0; ; searched = len(buf) {
		if len(buf) == maxRequest {
			return nil, nil, refuse(http.StatusRequestHeaderFieldsTooLarge, "the request has more than %d bytes", maxRequest)
		}
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > 0 && (buf[0] < 'A' || buf[0] > 'Z') {
			// No method of HTTP begins so. A device that speaks MQTT or TLS here would otherwise wait for the deadline, and nobody
			// would learn why.
			return nil, nil, refuse(http.StatusBadRequest, "no HTTP request: it begins with the byte %#02x; MQTT without WebSocket has a port of its own, as has TLS", buf[0])
		}
		if end := headEnd(buf, searched); end > 0 {
			return buf[:end], buf[end:], nil
		}
		if err == io.EOF && len(buf) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the request, %d bytes of it so far: %w", len(buf), err)
		}
	}
}

// headEnd returns the length of the request's head with its blank line, 0 if that is not there. A line ends as net/http has it, in LF or CRLF
// (RFC 9112 section 2.2). The bytes before searched have been looked at.
func headEnd(b []byte, searched int) int {
	for i := searched; i < len(b); i++ {
		if b[i] != '\n' {
			continue
		}
		if line := bytes.TrimSuffix(b[:i], []byte("\r")); bytes.HasSuffix(line, []byte("\n")) {
			return i + 1
		}
	}
	return 0
}

// answer accepts the request, or says why not.
func answer(w io.Writer, head []byte, o Options) error {
	r, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(head), len(head)))
	if err != nil || blankNames(r.Header) {
		// What ReadRequest says repeats the line, which may be one with a password.
		return refuse(http.StatusBadRequest, "the request is malformed")
	}
	if err := checkRequest(r, o); err != nil {
		return err
	}
	key, err := key(r.Header)
	if err != nil {
		return err
	}
	protocol, err := choose(r.Header)
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(key + guid))
	_, err = io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\nSec-WebSocket-Protocol: "+protocol+"\r\n\r\n")
	if err != nil {
		return fmt.Errorf("answer the request: %w", err)
	}
	return nil
}

// blankNames says whether a name has a blank, which net/http takes for a part of it. RFC 9112 section 5.1 demands to refuse that: who is in front of
// us may have read "Content-Length :" otherwise.
func blankNames(h http.Header) bool {
	for name := range h {
		if strings.ContainsAny(name, " \t") {
			return true
		}
	}
	return false
}

// checkRequest holds the request against RFC 6455 section 4.2.1 and RFC 9112 section 3.2.
func checkRequest(r *http.Request, o Options) error {
	switch h := r.Header; {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return refuse(http.StatusHTTPVersionNotSupported, "HTTP/%d.%d, WebSocket needs HTTP/1.1", r.ProtoMajor, r.ProtoMinor)
	case o.Path != "" && r.URL.Path != o.Path:
		return refuse(http.StatusNotFound, "no MQTT at the path %.64q", r.URL.Path)
	case r.Method != http.MethodGet:
		return refuse(http.StatusMethodNotAllowed, "the method %.16q, WebSocket needs GET", r.Method)
	case r.Host == "":
		return refuse(http.StatusBadRequest, "no header Host")
	case r.ContentLength != 0: // -1 if it is in chunks
		return refuse(http.StatusBadRequest, "the request has a body, which would be taken for frames")
	case !lists(h["Upgrade"], "websocket", strings.EqualFold) || !lists(h["Connection"], "upgrade", strings.EqualFold):
		return refuse(http.StatusUpgradeRequired, "HTTP without an upgrade to websocket; here is MQTT only")
	case h.Get("Sec-WebSocket-Version") != version:
		return refuse(http.StatusUpgradeRequired, "version %.16q of WebSocket, %s is spoken here", h.Get("Sec-WebSocket-Version"), version)
	}
	return nil
}

// key returns the client's key, which must be 16 bytes in base64 (RFC 6455 section 4.2.1, item 5).
func key(h http.Header) (string, error) {
	values := h["Sec-Websocket-Key"]
	if len(values) != 1 {
		return "", refuse(http.StatusBadRequest, "%d headers Sec-WebSocket-Key, one is needed", len(values))
	}
	if raw, err := base64.StdEncoding.DecodeString(values[0]); err != nil || len(raw) != 16 {
		return "", refuse(http.StatusBadRequest, "the header Sec-WebSocket-Key does not hold 16 bytes in base64")
	}
	return values[0], nil
}

// choose returns the subprotocol. What the client offers is not repeated: scripts in browsers, which cannot set
// other headers, put tokens there.
func choose(h http.Header) (string, error) {
	for _, name := range []string{"mqtt", "mqttv3.1"} {
		if lists(h["Sec-Websocket-Protocol"], name, func(a, b string) bool { return a == b }) {
			return name, nil
		}
	}
	return "", refuse(http.StatusBadRequest, "the header Sec-WebSocket-Protocol does not offer mqtt [MQTT-6.0.0-3]")
}

// lists says whether the values of a header, each a list with commas (RFC 9110 section 5.6.1), have the word.
func lists(values []string, word string, same func(a, b string) bool) bool {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if same(strings.Trim(part, " \t"), word) {
				return true
			}
		}
	}
	return false
}

// response is the refusal as HTTP, with what each status must say: RFC 9110 sections 15.5.6 (405), 15.5.22 and 7.8 (426),
// RFC 6455 section 4.4 (the version).
func (r *Refusal) response() []byte {
	b := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", r.Status, http.StatusText(r.Status))
	switch r.Status {
	case http.StatusMethodNotAllowed:
		b = append(b, "Allow: GET\r\nConnection: close\r\n"...)
	case http.StatusUpgradeRequired:
		b = append(b, "Upgrade: websocket\r\nSec-WebSocket-Version: "+version+"\r\nConnection: Upgrade, close\r\n"...)
	default:
		b = append(b, "Connection: close\r\n"...)
	}
	return fmt.Appendf(b, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: %d\r\n\r\n%s\n",
		len(r.Problem)+1, r.Problem)
}
