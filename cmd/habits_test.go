package cmd_test

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Budgets. A reader takes in so much at once; what is larger is two things.
const (
	maxFunctionLines = 60
	maxFileLines     = 400
	maxTestLines     = 600  // of a test's file
	maxPackageLines  = 2000 // without tests
	maxMethods       = 4    // of an interface
	maxParameters    = 5    // of a function, without the receiver
)

// An allowance lets one thing be larger than its budget.
type allowance struct {
	max int
	why string
}

// allowances are the exceptions, by what the failure calls it.
var allowances = map[string]allowance{
	"broker":        {3200, "the whole life of a node's connections and sessions, with who may do what (access.go), what is kept on disk (keep.go), what an operator asks and does (inspect.go, operate.go) and $SYS (system.go), 1,100 lines, which need the sessions' own locks; mechanisms are packages below"},
	"broker/packet": {2200, "one file for each of MQTT's fifteen packets, which nobody reads in one go"},
	"lb":            {3080, "the whole life of a connection and of a configuration, with what the outside is told of it (status.go, 280 lines) and what connections lie in and are served by (live.go, plane.go, 290); mechanisms are packages below"},
	"lb/config":     {2960, "every rule of the file with the words for who has broken it; the rules are about each other"},

	"broker/topic/tree_test.go func TestMatchRules": {75, "a table: a row for each sentence of the specification"},
	"lb/hostile_test.go func TestHostileClients":    {75, "a table: a row for each kind of bad client"},
}

// sleeps names the tests' files that may call time.Sleep outside of a synctest bubble's own function, and why.
var sleeps = map[string]string{
	"broker/node_test.go":                "of a deadline loop: nothing tells when what it waits for is there",
	"broker/conformance/harness_test.go": "as broker/node_test.go",
	"health/fleet_test.go":               "called in a synctest bubble only",
	"health/probe_mqtt_test.go":          "between two bytes, so that each travels alone; nothing is waited for",
	"internal/leaktest/leaktest.go":      "of a deadline loop: nothing tells when a descriptor closes",
	"lb/harness_test.go":                 "of a deadline loop: nothing tells when what it waits for is there",
}

// system names the packages that may go past Go's own libraries to the system: unsafe, linkname, golang.org/x/sys, and of syscall
// more than the names of errors and signals.
var system = map[string]string{
	"cmd/mqttbench/internal/link": "it has raw descriptors, and closes them",
	"cmd/mqttbench/internal/load": "addresses without ports before connect, timers between milliseconds, and descriptors for its loops",
	"cmd/mqttbench/internal/node": "as link",
	"cmd/mqttlb":                  "systemd wants CLOCK_MONOTONIC, which package time keeps to itself",
	"health":                      "a probe that answers SYN/ACK with RST needs options that net does not set",
	"internal/listen":             "SO_REUSEPORT",
	"internal/peertest":           "a socket that holds a port and does not listen",
	"internal/reactor":            "epoll, and system calls that cannot block without telling the scheduler",
	"internal/slab":               "memory that the collector does not know",
	"internal/socket":             "descriptors that can be taken out of a connection",
	"lb":                          "RLIMIT_NOFILE decides how many connections are let in",
	"broker/wire":                 "as lb/relay",
	"lb/relay":                    "it has raw descriptors: shutdown and close",
}

func TestHabits(t *testing.T) {
	sources := read(t)
	t.Run("budgets", func(t *testing.T) { budgets(t, sources) })
	t.Run("habits", func(t *testing.T) { habits(t, sources) })
	t.Run("system", func(t *testing.T) { systemCalls(t, sources) })
	t.Run("documentation", func(t *testing.T) { documentation(t, sources) })
}

// A ledger compares sizes with budgets.
type ledger struct {
	t    *testing.T
	used set
}

