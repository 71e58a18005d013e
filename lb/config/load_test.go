package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInvalid loads each testdata/invalid-*.yaml and compares what is said with the .want beside it.
func TestInvalid(t *testing.T) {
	t.Chdir("testdata")
	texts := glob(t, "invalid-*.yaml")
	wants := glob(t, "invalid-*.want")
	for name := range wants {
		if !texts[name] {
			t.Errorf("%s.want has no %s.yaml", name, name)
		}
	}
	for name := range texts {
		t.Run(strings.TrimPrefix(name, "invalid-"), func(t *testing.T) {
			want, err := os.ReadFile(name + ".want")
			if err != nil {
				t.Errorf("no expected words: %v", err)
			}
			c, err := Load(name + ".yaml")
			if c != nil || err == nil {
				t.Fatalf("Load returned %v, %v; want problems", c, err)
			}
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the error is a %T", err)
			}
			if got := err.Error() + "\n"; got != string(want) {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

// glob returns the names, less their endings, of the files that match.
func glob(t *testing.T, pattern string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s: %v", pattern, err)
	}
	names := make(map[string]bool)
	for _, file := range files {
		names[strings.TrimSuffix(file, filepath.Ext(file))] = true
	}
	return names
}

func TestUnreadable(t *testing.T) {
	folder := t.TempDir()
	tests := []struct{ name, path, want string }{
		{"missing", folder + "/none.yaml", folder + "/none.yaml: does not exist; name the configuration with -c FILE"},
		{"folder", folder, folder + ": is a folder, not a file; name the configuration with -c FILE"},
		{"under a file", "load_test.go/x.yaml", "load_test.go/x.yaml: cannot be read: not a directory; name the configuration with -c FILE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Load(test.path); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// noFile is a read for texts that name no file.
func noFile(string) ([]byte, error) { return nil, os.ErrNotExist }

// servers returns n servers in YAML's flow style, one for each name.
func servers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{name: s%d, address: 'a:1'},", i)
	}
	return b.String()
}

// Texts that are meant to cost more than they are worth end soon and with few words.
func TestBounds(t *testing.T) {
	aliases := func(n int) string { return strings.Repeat("*a,", n) }
	tests := []struct {
		name, text string
		line       int
		want       string
		problems   int // at most
	}{
		{"size", strings.Repeat("#", maxText+1), 1, "the file is bigger than 4 MiB", 1},
		{"aliases of aliases", "x: &a {tls: {alpn: [" + strings.Repeat("x,", 2000) + "]}}\nlisteners: [" + aliases(1000) + "]\n", 1, "unknown key", maxProblems},
		{"alias bomb", "backends: [{servers: &s [" + strings.Repeat("{weight: 1},", 20000) + "]}," + strings.Repeat("{servers: *s},", 9000) + "]\n", 1, "is missing", maxProblems},
		{"alias bomb of what is right", "backends: [{name: a, servers: &s [" + servers(20000) + "]}," + strings.Repeat("{servers: *s},", 900) + "]\n", 1, "more than 524288 values", maxProblems},
		{"alias of itself", "listeners: &a [*a]\nbackends: &b {b: *b}\n", 1, "must be a mapping", 10},
		{"too many listeners", "listeners: [" + strings.Repeat("{},", maxListeners+1) + "]\n", 1, "has 1001 elements; at most 1000", 2},
		{"deep", strings.Repeat("[", 20000), 1, "exceeded max depth", 1},
		{"many problems", "listeners: [" + strings.Repeat("{a: 1, b: 2, c: 3},", 900) + "]\n", 1, "unknown key", maxProblems},
		{"quote not closed in a long text", "a: \"b\n" + strings.Repeat("c: d\n", 10_000), 1, "not valid YAML", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("mqttlb.yaml", []byte(test.text), noFile)
			var problems Problems
			if !errors.As(err, &problems) || len(problems) > test.problems {
				t.Fatalf("%d problems, want at most %d: %.1000v", len(problems), test.problems, err)
			}
			for _, p := range problems {
				if p.Line == test.line && strings.Contains(p.What, test.want) {
					return
				}
			}
			t.Errorf("nobody says %q: %.1000v", test.want, err)
		})
	}
}

// The caller finds problems of its own and wants them filed like ours.
func TestProblem(t *testing.T) {
	t.Chdir("testdata")
	c := load(t, "valid-every-other-value.yaml")
	tests := []struct{ path, want string }{
		{"listeners[0].tls.certificates[0].key", "valid-every-other-value.yaml:16: listeners[0].tls.certificates[0].key: too bad"},
		{"listeners[0].tls.certificates[1].key", "valid-every-other-value.yaml:17: listeners[0].tls.certificates[1].key: too bad"},
		{"backends[0].servers[0].address", "valid-every-other-value.yaml:42: backends[0].servers[0].address: too bad"},
		{"backends[0].servers[2].address", "files/servers.yaml:4: backends[0].servers[2].address: too bad"},
		{"backends[0].servers[2].state", "files/servers.yaml:3: backends[0].servers[2].state: too bad"},
		{"backends[1].servers[0]", "files/servers-none.yaml:1: backends[1].servers[0]: too bad"},
		{"", "valid-every-other-value.yaml:2: too bad"},
		{"no[1].such.field", "valid-every-other-value.yaml:2: no[1].such.field: too bad"},
	}
	for _, test := range tests {
		if got := c.Problem(test.path, "too bad").String(); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
	made := &Config{Path: "by-hand.yaml"}
	if got := made.Problem("workers", "too bad").String(); got != "by-hand.yaml: workers: too bad" {
		t.Errorf("of a Config that was not loaded: %s", got)
	}
}

// What keeps a named file from being read is said with the field that names it.
func TestUnreadableNamed(t *testing.T) {
	text := "admin: {token_file: /token}\nlisteners: [{name: a, listen: ':1', backend: b}]\nbackends: [{name: b, servers: [{name: s, address: 's:1'}]}]\n"
	tests := []struct {
		err  error
		want string
	}{
		{os.ErrNotExist, "does not exist"},
		{&os.PathError{Op: "open", Path: "/token", Err: os.ErrPermission}, "may not be read by this user; change its owner or mode"},
		{&os.PathError{Op: "read", Path: "/token", Err: errors.ErrUnsupported}, "cannot be read: unsupported operation"},
		{errTooBig, "is bigger than 64 MiB"},
	}
	for _, test := range tests {
		_, err := Parse("mqttlb.yaml", []byte(text), func(string) ([]byte, error) { return nil, test.err })
		if want := "mqttlb.yaml:1: admin.token_file: file /token " + test.want; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestReadAtMost(t *testing.T) {
	path := t.TempDir() + "/file"
	write(t, path, "12345")
	if text, err := readAtMost(path, 5); string(text) != "12345" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := readAtMost(path, 4); !errors.Is(err, errTooBig) {
		t.Errorf("got %v, want %v", err, errTooBig)
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"address", "backup", "cert", "interval", "listen", "max_connections", "name", "send_proxy", "servers_file", "tls", "weight"}
	tests := []struct{ word, want string }{
		{"adress", "address"}, {"Address", "address"}, {"weigth", "weight"}, {"nam", "name"}, {"max-connections", "max_connections"},
		{"maxconn", "max_connections"}, {"bind", "listen"}, {"crt", "cert"}, {"inter", "interval"}, {"ssl", "tls"}, {"servers", ""},
		{"port", ""}, {"xy", ""}, {"", ""}, {"mode", ""}, {strings.Repeat("x", 1000), ""},
	}
	for _, test := range tests {
		if got := nearest(test.word, keys); got != test.want {
			t.Errorf("%q: got %q, want %q", test.word, got, test.want)
		}
	}
}
