package access

import "time"

// sum is the HMAC-SHA256 of a login that was right.
type sum [32]byte

// A cache remembers sums, a bounded number of them. When it is full it forgets by the CLOCK algorithm: what was not asked
// for since the hand came by last. Its owner has a lock.
type cache struct {
	limit int
	index map[sum]uint32
	slots []slot
	hand  int
}

// A slot has one sum, or nothing once until is over. It has no pointers: the collector does not look into 100,000 of them.
type slot struct {
	sum   sum
	until time.Duration // on the clock of the owner
	seen  bool          // asked for since the hand came by
}

// has says whether the cache knows s and has not forgotten it.
func (c *cache) has(s sum, now time.Duration) bool {
	i, ok := c.index[s]
	if !ok {
		return false
	}
	if c.slots[i].until <= now {
		delete(c.index, s)
		c.slots[i] = slot{}
		return false
	}
	c.slots[i].seen = true
	return true
}

// put remembers s until then.
func (c *cache) put(s sum, now, until time.Duration) {
	if c.has(s, now) {
		c.slots[c.index[s]].until = until
		return
	}
	if c.index == nil {
		c.index = make(map[sum]uint32)
	}
	i := c.place(now)
	c.slots[i] = slot{sum: s, until: until}
	c.index[s] = uint32(i)
}

// place makes room for one more: a new slot, or that of the first one that the hand finds over or not seen.
func (c *cache) place(now time.Duration) int {
	if len(c.slots) < c.limit {
		c.slots = append(c.slots, slot{})
		return len(c.slots) - 1
	}
	for { // ends on the second round at the latest
		c.hand = (c.hand + 1) % c.limit
		s := &c.slots[c.hand]
		if s.until <= now || !s.seen {
			delete(c.index, s.sum)
			return c.hand
		}
		s.seen = false
	}
}
