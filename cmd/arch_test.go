// Package cmd_test asks of the whole repository what no compiler asks: that imports go in the directions
// written down here and nowhere else, that every dependency is one somebody decided on, and that
// nothing has grown beyond what a reader takes in at once.
//
// Everything is read with go/parser from the files themselves. A test that asked `go list` would be
// served from Go's cache of test results, which knows only the files that a test opens itself, and would stay
// green whatever is added.
package cmd_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mqttlb/mqttlb"

// A row says what a package may import, in words with blanks between: of ours, and of other modules, in
// code and in tests beyond that. Tests may import all of ours.
type row struct {
	layer   int // it may import packages of lower layers only
	ours    string
	modules string
	tests   string
}

// The layers. What is in one may import what is in those before it.
const (
	leaf      = iota // nothing of ours
	mechanism        // one thing, with options of its own
	machinery        // several mechanisms that are one thing together
	memory           // what is left of machinery when the process ends
	story            // lb and broker: the life of a connection, of a configuration, of a node
	surface          // what shows a story to the outside
	program          // and examples: nobody imports them
)

// packages has a row for each package of the repository. A new package or a new import fails until it is written down
// here, where a reviewer sees it; a row or a word that nothing needs fails as well.
var packages = map[string]row{
	"broker/packet":     {layer: leaf, tests: "github.com/eclipse/paho.golang github.com/eclipse/paho.mqtt.golang"},
	"broker/topic":      {layer: leaf},
	"broker/websocket":  {layer: leaf, tests: "github.com/coder/websocket github.com/gobwas/ws"},
	"certs":             {layer: leaf},
	"certs/devca":       {layer: leaf},
	"internal/leaktest": {layer: leaf},
	"internal/peertest": {layer: leaf, modules: "golang.org/x/sys"},
	"internal/redact":   {layer: leaf},
	"internal/overflow": {layer: leaf},
	"internal/listen":   {layer: leaf, modules: "github.com/pires/go-proxyproto golang.org/x/sys"},
	"internal/slab":     {layer: leaf, modules: "golang.org/x/sys"},
	"internal/socket":   {layer: leaf, modules: "golang.org/x/sys"},
	"internal/spare":    {layer: leaf},
	"lb/balance":        {layer: leaf},
	"lb/limit":          {layer: leaf},
	"lb/record":         {layer: leaf, modules: "golang.org/x/crypto"},

	"broker/access":    {layer: mechanism, ours: "broker/topic internal/redact", modules: "github.com/fsnotify/fsnotify golang.org/x/crypto"},
	"broker/config":    {layer: mechanism, ours: "internal/redact", modules: "gopkg.in/yaml.v3"},
	"broker/delivery":  {layer: mechanism, ours: "broker/packet"},
	"health":           {layer: mechanism, ours: "broker/packet", modules: "github.com/pires/go-proxyproto golang.org/x/sys", tests: "github.com/eclipse/paho.mqtt.golang"},
	"lb/config":        {layer: mechanism, ours: "internal/redact", modules: "github.com/fsnotify/fsnotify gopkg.in/yaml.v3"},
	"internal/detach":  {layer: mechanism, ours: "lb/record"},
	"internal/reactor": {layer: mechanism, ours: "internal/slab", modules: "golang.org/x/sys"},
	"lb/handshake":     {layer: mechanism, ours: "lb/limit lb/record"},

	"broker/wire": {
		layer:   machinery,
		ours:    "broker/packet broker/websocket internal/detach internal/overflow internal/reactor lb/record",
		modules: "golang.org/x/sync",
		tests:   "github.com/coder/websocket",
	},
	"broker/route": {layer: machinery, ours: "broker/delivery broker/topic"},
	"lb/relay":     {layer: machinery, ours: "internal/detach internal/overflow internal/reactor internal/slab lb/record", modules: "golang.org/x/sync"},

	"broker/store": {layer: memory, ours: "broker/delivery broker/packet broker/route", modules: "go.etcd.io/bbolt"},

	"broker": {
		layer:   story,
		ours:    "broker/access broker/config broker/delivery broker/packet broker/route broker/store broker/topic broker/websocket broker/wire certs internal/detach internal/listen internal/socket lb/handshake lb/limit",
		modules: "github.com/pires/go-proxyproto",
		tests:   "github.com/coder/websocket github.com/eclipse/paho.golang github.com/eclipse/paho.mqtt.golang golang.org/x/crypto",
	},
	"lb": {
		layer:   story,
		ours:    "broker/packet certs health internal/listen internal/socket internal/spare lb/balance lb/config lb/handshake lb/limit lb/relay",
		modules: "github.com/pires/go-proxyproto github.com/prometheus/client_golang golang.org/x/sync golang.org/x/sys",
	},

	"broker/conformance": {layer: surface},
	"broker/api":         {layer: surface, ours: "broker broker/packet", modules: "github.com/prometheus/client_golang golang.org/x/net"},
	"broker/dashboard":   {layer: surface, ours: "broker", modules: "golang.org/x/net", tests: "github.com/chromedp/cdproto github.com/chromedp/chromedp"},
	"lb/admin":           {layer: surface, ours: "internal/listen lb lb/config", modules: "github.com/prometheus/client_golang golang.org/x/net"},

	"cmd/internal/program": {layer: surface, modules: "github.com/coreos/go-systemd/v22 github.com/spf13/cobra"},

	"cmd": {layer: program},
	"cmd/mqttbroker": {
		layer:   program,
		ours:    "broker broker/access broker/api broker/config broker/dashboard cmd/internal/program internal/spare",
		modules: "github.com/coreos/go-systemd/v22 github.com/spf13/cobra golang.org/x/sync",
		tests:   "github.com/rogpeppe/go-internal",
	},
	"cmd/mqttbench/internal/proc":   {layer: leaf},
	"cmd/mqttbench/internal/report": {layer: leaf},
	"cmd/mqttbench/internal/peer":   {layer: mechanism, ours: "cmd/mqttbench/internal/proc"},
	"cmd/mqttbench/internal/link":   {layer: machinery, ours: "broker/packet internal/reactor lb/record", modules: "golang.org/x/sys"},
	"cmd/mqttbench/internal/node": {
		layer:   story,
		ours:    "broker/packet cmd/mqttbench/internal/link internal/reactor internal/socket",
		modules: "golang.org/x/sys",
	},
	"cmd/mqttbench/internal/load": {
		layer:   story,
		ours:    "broker/packet cmd/mqttbench/internal/link internal/reactor lb/record",
		modules: "github.com/HdrHistogram/hdrhistogram-go golang.org/x/sync golang.org/x/sys",
	},
	"cmd/mqttbench/internal/run": {layer: surface, ours: "cmd/mqttbench/internal/load cmd/mqttbench/internal/proc cmd/mqttbench/internal/report"},
	"cmd/mqttbench/internal/compare": {
		layer: surface,
		ours:  "certs/devca cmd/mqttbench/internal/load cmd/mqttbench/internal/peer cmd/mqttbench/internal/proc cmd/mqttbench/internal/report",
	},
	"cmd/mqttbench": {
		layer:   program,
		ours:    "cmd/internal/program cmd/mqttbench/internal/compare cmd/mqttbench/internal/load cmd/mqttbench/internal/node cmd/mqttbench/internal/peer cmd/mqttbench/internal/report cmd/mqttbench/internal/run",
		modules: "github.com/spf13/cobra",
		tests:   "github.com/rogpeppe/go-internal",
	},
	"cmd/mqttlb": {
		layer:   program,
		ours:    "certs/devca cmd/internal/program lb lb/admin lb/config",
		modules: "github.com/spf13/cobra golang.org/x/sync golang.org/x/sys",
		tests:   "github.com/rogpeppe/go-internal",
	},
	"examples": {layer: program},
	"examples/quickstart": {
		layer:   program,
		ours:    "broker broker/config certs/devca lb lb/admin",
		modules: "github.com/eclipse/paho.golang golang.org/x/sync",
	},
}

