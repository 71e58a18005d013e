package record

import "crypto/cipher"

// A Cache has the cipher objects of the connections that are active, and the scratch space of Open and Seal. Each event loop
// or goroutine has its own: it is not for concurrent use. Any State may be used with any Cache.
type Cache struct {
	entries []entry
	free    []uint32 // indexes of entries that are empty
	hand    int      // the next entry to be looked at when one must go
	most    int

	nonce      [nonceSize]byte // of the record at hand: here, and so not on the heap for each record
	additional [13]byte        // the same
}

// An entry is one cipher object, and the secret that it was made of: a direction's hint is good only if it leads to its own.
// Comparing 48 bytes costs 2 ns, and no reused entry, and no State from another Cache, can ever get another's cipher.
type entry struct {
	aead   cipher.AEAD // nil: empty
	secret [maxSecret]byte
	iv     [nonceSize]byte
	suite  suite
	used   bool // since the hand or Sweep came by
}

// NewCache returns an empty Cache, for at most so many ciphers, about 0.9 KB each with AES-GCM: a connection has one for each
// way. It grows with their number; when it is full, CLOCK decides which one goes.
func NewCache(most int) *Cache { return &Cache{most: max(most, 1)} }

// Sweep drops the ciphers that were not used since the Sweep before it, and reports whether any are left. Its owner calls it
// every second or so: an idle process holds none.
func (c *Cache) Sweep() (left bool) {
	for i := range c.entries {
		e := &c.entries[i]
		switch {
		case e.aead == nil:
		case e.used:
			e.used, left = false, true
		default:
			*e = entry{}
			c.free = append(c.free, uint32(i))
		}
	}
	if !left {
		c.entries, c.free, c.hand = nil, nil, 0
	}
	return left
}

// cipher returns the cipher object of a direction of s, with its iv. It is good until the next call.
func (c *Cache) cipher(s *State, d *direction) *entry {
	if e := c.find(d); e != nil && e.suite == s.suite {
		e.used = true
		return e
	}
	k := s.keys(d)
	aead, err := s.suite.aead(&k.key)
	if err != nil {
		panic("record: make a cipher: " + err.Error()) // SelfTest has made one of each suite
	}
	i := c.place()
	c.entries[i] = entry{aead: aead, secret: d.secret, iv: k.iv, suite: s.suite, used: true}
	d.cached = uint32(i) + 1
	k = keys{}
	return &c.entries[i]
}

// Adopt takes the ciphers that s was used with out of another Cache, so that its keys need not be derived again; from may be nil.
func (c *Cache) Adopt(s *State, from *Cache) {
	for _, d := range [...]*direction{&s.in, &s.out} {
		e := from.find(d)
		if e == nil {
			d.cached = 0
			continue
		}
		taken := *e
		from.drop(d)
		i := c.place()
		c.entries[i] = taken
		d.cached = uint32(i) + 1
	}
}

// Drop forgets the ciphers of s, for whom it is over: their keys need not wait for Sweep.
func (c *Cache) Drop(s *State) {
	c.drop(&s.in)
	c.drop(&s.out)
}

// find returns the entry that a direction's hint leads to, if it is of its key.
func (c *Cache) find(d *direction) *entry {
	if c == nil {
		return nil
	}
	i := int(d.cached) - 1
	if uint(i) >= uint(len(c.entries)) {
		return nil
	}
	if e := &c.entries[i]; e.aead != nil && e.secret == d.secret {
		return e
	}
	return nil
}

// drop forgets a direction's cipher, whose key is to be used no more.
func (c *Cache) drop(d *direction) {
	if e := c.find(d); e != nil {
		*e = entry{}
		c.free = append(c.free, d.cached-1)
	}
	d.cached = 0
}

// place returns the index of an entry that may be overwritten: an empty one, a new one, or the first from the hand on that was
// not used since the hand came by.
func (c *Cache) place() int {
	if n := len(c.free); n > 0 {
		i := c.free[n-1]
		c.free = c.free[:n-1]
		return int(i)
	}
	if len(c.entries) < c.most {
		c.entries = append(c.entries, entry{})
		return len(c.entries) - 1
	}
	for { // twice around at most
		i := c.hand
		c.hand = (i + 1) % len(c.entries)
		if !c.entries[i].used {
			return i
		}
		c.entries[i].used = false
	}
}
