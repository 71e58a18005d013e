package config

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"
)

// load loads the configuration at path, which must be valid.
func load(t *testing.T, path string) *Config {
	t.Helper()
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// write writes a file and the folders that it is in.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// settings returns the configuration less what Load adds to what the file says.
func settings(c *Config) Config {
	s := *c
	s.Path, s.Files, s.Hash, s.source = "", nil, "", source{}
	return s
}

func TestValid(t *testing.T) {
	t.Chdir("testdata")
	for name := range glob(t, "valid-*.yaml") {
		if name == "valid-complete" {
			continue // TestComplete makes the files that it names
		}
		t.Run(name, func(t *testing.T) {
			c := load(t, name+".yaml")
			if change := Diff(c, c); !change.Empty() {
				t.Errorf("different from itself: %s", change)
			}
		})
	}
}

func TestComplete(t *testing.T) {
	text, err := os.ReadFile("testdata/valid-complete.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "mqttlb.yaml")
	cert, key := filepath.Join(folder, "certs/server.pem"), filepath.Join(folder, "certs/server.key")
	write(t, file, string(text))
	write(t, cert, "a chain")
	write(t, key, "a key")
	c := load(t, file)
	want := Config{
		Admin:           Admin{Listen: "127.0.0.1:8404"},
		Log:             Log{Level: slog.LevelInfo, Format: "text", Connections: "errors"},
		ShutdownTimeout: 30 * time.Second,
		Listeners: []Listener{{
			Name: "mqtts", Listen: ":8883", Backend: "emqx", Protocol: "mqtt", MaxConnections: 50000,
			ClientTimeout: ClientTimeout{Duration: 600 * time.Second},
			TLS: &TLS{
				Certificates: []Certificate{{Cert: cert, Key: key}},
				MinVersion:   tls.VersionTLS12, HandshakeTimeout: 15 * time.Second, ClientAuth: "none",
			},
		}, {
			Name: "mqtt", Listen: ":1883", Backend: "emqx", Protocol: "mqtt", ClientTimeout: ClientTimeout{Auto: true},
		}, {
			Name: "wss", Listen: ":8084", Backend: "emqx-ws", Protocol: "tcp",
			ClientTimeout: ClientTimeout{Duration: 600 * time.Second},
			TLS: &TLS{
				Certificates: []Certificate{{Cert: cert}},
				MinVersion:   tls.VersionTLS12, HandshakeTimeout: 15 * time.Second, ClientAuth: "none",
			},
		}},
		Backends: []Backend{backendWith(func(b *Backend) {
			b.Name, b.SendProxy = "emqx", "v2"
			b.Servers = []Server{{Name: "emqx1", Address: "127.0.0.1:11883", Weight: 1, State: "ready"}}
		}), backendWith(func(b *Backend) {
			b.Name = "emqx-ws"
			b.Servers = []Server{{Name: "emqx1", Address: "127.0.0.1:8083", Weight: 1, State: "ready"}}
		})},
	}
	if got := settings(c); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if want := []string{key, cert, file}; !slices.Equal(c.Files, want) {
		t.Errorf("Files are %q, want %q", c.Files, want)
	}
	if sum := sha256.Sum256(text); c.Hash != hex.EncodeToString(sum[:]) {
		t.Errorf("Hash is %s, want the file's SHA-256", c.Hash)
	}
	if c.Path != file {
		t.Errorf("Path is %q, want %q", c.Path, file)
	}
}

// backendWith returns a backend with the defaults that the manual promises, changed by change.
func backendWith(change func(*Backend)) Backend {
	b := Backend{
		Balance: "source", Hash: "consistent", SendProxy: "none", SendProxyTLVs: []string{"ssl", "cn", "authority", "unique-id"},
		ConnectTimeout: 5 * time.Second, Retries: 3, OnMarkedDown: "keep",
		Check: Check{
			Type: "tcp", Interval: 10 * time.Second, FastInterval: 10 * time.Second, DownInterval: 10 * time.Second,
			Timeout: 5 * time.Second, Fall: 2, Rise: 5,
		},
		Passive: Passive{FailTimeout: 30 * time.Second},
	}
	change(&b)
	return b
}

func TestDefaults(t *testing.T) {
	c := load(t, "testdata/valid-minimal.yaml")
	want := Config{
		Admin:           Admin{Listen: "127.0.0.1:8404"},
		Log:             Log{Level: slog.LevelInfo, Format: "text", Connections: "errors"},
		ShutdownTimeout: 30 * time.Second,
		Listeners:       []Listener{{Name: "mqtt", Listen: ":1883", Backend: "emqx", Protocol: "mqtt", ClientTimeout: ClientTimeout{Auto: true}}},
		Backends: []Backend{backendWith(func(b *Backend) {
			b.Name = "emqx"
			b.Servers = []Server{{Name: "emqx1", Address: "127.0.0.1:11883", Weight: 1, State: "ready"}}
		})},
	}
	if got := settings(c); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	windows := load(t, "testdata/valid-windows.yaml")
	if got := settings(windows); !reflect.DeepEqual(got, want) {
		t.Errorf("with the line ends of Windows: got %+v\nwant %+v", got, want)
	}
}

func TestEveryOtherValue(t *testing.T) {
	folder, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(folder, "files", name) }
	c := load(t, "testdata/valid-every-other-value.yaml")
	want := Config{
		Admin:     Admin{Listen: "unix:" + filepath.Join(folder, "run/mqttlb.sock"), TokenFile: in("token")},
		Log:       Log{Level: slog.LevelDebug, Format: "json", Connections: "all"},
		Workers:   1024,
		Listeners: otherListeners(in),
		Backends:  otherBackends(in),
	}
	if got := settings(c); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	files := []string{in("ca.pem"), in("crl.pem"), in("other.pem"), in("server.key"), in("server.pem"), in("servers-none.yaml"), in("servers.yaml"), in("token"),
		filepath.Join(folder, "valid-every-other-value.yaml")}
	if !slices.Equal(c.Files, files) {
		t.Errorf("Files are %q, want %q", c.Files, files)
	}
}

// otherListeners are those of valid-every-other-value.yaml; in finds the files that they name.
func otherListeners(in func(string) string) []Listener {
	return []Listener{{
		Name: "mqtts", Listen: "[::1]:8883", Backend: "a", Protocol: "mqtt", MaxConnections: 1_000_000_000, AcceptProxy: true,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"),
			netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("0.0.0.0/0")},
		TLS: &TLS{
			Certificates: []Certificate{{Cert: in("server.pem"), Key: in("server.key")}, {Cert: in("other.pem")}},
			MinVersion:   tls.VersionTLS13, HandshakeTimeout: time.Hour, ClientAuth: "require",
			ClientCA: in("ca.pem"), ClientCRL: in("crl.pem"), ALPN: []string{"mqtt", "http/1.1"},
		},
	},
		{Name: "raw", Listen: "localhost:0", Backend: "b", Protocol: "tcp", ClientTimeout: ClientTimeout{Duration: 1500 * time.Millisecond}},
		{Name: "raw.2", Listen: "localhost:0", Backend: "b", Protocol: "tcp", ClientTimeout: ClientTimeout{Duration: 600 * time.Second}},
		{Name: "shared", Listen: "0.0.0.0:1883", Backend: "b", Protocol: "mqtt", ClientTimeout: ClientTimeout{Auto: true}, ReusePort: true},
		{Name: "shared:too", Listen: "127.0.0.1:1883", Backend: "b", Protocol: "mqtt", ClientTimeout: ClientTimeout{Auto: true}, ReusePort: true,
			TLS: &TLS{
				Certificates: []Certificate{{Cert: in("server.pem")}}, MinVersion: tls.VersionTLS12, HandshakeTimeout: 15 * time.Second,
				ClientAuth: "optional", ClientCA: in("ca.pem"),
			}},
	}
}

