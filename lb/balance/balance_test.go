package balance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// everyPolicy are the options that differ in what New builds; Active says that nobody has a session.
var everyPolicy = map[string]Options{
	"source consistent": {Policy: Source, Hash: Consistent},
	"source map":        {Policy: Source, Hash: Map},
	"roundrobin":        {Policy: RoundRobin},
	"leastconn":         {Policy: LeastConn, Active: idle},
	"random":            {Policy: Random, Active: idle},
}

func idle(int) int { return 0 }

// picker returns a picker by o's policy over the members.
func picker(o Options, members []Member) *Picker {
	o.Members = members
	return New(o)
}

// equals returns n members of weight 1, named s1, s2, …
func equals(n int) []Member {
	weights := slices.Repeat([]int{1}, n)
	return weighted(weights...)
}

// weighted returns members s1, s2, … with these weights.
func weighted(weights ...int) []Member {
	members := make([]Member, len(weights))
	for i, w := range weights {
		members[i] = Member{Name: fmt.Sprintf("s%d", i+1), Weight: w}
	}
	return members
}

func all(int) bool { return true }

// without returns a usable that refuses these members.
func without(refused ...int) func(int) bool {
	return func(i int) bool { return !slices.Contains(refused, i) }
}

// seeded returns a generator that gives the same numbers in each run, and logs its seed.
func seeded(t testing.TB, seed uint64) *rand.Rand {
	t.Logf("random seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// randomAddress returns an IPv4 or an IPv6 address.
func randomAddress(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return ipv4(r.Uint32())
	}
	var b [16]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return netip.AddrFrom16(b)
}

func TestRetriesVisitEachMemberOnce(t *testing.T) {
	for name, o := range everyPolicy {
		t.Run(name, func(t *testing.T) {
			r := seeded(t, 1)
			for range 300 {
				members := randomMembers(r, 1+r.IntN(12))
				var want []int
				for i, m := range members {
					if m.Weight > 0 {
						want = append(want, i)
					}
				}
				p, client := picker(o, members), randomAddress(r)
				var tried []int
				for {
					i, ok := p.Pick(client, without(tried...))
					if !ok {
						break
					}
					if slices.Contains(tried, i) {
						t.Fatalf("member %d chosen again after %v", i, tried)
					}
					if members[i].Backup != (len(tried) >= countMain(members)) {
						t.Fatalf("member %d (backup %v) chosen after %v of %+v", i, members[i].Backup, tried, members)
					}
					tried = append(tried, i)
				}
				if slices.Sort(tried); !slices.Equal(tried, want) {
					t.Fatalf("tried %v, want %v of %+v", tried, want, members)
				}
			}
		})
	}
}

// randomMembers returns n members with random weights, of which some are 0, and some backups.
func randomMembers(r *rand.Rand, n int) []Member {
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{Name: fmt.Sprintf("n%d-%d", r.Uint32(), i), Weight: r.IntN(6), Backup: r.IntN(4) == 0}
	}
	return members
}

func countMain(members []Member) int {
	n := 0
	for _, m := range members {
		if !m.Backup && m.Weight > 0 {
			n++
		}
	}
	return n
}

func TestNobodyUsable(t *testing.T) {
	lists := map[string][]Member{
		"empty":          nil,
		"all refused":    equals(3),
		"weight 0":       weighted(0, 0),
		"weight below 0": weighted(-1),
		"backup of 0":    {{Name: "a", Weight: 0}, {Name: "b", Weight: 0, Backup: true}},
		"backup refused": {{Name: "a", Weight: 1}, {Name: "b", Weight: 1, Backup: true}},
	}
	for name, o := range everyPolicy {
		for list, members := range lists {
			usable := func(i int) bool { return members[i].Weight == 0 }
			if i, ok := picker(o, members).Pick(ipv4(1), usable); ok {
				t.Errorf("%s, %s: chose member %d", name, list, i)
			}
		}
	}
}

func TestWeightZeroGetsNobody(t *testing.T) {
	for name, o := range everyPolicy {
		p := picker(o, weighted(1, 0, 2))
		for client := range uint32(2000) {
			if i, ok := p.Pick(ipv4(client), all); !ok || i == 1 {
				t.Fatalf("%s: client %d got member %d, %v", name, client, i, ok)
			}
		}
	}
}

