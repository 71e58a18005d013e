//go:build linux

package load

import (
	"fmt"
	"time"

	hdrhistogram "github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept from one microsecond to two minutes, with three digits.
const (
	lowestLatency  = int64(time.Microsecond)
	highestLatency = int64(Patience)
	digits         = 3
)

// A Tally is what a run has counted between StageBegin and StageEnd; of Idle, all in all.
type Tally struct {
	Units   uint64 // connections, round trips, deliveries, messages
	Bytes   uint64 // of Bulk: packets sent, whole
	Latency *hdrhistogram.Histogram
}

// NewTally makes an empty one.
func NewTally() *Tally {
	return &Tally{Latency: hdrhistogram.New(lowestLatency, highestLatency, digits)}
}

// record takes one latency. What is longer than the histogram knows counts as its longest.
func (t *Tally) record(d time.Duration) {
	_ = t.Latency.RecordValue(max(lowestLatency, min(int64(d), highestLatency))) // within its range
}

// Merge adds another process's tally.
func (t *Tally) Merge(o *Tally) error {
	t.Units += o.Units
	t.Bytes += o.Bytes
	if dropped := t.Latency.Merge(o.Latency); dropped > 0 {
		return fmt.Errorf("merge latencies: %d are out of range", dropped)
	}
	return nil
}

// An Encoded is a Tally in a form for JSON.
type Encoded struct {
	Units, Bytes uint64
	Latency      []byte // HdrHistogram V2, compressed
}

// Encode gives the form for JSON.
func (t *Tally) Encode() (Encoded, error) {
	b, err := t.Latency.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return Encoded{}, fmt.Errorf("encode latencies: %w", err)
	}
	return Encoded{Units: t.Units, Bytes: t.Bytes, Latency: b}, nil
}

// Decode is Encode's opposite.
func (e Encoded) Decode() (*Tally, error) {
	h, err := hdrhistogram.Decode(e.Latency)
	if err != nil {
		return nil, fmt.Errorf("decode latencies: %w", err)
	}
	return &Tally{Units: e.Units, Bytes: e.Bytes, Latency: h}, nil
}
