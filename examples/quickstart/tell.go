package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// The shape of the page, in columns: an ordinary terminal.
const (
	pageWidth  = 78
	textIndent = "   "
	showIndent = "       "
)

// A teller prints the story. One goroutine uses it. A failing writer fails silently: it is the reader who left.
type teller struct {
	w    io.Writer
	step int
	name string // of the step
}

// begin starts a step.
func (t *teller) begin(title string) {
	t.step++
	t.name = title
	fmt.Fprintf(t.w, "\n%d. %s\n", t.step, title)
}

// say prints a paragraph, its lines broken to fit.
func (t *teller) say(format string, args ...any) {
	line := textIndent
	for word := range strings.FieldsSeq(fmt.Sprintf(format, args...)) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > pageWidth && line != textIndent {
			fmt.Fprintln(t.w, strings.TrimRight(line, " "))
			line = textIndent
		}
		line += word + " "
	}
	fmt.Fprintln(t.w, strings.TrimRight(line, " "))
}

// show prints text as it is, apart from the paragraphs around it.
func (t *teller) show(text string) {
	fmt.Fprintln(t.w)
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.TrimRight(line, "\n")
		if line != "" {
			line = showIndent + line
		}
		fmt.Fprintln(t.w, line)
	}
	fmt.Fprintln(t.w)
}

// table prints rows in columns, the first row above the others.
func (t *teller) table(rows [][]string) {
	var text strings.Builder
	tab := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(tab, strings.Join(row, "\t"))
	}
	tab.Flush() // into memory: it cannot fail
	t.show(text.String())
}