// forTests is who may know what only tests may know: nobody else.
const forTests = "tests"

// onlyFor names packages that few may know, and why.
var onlyFor = map[string]struct{ by, why string }{
	"lb/config":            {"lb lb/admin cmd/mqttlb", "a mechanism has options of its own; a configuration that everybody sees is one that nobody can change"},
	"broker/config":        {"broker broker/api cmd/mqttbroker examples/quickstart", "as lb/config"},
	"cmd/internal/program": {"cmd/mqttbench cmd/mqttbroker cmd/mqttlb", "it is how they are called, and nothing that they do"},
	"certs/devca":          {"cmd/mqttlb cmd/mqttbench/internal/compare examples/quickstart", "throw-away keys have no place in a server"},
	"internal/leaktest":    {forTests, "it would bring package testing into a program"},
	"internal/peertest":    {forTests, "as internal/leaktest"},
}

// top is what the top of the repository holds. It is the user's own: what is added there he should have asked for.
var top = strings.Fields(`broker certs cmd docs examples health internal lb go.mod go.sum README.md Dockerfile LICENSE`)

// A source is one Go file.
type source struct {
	name  string // from the top of the repository, with slashes
	dir   string // its package: the folder
	test  bool
	lines int
	tree  *ast.File
	set   *token.FileSet
}

