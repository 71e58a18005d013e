package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// maxFile bounds the file, in bytes: a thousand times what a long one takes.
const maxFile = 1 << 20

// Load reads and checks a file. The error is Problems, or that of reading the file.
func Load(file string) (Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(file, text)
}

// Parse reads and checks the text of a file, which lends its name to the problems and its
// folder to relative paths.
func Parse(file string, text []byte) (Config, error) {
	r := &reader{lines: make(map[string]int)}
	c := defaults()
	c.File = file
	root, err := document(text)
	if err != nil {
		return Config{}, Problems{{File: file, What: err.Error()}}
	}
	if root != nil {
		r.config(value{r, root, ""}, &c)
	}
	if _, given := r.lines["listeners"]; !given {
		c.Listeners = Default().Listeners
	}
	resolve(&c, filepath.Dir(file))
	var k checker
	k.config(&c)
	problems := append(r.problems, unread(k.problems, r.problems)...)
	if len(problems) == 0 {
		c.lines = r.lines
		return c, nil
	}
	problems.locate(file, r.lines)
	return Config{}, problems
}

// unread leaves out what follows from a field that could not be read: one mistake is one line.
func unread(found, before Problems) Problems {
	bad := make(map[string]bool, len(before))
	for _, p := range before {
		bad[p.Path] = true
	}
	return slices.DeleteFunc(found, func(p Problem) bool {
		for path := p.Path; path != ""; path = path[:max(strings.LastIndexAny(path, ".["), 0)] {
			if bad[path] {
				return true
			}
		}
		return false
	})
}

// document returns the root of the one YAML document in text, nil when there is nothing in it.
func document(text []byte) (root *yaml.Node, err error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("the file is larger than %d bytes", maxFile)
	}
	defer func() { // yaml.v3 panics at a few texts that it cannot parse
		if p := recover(); p != nil {
			root, err = nil, fmt.Errorf("not valid YAML: %v", p)
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	if err := d.Decode(&first); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, notYAML(err)
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document; keep the first and delete from the second --- on")
	}
	root = first.Content[0]
	if root.ShortTag() == "!!null" {
		return nil, nil
	}
	return root, nil
}

// aliases finds what the messages of yaml.v3 repeat of the text: an alias. A token that starts with * is one.
var aliases = regexp.MustCompile(`'[^']*'`)

// notYAML says what the parser did, without what may be a secret.
func notYAML(err error) error {
	return errors.New("not valid YAML: " + aliases.ReplaceAllStringFunc(err.Error(), redact.Bare))
}

// resolve makes paths that are relative to the file's folder independent of where the program runs.
func resolve(c *Config, folder string) {
	for i := range c.Listeners {
		if t := c.Listeners[i].TLS; t != nil {
			t.Cert, t.Key = under(folder, t.Cert), under(folder, t.Key)
		}
	}
	for _, path := range []*string{&c.DataDir, &c.Auth.UsersFile, &c.ACLFile, &c.API.TokenFile, &c.Dashboard.TokenFile} {
		*path = under(folder, *path)
	}
}

func under(folder, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}
