package balance

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
)

// sequence returns the indexes of n picks.
func sequence(p *Picker, n int, usable func(int) bool) []int {
	var got []int
	for range n {
		i, _ := p.Pick(ipv4(1), usable)
		got = append(got, i)
	}
	return got
}

// The first sequence is the example of NGINX's change "Upstream: smooth weighted round-robin
// balancing" of 2012: a a b a c a a.
func TestRoundRobinSequences(t *testing.T) {
	tests := []struct {
		weights []int
		down    []int
		want    []int
	}{
		{[]int{5, 1, 1}, nil, []int{0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0}},
		{[]int{1}, nil, []int{0, 0, 0}},
		{[]int{1, 1, 1}, nil, []int{0, 1, 2, 0, 1, 2}},
		{[]int{1, 1, 1}, []int{1}, []int{0, 2, 0, 2}},
		{[]int{1, 2, 3}, nil, []int{2, 1, 0, 2, 1, 2, 2, 1, 0, 2, 1, 2}},
		{[]int{10, 20}, nil, []int{1, 0, 1, 1, 0, 1}},
		{[]int{2, 0, 2}, nil, []int{0, 2, 0, 2}},
		{[]int{3, 2, 1}, []int{0, 1}, []int{2, 2, 2}},
	}
	for _, tt := range tests {
		p := picker(Options{Policy: RoundRobin}, weighted(tt.weights...))
		if got := sequence(p, len(tt.want), without(tt.down...)); !slices.Equal(got, tt.want) {
			t.Errorf("weights %v without %v: %v, want %v", tt.weights, tt.down, got, tt.want)
		}
	}
}

// A member that comes back goes on with its share at once: no burst to catch up, no waiting.
func TestRoundRobinAfterReturn(t *testing.T) {
	p := picker(Options{Policy: RoundRobin}, equals(3))
	sequence(p, 4, all)
	sequence(p, 1001, without(2))
	count := make([]int, 3)
	for _, i := range sequence(p, 30, all) {
		count[i]++
	}
	for i, n := range count {
		if n < 9 || n > 11 {
			t.Errorf("member %d got %d of the 30 picks after member 2 came back", i, n)
		}
	}
}

// With members that come and go every few picks, each gets its weight's share of the picks for
// which it was usable, to within 1 %. (It is not exact: the scores count weight, and a turn costs more while
// many are usable.)
func TestRoundRobinIsFairUnderChange(t *testing.T) {
	r := seeded(t, 31)
	for range 50 {
		members := equals(2 + r.IntN(8))
		for i := range members {
			members[i].Weight = 1 + r.IntN(9)
		}
		p := picker(Options{Policy: RoundRobin}, members)
		up := slices.Repeat([]bool{true}, len(members))
		due, got := make([]float64, len(members)), make([]float64, len(members))
		const picks = 3000
		for range picks {
			if r.IntN(3) == 0 {
				k := r.IntN(len(members))
				up[k] = !up[k]
			}
			total := 0
			for i, m := range members {
				if up[i] {
					total += m.Weight
				}
			}
			i, ok := p.Pick(ipv4(1), func(i int) bool { return up[i] })
			if ok != (total > 0) {
				t.Fatalf("picked %d, %v of %v", i, ok, up)
			}
			for i, m := range members {
				if up[i] {
					due[i] += float64(m.Weight) / float64(total)
				}
			}
			if ok {
				got[i]++
			}
		}
		for i := range members {
			if math.Abs(got[i]-due[i]) > 0.01*picks {
				t.Errorf("member %d of %v got %.0f picks, was due %.1f", i, weights(members), got[i], due[i])
			}
		}
	}
}

// Retries after a refusal must not starve anybody: the member that refuses keeps its turns, the others share them.
func TestRoundRobinWithARefusingMember(t *testing.T) {
	p, count := picker(Options{Policy: RoundRobin}, equals(4)), make([]int, 4)
	for range 1200 {
		i, _ := p.Pick(ipv4(1), all)
		if i == 3 {
			i, _ = p.Pick(ipv4(1), without(3))
		}
		count[i]++
	}
	for i, n := range count[:3] {
		if n < 390 || n > 410 {
			t.Errorf("member %d got %d of 1200, want 400: %v", i, n, count)
		}
	}
}

func ExamplePicker_Pick() {
	p := New(Options{Policy: RoundRobin, Members: []Member{{Name: "emqx1", Weight: 2}, {Name: "emqx2", Weight: 1}}})
	for range 3 {
		i, ok := p.Pick(netip.MustParseAddr("192.0.2.7"), func(i int) bool { return true })
		fmt.Println(i, ok)
	}
	// Output:
	// 0 true
	// 1 true
	// 0 true
}