func TestArchitecture(t *testing.T) {
	sources := read(t)
	t.Run("arrows", func(t *testing.T) { arrows(t, sources) })
	t.Run("reserved", func(t *testing.T) { reserved(t, sources) })
	t.Run("modules", func(t *testing.T) { modules(t, sources) })
	t.Run("top", topLevel)
}

// topLevel compares the top of the repository with top. What begins with a dot and what .gitignore has do not count.
func topLevel(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile("../.gitignore")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, ".") && !slices.Contains(top, name) && !strings.Contains("\n"+string(ignored), "\n/"+name) {
			t.Errorf("%s is at the top of the repository: find its place further down", name)
		}
	}
}

// read parses every Go file, for whatever system it is.
func read(t *testing.T) []source {
	t.Helper()
	var list []source
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != ".." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(filepath.ToSlash(name), "../")
		s := source{
			name: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			lines: strings.Count(string(text), "\n"), set: token.NewFileSet(),
		}
		s.tree, err = parser.ParseFile(s.set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		list = append(list, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no Go files: the test must run in the folder cmd of the repository")
	}
	return list
}

// imports are the paths that a file imports.
func (s source) imports() []string {
	var list []string
	for _, spec := range s.tree.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser has seen that it is a string
		list = append(list, p)
	}
	return list
}

// ours returns the package of ours that an import names.
func ours(importPath string) (dir string, yes bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// line names a place in a file.
func (s source) line(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", s.name, s.set.Position(pos).Line)
}

// A set of words.
type set map[string]bool

func words(list string) set {
	s := make(set)
	for _, w := range strings.Fields(list) {
		s[w] = true
	}
	return s
}

// beyond are the words of s that other lacks, in order.
func (s set) beyond(other set) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for w := range s {
			if !other[w] && !yield(w) {
				return
			}
		}
	})
}

// used collects what each package imports, as keep tells of each import of each file.
func used(sources []source, keep func(s source, importPath string) (name string, yes bool)) map[string]set {
	found := make(map[string]set)
	for _, s := range sources {
		if found[s.dir] == nil {
			found[s.dir] = make(set)
		}
		for _, p := range s.imports() {
			if name, yes := keep(s, p); yes {
				found[s.dir][name] = true
			}
		}
	}
	return found
}

// arrows compares the imports between packages of ours with the rows.
func arrows(t *testing.T, sources []source) {
	found := used(sources, func(s source, p string) (string, bool) {
		dir, yes := ours(p)
		return dir, yes && !s.test
	})
	for dir, imports := range found {
		r, known := packages[dir]
		if !known {
			t.Errorf("package %s has no row in cmd/arch_test.go: write down its layer and what it may import", dir)
			continue
		}
		for _, p := range imports.beyond(words(r.ours)) {
			t.Errorf("%s imports %s, which its row in cmd/arch_test.go does not have: do without, or write it down and say in the review why", dir, p)
		}
		for _, p := range words(r.ours).beyond(imports) {
			t.Errorf("the row of %s in cmd/arch_test.go has %s, which it does not import: take it out", dir, p)
		}
		for p := range imports {
			if packages[p].layer >= r.layer {
				t.Errorf("%s (layer %d) imports %s (layer %d): imports go downward only; move what both need below both", dir, r.layer, p, packages[p].layer)
			}
		}
	}
	for dir := range packages {
		if found[dir] == nil {
			t.Errorf("cmd/arch_test.go has a row for %s, which is no package: take it out", dir)
		}
	}
}

