package health

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestCounterSentences walks through the rule, sentence by sentence: each walk is a row of checks,
// p for one that passes and f for one that fails, with the counter after each.
func TestCounterSentences(t *testing.T) {
	tests := []struct {
		sentence   string
		rise, fall int
		start      Counter
		checks     string
		want       []Counter
	}{
		{"it starts at rise: UP, and the first failed check takes it DOWN", 5, 2, NewCounter(5), "f", []Counter{0}},
		{"it starts at rise, and a good check fills it", 5, 2, NewCounter(5), "p", []Counter{6}},
		{"a counter 0 … rise+fall−1: it goes no higher", 5, 2, 6, "ppp", []Counter{6, 6, 6}},
		{"a counter 0 … rise+fall−1: it goes no lower", 5, 2, 0, "fff", []Counter{0, 0, 0}},
		{"a failed check takes one off", 2, 3, 4, "f", []Counter{3}},
		{"and once below rise sets it to 0", 2, 3, 4, "fff", []Counter{3, 2, 0}},
		{"a good check adds one", 5, 2, 0, "pppp", []Counter{1, 2, 3, 4}},
		{"and on reaching rise sets it to the maximum", 5, 2, 4, "p", []Counter{6}},
		{"one success wipes earlier failures", 2, 3, 4, "ffpff", []Counter{3, 2, 4, 3, 2}},
		{"one failure wipes earlier successes", 5, 2, 0, "ppppfp", []Counter{1, 2, 3, 4, 0, 1}},
		{"rise 1: one success is enough", 1, 2, 0, "p", []Counter{2}},
		{"fall 1: one failure is enough", 3, 1, 3, "f", []Counter{0}},
		{"rise 1, fall 1: the last check decides", 1, 1, 1, "fpfp", []Counter{0, 1, 0, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.sentence, func(t *testing.T) {
			c := tt.start
			for i, check := range tt.checks {
				c = c.After(check == 'p', tt.rise, tt.fall)
				if c != tt.want[i] {
					t.Fatalf("after %s: counter %d, want %d", tt.checks[:i+1], c, tt.want[i])
				}
				if up := c >= Counter(tt.rise); c.Up(tt.rise) != up {
					t.Errorf("counter %d of rise %d: up %v; it is UP while it is at least rise", c, tt.rise, !up)
				}
			}
		})
	}
}

// TestCounterCountsInARow holds the counter against what operators say of it: fall failures in a row take a
// server down, rise successes in a row bring it up, and nothing else does.
func TestCounterCountsInARow(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		rise, fall := 1+random.IntN(6), 1+random.IntN(6)
		c := NewCounter(rise).After(true, rise, fall) // full: the first check has passed
		up, row, last := true, 0, true
		for i := range 500 {
			ok := random.IntN(3) > 0
			if ok != last {
				row = 0
			}
			row++
			last = ok
			switch {
			case ok && row >= rise:
				up = true
			case !ok && row >= fall:
				up = false
			}
			c = c.After(ok, rise, fall)
			if c.Up(rise) != up {
				t.Fatalf("rise %d, fall %d, check %d: %d checks in a row with ok=%v, counter %d says up=%v", rise, fall, i, row, ok, c, !up)
			}
			if c < 0 || c > Counter(rise+fall-1) {
				t.Fatalf("rise %d, fall %d: counter %d is outside 0 … %d", rise, fall, c, rise+fall-1)
			}
		}
	}
}

func TestCounterRescale(t *testing.T) {
	tests := []struct {
		name             string
		from             Counter
		oldRise, oldFall int
		rise, fall       int
		want             Counter
	}{
		{"nothing changes", 4, 5, 2, 5, 2, 4},
		{"full stays full", 6, 5, 2, 2, 10, 11},
		{"one failure left stays one failure left", 5, 5, 2, 2, 10, 2},
		{"two of three failures left", 3, 2, 3, 5, 4, 6},
		{"failures left beyond the new fall", 5, 2, 5, 2, 2, 3},
		{"down with nothing", 0, 5, 2, 2, 3, 0},
		{"down with passes that fit", 2, 5, 2, 4, 2, 2},
		{"down with more passes than the new rise stays down", 4, 5, 2, 2, 2, 1},
		{"down under rise 1", 4, 5, 2, 1, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.from.Rescale(tt.oldRise, tt.oldFall, tt.rise, tt.fall); got != tt.want {
				t.Errorf("Rescale = %d, want %d", got, tt.want)
			}
		})
	}
}

// TestCounterRescaleKeepsTheState tries every counter under every pair of small thresholds.
func TestCounterRescaleKeepsTheState(t *testing.T) {
	const limit = 5
	each := func(f func(rise, fall int)) {
		for rise := 1; rise <= limit; rise++ {
			for fall := 1; fall <= limit; fall++ {
				f(rise, fall)
			}
		}
	}
	each(func(oldRise, oldFall int) {
		each(func(rise, fall int) {
			for c := Counter(0); c <= full(oldRise, oldFall); c++ {
				got := c.Rescale(oldRise, oldFall, rise, fall)
				what := fmt.Sprintf("%d under %d/%d became %d under %d/%d", c, oldRise, oldFall, got, rise, fall)
				if got.Up(rise) != c.Up(oldRise) {
					t.Error(what + ": UP and DOWN were to be kept")
				}
				if got < 0 || got > full(rise, fall) {
					t.Error(what + ": out of range")
				}
			}
		})
	})
}
