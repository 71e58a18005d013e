package balance

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"math"
	"net/netip"
	"slices"
)

// consistent is weighted rendezvous hashing: every member draws a number that depends on its
// name and the client's address alone, and the lowest wins. With -ln(1-v)/weight for a uniform v
// the draws are exponentially distributed, and the lowest of several such is a member's with a
// probability of exactly its weight's share. It is immutable.
type consistent struct {
	drawers []drawer // sorted by name, so that even equal draws do not depend on the order of the list
}

// drawer is a candidate as consistent sees it.
type drawer struct {
	seed  uint64  // from the name
	scale float64 // 1 / weight
	index int     // in Options.Members
}

func newConsistent(members []Member, candidates []candidate) *consistent {
	sorted := slices.Clone(candidates)
	slices.SortStableFunc(sorted, func(a, b candidate) int {
		return cmp.Compare(members[a.index].Name, members[b.index].Name)
	})
	c := &consistent{drawers: make([]drawer, len(sorted))}
	for k, s := range sorted {
		c.drawers[k] = drawer{seed: seed(members[s.index].Name), scale: 1 / float64(s.weight), index: s.index}
	}
	return c
}

// pick looks at every member, but takes a logarithm, and asks usable, only for those that
// would be the new best: v ≤ -ln(1-v) rules out the others. That is about ln(n) of n.
func (c *consistent) pick(client netip.Addr, usable func(int) bool) int {
	key := keyOf(client)
	best, chosen := math.Inf(1), none
	for k := range c.drawers {
		d := &c.drawers[k]
		v := key.draw(d.seed)
		if v*d.scale >= best {
			continue
		}
		if e := -math.Log1p(-v) * d.scale; e < best && usable(d.index) {
			best, chosen = e, d.index
		}
	}
	return chosen
}

// clientKey is a client's address made ready for the draws.
type clientKey struct {
	block uint64 // a hash of all but the last four bits of the address
	place uint64 // the last four bits
}

// keyOf reads the 16 bytes of an address, in which IPv4 and IPv4-mapped are the same (RFC 4291,
// section 2.5.5.2).
func keyOf(client netip.Addr) clientKey {
	b := client.As16()
	high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	return clientKey{block: mix(mix(high) + low>>4), place: low & 15}
}

// draw returns the number in [0, 1) that the member with this seed draws for the client. For the
// sixteen neighbours of a block these are one random offset plus sixteen multiples of 1/16 in
// a random order, so that each member's draws for neighbours are spread more evenly than chance would
// do it: a low draw for one client means a high one for the next.
func (k clientKey) draw(seed uint64) float64 {
	h := mix(k.block ^ seed)
	h += k.place * (h | 1) << 60 // an odd factor permutes the sixteenths
	return float64(int64(h>>11)) * 0x1p-53
}

// seed is the hash of a member's name: FNV-1a, whose high bits alone would be too alike for
// names that differ in their last letter.
func seed(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return mix(h.Sum64())
}

// mix is a bijection in which every bit of x changes half the bits of the result: the finalizer
// of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
// It and all that feeds it are for good: another mix would move all clients of all who upgrade.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
