package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// Names of metrics.
const (
	Memory         = "memory"          // bytes for each connection
	MemoryTraffic  = "memory_traffic"  // the same, after traffic
	MemoryUser     = "memory_user"     // bytes of anonymous memory for each connection
	CPU            = "cpu"             // for each unit: µs
	CPUByte        = "cpu_byte"        // for each byte: ns
	CPUIdle        = "cpu_idle"        // ms for each second
	Rate           = "rate"            // units a second
	Throughput     = "throughput"      // MB a second
	P50            = "p50"             // of latency: µs, as those that follow
	P99            = "p99"             //
	P999           = "p99.9"           //
	Longest        = "max"             //
	Units          = "units"           // how many were measured
	GarbagePause   = "gc_pause"        // the longest of the garbage collector: ms
	CPUEstablished = "cpu_established" // for each connection that was opened: µs
)

// A Metric is one figure.
type Metric struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// A Point is one of a curve.
type Point struct {
	Connections int     `json:"connections"`
	Memory      float64 `json:"memory"` // bytes for each; 0 where no process was watched
	Rate        float64 `json:"rate"`   // at which those since the last point were opened, a second
}

// A Result is what one run has found.
type Result struct {
	Scenario  string        `json:"scenario"`
	Target    string        `json:"target"`
	TLS       string        `json:"tls"`
	Started   time.Time     `json:"started"`
	Duration  time.Duration `json:"duration_ns"`
	Metrics   []Metric      `json:"metrics"`
	Curve     []Point       `json:"curve,omitempty"`
	Histogram []byte        `json:"histogram,omitempty"` // of latencies in ns: HdrHistogram V2, compressed
}

// Add adds a metric.
func (r *Result) Add(name, unit string, value float64) {
	r.Metrics = append(r.Metrics, Metric{name, unit, value})
}

// Metric returns the metric of a name.
func (r *Result) Metric(name string) (Metric, bool) {
	i := slices.IndexFunc(r.Metrics, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		return Metric{}, false
	}
	return r.Metrics[i], true
}

// WriteJSON writes any of the package's types, indented.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// labels say what a metric is, to people.
func label(name string) string {
	labels := map[string]string{
		Memory: "memory per connection", MemoryTraffic: "memory per connection after traffic",
		MemoryUser: "anonymous memory per connection", CPU: "CPU per unit", CPUByte: "CPU per byte",
		CPUIdle: "CPU while idle", Rate: "rate", Throughput: "throughput", P50: "latency, median", P99: "latency, 99 %", P999: "latency, 99.9 %",
		Longest: "latency, longest", Units: "measured units", GarbagePause: "longest GC pause", CPUEstablished: "CPU per connection opened",
	}
	if l := labels[name]; l != "" {
		return l
	}
	return name
}

// Print writes a result for people.
func Print(w io.Writer, r Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%s, TLS %s\n", r.Scenario, r.Target, r.TLS)
	for _, m := range r.Metrics {
		fmt.Fprintf(t, "%s\t%s\n", label(m.Name), m)
	}
	memories := []string{Memory, MemoryTraffic, MemoryUser}
	if slices.ContainsFunc(r.Metrics, func(m Metric) bool { return slices.Contains(memories, m.Name) && m.Value < 0 }) {
		fmt.Fprintf(t, "\tless than before the first connection: the process still had memory of what it served earlier; restart it and measure again\n")
	}
	for _, p := range r.Curve {
		fmt.Fprintf(t, "%d connections\t%s B each, opened at %s/s\n", p.Connections, Number(p.Memory), Number(p.Rate))
	}
	return t.Flush()
}

// String is value and unit.
func (m Metric) String() string {
	if m.Unit == "" {
		return Number(m.Value)
	}
	return Number(m.Value) + " " + m.Unit
}

// Number writes three digits, or all those before the point; whole numbers without a point.
func Number(v float64) string {
	a := max(v, -v)
	switch {
	case a >= 100 || v == math.Trunc(v):
		return thousands(fmt.Sprintf("%.0f", v))
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// thousands puts commas into the digits of a number.
func thousands(s string) string {
	first := 0
	if s[0] == '-' {
		first = 1
	}
	for at := len(s) - 3; at > first; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// A Summary is what several rounds come to.
type Summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"`
}

// Summarize summarizes the values of rounds, of which there is at least one.
func Summarize(values []float64) Summary {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Summary{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1], Rounds: n}
}