// reserved checks who imports the packages that few may know. Every test may.
func reserved(t *testing.T, sources []source) {
	for _, s := range sources {
		for _, p := range s.imports() {
			dir, _ := ours(p)
			rule, limited := onlyFor[dir]
			if limited && !s.test && !words(rule.by)[s.dir] {
				t.Errorf("%s imports %s, which is only for %s: %s", s.name, dir, rule.by, rule.why)
			}
		}
	}
}

// modules compares imports from other modules with the rows, go.mod, and docs/dependencies.md.
func modules(t *testing.T, sources []source) {
	required := requirements(t)
	direct := make(set)
	for _, test := range []bool{false, true} {
		found := used(sources, func(s source, p string) (string, bool) {
			if dot := strings.Index(p, "."); dot < 0 || dot > strings.Index(p+"/", "/") || s.test != test {
				return "", false // the standard library's, or not asked for
			}
			if _, yes := ours(p); yes || p == module {
				return "", false
			}
			return moduleOf(p, required), true
		})
		for dir, imports := range found {
			r, column := packages[dir], "modules"
			listed, allowed := words(r.modules), words(r.modules)
			if test {
				listed, allowed, column = words(r.tests), words(r.modules+" "+r.tests), "tests"
			}
			for _, m := range imports.beyond(allowed) {
				t.Errorf("%s imports %s, which is not among the %s of its row in cmd/arch_test.go: do without, or write it down", dir, m, column)
			}
			for _, m := range listed.beyond(imports) {
				t.Errorf("the row of %s in cmd/arch_test.go has %s among its %s, which it does not import: take it out", dir, m, column)
			}
			maps.Copy(direct, imports)
		}
	}
	described(t, required, direct)
}

// moduleOf is the module that a package belongs to: the longest of go.mod that it is below.
func moduleOf(importPath string, required map[string]string) string {
	best := ""
	for m := range required {
		if (importPath == m || strings.HasPrefix(importPath, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return cmp.Or(best, importPath)
}

// requirements reads go.mod: each module that it requires or has a tool of, and what follows it there, a version or "tool".
func requirements(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	require := regexp.MustCompile(`(?m)^(?:require)?\s+([^\s()]+\.[^\s()]+) (v[^\n]*)$`)
	for _, m := range require.FindAllStringSubmatch(string(text), -1) {
		found[m[1]] = m[2]
	}
	tool := regexp.MustCompile(`(?m)^(?:tool |\t)([^\s()]+)$`)
	for _, m := range tool.FindAllStringSubmatch(string(text), -1) {
		found[moduleOf(m[1], found)] = "tool"
	}
	return found
}

// described compares the modules that we use ourselves with docs/dependencies.md, where each has
// an entry that begins with "- `module`: ".
func described(t *testing.T, required map[string]string, direct set) {
	t.Helper()
	for m, version := range required {
		if version == "tool" || !strings.HasSuffix(version, "// indirect") {
			direct[m] = true
		}
	}
	text, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	written := make(set)
	for _, m := range regexp.MustCompile("(?m)^- `([^`]+)`: +\\S").FindAllStringSubmatch(string(text), -1) {
		written[m[1]] = true
	}
	for _, m := range direct.beyond(written) {
		t.Errorf("docs/dependencies.md does not say what %s is for: add \"- `%[1]s`: …\", with why it is a library's work and not ours", m)
	}
	for _, m := range written.beyond(direct) {
		t.Errorf("docs/dependencies.md has an entry for %s, which nothing uses: take it out, and run go mod tidy", m)
	}
}
