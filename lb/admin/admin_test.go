package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
	"github.com/mqttlb/mqttlb/lb"
	"github.com/mqttlb/mqttlb/lb/admin"
)

const patience = time.Minute

// An api is a load balancer with its HTTP side.
type api struct {
	t      *testing.T
	dir    string
	client *http.Client
	base   string
}

// start serves with the admin section's lines.
func start(t *testing.T, section string) *api {
	t.Helper()
	a := &api{t: t, dir: t.TempDir()}
	if _, err := devca.Write(filepath.Join(a.dir, "certs"), nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	a.write(section, "")
	srv, err := lb.New(lb.Options{Path: a.path()})
	if err != nil {
		t.Fatal(err)
	}
	side := admin.New(admin.Options{LB: srv, Log: slog.New(slog.DiscardHandler), Version: "1.2.3", Commit: "abc"})
	ctx, cancel := context.WithCancel(context.Background())
	if err := side.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- srv.Run(ctx) }()
	go func() { ended <- side.Run(ctx) }()
	a.connect(side.Addr())
	t.Cleanup(func() {
		a.client.CloseIdleConnections()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	select {
	case <-srv.Ready():
	case <-time.After(patience):
		t.Fatal("never ready")
	}
	return a
}

func (a *api) path() string { return filepath.Join(a.dir, "mqttlb.yaml") }

// write replaces the configuration; backend is a further line of the backend.
func (a *api) write(section, backend string) {
	a.t.Helper()
	text := fmt.Sprintf(`
admin: {%s}
shutdown_timeout: 0s
listeners:
  - {name: mqtts, listen: "127.0.0.1:0", backend: nodes, tls: {certificates: [{cert: certs/server.pem}]}}
backends:
  - name: nodes
    check: {type: none}
    %s
    servers: [{name: n1, address: "127.0.0.1:9"}]
`, section, backend)
	if err := os.WriteFile(a.path(), []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *api) connect(address string) {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		if path, unix := strings.CutPrefix(address, "unix:"); unix {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	a.client = &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dial}}
	a.base = "http://localhost"
}

// ask sends a request with headers, "Name: value" each, and returns what came back.
func (a *api) ask(method, path string, headers ...string) (int, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.base+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := a.client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (a *api) want(status int, method, path string, headers ...string) string {
	a.t.Helper()
	got, body := a.ask(method, path, headers...)
	if got != status {
		a.t.Errorf("%s %s %v: %d, want %d\n%s", method, path, headers, got, status, body)
	}
	return body
}

func TestAccess(t *testing.T) {
	tests := []struct {
		name, section                    string
		public, reading, changing, pprof int
	}{
		{"loopback", `listen: "127.0.0.1:0"`, 200, 200, 200, 200},
		{"another address", `listen: "0.0.0.0:0"`, 200, 200, 403, 403},
		{"loopback with a token", `listen: "127.0.0.1:0", token_file: token`, 200, 401, 401, 401},
		{"another address with a token", `listen: "0.0.0.0:0", token_file: token`, 200, 401, 401, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			leaktest.Check(t)
			a := startWithToken(t, tt.section)
			a.want(tt.public, "GET", "/healthz")
			a.want(tt.public, "GET", "/readyz")
			a.want(tt.reading, "GET", "/metrics")
			a.want(tt.reading, "GET", "/api/v1/status")
			a.want(tt.changing, "POST", "/api/v1/reload")
			a.want(tt.pprof, "GET", "/debug/pprof/cmdline")
			if tt.reading == 401 {
				const bearer = "Authorization: Bearer swordfish"
				a.want(200, "GET", "/metrics", bearer)
				a.want(200, "POST", "/api/v1/reload", bearer)
				a.want(200, "GET", "/debug/pprof/cmdline", bearer)
				a.want(401, "GET", "/metrics", "Authorization: Bearer swordfis")
				a.want(401, "GET", "/metrics", "Authorization: Bearer ")
			}
			a.want(404, "GET", "/nothing")
			a.want(405, "GET", "/api/v1/reload")
		})
	}
}

// startWithToken has a token file beside the configuration.
func startWithToken(t *testing.T, section string) *api {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, strings.Replace(section, "token_file: token", fmt.Sprintf("token_file: %q", token), 1))
}

// A browser on the operator's machine is no way in.
func TestBrowsersAreKeptOut(t *testing.T) {
	leaktest.Check(t)
	a := start(t, `listen: "127.0.0.1:0"`)
	a.want(403, "POST", "/api/v1/reload", "Sec-Fetch-Site: cross-site", "Origin: https://evil.example")
	a.want(403, "POST", "/api/v1/reload", "Origin: https://evil.example")
	a.want(403, "GET", "/debug/pprof/cmdline", "Host: rebound.evil.example")
	a.want(403, "GET", "/debug/pprof/cmdline", "Sec-Fetch-Site: cross-site")
	a.want(400, "GET", "/debug/pprof/profile?seconds=100000")
	a.want(400, "GET", "/debug/pprof/trace?seconds=NaN")
	a.want(200, "GET", "/api/v1/status", "Host: 127.0.0.1:8404")
	a.want(200, "GET", "/api/v1/status", "Host: [::1]:8404")
}

func TestUnixSocket(t *testing.T) {
	leaktest.Check(t)
	path := filepath.Join(t.TempDir(), "admin.sock")
	stale, err := net.Listen("unix", path) // a killed process leaves its socket behind
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	a := start(t, fmt.Sprintf("listen: %q", "unix:"+path))
	a.want(200, "GET", "/api/v1/status", "Host: whatever")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v; want mode 0660", info.Mode(), err)
	}
}

