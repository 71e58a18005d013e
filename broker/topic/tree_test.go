package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// matches is the oracle: section 4.7 read level by level, on whole slices, without any tree.
func matches(filter, name []string) bool {
	if strings.HasPrefix(name[0], "$") && (filter[0] == "+" || filter[0] == "#") {
		return false
	}
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i == len(name):
			return false
		case level != "+" && level != name[i]:
			return false
		}
		if i == len(name)-1 && i == len(filter)-2 && filter[i+1] == "#" {
			return true
		}
	}
	return len(filter) == len(name)
}

func oracle(filter, name string) bool {
	return matches(strings.Split(filter, "/"), strings.Split(name, "/"))
}

// empty reports whether a tree holds no more memory than a new one.
func empty[K comparable, V any](t *Tree[K, V]) bool {
	return t.size == 0 && t.exact == nil && t.root.leaf() && t.root.load.here == nil && t.root.load.below == nil
}

func TestMatchRules(t *testing.T) {
	tests := []struct {
		filter, name string
		want         bool
	}{
		// Section 4.7.1.2
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"sport/#", "sports", false},
		{"#", "a/b/c", true},
		{"#", "/", true},
		// Section 4.7.1.3
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"+", "", false},
		// both
		{"a/+/#", "a/b", true},
		{"a/+/#", "a/b/c/d", true},
		{"a/+/#", "a", false},
		{"+/#", "a", true},
		{"a/#", "a/", true},
		{"+/tennis/#", "sport/tennis", true},
		{"/#", "/", true},
		{"/#", "a", false},
		// [MQTT-4.7.2-1]
		{"#", "$SYS/uptime", false},
		{"+/uptime", "$SYS/uptime", false},
		{"+", "$SYS", false},
		{"$SYS/#", "$SYS/uptime", true},
		{"$SYS/#", "$SYS", true},
		{"$SYS/+", "$SYS/uptime", true},
		{"a/+", "a/$SYS", true},
		{"a/#", "a/$SYS/b", true},
		// [MQTT-4.7.3-4]: levels are compared byte by byte
		{"ACCOUNTS", "Accounts", false},
		{"a", "a/", false},
		{"/a", "a", false},
		{"a//b", "a/b", false},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
	}
	for _, tt := range tests {
		if tt.name == "" {
			continue // not a name; the row says what a broken one must not do
		}
		t.Run(tt.filter+" "+tt.name, func(t *testing.T) {
			if oracle(tt.filter, tt.name) != tt.want {
				t.Fatal("the oracle is wrong")
			}
			var tree Tree[string, int]
			tree.Subscribe(tt.filter, "c", 0)
			got, filters := tree.Match(nil, tt.name)
			if (len(got) == 1) != tt.want || filters != len(got) {
				t.Errorf("tree: %d matches of %d filters", len(got), filters)
			}
			var kept Retained[string]
			kept.Set(tt.name, tt.name)
			var seen []string
			kept.Match(tt.filter, func(s string) bool { seen = append(seen, s); return true })
			if (len(seen) == 1) != tt.want {
				t.Errorf("retained: %q", seen)
			}
		})
	}
}

func TestSubscribeReplaces(t *testing.T) {
	for _, filter := range []string{"a/b", "a/+", "a/#", "#", "+"} {
		var tree Tree[string, int]
		if !tree.Subscribe(filter, "c", 1) || tree.Subscribe(filter, "c", 2) {
			t.Errorf("%s: added is wrong", filter)
		}
		if tree.Len() != 1 {
			t.Errorf("%s: %d subscriptions, want 1 [MQTT-3.8.4-3]", filter, tree.Len())
		}
		name := strings.NewReplacer("+", "b", "#", "b").Replace(filter)
		if got, _ := tree.Match(nil, name); len(got) != 1 || got[0].Value != 2 {
			t.Errorf("%s: %v", filter, got)
		}
		if tree.Unsubscribe(filter, "stranger") || !tree.Unsubscribe(filter, "c") || tree.Unsubscribe(filter, "c") {
			t.Errorf("%s: found is wrong", filter)
		}
		if !empty(&tree) {
			t.Errorf("%s: something was left behind", filter)
		}
	}
}

