package access

import (
	"math/rand/v2"
	"testing"
	"time"
)

// named makes a sum of a number.
func named(i int) (s sum) {
	s[0], s[1], s[2] = byte(i), byte(i>>8), byte(i>>16)
	return s
}

func TestCacheForgets(t *testing.T) {
	c := cache{limit: 4}
	c.put(named(1), 0, 10)
	if !c.has(named(1), 9) || c.has(named(2), 9) {
		t.Error("does not have what was put, or has what was not")
	}
	if c.has(named(1), 10) || len(c.index) != 0 {
		t.Error("has what is over")
	}
	c.put(named(1), 10, 20)
	c.put(named(1), 15, 30)
	if !c.has(named(1), 29) {
		t.Error("was not renewed")
	}
}

// Who was asked for stays, who was not goes.
func TestCacheClock(t *testing.T) {
	c := cache{limit: 3}
	for i := range 3 {
		c.put(named(i), 0, 100)
	}
	c.has(named(1), 1)
	c.has(named(2), 1)
	c.put(named(3), 1, 100)
	for i, want := range []bool{false, true, true, true} {
		if got := c.has(named(i), 2); got != want {
			t.Errorf("has %d: %v, want %v", i, got, want)
		}
	}
	c.put(named(4), 2, 100) // all were asked for: one of them goes
	if len(c.index) != 3 || !c.has(named(4), 3) {
		t.Errorf("%d entries, or the newest is gone", len(c.index))
	}
}

// Whatever happens, index and slots agree, and nothing is there that was not put or is over.
func TestCacheRandom(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	c := cache{limit: 16}
	until := make(map[sum]time.Duration)
	for now := time.Duration(0); now < 20_000; now++ {
		s := named(rng.IntN(64))
		if rng.IntN(3) == 0 {
			until[s] = now + time.Duration(rng.IntN(40))
			c.put(s, now, until[s])
		} else if c.has(s, now) && until[s] <= now {
			t.Fatalf("seed %d: has what was not put, or is over", seed)
		}
		if len(c.slots) > c.limit || len(c.index) > len(c.slots) {
			t.Fatalf("seed %d: %d slots, %d in the index", seed, len(c.slots), len(c.index))
		}
		for s, i := range c.index {
			if c.slots[i].sum != s {
				t.Fatalf("seed %d: the index leads to another sum", seed)
			}
		}
	}
}
