//go:build unix

package lb

import (
	"testing"

	"github.com/mqttlb/mqttlb/lb/config"
)

// Descriptors are kept for the event loops that there are: a reload that asks for others gets them at the next start only.
func TestSessionLimitCountsLoops(t *testing.T) {
	cfg := &config.Config{Workers: 1}
	few, many := &Server{loops: 1}, &Server{loops: 11}
	before := few.sessionLimit(cfg)
	if got := many.sessionLimit(cfg); before > 0 && got != before-10 {
		t.Errorf("with ten loops more, of two descriptors each, %d connections fit instead of %d", got, before)
	}
	cfg.Workers = 1000
	if got := few.sessionLimit(cfg); got != before {
		t.Errorf("with other workers in the file %d connections fit, and %d before", got, before)
	}
}
