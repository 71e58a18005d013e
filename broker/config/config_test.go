package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDefault(t *testing.T) {
	c := Default()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if len(c.Listeners) != 1 || c.Listeners[0].Listen != ":1883" || c.Listeners[0].ProxyProtocol != ProxyOptional {
		t.Errorf("listeners: %+v", c.Listeners)
	}
	if c.API.Listen != "127.0.0.1:8080" || c.API.Given || c.Dashboard.Listen != "127.0.0.1:18083" || c.Dashboard.Given {
		t.Errorf("API %+v, dashboard %+v", c.API, c.Dashboard)
	}
	want := Limits{MaxPacketSize: 1 << 20, MaxInflight: 32, MaxQueued: 1000, MaxTopicAlias: 16, MaxQoS: 2, ReceiveMaximum: 32}
	if c.Limits != want || c.Session.MaxExpiry != 24*time.Hour || !c.Auth.AllowAnonymous || c.Node == "" {
		t.Errorf("%+v", c)
	}
}

// TestEmptyFile is the same as none.
func TestEmptyFile(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		c, err := Parse("f.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c.File, c.lines = "", nil
		if !reflect.DeepEqual(c, Default()) {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

func TestLoadFull(t *testing.T) {
	c, err := Load(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	abs := func(name string) string { return filepath.Join("testdata", name) }
	want := Config{
		File: filepath.Join("testdata", "full.yaml"),
		Node: "emqx1",
		Listeners: []Listener{
			{Name: "mqtt", Listen: ":1883", Transport: TCP, ProxyProtocol: ProxyOptional},
			{Name: "inside", Listen: "[::1]:2883", Transport: TCP, ProxyProtocol: ProxyNone},
			{Name: "mqtts", Listen: "0.0.0.0:8883", Transport: TCP, ProxyProtocol: ProxyRequire, TLS: &TLS{Cert: abs("certs/server.pem"), Key: "/etc/server.key"}},
			{Name: "ws", Listen: ":8083", Transport: WebSocket, Path: "/mqtt", ProxyProtocol: ProxyRequire, PeerCertAsUsername: CommonName},
		},
		API:       HTTP{Listen: "127.0.0.1:9080", TokenFile: abs("token"), Given: true},
		Dashboard: HTTP{Listen: "127.0.0.1:19083", TokenFile: "/etc/token", Given: true},
		ACLFile:   abs("acl"),
		Limits:    Limits{MaxConnections: 5000, MaxPacketSize: 256 << 10, MaxInflight: 20, MaxQueued: 100, MaxTopicAlias: 0, MaxQoS: 1, ReceiveMaximum: 10},
		Session:   Session{MaxExpiry: 90 * time.Minute, MaxKeepAlive: 10 * time.Minute},
		Auth:      Auth{UsersFile: abs("users")},
		Cluster:   Cluster{Replicas: 3},
	}
	want.lines = c.lines
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	p := c.Problem("listeners[2].tls.key", errors.New("does not fit"))
	if got := p.String(); got != want.File+":14: listeners[2].tls.key: does not fit" {
		t.Error(got)
	}
}

// TestInvalid reads each testdata/invalid-*.yaml; the comments "# want: …" in it are the expected problems, all of
// them, in their order.
func TestInvalid(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "invalid-*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				if _, w, ok := strings.Cut(line, "# want: "); ok {
					want = append(want, file+":"+strings.TrimSpace(w))
				}
			}
			_, err = Load(file)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("error %v, want problems", err)
			}
			got := strings.Split(ps.Error(), "\n")
			for i := range max(len(got), len(want)) {
				switch {
				case i >= len(want):
					t.Errorf("unexpected: %s", got[i])
				case i >= len(got):
					t.Errorf("missing: %s", want[i])
				case got[i] != want[i]:
					t.Errorf("got  %s\nwant %s", got[i], want[i])
				}
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	for name, text := range map[string]string{
		"no YAML":      "a: [1, 2\nb: 3",
		"two":          "node: a\n---\nnode: b\n",
		"tabs":         "limits:\n\tmax_qos: 1\n",
		"large":        strings.Repeat("#", maxFile+1),
		"binary":       "\x00\x01",
		"parser panic": "a: !!binary |\n &x [*x]",
	} {
		var ps Problems
		if _, err := Parse("f", []byte(text)); !errors.As(err, &ps) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckOfAProgram: a configuration that no file made is checked alike, without lines.
func TestCheckOfAProgram(t *testing.T) {
	c := Default()
	c.Listeners = append(c.Listeners, Listener{Name: "b", Listen: "127.0.0.1:0"}, Listener{Name: "c", Listen: "127.0.0.1:0"})
	if err := c.Check(); err != nil {
		t.Errorf("two free ports: %v", err)
	}
	c.Limits.MaxQueued = 0
	c.Listeners[1].ProxyProtocol = "perhaps"
	err := c.Check()
	want := "listeners[1].proxy_protocol: \"perhaps\" is none of none, optional, require\nlimits.max_queued: 0 is not between 1 and 1048576"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("a: &a [*a]\nlisteners: *a"))
	f.Add([]byte("listeners: &l\n- {name: a, listen: *l}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f.yaml", text)
		if err == nil {
			err = c.Check()
			if err != nil {
				t.Fatalf("Parse accepts what Check does not: %v", err)
			}
			return
		}
		var ps Problems
		if !errors.As(err, &ps) || len(ps) == 0 {
			t.Fatalf("%T %v", err, err)
		}
	})
}

// TestAPIOnTheAddressOfAListener cannot work when somebody asked for it; the default makes room.
func TestAPIOnTheAddressOfAListener(t *testing.T) {
	c := Default()
	c.Listeners[0].Listen = c.API.Listen
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	c.API.Given = true
	var ps Problems
	if err := c.Check(); !errors.As(err, &ps) || len(ps) != 1 || ps[0].Path != "api.listen" {
		t.Errorf("%v", err)
	}
	c.Listeners[0].Listen, c.API.Listen = "127.0.0.1:0", "127.0.0.1:0"
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}
