package config

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestDiff compares what is said about two configurations with testdata/diff.want.
func TestDiff(t *testing.T) {
	old, to := load(t, "testdata/diff-old.yaml"), load(t, "testdata/diff-new.yaml")
	want, err := os.ReadFile("testdata/diff.want")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Abs("testdata/files")
	if err != nil {
		t.Fatal(err)
	}
	change := Diff(old, to)
	if got := strings.ReplaceAll(change.String(), folder, "…") + "\n"; got != string(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	change.lines = nil
	facts := Change{
		Listeners: ListenerChange{
			Names:   Names{Added: []string{"wss"}, Removed: []string{"raw"}, Changed: []string{"mqtt", "lan", "mqtts"}},
			Rebound: []string{"mqtt", "lan"},
		},
		Backends: BackendChange{
			Names: Names{Added: []string{"spare"}, Removed: []string{"old"}, Changed: []string{"same", "emqx", "last"}},
			Servers: map[string]Names{
				"emqx": {Added: []string{"emqx3"}, Changed: []string{"emqx4", "emqx1"}},
			},
		},
		Settings:  []string{"admin.token_file", "log.level", "log.connections", "shutdown_timeout"},
		NextStart: []string{"admin.listen", "log.format", "workers"},
	}
	if !reflect.DeepEqual(change, facts) {
		t.Errorf("got  %+v\nwant %+v", change, facts)
	}
}

func TestDiffOfNothing(t *testing.T) {
	a, b := load(t, "testdata/diff-old.yaml"), load(t, "testdata/diff-old.yaml")
	if change := Diff(a, b); !change.Empty() || change.String() != "nothing to do" || len(change.Lines()) != 0 {
		t.Errorf("got %q", change)
	}
}

func TestDiffOfServers(t *testing.T) {
	from := full()
	to := full()
	to.Backends[0].Servers = append(to.Backends[0].Servers[:1], Server{Name: "s3", Address: "127.0.0.1:3", Weight: 7})
	change := Diff(&from, &to)
	want := "backend b: server s3 added (127.0.0.1:3, weight 7)\nbackend b: server s2 removed (127.0.0.1:2)"
	if change.String() != want {
		t.Errorf("got\n%s\nwant\n%s", change, want)
	}
	servers := map[string]Names{"b": {Added: []string{"s3"}, Removed: []string{"s2"}}}
	if !reflect.DeepEqual(change.Backends.Servers, servers) {
		t.Errorf("got %v, want %v", change.Backends.Servers, servers)
	}
}

// A certificate that was renewed in place is a change, though the configuration says the same.
func TestDiffOfFiles(t *testing.T) {
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	write(t, in("mqttlb.yaml"), `
admin: {token_file: token}
listeners:
  - {name: a, listen: ":1", backend: b, tls: {certificates: [{cert: one.pem}]}}
  - {name: b, listen: ":2", backend: b, tls: {certificates: [{cert: two.pem, key: two.key}], client_auth: require, client_ca: ca.pem, client_crl: crl.pem}}
backends: [{name: b, servers: [{name: s, address: "s:1"}]}]
`)
	for _, name := range []string{"token", "one.pem", "two.pem", "two.key", "ca.pem", "crl.pem"} {
		write(t, in(name), "old")
	}
	before := load(t, in("mqttlb.yaml"))
	tests := []struct{ file, want string }{
		{"token", "admin.token_file: new content"},
		{"one.pem", "listener a: new content in " + in("one.pem")},
		{"two.pem", "listener b: new content in " + in("two.pem")},
		{"two.key", "listener b: new content in " + in("two.key")},
		{"ca.pem", "listener b: new content in " + in("ca.pem")},
		{"crl.pem", "listener b: new content in " + in("crl.pem")},
	}
	for _, test := range tests {
		write(t, in(test.file), "new")
		after := load(t, in("mqttlb.yaml"))
		if got := Diff(before, after).String(); got != test.want {
			t.Errorf("%s: got %q, want %q", test.file, got, test.want)
		}
		before = after
	}
}

// full returns a configuration in which nothing is zero that could be.
func full() Config {
	return Config{
		Admin:           Admin{Listen: ":1", TokenFile: "/token"},
		Log:             Log{Level: slog.LevelWarn, Format: "json", Connections: "all"},
		ShutdownTimeout: time.Second,
		Workers:         1,
		Listeners: []Listener{{
			Name: "l", Listen: ":2", Backend: "b", Protocol: "tcp", MaxConnections: 1, ClientTimeout: ClientTimeout{Duration: time.Second},
			ReusePort: true, AcceptProxy: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			TLS: &TLS{
				Certificates: []Certificate{{Cert: "/cert", Key: "/key"}}, MinVersion: tls.VersionTLS12, HandshakeTimeout: time.Second,
				ClientAuth: "require", ClientCA: "/ca", ClientCRL: "/crl", ALPN: []string{"a"},
			},
		}},
		Backends: []Backend{{
			Name: "b", Balance: "source", Hash: "map", SendProxy: "v2", SendProxyTLVs: []string{"ssl"}, ConnectTimeout: time.Second,
			ServerTimeout: time.Second, Retries: 1, OnMarkedDown: "close",
			Check:   Check{Type: "tcp", Interval: time.Second, FastInterval: 2 * time.Second, DownInterval: 3 * time.Second, Timeout: time.Second, Fall: 1, Rise: 1},
			Passive: Passive{MaxFails: 1, FailTimeout: time.Second}, ServersFile: "/servers",
			Servers: []Server{
				{Name: "s1", Address: "127.0.0.1:1", Weight: 1, MaxConnections: 1, Backup: true, State: "ready"},
				{Name: "s2", Address: "127.0.0.1:2", Weight: 1, MaxConnections: 1, Backup: true, State: "ready"},
			},
		}},
	}
}

// Nobody can add a setting and forget it in Diff: each field in turn is made different.
func TestDiffOfEachField(t *testing.T) {
	count := 0
	var visit func(reach func(*Config) reflect.Value, name string)
	visit = func(reach func(*Config) reflect.Value, name string) {
		from, to := full(), full()
		field := reach(&to)
		switch field.Kind() {
		case reflect.Struct:
			if field.Type() == reflect.TypeFor[netip.Prefix]() {
				field.Set(reflect.ValueOf(netip.MustParsePrefix("fd00::/8")))
				break
			}
			for i := range field.NumField() {
				if part := field.Type().Field(i); part.IsExported() && !describesTheFile(name+"."+part.Name) {
					visit(func(c *Config) reflect.Value { return reach(c).Field(i) }, name+"."+part.Name)
				}
			}
			return
		case reflect.Pointer:
			visit(func(c *Config) reflect.Value { return reach(c).Elem() }, name)
			field.SetZero()
		case reflect.Slice:
			visit(func(c *Config) reflect.Value { return reach(c).Index(0) }, name)
			field.Set(field.Slice(0, field.Len()-1))
		case reflect.String:
			field.SetString(field.String() + "x")
		case reflect.Bool:
			field.SetBool(!field.Bool())
		case reflect.Int, reflect.Int64:
			field.SetInt(field.Int() + 4)
		case reflect.Uint16:
			field.SetUint(field.Uint() + 1)
		default:
			t.Fatalf("%s is a %s: teach this test", name, field.Kind())
		}
		count++
		if Diff(&from, &to).Empty() {
			t.Errorf("Diff ignores %s", name)
		}
	}
	visit(func(c *Config) reflect.Value { return reflect.ValueOf(c).Elem() }, "")
	if count < 50 {
		t.Errorf("only %d fields were visited", count)
	}
}

// describesTheFile says whether a field is about where the configuration came from rather than what it says.
func describesTheFile(name string) bool {
	return name == ".Path" || name == ".Files" || name == ".Hash"
}
