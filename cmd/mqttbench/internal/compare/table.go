//go:build linux

package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

// Markdown writes the comparison as tables, with how it was made.
func (c *Comparison) Markdown(w io.Writer) error {
	var b strings.Builder
	c.head(&b)
	c.table(&b)
	c.curves(&b)
	for _, m := range c.Missing {
		fmt.Fprintf(&b, "\nNot installed, and left out: %s.\n", m)
	}
	if len(c.Errors) > 0 {
		b.WriteString("\nRuns that have failed:\n\n")
		for _, e := range c.Errors {
			fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(e, "\n", " / "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Comparison) head(b *strings.Builder) {
	if c.Partial {
		b.WriteString("**Incomplete**: it was ended before its time, and some values are of fewer rounds than others, or missing.\n\n")
	}
	if c.Quick {
		b.WriteString("**A trial** (--quick): so small and short that it shows whether everything works, and not what it costs.\n\n")
	}
	behind := "; broker: " + c.Broker
	what := "CPU is user and system time of the balancer's processes for one unit, memory is (PSS then − PSS at start) / connections."
	if c.Direct {
		behind = "; plain TCP"
		what = "CPU is user and system time of the broker's process for one unit, memory is (anonymous memory then − at start) / connections."
	}
	fmt.Fprintf(b, "Measured %s in %v on %s: %s%s.\n", c.Started.UTC().Format("2006-01-02 15:04 UTC"), c.Took.Round(time.Second), c.Machine, strings.Join(c.Peers, "; "), behind)
	fmt.Fprintf(b, "Medians of %d interleaved rounds, with least and most; %s\n", c.Rounds, what)
	if c.bounded() {
		b.WriteString("In the last column is what is wanted at most; what is more than that is bold.\n")
	}
	fmt.Fprintf(b, "\n    %s\n\n", c.Command)
}

func (c *Comparison) table(b *strings.Builder) {
	if len(c.Rows) == 0 {
		return
	}
	b.WriteString("| |")
	for i, p := range c.Peers {
		fmt.Fprintf(b, " %s |", short(p))
		if i > 0 {
			b.WriteString(" ratio |")
		}
	}
	columns := 2*len(c.Peers) - 1
	if c.bounded() {
		b.WriteString(" at most |")
		columns++
	}
	b.WriteString("\n| --- |" + strings.Repeat(" ---: |", columns) + "\n")
	for _, r := range c.ordered() {
		fmt.Fprintf(b, "| %s |", r.Title)
		for i, cell := range r.Cells {
			fmt.Fprintf(b, " %s |", cell.text(r.Unit, i > 0 && r.AtMost.overValue(cell)))
			if i > 0 {
				fmt.Fprintf(b, " %s |", r.AtMost.ratio(cell, r.Cells[0]))
			}
		}
		if c.bounded() {
			fmt.Fprintf(b, " %s |", r.AtMost.text(r.Unit))
		}
		b.WriteByte('\n')
	}
}

// bounded reports whether any row has a bound.
func (c *Comparison) bounded() bool {
	return slices.ContainsFunc(c.Rows, func(r Row) bool { return r.AtMost != nil })
}

// text is what the column of bounds shows; nothing of nil.
func (b *Bound) text(unit string) string {
	switch {
	case b == nil:
		return ""
	case b.Value > 0:
		return report.Number(b.Value) + " " + unit
	}
	return fmt.Sprintf("%.2f", b.Ratio)
}

// overValue reports whether a cell is more than the bound, if that is one of values.
func (b *Bound) overValue(c Cell) bool {
	return b != nil && b.Value > 0 && c.Sum != nil && c.Sum.Median > b.Value
}

// short is a peer's name and version without what packagers and builds add.
func short(peer string) string {
	if at := strings.IndexAny(peer, "-,"); at > 0 {
		return peer[:at]
	}
	return peer
}

// ordered are the rows with that of pauses, which the first run has made, behind all others.
func (c *Comparison) ordered() []Row {
	var rows, last []Row
	for _, r := range c.Rows {
		if r.Case == "" {
			last = append(last, r)
		} else {
			rows = append(rows, r)
		}
	}
	return append(rows, last...)
}

// text is what a cell shows: median, which may be bold, spread, and how many rounds have failed.
func (c Cell) text(unit string, bold bool) string {
	var parts []string
	if c.Sum != nil {
		parts = append(parts, emphasize(fmt.Sprintf("%s %s", report.Number(c.Sum.Median), unit), bold))
		if c.Sum.Rounds > 1 {
			parts = append(parts, fmt.Sprintf("(%s–%s)", report.Number(c.Sum.Min), report.Number(c.Sum.Max)))
		}
	}
	if c.Failed > 0 {
		parts = append(parts, fmt.Sprintf("**%d failed**", c.Failed))
	}
	return strings.Join(parts, " ")
}

// ratio is that of two medians, bold if it is more than the bound, unless that is nil or none of ratios.
func (b *Bound) ratio(c, to Cell) string {
	if c.Sum == nil || to.Sum == nil || to.Sum.Median <= 0 {
		return ""
	}
	v := c.Sum.Median / to.Sum.Median
	return emphasize(fmt.Sprintf("%.2f", v), b != nil && b.Ratio > 0 && v > b.Ratio)
}

func emphasize(s string, bold bool) string {
	if bold {
		return "**" + s + "**"
	}
	return s
}

// curves writes how memory and speed go with the number of connections.
func (c *Comparison) curves(b *strings.Builder) {
	if len(c.Curves) == 0 {
		return
	}
	b.WriteString("\nFrom few idle connections to many: bytes of memory for each, and how many a second were opened since the line before (TLS 1.3, first round).\n\n| connections |")
	for _, k := range c.Curves {
		fmt.Fprintf(b, " %s | opened |", short(k.Peer))
	}
	b.WriteString("\n| ---: |" + strings.Repeat(" ---: |", 2*len(c.Curves)) + "\n")
	for i, p := range c.Curves[0].Points {
		fmt.Fprintf(b, "| %s |", report.Number(float64(p.Connections)))
		for _, k := range c.Curves {
			fmt.Fprintf(b, " %s B | %s/s |", report.Number(k.Points[i].Memory), report.Number(k.Points[i].Rate))
		}
		b.WriteByte('\n')
	}
}

// Picture is the comparison, to be drawn: medians, and the curves of memory.
func (c *Comparison) Picture() report.Picture {
	p := report.Picture{Title: "what a load balancer spends: less is better"}
	if c.Direct {
		p.Title = "what a broker spends: less is better"
	}
	switch {
	case c.Partial:
		p.Title += " (incomplete)"
	case c.Quick:
		p.Title += " (a trial: no figure means anything)"
	}
	for _, name := range c.Peers {
		p.Series = append(p.Series, short(name))
	}
	for _, r := range c.ordered() {
		bar := report.Bar{Title: r.Title, Unit: r.Unit}
		for _, cell := range r.Cells {
			v := report.Missing
			if cell.Sum != nil {
				v = cell.Sum.Median
			}
			bar.Values = append(bar.Values, v)
		}
		p.Bars = append(p.Bars, bar)
	}
	for _, k := range c.Curves {
		line := report.Line{Title: short(k.Peer)}
		for _, at := range k.Points {
			line.Points = append(line.Points, report.XY{X: float64(at.Connections), Y: at.Memory})
		}
		p.Lines = append(p.Lines, line)
	}
	p.LineTitle = "bytes of memory for each idle connection"
	return p
}
