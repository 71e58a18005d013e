package balance

import (
	"math/bits"
	"sync"
)

// turns is smooth weighted round robin, the rule of NGINX (round_robin in
// src/stream/ngx_stream_upstream_round_robin.c): for each connection every usable member's score
// grows by its weight; the highest wins, the first declared among equals, and pays what all have
// got. Weights 5, 1, 1 give a a b a c a a, not a a a a a b c. The scores of members that are not usable
// rest, so that one which returns neither catches up nor waits.
type turns struct {
	candidates []candidate // in declared order

	mu     sync.Mutex // guards the field below
	scores []int      // by position; they add up to 0
}

func newTurns(candidates []candidate) *turns {
	return &turns{candidates: candidates, scores: make([]int, len(candidates))}
}

func (t *turns) pick(usable func(int) bool) int {
	var buf scratch
	s, count := usableSet(&buf, t.candidates, usable)
	switch count {
	case 0:
		return none
	case 1: // it would get and pay the same
		return t.candidates[s.lowest()].index
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	total, best, highest := 0, none, 0
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			k := w*64 + bits.TrailingZeros64(word)
			weight := t.candidates[k].weight
			score := t.scores[k] + weight
			t.scores[k] = score
			total += weight
			if best == none || score > highest {
				best, highest = k, score
			}
		}
	}
	t.scores[best] -= total
	return t.candidates[best].index
}
