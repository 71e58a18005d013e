package report

import (
	"fmt"
	"html/template"
	"io"
	"math"
)

// Missing is the value of a bar that is not there.
var Missing = math.NaN()

// A Picture is a group of bars for each figure, and lines below.
type Picture struct {
	Title     string
	Series    []string // what the bars of a group are of
	Bars      []Bar
	LineTitle string
	Lines     []Line
}

// A Bar is a group of bars, to a scale of its own.
type Bar struct {
	Title  string
	Unit   string
	Values []float64 // as Picture.Series; Missing for none
}

// A Line is a curve.
type Line struct {
	Title  string
	Points []XY
}

// XY is a point of a curve; both are 0 or more.
type XY struct{ X, Y float64 }

// Picture is a result to be drawn: its figures, each to a scale of its own, and its curve.
func (r Result) Picture() Picture {
	p := Picture{Title: fmt.Sprintf("%s: %s, TLS %s", r.Scenario, r.Target, r.TLS), LineTitle: "bytes of memory for each idle connection"}
	for _, m := range r.Metrics {
		p.Bars = append(p.Bars, Bar{Title: label(m.Name), Unit: m.Unit, Values: []float64{m.Value}})
	}
	if len(r.Curve) > 0 {
		line := Line{Title: "memory"}
		for _, at := range r.Curve {
			line.Points = append(line.Points, XY{float64(at.Connections), at.Memory})
		}
		p.Lines = []Line{line}
	}
	return p
}

// Sizes of the drawing, in pixels.
const (
	width       = 900
	left        = 20
	barHeight   = 16
	groupTop    = 26 // room for a group's title
	plotHeight  = 260
	plotLeft    = 70
	longest     = 640 // of a bar
	labelBehind = 6
)

// colours are those of series, dark enough for white paper and different for those who see no red. Further ones begin anew.
func colour(i int) string {
	return []string{"#1f77b4", "#e69f00", "#009e73", "#9467bd", "#7f7f7f"}[i%5]
}

// What the template draws.
type (
	drawing struct {
		Title         string
		Width, Height int
		Texts         []text
		Rects         []rect
		Paths         []path
	}
	text struct {
		X, Y   float64
		Anchor string
		Text   string
	}
	rect struct {
		X, Y, W, H float64
		Fill       string
	}
	path struct {
		Points string
		Stroke string
	}
)

const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}" viewBox="0 0 {{.Width}} {{.Height}}" font-family="sans-serif" font-size="12">
<title>{{.Title}}</title>
<rect width="100%" height="100%" fill="#ffffff"/>
{{- range .Rects}}
<rect x="{{.X}}" y="{{.Y}}" width="{{.W}}" height="{{.H}}" fill="{{.Fill}}"/>
{{- end}}
{{- range .Paths}}
<polyline points="{{.Points}}" fill="none" stroke="{{.Stroke}}" stroke-width="2"/>
{{- end}}
{{- range .Texts}}
<text x="{{.X}}" y="{{.Y}}" text-anchor="{{.Anchor}}">{{.Text}}</text>
{{- end}}
</svg>
`

// Draw writes the picture as SVG.
func Draw(w io.Writer, p Picture) error {
	t, err := template.New("svg").Parse(svg)
	if err != nil {
		return err
	}
	d := &drawing{Title: p.Title, Width: width}
	y := d.legend(p, 24)
	for _, b := range p.Bars {
		y = d.bars(b, y)
	}
	if len(p.Lines) > 0 {
		y = d.lines(p, y)
	}
	d.Height = int(y) + left
	return t.Execute(w, d)
}

func (d *drawing) write(x, y float64, anchor, s string) {
	d.Texts = append(d.Texts, text{x, y, anchor, s})
}

// legend writes the title and the names of series, and returns how far down it reaches.
func (d *drawing) legend(p Picture, y float64) float64 {
	d.write(left, y, "start", p.Title)
	names := p.Series
	if len(p.Bars) == 0 {
		names = nil
		for _, l := range p.Lines {
			names = append(names, l.Title)
		}
	}
	for i, name := range names {
		y += barHeight + 4
		d.Rects = append(d.Rects, rect{left, y - 11, 12, 12, colour(i)})
		d.write(left+18, y, "start", name)
	}
	return y + 10
}

// bars draws one group.
func (d *drawing) bars(b Bar, y float64) float64 {
	most := 0.0
	for _, v := range b.Values {
		most = max(most, zero(v))
	}
	y += groupTop
	d.write(left, y-6, "start", b.Title)
	for i, v := range b.Values {
		label := "none"
		length := 0.0
		if !math.IsNaN(v) {
			label = Metric{Unit: b.Unit, Value: v}.String()
		}
		if most > 0 {
			length = longest * max(0, zero(v)) / most
		}
		d.Rects = append(d.Rects, rect{left, y, round(length), barHeight - 3, colour(i)})
		d.write(round(left+length+labelBehind), y+11, "start", label)
		y += barHeight
	}
	return y
}

// lines draws the curves in one plot, whose axes begin at 0.
func (d *drawing) lines(p Picture, y float64) float64 {
	mostX, mostY := 1.0, 1.0
	for _, l := range p.Lines {
		for _, at := range l.Points {
			mostX, mostY = max(mostX, at.X), max(mostY, at.Y)
		}
	}
	y += groupTop + 10
	d.write(left, y-8, "start", p.LineTitle)
	bottom, right := y+plotHeight, float64(width-2*left)
	d.Paths = append(d.Paths, path{fmt.Sprintf("%d,%g %d,%g %g,%g", plotLeft, y, plotLeft, bottom, right, bottom), "#444444"})
	for i := range 5 {
		part := float64(i) / 4
		d.write(plotLeft-6, round(bottom-part*plotHeight+4), "end", Number(mostY*part))
		d.write(round(plotLeft+part*(right-plotLeft)), bottom+16, "middle", Number(mostX*part))
	}
	for i, l := range p.Lines {
		points := ""
		for _, at := range l.Points {
			points += fmt.Sprintf("%g,%g ", round(plotLeft+at.X/mostX*(right-plotLeft)), round(bottom-zero(at.Y)/mostY*plotHeight))
		}
		d.Paths = append(d.Paths, path{points, colour(i)})
	}
	return bottom + 24
}

// zero is 0 for what is not there or less.
func zero(v float64) float64 {
	if math.IsNaN(v) || v < 0 {
		return 0
	}
	return v
}

func round(v float64) float64 { return math.Round(v*10) / 10 }
