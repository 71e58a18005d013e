package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one thing that is wrong with a configuration, and where.
type Problem struct {
	File string // as the operator named it; a servers file as it is reached from the same folder
	Line int    // from 1; 0 when no line can be named, as for a file that cannot be read
	Path string // of the field: "listeners[1].tls.certificates[0].key"; "" for the whole file
	What string // what is wrong, and what to try

	// Which file's change may solve it and what that held when it was read, for Watcher; "" for
	// no file beside the configuration itself.
	cure string
	seen sum
}

// String returns the problem as `FILE:LINE: path.to.field: what is wrong`; parts that are not
// known are left out.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	b.WriteString(": " + p.What)
	return b.String()
}

// Problems is the error of Load and Parse: everything that is wrong, in the order of the files
// and their lines. Reach it with errors.As.
type Problems []Problem

// Error returns one line for each problem, without a newline at the end.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Problem returns a problem with the field at path, for whoever finds something wrong that
// only shows when the configuration is applied: a certificate that is none, an address that is
// taken. A path that the file does not spell out gets the line of the nearest part that it does.
func (c *Config) Problem(path, what string) Problem {
	p := Problem{File: c.Path, Path: path, What: what}
	if at, ok := c.source.find(path); ok {
		p.File, p.Line = at.doc.name, at.line
	}
	return p
}

// A source is where the parts of a configuration came from. The zero source knows nothing.
type source struct {
	lines map[string]position // by path, of everything that the files spell out
	sums  map[string]sum      // by absolute path, of every file read, from before anyone else read it
}

// A position is a line of a document.
type position struct {
	doc  *document
	line int
}

// find returns the position of the field at path, or of the nearest part around it.
func (s source) find(path string) (position, bool) {
	for {
		if at, ok := s.lines[path]; ok {
			return at, true
		}
		if path == "" {
			return position{}, false
		}
		path = parent(path)
	}
}

// parent returns the path of what the field at path is a part of; "" is the whole.
func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// maxProblems bounds what one bad file can make us keep and print. Nobody reads further.
const maxProblems = 1000

// failf notes that something is wrong with the field at path, which the files may not spell out.
func (r *reader) failf(path, format string, args ...any) {
	at, _ := source{lines: r.lines}.find(path) // the whole text at least
	r.note(at, path, fmt.Sprintf(format, args...))
}

// mark remembers that something is wrong with the field at path, and so with all that it is a part of.
func (r *reader) mark(path string) {
	for ; path != "" && !r.bad[path]; path = parent(path) {
		r.bad[path] = true
	}
}

// note keeps what is wrong with the field at path.
func (r *reader) note(at position, path, what string) {
	r.mark(path)
	p := Problem{File: at.doc.name, Line: at.line, Path: at.doc.shown(path), What: what}
	if at.doc != r.docs[0] {
		p.cure, p.seen = at.doc.file, at.doc.seen
	}
	r.add(p)
}

// add keeps p, unless there are too many already.
func (r *reader) add(p Problem) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, p)
	}
}

// sorted returns the problems by file, the configuration's own first, and by line; each once,
// since a list that several places share through an alias is read as often.
func (r *reader) sorted() Problems {
	rank := make(map[string]int)
	for i, doc := range r.docs {
		if _, ok := rank[doc.name]; !ok {
			rank[doc.name] = i
		}
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line))
	})
	told := make(map[string]bool, len(r.problems))
	return slices.DeleteFunc(r.problems, func(p Problem) bool {
		again := told[p.String()]
		told[p.String()] = true
		return again
	})
}
