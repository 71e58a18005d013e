package balance

import (
	"math/rand/v2"
	"slices"
)

// random draws two different usable members by weight and takes the one with fewer sessions for its
// weight, the first drawn among equals (Mitzenmacher: The Power of Two Choices in Randomized Load
// Balancing, 2001).
type random struct {
	candidates []candidate
	active     func(int) int
	sums       []int // sums[k] is the weight of positions 0 … k
}

// maxDraws bounds how often a draw is repeated because its member is not usable, or is the one
// already drawn. Where half the weight is usable one draw in 256 needs the full look at all
// members that comes after it.
const maxDraws = 8

func newRandom(candidates []candidate, active func(int) int) *random {
	r := &random{candidates: candidates, active: active, sums: make([]int, len(candidates))}
	total := 0
	for k, c := range candidates {
		total += c.weight
		r.sums[k] = total
	}
	return r
}

func (r *random) pick(usable func(int) bool) int {
	first := r.draw(none, usable)
	if first == none {
		return none
	}
	a := r.candidates[first]
	second := r.draw(first, usable)
	if second == none {
		return a.index
	}
	b := r.candidates[second]
	if r.active(b.index)*a.weight < r.active(a.index)*b.weight {
		return b.index
	}
	return a.index
}

// draw returns the position of a usable candidate other than except, each with a probability of its
// weight's share, or none.
func (r *random) draw(except int, usable func(int) bool) int {
	if len(r.candidates) == 0 {
		return none
	}
	for range maxDraws {
		x := rand.IntN(r.sums[len(r.sums)-1])
		k, _ := slices.BinarySearch(r.sums, x+1)
		if k != except && usable(r.candidates[k].index) {
			return k
		}
	}
	return r.drawAll(except, usable)
}

// drawAll does what draw does by looking at every candidate once: each replaces the one drawn so
// far with the probability of its share in the weight seen so far.
func (r *random) drawAll(except int, usable func(int) bool) int {
	drawn, total := none, 0
	for k, c := range r.candidates {
		if k == except || !usable(c.index) {
			continue
		}
		total += c.weight
		if rand.IntN(total) < c.weight {
			drawn = k
		}
	}
	return drawn
}