func (l *ledger) check(what string, size, budget int, unit, advice string) {
	l.t.Helper()
	if size <= budget {
		return
	}
	a, allowed := allowances[what]
	l.used[what] = allowed
	switch {
	case !allowed:
		l.t.Errorf("%s: %d %s, the budget is %d: %s, or write an allowance with its reason into cmd/habits_test.go", what, size, unit, budget, advice)
	case size > a.max:
		l.t.Errorf("%s: %d %s, its allowance in cmd/habits_test.go is %d (%s): %s", what, size, unit, a.max, a.why, advice)
	}
}

func budgets(t *testing.T, sources []source) {
	l := &ledger{t, make(set)}
	size := make(map[string]int)
	for _, s := range sources {
		l.check(s.name, s.lines, budgetOf(s), "lines", "split it where it changes its subject")
		if !s.test {
			size[s.dir] += s.lines
		}
		for node := range ast.Preorder(s.tree) {
			l.node(s, node)
		}
	}
	for dir, lines := range size {
		l.check(dir, lines, maxPackageLines, "lines", "find the mechanism in it that can be a package of its own")
	}
	for what := range allowances {
		if !l.used[what] {
			t.Errorf("the allowance for %q in cmd/habits_test.go is not needed: take it out", what)
		}
	}
}

func budgetOf(s source) int {
	if s.test {
		return maxTestLines
	}
	return maxFileLines
}

// node checks one function or type.
func (l *ledger) node(s source, node ast.Node) {
	switch n := node.(type) {
	case *ast.FuncDecl:
		what := fmt.Sprintf("%s func %s%s", s.name, receiver(n), n.Name.Name)
		lines := s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1
		l.check(what, lines, maxFunctionLines, "lines", "make it a list of steps")
		l.check(what+" parameters", n.Type.Params.NumFields(), maxParameters, "parameters", "some of them are one thing that lacks a name")
	case *ast.TypeSpec:
		if i, ok := n.Type.(*ast.InterfaceType); ok {
			what := fmt.Sprintf("%s interface %s", s.name, n.Name.Name)
			l.check(what, i.Methods.NumFields(), maxMethods, "methods", "let each consumer declare what it needs")
		}
	}
}

// receiver is the type of a method with a dot, or nothing.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	return base(f.Recv.List[0].Type) + "."
}

// base is the name of a receiver's type.
func base(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return base(e.X)
	case *ast.IndexExpr:
		return base(e.X)
	case *ast.IndexListExpr:
		return base(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// habits are rules that hold everywhere. What a comment may not say is written in two parts here.
func habits(t *testing.T, sources []source) {
	left := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	slept := make(set)
	for _, s := range sources {
		for _, group := range s.tree.Comments {
			if word := left.FindString(group.Text()); word != "" {
				t.Errorf("%s: %s: do it, or leave it and say in the documentation what is not there", s.line(group.Pos()), word)
			}
		}
		for _, d := range s.tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: make it a call that one can see, or a table", s.line(f.Pos()))
			}
		}
		for _, call := range calls(s.tree, "time", "Sleep", "synctest", "Test") {
			slept[s.name] = true
			if sleeps[s.name] == "" {
				t.Errorf("%s: time.Sleep: wait for the thing, with a deadline; synctest is for timing. Or write the file and the reason into cmd/habits_test.go", s.line(call.Pos()))
			}
		}
	}
	for name := range sleeps {
		if !slept[name] {
			t.Errorf("%s sleeps no longer: take it out of cmd/habits_test.go", name)
		}
	}
}

// calls are the calls of pkg.name in a tree, but for those within the arguments of a call of bubblePkg.bubble,
// where the clock is not the real one.
func calls(tree ast.Node, pkg, name, bubblePkg, bubble string) []*ast.CallExpr {
	var list []*ast.CallExpr
	ast.Inspect(tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if selects(call.Fun, pkg, name) {
			list = append(list, call)
		}
		return !selects(call.Fun, bubblePkg, bubble)
	})
	return list
}

func selects(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg && s.Sel.Name == name
}

