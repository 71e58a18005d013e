package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one thing that is wrong with a configuration, and where.
type Problem struct {
	File string // as the operator named it; "" for a configuration that a program made
	Line int    // from 1; 0 when no line can be named
	Path string // of the field: "listeners[1].tls.cert"; "" for the whole file
	What string // what is wrong, and what to try
}

// String returns the problem as `FILE:LINE: path.to.field: what is wrong`; what is not known is left out.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	return b.String() + p.What
}

// Problems is the error of Load, Parse and Check: everything that is wrong, in the order of the lines. Reach
// it with errors.As.
type Problems []Problem

// Error returns one line for each problem, without a newline at the end.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// locate gives problems their file and line. A path that the file does not spell out gets the
// line of the nearest part around it that it does.
func (ps Problems) locate(file string, lines map[string]int) {
	for i := range ps {
		p := &ps[i]
		p.File = file
		for path := p.Path; p.Line == 0 && path != ""; {
			p.Line = lines[path]
			path = path[:max(strings.LastIndexAny(path, ".["), 0)]
		}
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}

// Problem returns a problem with the field at path, for what only shows when the configuration is applied: a
// certificate that is none. It has the line of the nearest part around the field that the file spells out.
func (c *Config) Problem(path string, err error) Problem {
	ps := Problems{{Path: path, What: err.Error()}}
	ps.locate(c.File, c.lines)
	return ps[0]
}