// HAProxy manual, section 4.2, "option allbackups": without it "the first operational backup server gets all traffic
// when normal servers are all down".
func TestBackup(t *testing.T) {
	members := []Member{
		{Name: "b1", Weight: 1, Backup: true}, {Name: "m1", Weight: 1}, {Name: "b2", Weight: 9, Backup: true}, {Name: "m2", Weight: 1},
	}
	tests := []struct {
		refused []int
		want    []int
	}{
		{nil, []int{1, 3}},
		{[]int{0, 2}, []int{1, 3}},
		{[]int{1}, []int{3}},
		{[]int{1, 3}, []int{0}},
		{[]int{0, 1, 3}, []int{2}},
	}
	for name, o := range everyPolicy {
		p := picker(o, members)
		for _, tt := range tests {
			got := make(map[int]bool)
			for client := range uint32(300) {
				i, ok := p.Pick(ipv4(client), without(tt.refused...))
				if !ok || !slices.Contains(tt.want, i) {
					t.Fatalf("%s without %v: member %d, %v, want one of %v", name, tt.refused, i, ok, tt.want)
				}
				got[i] = true
			}
			if len(got) != len(tt.want) {
				t.Errorf("%s without %v: chose only %v of %v", name, tt.refused, got, tt.want)
			}
		}
	}
}

func TestNewPanicsOnUncheckedOptions(t *testing.T) {
	for _, o := range []Options{{Policy: "fastest"}, {Policy: Source, Hash: "md5"}, {Policy: LeastConn}, {Policy: Random}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%+v) did not panic", o)
				}
			}()
			New(o)
		}()
	}
}

func TestMembersAreCopied(t *testing.T) {
	for name, o := range everyPolicy {
		members := weighted(1, 1)
		p := picker(o, members)
		members[0].Weight, members[1].Backup = 0, true
		if _, ok := p.Pick(ipv4(7), without(1)); !ok {
			t.Errorf("%s: a change of the caller's list reached the picker", name)
		}
	}
}

// A caller's function that captures variables must not escape to the heap: it is made for each connection.
func TestPickDoesNotAllocate(t *testing.T) {
	for name, o := range everyPolicy {
		for _, n := range []int{3, 4096} {
			p, client, refused := picker(o, equals(n)), uint32(0), 1
			pick := func() {
				client++
				if _, ok := p.Pick(ipv4(client), func(i int) bool { return i != refused }); !ok {
					t.Fatal("nobody chosen")
				}
			}
			pick() // "map" makes its table
			if allocs := testing.AllocsPerRun(100, pick); allocs != 0 {
				t.Errorf("%s, %d members: %v allocations for each pick", name, n, allocs)
			}
		}
	}
}

// More candidates than the set on the stack has room for.
func TestManyMembers(t *testing.T) {
	const n = 5000
	for name, o := range everyPolicy {
		p, chosen := picker(o, equals(n)), make(map[int]bool)
		for client := range uint32(200) {
			i, ok := p.Pick(ipv4(client), func(i int) bool { return i > 4500 })
			if !ok || i <= 4500 || i >= n {
				t.Fatalf("%s: member %d, %v", name, i, ok)
			}
			chosen[i] = true
		}
		if len(chosen) < 100 {
			t.Errorf("%s: 200 clients on %d of 499 members", name, len(chosen))
		}
	}
}

// Many goroutines pick while members come and go. A member that is never refused is always
// there, and one that is refused throughout is never chosen.
func TestConcurrentPicks(t *testing.T) {
	members := weighted(1, 2, 3, 4, 5, 6, 7, 8)
	for name, o := range everyPolicy {
		t.Run(name, func(t *testing.T) {
			var sessions [8]atomic.Int64
			o.Active = func(i int) int { return int(sessions[i].Load()) }
			p := picker(o, members)
			var down [8]atomic.Bool
			down[7].Store(true)
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(g), 3))
					for range 2000 {
						down[1+r.IntN(6)].Store(r.IntN(2) == 0)
						i, ok := p.Pick(randomAddress(r), func(i int) bool { return !down[i].Load() })
						if !ok || i == 7 {
							t.Errorf("picked %d, %v", i, ok)
							return
						}
						sessions[i].Add(1)
					}
				})
			}
			wg.Wait()
		})
	}
}
