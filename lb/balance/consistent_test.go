package balance

import (
	"bufio"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// pickBySource returns the name of the member that an address gets.
func pickBySource(t *testing.T, p *Picker, members []Member, client netip.Addr, usable func(int) bool) string {
	t.Helper()
	i, ok := p.Pick(client, usable)
	if !ok {
		t.Fatalf("no member for %v", client)
	}
	return members[i].Name
}

// Whoever leaves takes only its own clients along, whether it is down or deleted from the list, and has
// exactly these again when it is back.
func TestOnlyTheLeaversClientsMove(t *testing.T) {
	r := seeded(t, 11)
	for range 3000 {
		members := randomMembers(r, 2+r.IntN(9))
		for i := range members {
			members[i].Weight, members[i].Backup = 1+r.IntN(256), false
		}
		leaver := r.IntN(len(members))
		stay := slices.Delete(slices.Clone(members), leaver, leaver+1)
		p, after := picker(Options{}, members), picker(Options{}, stay)
		for range 20 {
			client := randomAddress(r)
			before := pickBySource(t, p, members, client, all)
			down := pickBySource(t, p, members, client, without(leaver))
			deleted := pickBySource(t, after, stay, client, all)
			if down != deleted {
				t.Fatalf("%v: %s while %s is down, %s when it is deleted", client, down, members[leaver].Name, deleted)
			}
			if before != members[leaver].Name && down != before {
				t.Fatalf("%v moved from %s to %s when %s left", client, before, down, members[leaver].Name)
			}
			if back := pickBySource(t, p, members, client, all); back != before {
				t.Fatalf("%v is on %s after the return, was on %s", client, back, before)
			}
		}
	}
}

func TestOrderOfMembersDoesNotMatter(t *testing.T) {
	r := seeded(t, 12)
	for range 3000 {
		members := randomMembers(r, 1+r.IntN(9))
		members[0].Weight, members[0].Backup = 1, false
		shuffled := slices.Clone(members)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		p, q := picker(Options{}, members), picker(Options{}, shuffled)
		for range 20 {
			client := randomAddress(r)
			if a, b := pickBySource(t, p, members, client, all), pickBySource(t, q, shuffled, client, all); a != b {
				t.Fatalf("%v: %s, or %s after shuffling %+v", client, a, b, members)
			}
		}
	}
}

// A heavier member wins clients from all others and loses none; nobody moves between the others.
// The number that moves is the difference of the shares.
func TestWeightChangeMovesOnlyItsShare(t *testing.T) {
	r := seeded(t, 13)
	for range 100 {
		members := equals(2 + r.IntN(6))
		for i := range members {
			members[i].Weight = 1 + r.IntN(8)
		}
		changed := r.IntN(len(members))
		heavier := slices.Clone(members)
		heavier[changed].Weight += 1 + r.IntN(8)
		p, q := picker(Options{}, members), picker(Options{}, heavier)
		const clients = 2000
		moved := 0
		for range clients {
			client := randomAddress(r)
			a, b := pickBySource(t, p, members, client, all), pickBySource(t, q, heavier, client, all)
			if a != b {
				moved++
				if b != heavier[changed].Name {
					t.Fatalf("%v moved from %s to %s, but %s became heavier", client, a, b, heavier[changed].Name)
				}
			}
		}
		want := share(heavier, changed) - share(members, changed)
		if got := float64(moved) / clients; math.Abs(got-want) > 6*math.Sqrt(want*(1-want)/clients) {
			t.Errorf("%.3f of the clients moved from %+v to %+v, want %.3f", got, members, heavier, want)
		}
	}
}

func share(members []Member, i int) float64 {
	total := 0
	for _, m := range members {
		total += m.Weight
	}
	return float64(members[i].Weight) / float64(total)
}

// block is a sequence of clients: their addresses are first + k·stride.
type block struct {
	first  netip.Addr
	stride uint64
}

func (b block) client(k int) netip.Addr {
	a := b.first.As16()
	carry := uint64(k) * b.stride
	for i := 15; i >= 0 && carry > 0; i-- {
		carry += uint64(a[i])
		a[i] = byte(carry)
		carry >>= 8
	}
	return netip.AddrFrom16(a).Unmap()
}

// blocks are what fleets look like: one large subnet, one in each of many subnets, and the same in IPv6.
var blocks = []block{
	{netip.MustParseAddr("10.0.0.0"), 1},
	{netip.MustParseAddr("10.0.0.0"), 256},
	{netip.MustParseAddr("192.168.7.13"), 1},
	{netip.MustParseAddr("100.64.0.1"), 64},
	{netip.MustParseAddr("2001:db8::"), 1},
	{netip.MustParseAddr("2001:db8:0:1::"), 4},
	{netip.MustParseAddr("fd00:1:2:3:4:5:6:100"), 1 << 16},
}

// Whatever the hash, 10,000 clients on five or more members deviate by chance: so the limit of 5 % holds for
// members whose share is 3/10 or more, and a wider one, in standard deviations, for the others.
func TestNeighboursSpreadByWeight(t *testing.T) {
	const clients = 10000
	for _, members := range [][]Member{
		equals(2), equals(3), weighted(1, 2), weighted(3, 4, 3), equals(5), equals(16), weighted(1, 10, 100), weighted(256, 1, 255),
	} {
		for _, b := range blocks {
			p, count := picker(Options{}, members), make([]int, len(members))
			for k := range clients {
				i, _ := p.Pick(b.client(k), all)
				count[i]++
			}
			for i, n := range count {
				s := share(members, i)
				want := clients * s
				limit := 4.5 * math.Sqrt(want*(1-s))
				if s >= 0.3 {
					limit = 0.05 * want
				}
				if math.Abs(float64(n)-want) > limit {
					t.Errorf("%v + k·%d on %v: member %d has %d, want %.0f ± %.0f", b.first, b.stride, weights(members), i, n, want, limit)
				}
			}
		}
	}
}

func weights(members []Member) []int {
	var w []int
	for _, m := range members {
		w = append(w, m.Weight)
	}
	return w
}

// The clients of a member that leaves spread over the others by weight.
func TestLeaversClientsSpread(t *testing.T) {
	members := weighted(2, 1, 1, 2, 4)
	p, moved, count := picker(Options{}, members), 0, make([]int, len(members))
	for k := range 40000 {
		client := blocks[0].client(k)
		if i, _ := p.Pick(client, all); i == 4 {
			moved++
			j, _ := p.Pick(client, without(4))
			count[j]++
		}
	}
	for i, n := range count[:4] {
		if want := float64(moved) * share(members[:4], i); math.Abs(float64(n)-want) > 0.08*want {
			t.Errorf("member %d got %d of %d clients, want %.0f", i, n, moved, want)
		}
	}
}

// Sixteen neighbours have one draw in each sixteenth of [0, 1), of every member: that is what spreads
// them more evenly than chance. It must hold together with an order that differs between members.
func TestDrawsOfNeighbours(t *testing.T) {
	r := seeded(t, 14)
	orders := make(map[string]bool)
	for range 500 {
		member, base := r.Uint64(), r.Uint32()&^15
		seen, order, offset := make([]bool, 16), "", -1.0
		for k := range uint32(16) {
			v := keyOf(ipv4(base + k)).draw(member)
			if v < 0 || v >= 1 {
				t.Fatalf("draw %v", v)
			}
			if offset < 0 {
				offset = math.Mod(v, 1.0/16)
			}
			sixteenth := int(math.Round((v - offset) * 16))
			if math.Abs(v-offset-float64(sixteenth)/16) > 1e-12 || seen[sixteenth] {
				t.Fatalf("draw %v of neighbour %d, seen %v", v, k, seen)
			}
			seen[sixteenth] = true
			order += fmt.Sprint(sixteenth, " ")
		}
		orders[order] = true
	}
	if len(orders) < 100 { // of 128: 8 odd factors times 16 offsets
		t.Errorf("only %d orders in 500 blocks", len(orders))
	}
}

// The same clients have the same members after every upgrade of this program: testdata/consistent.txt was
// written once and must never change. Its lines are: name:weight …  address  member.
func TestConsistentIsForGood(t *testing.T) {
	f, err := os.Open("testdata/consistent.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for in := bufio.NewScanner(f); in.Scan(); {
		fields := strings.Fields(in.Text())
		if len(fields) < 3 || fields[0] == "#" {
			continue
		}
		members := parseMembers(t, fields[:len(fields)-2])
		client, want := netip.MustParseAddr(fields[len(fields)-2]), fields[len(fields)-1]
		if got := pickBySource(t, picker(Options{}, members), members, client, all); got != want {
			t.Errorf("%v on %v: %s, want %s", client, fields[:len(fields)-2], got, want)
		}
		lines++
	}
	if lines < 20 {
		t.Errorf("only %d lines", lines)
	}
}

// parseMembers reads name:weight or name:weight:backup.
func parseMembers(t *testing.T, fields []string) []Member {
	t.Helper()
	var members []Member
	for _, field := range fields {
		parts := strings.Split(field, ":")
		m := Member{Name: parts[0], Backup: len(parts) == 3}
		if _, err := fmt.Sscan(parts[1], &m.Weight); err != nil {
			t.Fatalf("member %q: %v", field, err)
		}
		members = append(members, m)
	}
	return members
}

func TestFormsOfOneAddress(t *testing.T) {
	pairs := [][2]string{{"10.1.2.3", "::ffff:10.1.2.3"}, {"fe80::1%eth0", "fe80::1%wlan1"}, {"fe80::1", "fe80::1%7"}}
	for _, o := range []Options{{Hash: Consistent}, {Hash: Map}} {
		for _, pair := range pairs {
			p := picker(o, equals(97))
			a, _ := p.Pick(netip.MustParseAddr(pair[0]), all)
			b, _ := p.Pick(netip.MustParseAddr(pair[1]), all)
			if a != b {
				t.Errorf("%s: %s gets %d, %s gets %d", o.Hash, pair[0], a, pair[1], b)
			}
		}
		if _, ok := picker(o, equals(3)).Pick(netip.Addr{}, all); !ok {
			t.Errorf("%s: nobody for the invalid address", o.Hash)
		}
	}
}
