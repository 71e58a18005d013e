package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/delivery"
)

// TestBacklog compares random steps with a plain list.
func TestBacklog(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var b Backlog
		var want []*delivery.Message
		for step := range 500 {
			switch rnd.IntN(4) {
			case 0:
				var list []Retained
				for range rnd.IntN(8) {
					m := &delivery.Message{Topic: fmt.Sprint(rnd.IntN(6))}
					list = append(list, Retained{Message: m})
					want = append(want, m)
				}
				b.Push(list)
			case 1:
				topic := fmt.Sprint(rnd.IntN(6))
				var of []*delivery.Message
				want = slices.DeleteFunc(want, func(m *delivery.Message) bool {
					if m.Topic == topic {
						of = append(of, m)
					}
					return m.Topic == topic
				})
				got := b.Take(topic)
				if !slices.EqualFunc(got, of, func(r Retained, m *delivery.Message) bool { return r.Message == m }) {
					t.Fatalf("seed %d, step %d: took %d of %s, want %d", seed, step, len(got), topic, len(of))
				}
			default:
				r, ok := b.First()
				if ok != (len(want) > 0) || ok && r.Message != want[0] {
					t.Fatalf("seed %d, step %d: first %v", seed, step, r.Message)
				}
				if ok {
					b.Pop()
					want = want[1:]
				}
			}
			if b.Len() < len(want) {
				t.Fatalf("seed %d, step %d: %d are left, want %d", seed, step, b.Len(), len(want))
			}
		}
		for _, ok := b.First(); ok; _, ok = b.First() {
			b.Pop()
		}
		if b.items != nil || b.first != nil || b.next != nil {
			t.Error("an empty backlog holds memory")
		}
	}
}

// TestFilters: the bounds hold for what is there, and what was removed makes room.
func TestFilters(t *testing.T) {
	var f Filters
	deep := func(i int) string { return fmt.Sprint(i) + strings.Repeat("/", 127) }
	n := 0
	for ; f.Room(deep(n)); n++ {
		f.Add(deep(n))
		f.Add(deep(n)) // changes nothing
	}
	if n < 1000 || n > maxFilterMemory/(128*levelMemory) {
		t.Errorf("room for %d filters of 128 levels", n)
	}
	if !f.Room(deep(0)) {
		t.Error("no room for one that is there")
	}
	f.Remove(deep(0))
	f.Remove(deep(0))
	if !f.Room(deep(n)) {
		t.Error("what was removed does not make room")
	}
	for i := range n {
		f.Remove(deep(i))
	}
	if f.memory() != 0 {
		t.Errorf("%d bytes are left of nothing", f.memory())
	}
}
