package balance

import (
	"math"
	"slices"
	"testing"
)

// loads are live sessions by member.
type loads []int

func (l loads) active(i int) int { return l[i] }

func TestLeastConnPicksTheLowestLoad(t *testing.T) {
	tests := []struct {
		weights  []int
		sessions loads
		down     []int
		want     int
	}{
		{[]int{1, 1, 1}, loads{5, 4, 6}, nil, 1},
		{[]int{1, 1, 1}, loads{5, 4, 6}, []int{1}, 0},
		{[]int{1, 2, 3}, loads{0, 0, 0}, nil, 2},       // 1/1, 1/2, 1/3
		{[]int{1, 2, 3}, loads{1, 2, 3}, nil, 2},       // 2/1, 3/2, 4/3
		{[]int{1, 4}, loads{0, 3}, nil, 0},             // 1/1, 4/4: the first declared among equals
		{[]int{1, 4}, loads{0, 2}, nil, 1},             // 1/1, 3/4
		{[]int{0, 1}, loads{0, 100}, nil, 1},           // weight 0
		{[]int{3, 7, 5}, loads{30, 70, 49}, nil, 2},    // 31/3, 71/7, 50/5
		{[]int{256, 1}, loads{1 << 40, 0}, nil, 1},     // no overflow
		{[]int{1, 1}, loads{1 << 30, 1 << 29}, nil, 1}, // nor here
	}
	for _, tt := range tests {
		p := picker(Options{Policy: LeastConn, Active: tt.sessions.active}, weighted(tt.weights...))
		if got, ok := p.Pick(ipv4(1), without(tt.down...)); got != tt.want || !ok {
			t.Errorf("weights %v with %v sessions without %v: member %d, want %d", tt.weights, tt.sessions, tt.down, got, tt.want)
		}
	}
}

// Equally loaded members take turns even if no session ever lasts until the next pick, and those
// in between that are busy or down do not disturb that.
func TestLeastConnTiesTakeTurns(t *testing.T) {
	tests := []struct {
		sessions loads
		down     []int
		want     []int
	}{
		{loads{0, 0, 0}, nil, []int{0, 1, 2, 0, 1, 2}},
		{loads{2, 2, 2}, []int{0}, []int{1, 2, 1, 2}},
		{loads{0, 9, 9, 9, 0, 0}, nil, []int{0, 4, 5, 0, 4, 5}},
	}
	for _, tt := range tests {
		p := picker(Options{Policy: LeastConn, Active: tt.sessions.active}, equals(len(tt.sessions)))
		if got := sequence(p, len(tt.want), without(tt.down...)); !slices.Equal(got, tt.want) {
			t.Errorf("%v without %v: %v, want %v", tt.sessions, tt.down, got, tt.want)
		}
	}
}

// Sessions that stay end up in proportion to the weights, and a member that comes back empty fills up first.
func TestLeastConnFillsByWeight(t *testing.T) {
	members, sessions := weighted(1, 2, 3, 4), make(loads, 4)
	p := picker(Options{Policy: LeastConn, Active: sessions.active}, members)
	fill := func(n int, usable func(int) bool) {
		for range n {
			i, _ := p.Pick(ipv4(1), usable)
			sessions[i]++
		}
	}
	fill(1000, all)
	if want := (loads{100, 200, 300, 400}); !slices.Equal(sessions, want) {
		t.Errorf("sessions %v, want %v", sessions, want)
	}
	sessions[3] = 0
	fill(400, all)
	if want := (loads{100, 200, 300, 400}); !slices.Equal(sessions, want) {
		t.Errorf("sessions %v after member 3 came back empty, want %v", sessions, want)
	}
}

func TestRandomFollowsWeights(t *testing.T) {
	members := weighted(1, 2, 0, 7)
	r := newRandom(picker(Options{Policy: Random, Active: idle}, members).random.candidates, idle)
	for name, draw := range map[string]func(int, func(int) bool) int{"draw": r.draw, "drawAll": r.drawAll} {
		for _, down := range []int{none, 0, 3} {
			const draws = 40000
			usable, count, total := without(down), make([]float64, len(members)), 0
			for range draws {
				count[r.candidates[draw(none, usable)].index]++
			}
			for i, m := range members {
				if usable(i) {
					total += m.Weight
				}
			}
			for i, m := range members {
				share := float64(m.Weight) / float64(total)
				if !usable(i) {
					share = 0
				}
				if math.Abs(count[i]-draws*share) > 7*math.Sqrt(draws*share*(1-share)) { // once in 10^11 runs
					t.Errorf("%s without %d: member %d drawn %.0f times of %d, want %.0f", name, down, i, count[i], draws, draws*share)
				}
			}
		}
	}
}

// Of two members the less loaded one for its weight is chosen, always: both are drawn.
func TestRandomComparesTwo(t *testing.T) {
	for _, tt := range []struct {
		weights  []int
		sessions loads
		want     int
	}{
		{[]int{1, 1}, loads{7, 6}, 1},
		{[]int{1, 4}, loads{6, 25}, 0},
		{[]int{1, 4}, loads{7, 25}, 1},
		{[]int{256, 1}, loads{257, 1}, 1},
	} {
		p := picker(Options{Policy: Random, Active: tt.sessions.active}, weighted(tt.weights...))
		for range 300 {
			if got, _ := p.Pick(ipv4(1), all); got != tt.want {
				t.Fatalf("weights %v with %v sessions: member %d, want %d", tt.weights, tt.sessions, got, tt.want)
			}
		}
	}
}

// Two choices keep the fullest of 50 members within a few sessions of the mean of 1,000; with
// one choice it would be about 70 above.
func TestRandomTwoChoicesStayLevel(t *testing.T) {
	sessions := make(loads, 50)
	p := picker(Options{Policy: Random, Active: sessions.active}, equals(50))
	for range 50 * 1000 {
		i, _ := p.Pick(ipv4(1), all)
		sessions[i]++
	}
	if fullest := slices.Max(sessions); fullest > 1020 {
		t.Errorf("the fullest member has %d sessions, the mean is 1000", fullest)
	}
}

// The only usable member of many is found although the draws miss it.
func TestRandomFindsTheOnlyOne(t *testing.T) {
	p := picker(Options{Policy: Random, Active: idle}, equals(3000))
	for range 100 {
		if i, ok := p.Pick(ipv4(1), func(i int) bool { return i == 2500 }); i != 2500 || !ok {
			t.Fatalf("member %d, %v", i, ok)
		}
	}
}
