package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestNumber(t *testing.T) {
	tests := map[string]float64{
		"0": 0, "0.50": 0.499, "1.25": 1.25, "8": 8, "10.9": 10.94, "100": 99.96e0 + 0.04, "123": 123.4, "17,860": 17860.2, "1,234,568": 1234567.8,
		"-0.25": -0.25, "-12.3": -12.3, "-123": -123, "-1,000": -1000,
	}
	for want, v := range tests {
		if got := Number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestSummarize(t *testing.T) {
	tests := []struct {
		values []float64
		want   Summary
	}{
		{[]float64{3}, Summary{3, 3, 3, 1}},
		{[]float64{4, 2}, Summary{3, 2, 4, 2}},
		{[]float64{9, 1, 2}, Summary{2, 1, 9, 3}},
	}
	for _, tt := range tests {
		before := append([]float64(nil), tt.values...)
		if got := Summarize(tt.values); got != tt.want {
			t.Errorf("%v: %+v, want %+v", tt.values, got, tt.want)
		}
		if !reflect.DeepEqual(before, tt.values) {
			t.Errorf("%v were changed to %v", before, tt.values)
		}
	}
}

func result() Result {
	r := Result{Scenario: "idle", Target: "127.0.0.1:1", TLS: "1.3", Started: time.Unix(1, 0).UTC(), Duration: time.Second, Histogram: []byte{1, 2}}
	r.Add(Memory, "B", 17860)
	r.Add(P50, "µs", 12.34)
	r.Add(Units, "", 3)
	r.Curve = []Point{{10, 2000, 100}, {20, 1500.4, 90}}
	return r
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, result()); err != nil {
		t.Fatal(err)
	}
	var got Result
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, result()) {
		t.Errorf("%+v, want %+v", got, result())
	}
	if m, there := got.Metric(P50); !there || m.Value != 12.34 {
		t.Errorf("%v, %v", m, there)
	}
	if m, there := got.Metric(P99); there {
		t.Errorf("there is %v", m)
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	if err := Print(&b, result()); err != nil {
		t.Fatal(err)
	}
	want := `idle                   127.0.0.1:1, TLS 1.3
memory per connection  17,860 B
latency, median        12.3 µs
measured units         3
10 connections         2,000 B each, opened at 100/s
20 connections         1,500 B each, opened at 90/s
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// A process that gave memory back meanwhile has more than it takes: the reader is told.
func TestPrintNegativeMemory(t *testing.T) {
	var b strings.Builder
	r := Result{Scenario: "idle"}
	r.Add(Memory, "B", -120)
	if err := Print(&b, r); err != nil || !strings.Contains(b.String(), "restart it and measure again") {
		t.Errorf("%v, printed\n%s", err, b.String())
	}
}

// TestDraw looks whether the picture is XML, and has what it should; names are other programs' words.
func TestDraw(t *testing.T) {
	p := Picture{
		Title: "a < b & c", Series: []string{"first", "<script>"}, LineTitle: "lines",
		Bars:  []Bar{{Title: "x", Unit: "µs", Values: []float64{10, 5}}, {Title: "y", Values: []float64{Missing, -1}}, {Title: "z", Values: []float64{0, 0}}},
		Lines: []Line{{Title: "first", Points: []XY{{0, 0}, {1000, 500}}}, {Title: "none"}},
	}
	for _, p := range []Picture{p, {}, result().Picture(), {Lines: p.Lines}} {
		var b strings.Builder
		if err := Draw(&b, p); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(strings.NewReader(b.String()))
		seen := ""
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in\n%s", err, b.String())
			}
			if text, ok := token.(xml.CharData); ok {
				seen += string(text)
			}
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), `width="-`) {
			t.Errorf("a size is no size:\n%s", b.String())
		}
		for _, s := range append(p.Series, p.Title) {
			if !strings.Contains(seen, s) {
				t.Errorf("%q is not in\n%s", s, b.String())
			}
		}
	}
}
