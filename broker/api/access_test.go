package api

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// sensitive are the requests that change something, name clients or show their messages, with the status that they have
// when they are let through.
var sensitive = []struct {
	method, path, body string
	status             int
}{
	{"GET", "/api/v1/clients", "", 200},
	{"GET", "/api/v1/clients/c", "", 200},
	{"GET", "/api/v1/clients/c/subscriptions", "", 200},
	{"GET", "/api/v1/subscriptions", "", 200},
	{"GET", "/api/v1/retained", "", 200},
	{"DELETE", "/api/v1/retained?topic=x", "", 404},
	{"POST", "/api/v1/publish", `{"topic": "a"}`, 200},
	{"DELETE", "/api/v1/clients/nobody", "", 404},
}

func TestAccess(t *testing.T) {
	const bearer = "Authorization: Bearer swordfish"
	tests := []struct {
		name, listen, token string
		reading, rest       int // 0 = as if there were no rules
	}{
		{"loopback", "127.0.0.1:0", "", 200, 0},
		{"another address", "0.0.0.0:0", "", 200, 403},
		{"loopback with a token", "127.0.0.1:0", "swordfish", 401, 401},
		{"another address with a token", "0.0.0.0:0", "swordfish", 401, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			a := start(t, Options{Listen: tt.listen, Token: tt.token, Log: slog.New(slog.NewTextHandler(&log, nil))})
			a.connect("c")
			a.want(200, "GET", "/healthz", "")
			a.want(200, "GET", "/readyz", "")
			a.want(tt.reading, "GET", "/metrics", "")
			a.want(tt.reading, "GET", "/api/v1/status", "")
			for _, r := range sensitive {
				status := tt.rest
				if status == 0 {
					status = r.status
				}
				a.want(status, r.method, r.path, r.body)
				if tt.token == "" {
					continue
				}
				a.want(r.status, r.method, r.path, r.body, bearer)
				a.want(r.status, r.method, r.path, r.body, "Authorization: bearer swordfish")
				for _, wrong := range []string{"Bearer swordfis", "Bearer swordfish1", "Bearer ", "Bearer", "swordfish", "Basic swordfish", "Bearer  swordfish"} {
					a.want(401, r.method, r.path, r.body, "Authorization: "+wrong)
				}
			}
			if tt.token != "" {
				a.want(200, "GET", "/metrics", "", bearer)
				a.want(200, "GET", "/api/v1/status", "", bearer, "Host: node.example")
				resp, text := a.ask("GET", "/api/v1/status", "")
				if resp.Header.Get("WWW-Authenticate") == "" || strings.Contains(text, tt.token) || strings.Contains(log.String(), tt.token) {
					t.Errorf("%v %s\n%s", resp.Header, text, log.String())
				}
			}
		})
	}
}

// TestBrowsersAreKeptOut: a browser on the operator's machine is no way in.
func TestBrowsersAreKeptOut(t *testing.T) {
	a := start(t, Options{})
	a.connect("c")
	for _, r := range sensitive {
		for _, headers := range [][]string{
			{"Sec-Fetch-Site: cross-site"},
			{"Sec-Fetch-Site: same-site"},
			{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"},
			{"Host: rebound.evil.example"},
			{"Host: rebound.evil.example", "Origin: http://rebound.evil.example", "Sec-Fetch-Site: same-origin"},
			{"Host: 192.0.2.1:8080"},
			{"Host: 127.0.0.1.evil.example"},
		} {
			a.want(403, r.method, r.path, r.body, headers...)
		}
		if r.method != "GET" {
			a.want(403, r.method, r.path, r.body, "Origin: https://evil.example")
			a.want(403, r.method, r.path, r.body, "Origin: null")
		}
		for _, headers := range [][]string{
			{"Sec-Fetch-Site: same-origin", "Origin: " + a.base},
			{"Sec-Fetch-Site: none"},
			{"Host: localhost:8080"},
			{"Host: LOCALHOST"},
			{"Host: [::1]:8080"},
			{"Host: 127.0.0.9"},
		} {
			a.want(r.status, r.method, r.path, r.body, headers...)
		}
	}
	a.want(403, "GET", "/metrics", "", "Host: rebound.evil.example")
	a.want(200, "GET", "/healthz", "", "Host: whatever.example") // what orchestrators ask by
}

// TestSlowHeader: a connection that sends no request is closed, and while it is open others are served.
func TestSlowHeader(t *testing.T) {
	a := start(t, Options{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(a.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: "); err != nil {
		t.Fatal(err)
	}
	a.want(http.StatusOK, "GET", "/healthz", "")
	conn.SetReadDeadline(time.Now().Add(patience))
	if text, err := io.ReadAll(conn); err != nil { // the server's own words for it may come first
		t.Errorf("%q, %v", text, err)
	}
}

// TestLargeHeader is refused, not read.
func TestLargeHeader(t *testing.T) {
	a := start(t, Options{})
	req, err := http.NewRequest("GET", a.base+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	resp, err := a.client.Do(req)
	if err != nil {
		return // the end of the connection may overtake the answer
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d", resp.StatusCode)
	}
}