func TestReloadAnswers(t *testing.T) {
	leaktest.Check(t)
	const section = `listen: "127.0.0.1:0"`
	a := start(t, section)
	reload := func(status int) (r admin.Reload) {
		t.Helper()
		if err := json.Unmarshal([]byte(a.want(status, "POST", "/api/v1/reload")), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := reload(200); len(r.Changes) != 0 {
		t.Errorf("changes %q, want none", r.Changes)
	}
	a.write(section, "retries: many")
	if r := reload(422); len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "backends[0].retries") {
		t.Errorf("problems %q", r.Problems)
	}
	if body := a.want(200, "GET", "/metrics"); !strings.Contains(body, "\nmqttlb_config_last_reload_successful 0\n") {
		t.Error("the metrics do not tell of the refused reload")
	}
	a.write(section, "retries: 7")
	// The watcher may have been quicker: then there is nothing left to do.
	if r := reload(200); len(r.Changes) > 1 || len(r.Changes) == 1 && !strings.Contains(r.Changes[0], "retries") {
		t.Errorf("changes %q", r.Changes)
	}
	if body := a.want(200, "GET", "/metrics"); !strings.Contains(body, "\nmqttlb_config_last_reload_successful 1\n") {
		t.Error("the metrics do not tell of the good reload")
	}
}

func TestStatus(t *testing.T) {
	leaktest.Check(t)
	a := start(t, `listen: "127.0.0.1:0"`)
	var st map[string]any
	if err := json.Unmarshal([]byte(a.want(200, "GET", "/api/v1/status")), &st); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "uptime_seconds", "config_hash", "listeners", "backends"} {
		if st[key] == nil {
			t.Errorf("no %s in %v", key, st)
		}
	}
	server := st["backends"].([]any)[0].(map[string]any)["servers"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "address", "state", "check", "weight", "active", "total", "bytes_in", "bytes_out"} {
		if server[key] == nil {
			t.Errorf("no %s in %v", key, server)
		}
	}
	for _, key := range []string{"last", "at", "latency_ms", "health"} {
		if server["check"].(map[string]any)[key] == nil {
			t.Errorf("no check.%s in %v", key, server)
		}
	}
}

// names are the metrics that dashboards rely on.
var names = []string{
	"mqttlb_build_info", "mqttlb_listener_connections", "mqttlb_listener_connections_total", "mqttlb_tls_handshakes_total",
	"mqttlb_tls_handshake_failures_total", "mqttlb_tls_handshake_seconds", "mqttlb_bytes_total", "mqttlb_server_up",
	"mqttlb_server_connections", "mqttlb_server_connections_total", "mqttlb_server_connect_errors_total",
	"mqttlb_server_connect_seconds", "mqttlb_check_total", "mqttlb_check_seconds", "mqttlb_config_last_reload_successful",
	"mqttlb_config_last_reload_success_timestamp_seconds", "mqttlb_certificate_expiry_timestamp_seconds",
}

func TestMetrics(t *testing.T) {
	leaktest.Check(t)
	a := start(t, `listen: "127.0.0.1:0"`)
	body := a.want(200, "GET", "/metrics")
	for _, name := range names {
		if !strings.Contains(body, "# TYPE "+name+" ") {
			t.Errorf("no metric %s", name)
		}
	}
	t.Run("naming rules", func(t *testing.T) {
		check := exec.CommandContext(t.Context(), peertest.Path(t, "promtool", "prometheus"), "check", "metrics")
		check.Stdin = strings.NewReader(body)
		if output, err := check.CombinedOutput(); err != nil || len(output) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, output)
		}
	})
}
