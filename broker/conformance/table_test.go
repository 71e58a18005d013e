package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/conformance.md instead of comparing it")

// tableFile is what TestTable keeps up to date.
const tableFile = "../../docs/conformance.md"

// specification is one of those that the node is held against.
type specification struct {
	title   string
	name    string // of its files in testdata
	prefix  string // of its tests
	section string // the standard that the numbers come from
}

var specifications = []specification{
	{"MQTT 5", "v5", "TestV5_", "OASIS Standard of 7 March 2019, appendix B"},
	{"MQTT 3.1.1", "v311", "TestV311_", "OASIS Standard of 29 October 2014 with Errata 01, appendix B"},
}

// statement is one line of a specification's list.
type statement struct {
	number string // as in MQTT-3.1.0-1
	binds  string // server, client or both
	text   string
	test   string // name of its test, or ""
	reason string // why there is none, or ""
}

// server reports whether the statement concerns a server.
func (s statement) server() bool { return s.binds != "client" }

// TestTable holds the lists of statements against the tests that there are, and against docs/conformance.md.
func TestTable(t *testing.T) {
	tests := testNames(t)
	var doc bytes.Buffer
	doc.WriteString(preface)
	for _, spec := range specifications {
		statements := spec.read(t)
		spec.find(t, statements, tests)
		for _, s := range statements {
			if s.server() && s.test == "" && s.reason == "" {
				t.Errorf("%s of %s has neither a test nor a reason: write %s, or a line in testdata/%s-reasons.txt",
					s.number, spec.title, spec.testOf(s.number), spec.name)
			}
		}
		if len(statements) > 0 {
			spec.render(&doc, statements)
		}
	}
	if *update {
		if err := os.WriteFile(tableFile, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(tableFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if !bytes.Equal(old, doc.Bytes()) {
		t.Error("docs/conformance.md is not what the lists and the tests say: run go test ./broker/conformance -run TestTable -update")
	}
}

// testNames returns the test functions of this folder.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// testOf returns the name of the test of a statement: TestV5_3_1_0_1 for MQTT-3.1.0-1.
func (spec specification) testOf(number string) string {
	return spec.prefix + strings.NewReplacer(".", "_", "-", "_").Replace(strings.TrimPrefix(number, "MQTT-"))
}

// read reads the list, none if there is none yet, and the reasons.
func (spec specification) read(t *testing.T) []statement {
	t.Helper()
	var statements []statement
	at := make(map[string]int)
	for _, line := range lines(t, spec.name+".txt") {
		number, rest, _ := strings.Cut(line, " ")
		binds, text, _ := strings.Cut(rest, " ")
		if _, again := at[number]; again || !strings.HasPrefix(number, "MQTT-") || text == "" {
			t.Errorf("%s.txt: %q is a second line for its number, or not of the form MQTT-1.2.3-4 WHOM WHAT", spec.name, line)
		}
		if binds != "server" && binds != "client" && binds != "both" {
			t.Errorf("%s.txt: %s binds %q, which is none of server, client and both", spec.name, number, binds)
		}
		at[number] = len(statements)
		statements = append(statements, statement{number: number, binds: binds, text: text})
	}
	for _, line := range lines(t, spec.name+"-reasons.txt") {
		number, reason, _ := strings.Cut(line, " ")
		i, known := at[number]
		if !known || reason == "" || statements[i].reason != "" {
			t.Errorf("%s-reasons.txt: %q is for a statement that is not in the list, a second one, or gives no reason", spec.name, line)
			continue
		}
		statements[i].reason = reason
	}
	return statements
}

// lines returns the lines of a file in testdata.
func lines(t *testing.T, name string) (list []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		list = append(list, s.Text())
	}
	return list
}

// find notes the tests, and reports those that belong to no statement or to one that has a reason as well.
func (spec specification) find(t *testing.T, statements []statement, tests map[string]bool) {
	t.Helper()
	used := make(map[string]bool)
	for i := range statements {
		s := &statements[i]
		name := spec.testOf(s.number)
		if !tests[name] {
			continue
		}
		s.test = name
		used[name] = true
		if s.reason != "" {
			t.Errorf("%s-reasons.txt says why %s has no test, but there is %s: remove one of them", spec.name, s.number, name)
		}
	}
	for name := range tests {
		if strings.HasPrefix(name, spec.prefix) && !used[name] {
			t.Errorf("%s is named after no statement in testdata/%s.txt", name, spec.name)
		}
	}
	for _, s := range statements {
		for _, name := range testName.FindAllString(s.reason, -1) {
			if !tests[name] {
				t.Errorf("%s-reasons.txt: %s refers to %s, which is not there", spec.name, s.number, name)
			}
		}
	}
}

// testName is how a reason refers to a test of this folder.
var testName = regexp.MustCompile(`Test(V[0-9]+_[0-9_]+|MQTT31[A-Za-z0-9]*)`)

const preface = `# Conformance

What the specifications of MQTT ask for, statement by statement, and the test in ` + "`broker/conformance`" + ` that holds a node
against it over TCP. The statements are given in our own, shorter words; the numbers lead to the specification's. A
statement that binds clients alone has a test where the node has to do something about a client that breaks it.

This file is made by a test; after a change of the lists or the tests:

    go test ./broker/conformance -run TestTable -update
`

// render writes the section of one specification.
func (spec specification) render(w *bytes.Buffer, statements []statement) {
	var servers, tested, clients, reasons int
	for _, s := range statements {
		switch {
		case !s.server():
			clients++
		case s.test != "":
			servers++
			tested++
		default:
			servers++
			reasons++
		}
	}
	fmt.Fprintf(w, "\n## %s\n\n%s: %d statements. Of the %d that concern a server %d have a test and %d a reason; %d bind clients alone.\n",
		spec.title, spec.section, len(statements), servers, tested, reasons, clients)
	fmt.Fprint(w, "\n| number | binds | what it asks for | test, or why there is none |\n| --- | --- | --- | --- |\n")
	for _, s := range statements {
		last := s.reason
		switch {
		case s.test != "":
			last = "`" + s.test + "`"
		case last == "":
			last = s.binds
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", s.number, s.binds, strings.ReplaceAll(s.text, "|", "\\|"), last)
	}
}
