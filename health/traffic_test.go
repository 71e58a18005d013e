package health

import (
	"testing"
	"time"
)

// TestTraffic plays connects of live traffic: at second at, an error or a success, or a mere look.
func TestTraffic(t *testing.T) {
	const (
		fails = iota
		works
		look
	)
	type event struct {
		at   int // seconds
		what int
		out  bool // afterwards
	}
	limits := Passive{MaxFails: 3, FailTimeout: 30 * time.Second}
	tests := []struct {
		name   string
		limits Passive
		events []event
	}{
		{"max_fails errors within fail_timeout take it out", limits,
			[]event{{0, fails, false}, {10, fails, false}, {30, fails, true}}},
		{"errors further apart do not", limits,
			[]event{{0, fails, false}, {10, fails, false}, {31, fails, false}, {42, fails, false}, {62, fails, false}}},
		{"the last fail_timeout counts, wherever it began", limits,
			[]event{{0, fails, false}, {29, fails, false}, {31, fails, false}, {32, fails, true}}},
		{"successes between them wipe nothing", limits,
			[]event{{0, fails, false}, {1, works, false}, {2, fails, false}, {3, works, false}, {4, fails, true}}},
		{"it is out for fail_timeout", limits,
			[]event{{0, fails, false}, {0, fails, false}, {0, fails, true}, {29, look, true}, {30, look, false}}},
		{"then one error is enough", limits,
			[]event{{0, fails, false}, {0, fails, false}, {0, fails, true}, {40, fails, true}, {69, look, true}, {70, look, false}}},
		{"or one success ends it", limits,
			[]event{{0, fails, false}, {0, fails, false}, {0, fails, true}, {40, works, false}, {41, fails, false}, {42, fails, false}, {43, fails, true}}},
		{"a late success while out changes nothing", limits,
			[]event{{0, fails, false}, {0, fails, false}, {0, fails, true}, {5, works, true}, {31, fails, true}}},
		{"a late error while out prolongs it", limits,
			[]event{{0, fails, false}, {0, fails, false}, {0, fails, true}, {20, fails, true}, {49, look, true}, {50, look, false}}},
		{"max_fails 1", Passive{MaxFails: 1, FailTimeout: time.Second},
			[]event{{0, fails, true}, {1, look, false}, {1, works, false}, {2, fails, true}}},
	}
	epoch := time.Unix(1_000_000, 0)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f traffic
			for i, e := range tt.events {
				now := epoch.Add(time.Duration(e.at) * time.Second)
				switch e.what {
				case fails:
					f.failed(now, tt.limits)
				case works:
					f.worked(now)
				}
				if f.out(now) != e.out {
					t.Fatalf("event %d at %d s: out %v, want %v", i, e.at, !e.out, e.out)
				}
				if len(f.errors) > tt.limits.MaxFails {
					t.Fatalf("%d errors are kept, the bound is %d", len(f.errors), tt.limits.MaxFails)
				}
			}
		})
	}
}