func TestMatchCountsFilters(t *testing.T) {
	var tree Tree[string, int]
	for i, filter := range []string{"a/b", "a/+", "a/#", "a/b/#", "#", "+/b", "x", "+"} {
		tree.Subscribe(filter, "c", i)
	}
	got, filters := tree.Match(nil, "a/b")
	if len(got) != 6 || filters != 6 {
		t.Errorf("%d matches of %d filters, want 6 of 6", len(got), filters)
	}
}

// vocabulary makes names and filters collide often: few levels, few words, empty ones and $ among them.
var vocabulary = []string{"", "a", "b", "c", "$SYS", "$x", "aa", "1", "2", "3", "4", "5", "6", "7", "8", "9"}

func randomName(r *rand.Rand) string {
	levels := make([]string, 1+r.IntN(4))
	for i := range levels {
		levels[i] = vocabulary[r.IntN(len(vocabulary))]
	}
	if name := strings.Join(levels, "/"); name != "" {
		return name
	}
	return "/"
}

func randomFilter(r *rand.Rand) string {
	levels := strings.Split(randomName(r), "/")
	for i := range levels {
		if r.IntN(3) == 0 {
			levels[i] = "+"
		}
	}
	switch r.IntN(4) {
	case 0:
		levels[len(levels)-1] = "#"
	case 1:
		levels = append(levels, "#")
	}
	return strings.Join(levels, "/")
}

// TestTreeAgainstOracle lets a tree and a plain list of subscriptions live through the same random
// script, and compares what they say of each name; in the end everybody leaves.
func TestTreeAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	type subscription struct {
		filter string
		client int
	}
	var tree Tree[int, int]
	list := map[subscription]int{}
	for step := range 20_000 {
		s := subscription{randomFilter(r), r.IntN(40)}
		if r.IntN(4) == 0 {
			s.filter = randomName(r)
		}
		_, there := list[s]
		switch r.IntN(5) {
		case 0, 1, 2:
			if tree.Subscribe(s.filter, s.client, step) == there {
				t.Fatalf("step %d: Subscribe(%q) is wrong about added", step, s.filter)
			}
			list[s] = step
		default:
			for known := range list { // any one
				s = known
				break
			}
			_, there = list[s]
			if tree.Unsubscribe(s.filter, s.client) != there {
				t.Fatalf("step %d: Unsubscribe(%q) is wrong about found", step, s.filter)
			}
			delete(list, s)
		}
		if tree.Len() != len(list) {
			t.Fatalf("step %d: %d subscriptions, want %d", step, tree.Len(), len(list))
		}
		if step%50 != 0 {
			continue
		}
		name := randomName(r)
		var want []Entry[int, int]
		filters := map[string]bool{}
		for s, value := range list {
			if oracle(s.filter, name) {
				want = append(want, Entry[int, int]{s.client, value})
				filters[s.filter] = true
			}
		}
		got, n := tree.Match(nil, name)
		if !slices.Equal(sorted(got), sorted(want)) || n != len(filters) {
			t.Fatalf("step %d: Match(%q) = %v of %d filters, want %v of %d", step, name, got, n, want, len(filters))
		}
	}
	for s := range list {
		tree.Unsubscribe(s.filter, s.client)
	}
	if !empty(&tree) {
		t.Error("something was left behind")
	}
}

func sorted(e []Entry[int, int]) []Entry[int, int] {
	slices.SortFunc(e, func(a, b Entry[int, int]) int { return a.Value - b.Value })
	return e
}

func TestRetainedAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var kept Retained[string]
	names := map[string]string{}
	for step := range 20_000 {
		name := randomName(r)
		_, there := names[name]
		if r.IntN(2) == 0 {
			value := fmt.Sprint(name, " ", step)
			if kept.Set(name, value) == there {
				t.Fatalf("step %d: Set(%q) is wrong about added", step, name)
			}
			names[name] = value
		} else {
			if kept.Delete(name) != there {
				t.Fatalf("step %d: Delete(%q) is wrong about found", step, name)
			}
			delete(names, name)
		}
		if v, ok := kept.Get(name); v != names[name] || ok != (names[name] != "") {
			t.Fatalf("step %d: Get(%q) = %q, %v", step, name, v, ok)
		}
		if kept.Len() != len(names) {
			t.Fatalf("step %d: %d values, want %d", step, kept.Len(), len(names))
		}
		if step%50 != 0 {
			continue
		}
		filter := randomFilter(r)
		var got, want []string
		kept.Match(filter, func(v string) bool { got = append(got, v); return true })
		for name, value := range names {
			if oracle(filter, name) {
				want = append(want, value)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: Match(%q) = %q, want %q", step, filter, got, want)
		}
	}
	for name := range names {
		kept.Delete(name)
	}
	if !kept.root.leaf() || kept.Len() != 0 {
		t.Error("something was left behind")
	}
}

func TestRetainedMatchStops(t *testing.T) {
	var kept Retained[int]
	for i := range 1000 {
		kept.Set(fmt.Sprintf("a/%d/b", i), i)
	}
	for _, filter := range []string{"#", "a/#", "a/+/b", "a/+/#", "+/+/+"} {
		n := 0
		kept.Match(filter, func(int) bool { n++; return n < 7 })
		if n != 7 {
			t.Errorf("%s: %d visits after false at the seventh", filter, n)
		}
	}
}

// TestLargeSets covers what the random scripts do not reach: indexes and maps that come and go.
func TestLargeSets(t *testing.T) {
	const n = 5000
	r := rand.New(rand.NewPCG(5, 6))
	var tree Tree[int, int]
	for i := range n {
		tree.Subscribe("all/#", i, i)
		tree.Subscribe(fmt.Sprintf("one/%d/+", i), i, i)
	}
	order := r.Perm(n)
	for left, i := range order {
		if got, filters := tree.Match(nil, "all/x"); len(got) != n-left || filters != 1 {
			t.Fatalf("%d subscribers of %d filters, want %d of 1", len(got), filters, n-left)
		}
		name := fmt.Sprintf("one/%d/x", i)
		if got, _ := tree.Match(nil, name); len(got) != 1 || got[0].Key != i {
			t.Fatalf("%s: %v", name, got)
		}
		if !tree.Unsubscribe("all/#", i) || !tree.Unsubscribe(fmt.Sprintf("one/%d/+", i), i) {
			t.Fatalf("subscriber %d is not found", i)
		}
		if left%500 == 0 {
			if s := tree.root.kid("all").load.below; s != nil && cap(s.list) > max(64, 8*len(s.list)) {
				t.Fatalf("room for %d subscribers is kept for %d", cap(s.list), len(s.list))
			}
		}
	}
	if !empty(&tree) {
		t.Error("something was left behind")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	var tree Tree[int, int]
	for i := range 100 {
		tree.Subscribe("a/b/c", i, i)
		tree.Subscribe("a/+/c", i, i)
		tree.Subscribe("#", i, i)
	}
	buf := make([]Entry[int, int], 0, 300)
	if n := testing.AllocsPerRun(100, func() { buf, _ = tree.Match(buf[:0], "a/b/c") }); n != 0 {
		t.Errorf("%v allocations for one match", n)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b")
	f.Add("#", "$SYS/x")
	f.Add("+/+", "/a")
	f.Fuzz(func(t *testing.T, filter, name string) {
		share, bare, err := ParseFilter(filter)
		if err != nil || share != "" || CheckName(name) != nil {
			return
		}
		var tree Tree[int, int]
		tree.Subscribe(bare, 1, 1)
		var kept Retained[int]
		kept.Set(name, 1)
		got, _ := tree.Match(nil, name)
		n := 0
		kept.Match(bare, func(int) bool { n++; return true })
		if want := oracle(bare, name); (len(got) == 1) != want || (n == 1) != want {
			t.Fatalf("%q and %q: tree %d, retained %d, oracle %v", bare, name, len(got), n, want)
		}
	})
}
