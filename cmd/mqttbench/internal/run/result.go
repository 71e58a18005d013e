//go:build linux

package run

import (
	"fmt"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

// result makes figures of what was measured.
func (c *conductor) result() (report.Result, error) {
	p := c.options.Plan
	r := report.Result{Scenario: p.Scenario, Target: p.Target, TLS: p.TLS, Started: c.started, Duration: time.Since(c.started)}
	begin, end := c.readings[load.StageBegin], c.readings[load.StageEnd]
	cpu, elapsed := end.use.CPU-begin.use.CPU, end.reached.Sub(begin.use.At)
	if elapsed <= 0 {
		return r, fmt.Errorf("nothing was measured: the time between begin and end is %v", elapsed)
	}
	watched := len(c.pids) > 0
	if p.Scenario == load.Idle {
		c.idle(&r)
		if watched {
			r.Add(report.CPUIdle, "ms/s", milliseconds(cpu)/elapsed.Seconds())
		}
		return r, nil
	}
	if c.tally.Units == 0 {
		return r, fmt.Errorf("nothing was measured: not one unit in %v", elapsed)
	}
	if watched {
		r.Add(report.CPU, "µs", microseconds(cpu)/float64(c.tally.Units))
		if p.Scenario == load.Bulk {
			r.Add(report.CPUByte, "ns", float64(cpu)/float64(c.tally.Bytes))
		}
	}
	r.Add(report.Rate, "/s", float64(c.tally.Units)/elapsed.Seconds())
	if p.Scenario == load.Bulk {
		r.Add(report.Throughput, "MB/s", float64(c.tally.Bytes)/1e6/elapsed.Seconds())
	}
	r.Add(report.Units, "", float64(c.tally.Units))
	return r, c.latencies(&r)
}

// idle adds what is known of idle connections.
func (c *conductor) idle(r *report.Result) {
	p := c.options.Plan
	start, connected := c.readings[load.StageStart], c.readings[load.StageConnected]
	memory := func(at reading, n int) float64 { return float64(at.use.PSS-start.use.PSS) / float64(n) }
	before, last := start, 0
	for i, n := range p.Curve {
		at := c.readings[load.StageAt(i)]
		if n > last {
			rate := float64(n-last) / at.reached.Sub(before.use.At).Seconds()
			r.Curve = append(r.Curve, report.Point{Connections: n, Memory: memory(at, n), Rate: rate})
		}
		before, last = at, n
	}
	if len(c.pids) > 0 {
		r.Add(report.Memory, "B", memory(connected, p.Connections))
		r.Add(report.MemoryUser, "B", float64(connected.use.Anonymous-start.use.Anonymous)/float64(p.Connections))
		if p.Traffic > 0 {
			r.Add(report.MemoryTraffic, "B", memory(c.readings[load.StageTraffic], p.Connections))
		}
		r.Add(report.CPUEstablished, "µs", microseconds(connected.use.CPU-start.use.CPU)/float64(p.Connections+p.Storm))
	}
	if p.Storm == 0 && len(p.Curve) == 0 {
		r.Add(report.Rate, "/s", float64(p.Connections)/connected.reached.Sub(start.use.At).Seconds())
	}
	r.Add(report.Units, "", float64(c.tally.Units))
}

// latencies adds those of the tally, if it has any.
func (c *conductor) latencies(r *report.Result) error {
	h := c.tally.Latency
	if h.TotalCount() == 0 {
		return nil
	}
	for _, q := range []struct {
		name     string
		quantile float64
	}{{report.P50, 50}, {report.P99, 99}, {report.P999, 99.9}} {
		r.Add(q.name, "µs", microseconds(time.Duration(h.ValueAtQuantile(q.quantile))))
	}
	r.Add(report.Longest, "µs", microseconds(time.Duration(h.Max())))
	e, err := c.tally.Encode()
	r.Histogram = e.Latency
	return err
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
