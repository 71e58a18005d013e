package topic

import "strings"

// Tree holds subscriptions: which subscriber K wants which filter, and with what options V. A
// subscriber has at most one subscription to a filter [MQTT-3.8.4-3]. The zero Tree is empty
// and ready. See the package comment for which calls may run at the same time.
type Tree[K comparable, V any] struct {
	exact map[string]*set[K, V] // filters without wildcards
	root  node[wild[K, V]]      // filters with wildcards
	size  int
}

// wild is what a node of the trie holds.
type wild[K comparable, V any] struct {
	here  *set[K, V] // subscribers of the filter that ends at this level
	below *set[K, V] // subscribers of this filter followed by "/#"
}

// Len returns the number of subscriptions.
func (t *Tree[K, V]) Len() int { return t.size }

// Subscribe adds a subscription, or replaces the value of the one that key has to the same filter; added
// tells which. The tree keeps the string filter if it has no wildcards. The filter is one that
// ParseFilter returned: a shared subscription's without its prefix.
func (t *Tree[K, V]) Subscribe(filter string, key K, value V) (added bool) {
	if hasWildcard(filter) {
		added = t.wildSet(filter).put(key, value)
	} else {
		s := t.exact[filter]
		if s == nil {
			if t.exact == nil {
				t.exact = make(map[string]*set[K, V])
			}
			s = new(set[K, V])
			t.exact[filter] = s
		}
		added = s.put(key, value)
	}
	if added {
		t.size++
	}
	return added
}

// wildSet returns the subscribers of a filter with wildcards, in nodes made as needed.
func (t *Tree[K, V]) wildSet(filter string) *set[K, V] {
	n := &t.root
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch level {
		case "#":
			if n.load.below == nil {
				n.load.below = new(set[K, V])
			}
			return n.load.below
		case "+":
			if n.plus == nil {
				n.plus = new(node[wild[K, V]])
			}
			n = n.plus
		default:
			n = n.addKid(level)
		}
	}
	if n.load.here == nil {
		n.load.here = new(set[K, V])
	}
	return n.load.here
}

// Unsubscribe takes the subscription of key to filter out and reports whether there was one. Whatever
// nothing else needs goes with it.
func (t *Tree[K, V]) Unsubscribe(filter string, key K) bool {
	var found bool
	if hasWildcard(filter) {
		found = prune(&t.root, filter, key)
	} else if s := t.exact[filter]; s != nil {
		found = s.remove(key)
		if len(s.list) == 0 {
			delete(t.exact, filter)
		}
		if len(t.exact) == 0 {
			t.exact = nil // maps of Go do not shrink
		}
	}
	if found {
		t.size--
	}
	return found
}

// prune removes key from the set that rest leads to from n, and the nodes that held nothing else.
func prune[K comparable, V any](n *node[wild[K, V]], rest string, key K) (found bool) {
	level, next, more := strings.Cut(rest, "/")
	if level == "#" {
		n.load.below, found = without(n.load.below, key)
		return found
	}
	kid := n.plus
	if level != "+" {
		kid = n.kid(level)
	}
	if kid == nil {
		return false
	}
	if more {
		found = prune(kid, next, key)
	} else {
		kid.load.here, found = without(kid.load.here, key)
	}
	if found && kid.leaf() && kid.load.here == nil && kid.load.below == nil {
		if level == "+" {
			n.plus = nil
		} else {
			n.dropKid(level)
		}
	}
	return found
}

// without returns s after the removal of key, nil when nobody is left.
func without[K comparable, V any](s *set[K, V], key K) (*set[K, V], bool) {
	if s == nil || !s.remove(key) {
		return s, false
	}
	if len(s.list) == 0 {
		return nil, true
	}
	return s, true
}

// Match appends the subscriptions that a message with this topic name goes to and returns the longer
// slice, with the number of filters that they come from. A subscriber of two filters that both match appears twice;
// with filters ≤ 1 nobody does, and the caller is spared looking for doubles.
//
// The name has passed CheckName. The entries are copies; they stay valid when the tree changes.
func (t *Tree[K, V]) Match(dst []Entry[K, V], name string) (matches []Entry[K, V], filters int) {
	m := matcher[K, V]{dst: dst}
	if len(t.exact) > 0 {
		m.take(t.exact[name])
	}
	if !t.root.leaf() || t.root.load.below != nil {
		m.start(&t.root, name)
	}
	return m.dst, m.filters
}

// matcher carries the result through the recursion.
type matcher[K comparable, V any] struct {
	dst     []Entry[K, V]
	filters int
}

func (m *matcher[K, V]) take(s *set[K, V]) {
	if s != nil {
		m.dst = append(m.dst, s.list...)
		m.filters++
	}
}

// start is walk for the first level, where wildcards do not match a name that begins with $ [MQTT-4.7.2-1].
func (m *matcher[K, V]) start(root *node[wild[K, V]], name string) {
	if !isSystem(name) {
		m.walk(root, name)
		return
	}
	level, next, more := strings.Cut(name, "/")
	if kid := root.kid(level); kid != nil {
		m.enter(kid, next, more)
	}
}

// walk collects from n downward; rest is what of the name lies below n, at least one level.
func (m *matcher[K, V]) walk(n *node[wild[K, V]], rest string) {
	m.take(n.load.below)
	level, next, more := strings.Cut(rest, "/")
	if kid := n.kid(level); kid != nil {
		m.enter(kid, next, more)
	}
	if n.plus != nil {
		m.enter(n.plus, next, more)
	}
}

// enter goes on at a node whose level has matched. Where the name ends, "a/#" matches "a" as well: the
// multi-level wildcard includes its parent level (section 4.7.1.2).
func (m *matcher[K, V]) enter(n *node[wild[K, V]], rest string, more bool) {
	if more {
		m.walk(n, rest)
		return
	}
	m.take(n.load.below)
	m.take(n.load.here)
}
