package access

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// access is what a rule does with the topics that it matches, or, as a set, what several do.
type access uint8

const (
	read access = 1 << iota
	write
	deny
)

// kind is how the level of a rule compares with the level of a topic.
type kind uint8

const (
	single   kind = iota // +
	userName             // %u in a pattern
	clientID             // %c in a pattern
	literal
)

// client is who asks.
type client struct {
	user string // "" is anonymous
	id   string
}

// A step is one level of a rule.
type step struct {
	kind kind
	text string // of a literal
}

// A rule is one line of the file.
type rule struct {
	steps  []step // without #
	below  bool   // there is a # after the steps
	access access
}

// newRule takes a filter that topic.ParseFilter has passed apart.
func newRule(filter string, granted access, pattern bool) rule {
	r := rule{access: granted}
	for level := range strings.SplitSeq(filter, "/") {
		switch {
		case level == "#":
			r.below = true
		case level == "+":
			r.steps = append(r.steps, step{kind: single})
		case pattern && level == "%u":
			r.steps = append(r.steps, step{kind: userName})
		case pattern && level == "%c":
			r.steps = append(r.steps, step{kind: clientID})
		default:
			r.steps = append(r.steps, step{literal, level})
		}
	}
	return r
}

// denies says whether a rule with deny has a step of this kind.
func denies(rules []rule, k kind) bool {
	return slices.ContainsFunc(rules, func(r rule) bool {
		return r.access == deny && slices.Contains(r.steps, step{kind: k})
	})
}

// A tree holds rules by their levels, all nodes in one slice:
//
//   - the kids of a node lie side by side, first those that are not literals, then the literals, sorted;
//   - a kid comes after its parent, the root is the first node; a tree without rules has none.
type tree []node

// A node is the end of all rules that begin with the levels from the root to it.
type node struct {
	text        string // of a literal
	kind        kind
	here, below access // of the rules that end here, and of those that end with /# here
	within      access // of all rules that end here or further below
	wild        uint8  // how many kids are not literals: at most three
	first, end  uint32 // the kids
}

// grow makes the tree of some rules, whose order it changes.
func grow(rules []rule) tree {
	if len(rules) == 0 {
		return nil
	}
	slices.SortFunc(rules, func(a, b rule) int { return slices.CompareFunc(a.steps, b.steps, compare) })
	t := tree{{}}
	t.fill(0, rules, 0)
	return slices.Clip(t)
}

// compare orders steps: by kind, literals last and by their text.
func compare(a, b step) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.text, b.text))
}

// fill gives the node at what sorted rules say, all of which have the depth steps that lead to it. The
// depth is bounded by topic.MaxLevels.
func (t *tree) fill(at uint32, rules []rule, depth int) {
	for len(rules) > 0 && len(rules[0].steps) == depth { // the shortest come first
		if rules[0].below {
			(*t)[at].below |= rules[0].access
		} else {
			(*t)[at].here |= rules[0].access
		}
		rules = rules[1:]
	}
	first := uint32(len(*t))
	for group := range groups(rules, depth) {
		s := group[0].steps[depth]
		*t = append(*t, node{kind: s.kind, text: s.text})
	}
	end, kid := uint32(len(*t)), first
	for group := range groups(rules, depth) {
		t.fill(kid, group, depth+1)
		kid++
	}
	n := &(*t)[at] // not before: append moves the nodes
	n.first, n.end = first, end
	n.within = n.here | n.below
	for _, k := range (*t)[first:end] {
		n.within |= k.within
		if k.kind != literal {
			n.wild++
		}
	}
}

// groups yields the runs of sorted rules that have the same step at depth.
func groups(rules []rule, depth int) iter.Seq[[]rule] {
	return func(yield func([]rule) bool) {
		for len(rules) > 0 {
			n := 1
			for n < len(rules) && rules[n].steps[depth] == rules[0].steps[depth] {
				n++
			}
			if !yield(rules[:n]) {
				return
			}
			rules = rules[n:]
		}
	}
}

// find returns the index of the literal kid of n with this text; 0, the root's, when there is none.
func (t tree) find(n *node, text string) uint32 {
	low, high := n.first+uint32(n.wild), n.end
	for low < high {
		middle := low + (high-low)/2
		switch order := strings.Compare(t[middle].text, text); {
		case order == 0:
			return middle
		case order < 0:
			low = middle + 1
		default:
			high = middle
		}
	}
	return 0
}
