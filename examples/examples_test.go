// Package examples holds configurations to start from. They are data; what is compiled here is the test that they are
// valid, and that there is none which nobody tests.
package examples

import (
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	brokerconfig "github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/lb"
	"github.com/mqttlb/mqttlb/lb/config"
)

// The configurations of the load balancer, and those of nodes.
var (
	balancers = []string{"minimal.yaml", "full.yaml", "haproxy-like.yaml", "nginx-like.yaml", "behind-another-lb.yaml", "mutual-tls.yaml", "servers-file.yaml"}
	nodes     = []string{"broker.yaml", "broker2.yaml", "broker-full.yaml"}
)

// elsewhere says who tests the other files: a path, or the folder of many.
var elsewhere = map[string]string{
	"README.md":                  "TestReadme",
	"examples_test.go":           "the compiler",
	"systemd_test.go":            "the compiler",
	"servers.yaml":               "TestBalancers, as servers-file.yaml names it",
	"acl":                        "TestNodes, as broker-full.yaml names it",
	"systemd/mqttlb.service":     "TestUnits",
	"systemd/mqttbroker.service": "TestUnits",
	"quickstart":                 "its own tests",
}

// TestEveryFileIsTested finds files that were added without a test.
func TestEveryFileIsTested(t *testing.T) {
	tested := slices.Concat(balancers, nodes)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		path = filepath.ToSlash(path)
		switch {
		case err != nil:
			return err
		case elsewhere[path] != "" && entry.IsDir():
			return fs.SkipDir
		case !entry.IsDir() && elsewhere[path] == "" && !slices.Contains(tested, path):
			t.Errorf("no test knows %s: add it to a list in examples_test.go", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// place copies the configurations to a new folder and makes the files that they name. What is in /etc comes to lie there too.
func place(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(slices.Concat(balancers, nodes), "servers.yaml", "acl") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), []byte(strings.ReplaceAll(string(text), ": /etc/", ": "+filepath.ToSlash(dir)+"/etc/")))
	}
	write(t, filepath.Join(dir, "users"), []byte("gateway:$2a$04$Utjefl0yhrNBqe59VBP4V.atRMXS0PPiQ1mkDYsoTrISHIZqEsR6G\n"))
	write(t, filepath.Join(dir, "token"), []byte("0123456789abcdef0123456789abcdef\n"))
	makeCertificates(t, dir)
	return dir
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func makeCertificates(t *testing.T, dir string) {
	t.Helper()
	files, err := devca.Write(filepath.Join(dir, "certs"), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	copies := map[string]string{
		"etc/ssl/emqx/emqx.pem":   files.Server,
		"etc/emqx/certs/cert.pem": files.Server,
		"etc/emqx/certs/key.pem":  files.ServerKey,
		"certs/tls.crt":           files.Server,
		"certs/tls.key":           files.ServerKey,
		"certs/devices-ca.pem":    files.CA,
	}
	for to, from := range copies {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, to), text)
	}
	ca, err := devca.Open(filepath.Join(dir, "certs"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := ca.Issue(devca.Options{Client: true, CommonName: "lost-device"})
	if err != nil {
		t.Fatal(err)
	}
	crl, err := ca.CRL([]*x509.Certificate{revoked.Cert}, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "certs", "devices.crl"), crl)
}

// TestBalancers checks each configuration as `mqttlb check` does.
func TestBalancers(t *testing.T) {
	dir := place(t)
	for _, name := range balancers {
		if err := lb.Check(filepath.Join(dir, name)); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// TestNodes checks each configuration as `mqttbroker check` does.
func TestNodes(t *testing.T) {
	dir := place(t)
	for _, name := range nodes {
		c, err := brokerconfig.Load(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if err := broker.Check(c); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// TestFullNode looks for the keys that the package's own example of all has, and compares what is called a default with the defaults.
func TestFullNode(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	full := read("broker-full.yaml")
	complete, _, _ := strings.Cut(read(filepath.Join("..", "broker", "config", "testdata", "full.yaml")), "\ncluster:") // which is not built
	for _, key := range regexp.MustCompile(`(?:^|[\n{, -])([a-z_]+):`).FindAllStringSubmatch(complete, -1) {
		if !strings.Contains(full, key[1]+":") {
			t.Errorf("broker-full.yaml has no %s", key[1])
		}
	}
	c, err := brokerconfig.Load(filepath.Join(place(t), "broker-full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d := brokerconfig.Default()
	if c.Limits != d.Limits || c.Session != d.Session || c.API.Listen != d.API.Listen || c.Dashboard.Listen != d.Dashboard.Listen {
		t.Errorf("what broker-full.yaml calls defaults is none: %+v", c)
	}
}

func load(t *testing.T, path string) *config.Config {
	t.Helper()
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFull compares the complete example with the one that the package's own tests hold against the list of all keys.
func TestFull(t *testing.T) {
	dir := place(t)
	const complete = "valid-complete.yaml"
	text, err := os.ReadFile(filepath.Join("..", "lb", "config", "testdata", complete))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, complete), text)
	change := config.Diff(load(t, filepath.Join(dir, complete)), load(t, filepath.Join(dir, "full.yaml")))
	if !change.Empty() {
		t.Errorf("full.yaml is different:\n%s", strings.Join(change.Lines(), "\n"))
	}
	full, err := os.ReadFile("full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		key, _, found := strings.Cut(strings.TrimLeft(line, " -"), ":")
		if found && !strings.ContainsAny(key, " #{") && !strings.Contains(string(full), key+":") {
			t.Errorf("full.yaml has no %s", key)
		}
	}
}

// TestCarriedOver looks for what the older configurations say, in words and in effect.
func TestCarriedOver(t *testing.T) {
	dir := place(t)
	tests := []struct {
		name  string
		words []string
		right func(l config.Listener, b config.Backend) bool
	}{
		{
			"haproxy-like.yaml",
			[]string{"listen mqtt-ssl", "bind *:8883", "ssl", "crt /etc/ssl/emqx/emqx.pem", "no-sslv3", "mode tcp", "maxconn 50000", "timeout client 600s",
				"default_backend emqx_cluster", "backend emqx_cluster", "balance source", "timeout server 50s", "timeout check 5000", "server emqx1", "server emqx2",
				"127.0.0.1:11883", "127.0.0.1:21883", "check", "inter 10000", "fall 2", "rise 5", "weight 1", "source 0.0.0.0 usesrc clientip"},
			func(l config.Listener, b config.Backend) bool {
				return l.MaxConnections == 50000 && l.ClientTimeout.Auto && b.ServerTimeout == 0 && b.Balance == config.BalanceSource &&
					b.Check.Interval == 10*time.Second && b.Check.Timeout == 5*time.Second && b.Check.Fall == 2 && b.Check.Rise == 5
			},
		},
		{
			"nginx-like.yaml",
			[]string{"upstream stream_backend", "zone tcp_servers 64k", "hash $remote_addr", "server 127.0.0.1:11883", "server 127.0.0.1:21883", "max_fails=2",
				"fail_timeout=30s", "listen 8883", "ssl;", "status_zone tcp_server", "proxy_pass stream_backend", "proxy_buffer_size 4k", "ssl_handshake_timeout 15s",
				"ssl_certificate     /etc/emqx/certs/cert.pem", "ssl_certificate_key /etc/emqx/certs/key.pem"},
			func(l config.Listener, b config.Backend) bool {
				return l.TLS.HandshakeTimeout == 15*time.Second && l.ClientTimeout.Auto && b.Balance == config.BalanceSource &&
					b.Passive == config.Passive{MaxFails: 2, FailTimeout: 30 * time.Second}
			},
		},
	}
	for _, tt := range tests {
		c := load(t, filepath.Join(dir, tt.name))
		l, b := c.Listeners[0], c.Backends[0]
		if !tt.right(l, b) || l.Listen != ":8883" || l.TLS == nil || len(b.Servers) != 2 || b.Servers[1].Address != "127.0.0.1:21883" {
			t.Errorf("%s is not what it replaces: %+v %+v", tt.name, l, b)
		}
		said := comments(t, tt.name)
		for _, words := range tt.words {
			if !strings.Contains(said, words) {
				t.Errorf("%s does not name %q", tt.name, words)
			}
		}
	}
}

// comments returns what stands behind the # of each line.
func comments(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for line := range strings.Lines(string(text)) {
		if _, comment, found := strings.Cut(line, "#"); found {
			said.WriteString(comment)
		}
	}
	return said.String()
}

// TestReadme checks that the list is complete and has nothing that is not there.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Concat(balancers, nodes)
	for name := range elsewhere {
		if name != "README.md" && !strings.HasSuffix(name, ".go") {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if !strings.Contains(string(text), "["+name+"]("+name+")") {
			t.Errorf("README.md has no link to %s", name)
		}
	}
	if links := strings.Count(string(text), "]("); links != len(names) {
		t.Errorf("README.md has %d links for %d files", links, len(names))
	}
}