// otherBackends are those of valid-every-other-value.yaml.
func otherBackends(in func(string) string) []Backend {
	return []Backend{{
		Name: "a", Balance: "source", Hash: "map", SendProxy: "v2", ConnectTimeout: time.Millisecond, ServerTimeout: 50 * time.Second,
		OnMarkedDown: "close",
		Check: Check{Type: "mqtt", Interval: time.Second, FastInterval: 500 * time.Millisecond, DownInterval: 2 * time.Second,
			Timeout: 3 * time.Second, Fall: 1, Rise: 1},
		Passive:     Passive{MaxFails: 2, FailTimeout: time.Minute},
		ServersFile: in("servers.yaml"),
		Servers: []Server{
			{Name: "emqx1", Address: "[::1]:11883", MaxConnections: 10, Backup: true, State: "maint"},
			{Name: "emqx2", Address: "127.0.0.1:21883", Weight: 1, State: "ready"},
			{Name: "emqx3", Address: "127.0.0.1:31883", Weight: 2, State: "ready"},
		},
	}, backendWith(func(b *Backend) {
		b.Name, b.Balance, b.SendProxy, b.ServersFile = "b", "leastconn", "v1", in("servers-none.yaml")
		b.Check.Type = "none"
		b.Check.Interval, b.Check.FastInterval, b.Check.DownInterval = 20*time.Second, 20*time.Second, 20*time.Second
	}), backendWith(func(b *Backend) {
		b.Name, b.Balance = "c", "roundrobin"
		b.Servers = []Server{{Name: "_1", Address: "emqx-0.emqx_headless.default.svc.cluster.local.:1883", Weight: 256, State: "drain"}}
	}), backendWith(func(b *Backend) {
		b.Name, b.Balance = "d", "random"
		b.Servers = []Server{{Name: "10.0.0.1:1883", Address: "10.0.0.1:65535", Weight: 1, State: "ready"}}
	})}
}

func TestAnchors(t *testing.T) {
	c := load(t, "testdata/valid-anchors.yaml")
	if c.Listeners[1].Backend != "emqx" || !reflect.DeepEqual(c.Listeners[0].TLS, c.Listeners[1].TLS) {
		t.Errorf("aliases in listeners: %+v", c.Listeners)
	}
	if !slices.Equal(c.Backends[0].Servers, c.Backends[1].Servers) {
		t.Errorf("aliases in backends: %+v", c.Backends)
	}
}

// The hash is what operators compare across machines: it follows the servers file as well, and
// does not depend on where the files are.
func TestHash(t *testing.T) {
	text := "listeners: [{name: a, listen: ':1', backend: b}]\nbackends: [{name: b, servers_file: s.yaml}]\n"
	hash := func(servers string) string {
		folder := t.TempDir()
		write(t, filepath.Join(folder, "mqttlb.yaml"), text)
		write(t, filepath.Join(folder, "s.yaml"), servers)
		return load(t, filepath.Join(folder, "mqttlb.yaml")).Hash
	}
	here, there := hash("[]"), hash("[]")
	if here != there {
		t.Error("the same files have two hashes")
	}
	if here == hash("[{name: x, address: 'x:1'}]") {
		t.Error("the hash ignores the servers file")
	}
}