// systemCalls finds what goes to the system directly. Tests may.
func systemCalls(t *testing.T, sources []source) {
	found := make(set)
	for _, s := range sources {
		if s.test {
			continue
		}
		for _, what := range raw(s) {
			found[s.dir] = true
			if system[s.dir] == "" {
				t.Errorf("%s uses %s: Go's own libraries may do; or write the package and the reason into cmd/habits_test.go", s.name, what)
			}
		}
	}
	for dir := range system {
		if !found[dir] {
			t.Errorf("%s uses the system no longer: take it out of cmd/habits_test.go", dir)
		}
	}
}

// raw lists what a file uses of the system. Errors and signals have their names in package syscall, and
// nowhere else.
func raw(s source) []string {
	harmless := regexp.MustCompile(`^(E[A-Z0-9]+|SIG[A-Z0-9]+|Errno|Signal|Conn|RawConn)$`)
	var list []string
	for _, p := range s.imports() {
		if p == "unsafe" || p == "C" || strings.HasPrefix(p, "golang.org/x/sys/") {
			list = append(list, p)
		}
	}
	for node := range ast.Preorder(s.tree) {
		switch n := node.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "syscall" && !harmless.MatchString(n.Sel.Name) {
				list = append(list, "syscall."+n.Sel.Name)
			}
		case *ast.Comment:
			if strings.HasPrefix(n.Text, "//go:linkname") {
				list = append(list, "go:linkname")
			}
		}
	}
	return list
}

// documentation wants a comment for every package and every exported name. A package that others build on
// says at the end of its comment why it is as it is.
func documentation(t *testing.T, sources []source) {
	code := make(set) // packages that are more than tests
	for _, s := range sources {
		code[s.dir] = code[s.dir] || !s.test
	}
	comments := make(map[string][]string)
	for _, s := range sources {
		if s.test && code[s.dir] {
			continue
		}
		comments[s.dir] = append(comments[s.dir], s.tree.Doc.Text())
		if !s.test {
			undocumented(t, s)
		}
	}
	for dir, list := range comments {
		list = slices.DeleteFunc(list, func(text string) bool { return text == "" })
		switch {
		case len(list) == 0:
			t.Errorf("package %s has no comment: write a doc.go with what it is, five lines of usage, its invariants, and why", dir)
		case len(list) > 1:
			t.Errorf("package %s has %d comments: keep one, in doc.go", dir, len(list))
		case packages[dir].layer < program && onlyFor[dir].by != forTests && !strings.Contains(list[0], "\n# Why\n"):
			t.Errorf("the comment of package %s lacks its section \"# Why\": what was chosen over what, and at which cost", dir)
		}
	}
}

// undocumented finds the exported names of a file that have no comment.
func undocumented(t *testing.T, s source) {
	for _, d := range s.tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || ast.IsExported(base(d.Recv.List[0].Type))) {
				t.Errorf("%s: %s%s is exported: say what it does, who may call it, and when it fails", s.line(d.Pos()), receiver(d), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				for _, name := range bare(d, spec) {
					t.Errorf("%s: %s is exported: say what it is, in which unit, and who owns it", s.line(name.Pos()), name.Name)
				}
			}
		}
	}
}

// bare lists the exported names of a type, constant or variable that have no comment, and the methods of
// an interface. A group's comment is good for its constants and variables.
func bare(d *ast.GenDecl, spec ast.Spec) []*ast.Ident {
	var list []*ast.Ident
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		if d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
			list = spec.Names
		}
	case *ast.TypeSpec:
		if d.Doc == nil && spec.Doc == nil {
			list = append(list, spec.Name)
		}
		if i, ok := spec.Type.(*ast.InterfaceType); ok && spec.Name.IsExported() {
			for _, m := range i.Methods.List {
				if m.Doc == nil && m.Comment == nil {
					list = append(list, m.Names...)
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(n *ast.Ident) bool { return !n.IsExported() })
}
