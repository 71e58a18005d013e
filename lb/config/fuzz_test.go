package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse feeds Parse any text, which names files that all hold another: it must never panic,
// say where each problem is, and find a good configuration to be no different from itself.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, []byte("- {name: f1, address: 127.0.0.1:1}"))
		f.Add([]byte("listeners: [{name: a, listen: ':1', backend: b}]\nbackends: [{name: b, servers_file: s}]"), text)
	}
	f.Fuzz(func(t *testing.T, text, servers []byte) {
		read := func(string) ([]byte, error) { return servers, nil }
		c, err := Parse("mqttlb.yaml", text, read)
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v", c, err)
		}
		if err != nil {
			checkProblems(t, err)
			return
		}
		again, err := Parse("mqttlb.yaml", text, read)
		if err != nil {
			t.Fatalf("valid once, then not: %v", err)
		}
		if change := Diff(c, again); !change.Empty() || c.Hash != again.Hash {
			t.Errorf("different from itself: %s", change)
		}
	})
}

// checkProblems checks that every problem says what and where.
func checkProblems(t *testing.T, err error) {
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 || len(problems) > maxProblems {
		t.Fatalf("the error is a %T of %d problems: %v", err, len(problems), err)
	}
	for _, p := range problems {
		if p.File == "" || p.Line < 1 || p.What == "" {
			t.Errorf("half a problem: %#v", p)
		}
	}
}
