package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// A document is a YAML text that is being read: the configuration itself or a servers file.
type document struct {
	name string // what its problems are filed under
	file string // its absolute path
	seen sum    // of its content
	list string // path of the list that a servers file continues; "" for the configuration
	from int    // the index in that list of its first element
}

// shown returns the path as it is seen from within the document: what the configuration calls
// backends[0].servers[3].weight may be [1].weight in the servers file.
func (d *document) shown(path string) string {
	rest, ok := strings.CutPrefix(path, d.list)
	if d.list == "" || !ok {
		return path
	}
	if rest == "" {
		return ""
	}
	var index int
	if _, err := fmt.Sscanf(rest, "[%d]", &index); err != nil {
		return path
	}
	return fmt.Sprintf("[%d]%s", index-d.from, rest[strings.IndexByte(rest, ']')+1:])
}

// A value is a node of a document and its place in the configuration.
type value struct {
	*reader
	doc  *document
	node *yaml.Node // never an alias
	path string
}

// maxValues bounds how many values are read, each as often as an alias repeats it: a few
// kilobytes of aliases to long lists must not become gigabytes. The biggest text without an
// alias has fewer: a server takes 26 bytes and makes three.
const maxValues = 1 << 19

// at returns the node as the value at path, and remembers its line.
func (r *reader) at(doc *document, node *yaml.Node, path string) value {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	r.values++
	r.lines[path] = position{doc, node.Line}
	return value{r, doc, node, path}
}

// full says whether too much was read already, or found wrong, to go on; the former is noted.
func (v value) full() bool {
	if v.values == maxValues {
		v.values++
		v.wrong("more than %d values in all; is an alias (*name) repeated too often?", maxValues)
	}
	return v.values > maxValues || len(v.problems) == maxProblems
}

// wrong notes what is wrong with the value.
func (v value) wrong(format string, args ...any) {
	v.note(position{v.doc, v.node.Line}, v.path, fmt.Sprintf(format, args...))
}

// wrongFile notes what is wrong with the file that the value names.
func (v value) wrongFile(file string, what string) {
	v.mark(v.path)
	v.add(Problem{
		File: v.doc.name, Line: v.node.Line, Path: v.doc.shown(v.path), What: what,
		cure: file, seen: v.named[file].sum,
	})
}

// key returns the path of a key of the value.
func (v value) key(name string) string {
	if v.path == "" {
		return name
	}
	return v.path + "." + name
}

// given says whether the mapping v spells out the key.
func (v value) given(key string) bool {
	_, ok := v.lines[v.key(key)]
	return ok
}

// fine says whether nothing is wrong with the keys of v and what is in them, as far as is known:
// rules about several keys are silent about values that were refused already.
func (v value) fine(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool { return v.bad[v.key(key)] })
}

// require notes each of the keys that the mapping v lacks, unless a misspelt one was taken for it.
func (v value) require(keys ...string) {
	for _, key := range keys {
		if v.node.Kind == yaml.MappingNode && !v.given(key) && v.fine(key) {
			v.failf(v.key(key), "is missing")
		}
	}
}

// fields says how each key of a mapping is read.
type fields map[string]func(value)

// object reads a mapping: every key at most once, and none that is not of the fields.
func (v value) object(f fields) {
	if !v.is(yaml.MappingNode, "a mapping (key: value)") {
		return
	}
	first := make(map[string]int) // the lines of the keys
	for i := 0; i+1 < len(v.node.Content) && !v.full(); i += 2 {
		key := v.keyName(v.node.Content[i])
		switch line, again := first[key]; {
		case key == "":
			for missing := range f { // any of them may be what was meant
				v.mark(v.key(missing))
			}
		case again:
			v.wrongKey(key, v.node.Content[i], "given twice, first at line %d; delete one", line)
		default:
			first[key] = v.node.Content[i].Line
			v.field(key, i, f)
		}
	}
}

// field reads the value of the key at index i of the mapping's content.
func (v value) field(key string, i int, f fields) {
	read, known := f[key]
	if !known {
		keys := slices.Sorted(maps.Keys(f))
		v.wrongKey(key, v.node.Content[i], "unknown key; %s", insteadOf(key, keys))
		if meant := nearest(key, keys); meant != "" {
			v.mark(v.key(meant))
		}
		return
	}
	field := v.at(v.doc, v.node.Content[i+1], v.key(key))
	if field.node.ShortTag() == "!!null" && field.untagged() {
		field.wrong(`has no value; write one or delete the line ("" is the empty text, [] the empty list)`)
		return
	}
	read(field)
}

// wrongKey notes what is wrong with a key of the mapping v, at the key's own line.
func (v value) wrongKey(name string, node *yaml.Node, format string, args ...any) {
	v.note(position{v.doc, node.Line}, v.key(name), fmt.Sprintf(format, args...))
}

// keyName returns the name of a key, or "" after noting what is wrong with it.
func (v value) keyName(node *yaml.Node) string {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case node.ShortTag() == "!!merge":
		v.wrongKey("<<", node, "merge keys are not supported; repeat the keys, or share a whole value by *name")
	case node.Kind != yaml.ScalarNode || node.Value == "":
		v.wrongKey("?", node, "a key must be a plain word")
	case redact.Secret(node.Value):
		v.wrongKey("?", node, "unknown key; it is %s", redact.Bare(node.Value))
	default:
		return node.Value
	}
	return ""
}

// list reads a sequence of at most limit elements.
func (v value) list(limit int, read func(value)) {
	v.elements(0, limit, read)
}

// elements is list where the first element has the index from.
func (v value) elements(from, limit int, read func(value)) {
	if !v.is(yaml.SequenceNode, "a list") {
		return
	}
	if len(v.node.Content) > limit {
		v.wrong("has %d elements; at most %d are possible", len(v.node.Content), limit)
		return
	}
	for i, node := range v.node.Content {
		if v.full() {
			return
		}
		read(v.at(v.doc, node, fmt.Sprintf("%s[%d]", v.path, from+i)))
	}
}

// is says whether the value is of the kind, and notes it when it is not.
func (v value) is(kind yaml.Kind, want string) bool {
	if !v.untagged() {
		v.wrong("the tag %s is not understood; delete it", redact.Bare(v.node.Tag))
		return false
	}
	if v.node.Kind != kind {
		v.wrong("must be %s, not %s", want, v.described())
		return false
	}
	return true
}

// untagged says whether the value goes without an explicit tag such as !!binary.
func (v value) untagged() bool { return v.node.Style&yaml.TaggedStyle == 0 }

// described returns what the value is, in words. Of the root of a document it says only of which kind it is:
// a document that is one text is a key or a token whose file was named in the place of another.
func (v value) described() string {
	switch v.node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	s, hidden := v.node.Value, v.doc.shown(v.path) == "" || redact.Secret(v.node.Value)
	switch tag := v.node.ShortTag(); {
	case tag == "!!null":
		return "nothing"
	case hidden && (tag == "!!int" || tag == "!!float"):
		return fmt.Sprintf("a number of %d bytes", len(s))
	case hidden:
		return fmt.Sprintf("a text of %d bytes", len(s))
	case tag == "!!str":
		return "the text " + redact.Quote(s)
	case tag == "!!bool":
		return s
	case tag == "!!int", tag == "!!float":
		return "the number " + s
	default:
		return redact.Quote(s)
	}
}
