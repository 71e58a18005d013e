package topic

import "strings"

// fewKids is how many children a node keeps in a slice before it makes a map. Comparing eight
// short strings takes about as long as one lookup in a map, which would cost 250 bytes.
const fewKids = 8

// node is one level of a trie. P is what is kept at the level.
type node[P any] struct {
	level string              // own copy: a piece of a filter would pin the whole of it
	few   []*node[P]          // the children, in no order, while many is nil
	many  map[string]*node[P] // the children, when there are more than fewKids
	plus  *node[P]            // the child for the level "+"; a trie of names has none
	load  P
}

// kid returns the child for a level, nil if there is none.
func (n *node[P]) kid(level string) *node[P] {
	if n.many != nil {
		return n.many[level]
	}
	for _, k := range n.few {
		if k.level == level {
			return k
		}
	}
	return nil
}

// addKid returns the child for a level and makes it if need be.
func (n *node[P]) addKid(level string) *node[P] {
	if k := n.kid(level); k != nil {
		return k
	}
	k := &node[P]{level: strings.Clone(level)}
	switch {
	case n.many != nil:
		n.many[k.level] = k
	case len(n.few) < fewKids:
		n.few = append(n.few, k)
	default:
		n.many = make(map[string]*node[P], 2*fewKids)
		for _, old := range n.few {
			n.many[old.level] = old
		}
		n.few = nil
		n.many[k.level] = k
	}
	return k
}

// dropKid takes the child for a level out. A map that has become nearly empty
// turns back into a slice: maps of Go do not shrink.
func (n *node[P]) dropKid(level string) {
	if n.many == nil {
		for i, k := range n.few {
			if k.level == level {
				last := len(n.few) - 1
				n.few[i], n.few[last] = n.few[last], nil
				n.few = n.few[:last]
				break
			}
		}
		if len(n.few) == 0 {
			n.few = nil
		}
		return
	}
	delete(n.many, level)
	if len(n.many) > fewKids/2 {
		return
	}
	for _, k := range n.many {
		n.few = append(n.few, k)
	}
	n.many = nil
}

// leaf reports whether nothing hangs below the node.
func (n *node[P]) leaf() bool {
	return len(n.few) == 0 && n.many == nil && n.plus == nil
}

// eachKid calls f for each child but plus, until f returns false, which it passes on.
func (n *node[P]) eachKid(f func(*node[P]) bool) bool {
	for _, k := range n.few {
		if !f(k) {
			return false
		}
	}
	for _, k := range n.many {
		if !f(k) {
			return false
		}
	}
	return true
}
