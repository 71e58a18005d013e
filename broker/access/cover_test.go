package access

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/topic"
)

// names returns all topic names of up to depth levels, with the empty one.
func names(depth int) []string {
	levels := []string{"a", "b", "", "$s"}
	list, last := []string(nil), []string{""}
	for range depth {
		var next []string
		for _, head := range last {
			for _, level := range levels {
				next = append(next, head+level+"/")
			}
		}
		for _, name := range next {
			list = append(list, strings.TrimSuffix(name, "/"))
		}
		last = next
	}
	return list
}

// filters returns all filters of up to depth levels, and these with /# after them.
func filters(depth int) []string {
	list := []string{"#"}
	for _, name := range names(depth) {
		levels := strings.Split(name, "/")
		for which := range 1 << len(levels) { // the levels that are + instead
			with := slices.Clone(levels)
			for i := range with {
				if which>>i&1 == 1 {
					with[i] = "+"
				}
			}
			filter := strings.Join(with, "/")
			if filter != "" {
				list = append(list, filter)
			}
			list = append(list, filter+"/#")
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// matched returns which of the names a filter matches, by package topic.
func matched(filter string, all []string) []bool {
	var t topic.Tree[int, int]
	t.Subscribe(filter, 1, 1)
	set := make([]bool, len(all))
	for i, name := range all {
		_, n := t.Match(nil, name)
		set[i] = n > 0
	}
	return set
}

func subset(small, large []bool) bool {
	for i := range small {
		if small[i] && !large[i] {
			return false
		}
	}
	return true
}

func disjoint(a, b []bool) bool {
	for i := range a {
		if a[i] && b[i] {
			return false
		}
	}
	return true
}

// Every pair of filters of up to three levels is compared by the names of up to four that they match. That is exact: what
// two such filters tell apart shows within one level more than the longer has.
func TestCoversAndOverlaps(t *testing.T) {
	all, list := names(4), filters(3)
	sets := make([][]bool, len(list))
	for i, filter := range list {
		if _, _, err := topic.ParseFilter(filter); err != nil {
			t.Fatalf("%q: %v", filter, err)
		}
		sets[i] = matched(filter, all)
	}
	for i, a := range list {
		if testing.Short() && i%7 != 0 {
			continue
		}
		for j, b := range list {
			if got, want := Covers(a, b), subset(sets[j], sets[i]); got != want {
				t.Errorf("Covers(%q, %q) = %v, want %v", a, b, got, want)
			}
			if got, want := Overlaps(a, b), !disjoint(sets[i], sets[j]); got != want {
				t.Errorf("Overlaps(%q, %q) = %v, want %v", a, b, got, want)
			}
		}
	}
}

// A line is a rule of an ACL file, for the judge below.
type line struct {
	pattern bool
	user    string // "" is before the first user line
	access  string
	filter  string
}

// text writes lines as a file: those of each user in a block.
func text(lines []line) string {
	slices.SortStableFunc(lines, func(a, b line) int { return strings.Compare(a.user, b.user) })
	var b strings.Builder
	user := ""
	for _, l := range lines {
		if l.user != user {
			user = l.user
			fmt.Fprintf(&b, "user %s\n", user)
		}
		keyword := "topic"
		if l.pattern {
			keyword = "pattern"
		}
		fmt.Fprintf(&b, "%s %s %s\n", keyword, l.access, l.filter)
	}
	return b.String()
}

// A judge does in the plainest way what Rules do: one line after the other, as the manual of mosquitto has it.
type judge struct {
	lines   []line
	matches map[[2]string]bool // of a filter and a name
}

// steps returns the filters, with access, that concern a client: of its own and of patterns.
func (j *judge) steps(user, id string) (steps [2][]line, safe bool) {
	safe = true
	for _, l := range j.lines {
		switch {
		case !l.pattern && l.user == user:
			steps[0] = append(steps[0], l)
		case l.pattern:
			levels := strings.Split(l.filter, "/")
			bad := false
			for i, level := range levels {
				value := map[string]string{"%u": user, "%c": id}
				if v, ok := value[level]; ok {
					levels[i] = v
					dangerous := strings.ContainsAny(v, "+#/")
					bad = bad || v == "" || dangerous || i == 0 && isSystem(v)
					safe = safe && !(dangerous && l.access == "deny")
				}
			}
			if !bad {
				l.filter = strings.Join(levels, "/")
				steps[1] = append(steps[1], l)
			}
		}
	}
	return steps, safe
}

// may judges a topic name.
func (j *judge) may(user, id, name, want string) bool {
	steps, safe := j.steps(user, id)
	for i, step := range steps {
		if i == 1 && !safe {
			return false
		}
		for _, denies := range []bool{true, false} {
			for _, l := range step {
				if (l.access == "deny") == denies && (denies || strings.Contains(l.access, want)) && j.match(l.filter, name) {
					return !denies
				}
			}
		}
	}
	return false
}

func (j *judge) match(filter, name string) bool {
	key := [2]string{filter, name}
	if m, ok := j.matches[key]; ok {
		return m
	}
	j.matches[key] = matched(filter, []string{name})[0]
	return j.matches[key]
}

// subscribe judges a filter, by Covers and Overlaps.
func (j *judge) subscribe(user, id, filter string) Grant {
	steps, safe := j.steps(user, id)
	denied := false
	for i, step := range steps {
		covered := false
		for _, l := range step {
			switch {
			case l.access == "deny" && Covers(l.filter, filter):
				return Refused
			case l.access == "deny":
				denied = denied || Overlaps(l.filter, filter)
			case strings.Contains(l.access, "read"):
				covered = covered || Covers(l.filter, filter)
			}
		}
		switch {
		case i == 1 && !safe || i == 1 && !covered:
			return Refused
		case covered && denied:
			return Filtered
		case covered:
			return Granted
		}
	}
	return Refused
}

// Random files and the judge agree about every name and filter.
func TestRulesAgree(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	all, list := names(3), filters(2)
	variables := []string{"%u", "%c", "%u/%c", "a/%u", "%u/#", "a/%u/#", "a/%c/+", "+/%u", "b/%u/a", "$s/%u"}
	users := []string{"", "a", "b", "a/b", "+", "$s"}
	ids := []string{"a", "b", "#", "$s"}
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	matches := make(map[[2]string]bool)
	for range rounds {
		j := &judge{matches: matches}
		for range rng.IntN(12) {
			l := line{access: []string{"read", "write", "readwrite", "deny"}[rng.IntN(4)], filter: list[rng.IntN(len(list))]}
			if l.pattern = rng.IntN(2) == 0; l.pattern && rng.IntN(2) == 0 {
				l.filter = variables[rng.IntN(len(variables))]
			}
			l.user = users[rng.IntN(3)]
			j.lines = append(j.lines, l)
		}
		file := text(j.lines)
		r := rulesOf(t, file)
		user, id := users[rng.IntN(len(users))], ids[rng.IntN(len(ids))]
		for _, name := range all {
			if got, want := r.MayRead(user, id, name), j.may(user, id, name, "read"); got != want {
				t.Fatalf("seed %d: MayRead(%q, %q, %q) = %v, want %v with\n%s", seed, user, id, name, got, want, file)
			}
			if got, want := r.MayPublish(user, id, name), j.may(user, id, name, "write"); got != want {
				t.Fatalf("seed %d: MayPublish(%q, %q, %q) = %v, want %v with\n%s", seed, user, id, name, got, want, file)
			}
		}
		for _, filter := range list {
			got, want := r.MaySubscribe(user, id, filter), j.subscribe(user, id, filter)
			if got == Filtered && want == Granted && (strings.Contains(filter, "#") || filter[0] == '+' && (isSystem(user) || isSystem(id))) {
				got = Granted // overlap says more of variables
			}
			if got != want {
				t.Fatalf("seed %d: MaySubscribe(%q, %q, %q) = %v, want %v with\n%s", seed, user, id, filter, got, want, file)
			}
			sound(t, r, client{user, id}, filter, all)
		}
	}
}

// sound checks an answer against what it promises: who was granted a filter may read all that it matches, and of what
// was granted in part there is nothing else that is refused without a deny.
func sound(t *testing.T, r *Rules, c client, filter string, all []string) {
	t.Helper()
	if r.MaySubscribe(c.user, c.id, filter) != Granted {
		return
	}
	set := matched(filter, all)
	for i, name := range all {
		if set[i] && !r.MayRead(c.user, c.id, name) {
			t.Fatalf("%q %q was granted %q and may not read %q", c.user, c.id, filter, name)
		}
	}
}
