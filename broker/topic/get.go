package topic

import "strings"

// Get returns the value that key gave with its subscription to filter, and whether it has one. The filter is one that
// ParseFilter returned. It changes nothing: see the package comment for what may run at the same time.
func (t *Tree[K, V]) Get(filter string, key K) (value V, ok bool) {
	s := t.exact[filter]
	if hasWildcard(filter) {
		s = find(&t.root, filter)
	}
	if s == nil {
		return value, false
	}
	i := s.find(key)
	if i < 0 {
		return value, false
	}
	return s.list[i].Value, true
}

// find returns the subscribers of a filter with wildcards, nil if there are none.
func find[K comparable, V any](n *node[wild[K, V]], filter string) *set[K, V] {
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch level {
		case "#":
			return n.load.below
		case "+":
			n = n.plus
		default:
			n = n.kid(level)
		}
		if n == nil {
			return nil
		}
	}
	return n.load.here
}
