package balance

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// slotsStepByStep is HAProxy's rule as it stands in recalc_server_map, in time proportional to slots times members.
func slotsStepByStep(usable []candidate) []int32 {
	total := 0
	for _, c := range usable {
		total += c.weight
	}
	scores := make([]int, len(usable))
	slots := make([]int32, total)
	for o := range slots {
		best, highest := none, 0
		for k, c := range usable {
			scores[k] += c.weight
			if v := (scores[k] + total) / total; best == none || v > highest {
				best, highest = k, v
			}
		}
		slots[o] = int32(usable[best].index)
		scores[best] -= total
	}
	return slots
}

func TestSlotsAreHAProxys(t *testing.T) {
	r := seeded(t, 21)
	for range 1000 {
		usable, divisor := randomCandidates(r), 0
		for _, c := range usable {
			divisor = gcd(c.weight, divisor)
		}
		want, got := slotsStepByStep(usable), fillSlots(usable)
		if len(got)*divisor != len(want) {
			t.Fatalf("%d slots for %v, of which the divisor is %d", len(got), usable, divisor)
		}
		for o, w := range want { // the undivided map is the divided one, over and over
			if got[o%len(got)] != w {
				t.Fatalf("slot %d of %v is %d, want %d", o, usable, got[o%len(got)], w)
			}
		}
	}
}

func randomCandidates(r *rand.Rand) []candidate {
	usable := make([]candidate, 1+r.IntN(80))
	heaviest, factor := 1+r.IntN(20), 1+r.IntN(4)
	for k := range usable {
		usable[k] = candidate{index: k, weight: factor * (1 + r.IntN(heaviest))}
	}
	return usable
}

func TestAddressNumber(t *testing.T) {
	tests := []struct {
		address string
		want    uint32
	}{
		{"0.0.0.0", 0},
		{"10.0.0.1", 0x0a000001},
		{"::ffff:10.0.0.1", 0x0a000001},
		{"255.255.255.255", 0xffffffff},
		{"::1", 1},
		{"2001:db8::1", 0x20010db9},
		{"2001:db8:1:2:3:4:5:6", 0x20010db8 ^ 0x00010002 ^ 0x00030004 ^ 0x00050006},
		{"fe80::1%eth0", 0xfe800001},
	}
	for _, tt := range tests {
		if got := addressNumber(netip.MustParseAddr(tt.address)); got != tt.want {
			t.Errorf("addressNumber(%s) = %#x, want %#x", tt.address, got, tt.want)
		}
	}
}

// goldenFile has the answers of a real HAProxy; see TestMapAgainstHAProxy, which writes it.
const goldenFile = "testdata/haproxy-source-map.txt"

// TestMapGolden compares with what HAProxy answered when the file was written. Lines: "members
// name:weight[:backup] …", then "down name …" and "address member" for these members.
func TestMapGolden(t *testing.T) {
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	var members []Member
	var down []string
	answers := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "#":
		case fields[0] == "members":
			members, down = parseMembers(t, fields[1:]), nil
		case fields[0] == "down":
			down = fields[1:]
		default:
			usable := func(i int) bool { return !slices.Contains(down, members[i].Name) }
			p := picker(Options{Policy: Source, Hash: Map}, members)
			if got := pickBySource(t, p, members, netip.MustParseAddr(fields[0]), usable); got != fields[1] {
				t.Errorf("%s on %+v without %v: %s, HAProxy says %s", fields[0], members, down, got, fields[1])
			}
			answers++
		}
	}
	if answers < 500 {
		t.Errorf("only %d answers in %s", answers, goldenFile)
	}
}

// Whatever sets of usable members come along, the tables that are remembered stay within their bounds, and
// a remembered one is not made again.
func TestMapRemembersTables(t *testing.T) {
	p := picker(Options{Policy: Source, Hash: Map}, equals(200))
	newest := func() *int32 { return &(*p.mapped.tables.Load())[0].slots[0] }
	p.Pick(ipv4(1), all)
	whole := newest()
	for leaver := range 199 {
		p.Pick(ipv4(1), without(leaver))
		tables := *p.mapped.tables.Load()
		if want := min(leaver+2, maxTables); len(tables) != want {
			t.Fatalf("%d tables after %d sets, want %d", len(tables), leaver+2, want)
		}
		first := newest()
		if p.Pick(ipv4(1), without(leaver)); newest() != first {
			t.Fatal("the table of a remembered set was made again")
		}
	}
	if p.Pick(ipv4(1), all); newest() == whole || len(newestSlots(p)) != 200 {
		t.Error("the forgotten table of the whole set did not come back whole")
	}
}

func newestSlots(p *Picker) []int32 { return (*p.mapped.tables.Load())[0].slots }

// Large tables are forgotten by their size, but the newest one is never.
func TestMapBoundsSlots(t *testing.T) {
	members := equals(4096)
	for i := range members {
		members[i].Weight = 255 + i%2
	}
	p := picker(Options{Policy: Source, Hash: Map}, members)
	for leaver := range 3 {
		p.Pick(ipv4(1), without(leaver))
		if n := len(*p.mapped.tables.Load()); n != 1 {
			t.Errorf("%d tables of %d slots remembered, want 1", n, len(newestSlots(p)))
		}
	}
}

// All goroutines that need a new table wait for the one that makes it, and get the same.
func TestMapMakesATableOnce(t *testing.T) {
	p := picker(Options{Policy: Source, Hash: Map}, weighted(251, 241, 239, 233))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for leaver := range 4 {
				p.Pick(ipv4(1), without(leaver))
			}
		})
	}
	wg.Wait()
	if n := len(*p.mapped.tables.Load()); n != 4 {
		t.Errorf("%d tables for 4 sets", n)
	}
}
