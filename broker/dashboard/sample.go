package dashboard

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/broker"
)

// The page shows messages in a second as they were in the last minutes. Nobody counts those but the sampler, which looks at the
// node's counters every sampleEvery and keeps what was added since the last time.
const (
	sampleEvery = 5 * time.Second
	samples     = 60
)

// A sample is what happened in a second between two looks at the counters.
type sample struct {
	in, out float64 // PUBLISH packets
}

// A sampler remembers the last samples. Run is its only writer; readers get a slice that nobody changes any more.
type sampler struct {
	stats func() broker.Stats
	every time.Duration
	last  atomic.Pointer[[]sample] // the oldest first; nil before the first
}

// run takes samples until ctx is done.
func (s *sampler) run(ctx context.Context) {
	t := time.NewTicker(s.every)
	defer t.Stop()
	before, then := s.stats(), time.Now()
	for {
		select {
		case <-t.C:
			after, now := s.stats(), time.Now()
			s.add(difference(before, after, now.Sub(then)))
			before, then = after, now
		case <-ctx.Done():
			return
		}
	}
}

func difference(before, after broker.Stats, d time.Duration) sample {
	each := func(a, b [3]uint64) float64 {
		return float64(sum(b)-sum(a)) / d.Seconds()
	}
	return sample{each(before.MessagesReceived, after.MessagesReceived), each(before.MessagesSent, after.MessagesSent)}
}

func sum(qos [3]uint64) uint64 { return qos[0] + qos[1] + qos[2] }

func (s *sampler) add(latest sample) {
	old := s.list()
	if len(old) == samples {
		old = old[1:]
	}
	list := append(make([]sample, 0, samples), old...)
	list = append(list, latest)
	s.last.Store(&list)
}

// list returns the samples. The caller does not change them.
func (s *sampler) list() []sample {
	if list := s.last.Load(); list != nil {
		return *list
	}
	return nil
}

// The size of a chart in units of its own; the page stretches it to the room that there is.
const (
	chartWidth  = 590 // ten for each step between two samples
	chartHeight = 100
)

// A chart is the line of one rate over time, the newest at the right edge.
type chart struct {
	Name  string
	Kind  string // of the style: "in" or "out"
	Total string // since the start
	Now   string // a second
	Most  string // a second
	Span  string // of time
	Line  string // the points of a polyline
	Area  string // those of the polygon below it
}

// draw makes the chart of the samples' values. The scale begins at 0 and ends at the largest value, or 1.
func draw(values []float64, every time.Duration) chart {
	c := chart{Now: "0", Span: span(every * samples)}
	most := 0.0
	for _, v := range values {
		most = math.Max(most, v)
	}
	c.Most = rate(most)
	if len(values) == 0 {
		return c
	}
	c.Now = rate(values[len(values)-1])
	var line strings.Builder
	first := samples - len(values)
	for i, v := range values {
		// Two units are left at either edge for the width of the line.
		fmt.Fprintf(&line, "%d,%.1f ", (first+i)*chartWidth/(samples-1), chartHeight-2-v/math.Max(most, 1)*(chartHeight-4))
	}
	c.Line = strings.TrimSpace(line.String())
	c.Area = fmt.Sprintf("%d,%d %s %d,%d", first*chartWidth/(samples-1), chartHeight, c.Line, chartWidth, chartHeight)
	return c
}
