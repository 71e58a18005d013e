package balance

import "math/bits"

// set is a set of candidates, one bit for each by position.
type set []uint64

// scratch is where a call keeps a set on its own stack: room for 4,096 candidates, more than
// the 4,095 servers that HAProxy's own round robin can handle (manual, section 4.2,
// "roundrobin"). With more, each call allocates.
type scratch [64]uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) add(k int)    { s[k/64] |= 1 << (k % 64) }
func (s set) remove(k int) { s[k/64] &^= 1 << (k % 64) }

// lowest returns the lowest position in s, or none.
func (s set) lowest() int {
	for w, word := range s {
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return none
}

// usableSet asks usable about every candidate once. It returns the positions of the usable ones,
// in buf where that is large enough, and their number.
func usableSet(buf *scratch, candidates []candidate, usable func(int) bool) (set, int) {
	words := (len(candidates) + 63) / 64
	s := set(buf[:])
	if words > len(buf) {
		s = make(set, words)
	}
	s = s[:words]
	count := 0
	for k := range candidates {
		if usable(candidates[k].index) {
			s.add(k)
			count++
		}
	}
	return s, count
}
