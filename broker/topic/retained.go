package topic

import "strings"

// Retained holds one value for each topic name: the retained messages. The zero Retained is empty and
// ready. See the package comment for which calls may run at the same time.
type Retained[V any] struct {
	root node[kept[V]]
	size int
}

// kept is what a node holds: a value, if the name that ends there has one.
type kept[V any] struct {
	value V
	set   bool
}

// Len returns the number of values.
func (r *Retained[V]) Len() int { return r.size }

// Set keeps value under a name that has passed CheckName, in the place of an older one; added reports
// that there was none.
func (r *Retained[V]) Set(name string, value V) (added bool) {
	n := &r.root
	for rest, more := name, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		n = n.addKid(level)
	}
	added = !n.load.set
	n.load = kept[V]{value, true}
	if added {
		r.size++
	}
	return added
}

// Delete takes the value of a name out and reports whether there was one.
func (r *Retained[V]) Delete(name string) bool {
	if !uproot(&r.root, name) {
		return false
	}
	r.size--
	return true
}

// uproot removes the value that rest leads to from n, and the nodes that held nothing else.
func uproot[V any](n *node[kept[V]], rest string) (found bool) {
	level, next, more := strings.Cut(rest, "/")
	kid := n.kid(level)
	if kid == nil {
		return false
	}
	if more {
		found = uproot(kid, next)
	} else {
		found = kid.load.set
		kid.load = kept[V]{}
	}
	if found && !kid.load.set && kid.leaf() {
		n.dropKid(level)
	}
	return found
}

// Get returns the value of one name.
func (r *Retained[V]) Get(name string) (value V, ok bool) {
	n := &r.root
	for rest, more := name, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if n = n.kid(level); n == nil {
			return value, false
		}
	}
	return n.load.value, n.load.set
}

// All calls visit for every value, those of names that begin with $ included, until it returns false. visit must not change
// the tree.
func (r *Retained[V]) All(visit func(V) bool) { all(&r.root, visit) }

// Match calls visit for the value of each name that filter matches, in no particular order, until visit returns
// false. The filter is one that ParseFilter returned. visit must not change the tree.
func (r *Retained[V]) Match(filter string, visit func(V) bool) {
	level, next, more := strings.Cut(filter, "/")
	switch level {
	case "#", "+":
		r.root.eachKid(func(kid *node[kept[V]]) bool {
			if isSystem(kid.level) { // [MQTT-4.7.2-1]
				return true
			}
			if level == "#" {
				return all(kid, visit)
			}
			return enterKept(kid, next, more, visit)
		})
	default:
		if kid := r.root.kid(level); kid != nil {
			enterKept(kid, next, more, visit)
		}
	}
}

// enterKept goes on at a node whose level has matched; false ends the walk.
func enterKept[V any](n *node[kept[V]], rest string, more bool, visit func(V) bool) bool {
	if !more {
		return !n.load.set || visit(n.load.value)
	}
	level, next, deeper := strings.Cut(rest, "/")
	switch level {
	case "#": // its parent level as well
		return all(n, visit)
	case "+":
		return n.eachKid(func(kid *node[kept[V]]) bool {
			return enterKept(kid, next, deeper, visit)
		})
	}
	kid := n.kid(level)
	return kid == nil || enterKept(kid, next, deeper, visit)
}

// all visits n and everything below; false ends the walk.
func all[V any](n *node[kept[V]], visit func(V) bool) bool {
	if n.load.set && !visit(n.load.value) {
		return false
	}
	return n.eachKid(func(kid *node[kept[V]]) bool { return all(kid, visit) })
}
