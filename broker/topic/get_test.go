package topic

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestGet(t *testing.T) {
	var tree Tree[string, int]
	for i, filter := range []string{"a/b", "a/+", "a/#", "+/b", "#", "a", "/", "$SYS/#"} {
		tree.Subscribe(filter, "c", i)
		if v, ok := tree.Get(filter, "c"); !ok || v != i {
			t.Errorf("%s: %d, %v; want %d", filter, v, ok, i)
		}
		if _, ok := tree.Get(filter, "d"); ok {
			t.Errorf("%s: there for somebody else", filter)
		}
	}
	for _, filter := range []string{"b", "a/b/c", "a/b/#", "+", "+/#", "+/+", "a/+/+", "$SYS/+"} {
		if v, ok := tree.Get(filter, "c"); ok {
			t.Errorf("%s: %d, which nobody subscribed to", filter, v)
		}
	}
}

// TestGetAgainstMap compares Get with a map through random changes, large sets among them.
func TestGetAgainstMap(t *testing.T) {
	type place struct {
		filter string
		key    int
	}
	filters := []string{"a", "a/b", "a/+", "a/#", "+/b", "+/+", "#", "+/#", "a/b/c", "a/+/c"}
	var tree Tree[int, int]
	want := make(map[place]int)
	for step := range 20_000 {
		p := place{filters[rand.IntN(len(filters))], rand.IntN(40)}
		if rand.IntN(3) > 0 {
			tree.Subscribe(p.filter, p.key, step)
			want[p] = step
		} else {
			tree.Unsubscribe(p.filter, p.key)
			delete(want, p)
		}
		q := place{filters[rand.IntN(len(filters))], rand.IntN(40)}
		v, ok := tree.Get(q.filter, q.key)
		if w, there := want[q]; ok != there || v != w {
			t.Fatalf("step %d: %v: %d, %v; want %d, %v of %v", step, q, v, ok, w, there, fmt.Sprint(slices.Collect(maps.Keys(want))))
		}
	}
}
