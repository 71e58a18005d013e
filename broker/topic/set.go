package topic

import "slices"

// shortSet is how many subscribers are searched one by one before a set keeps an index.
const shortSet = 16

// Entry is one subscriber of a filter: who, and what they said when they subscribed.
type Entry[K comparable, V any] struct {
	Key   K
	Value V
}

// set holds the subscribers of one filter. Removal is not linear in a
// large one: a hundred thousand subscribers of one filter may all leave at once.
type set[K comparable, V any] struct {
	list []Entry[K, V]
	at   map[K]int // where in list a subscriber is; nil while list is short
}

// find returns the place of key in the list, or -1.
func (s *set[K, V]) find(key K) int {
	if s.at != nil {
		if i, ok := s.at[key]; ok {
			return i
		}
		return -1
	}
	for i := range s.list {
		if s.list[i].Key == key {
			return i
		}
	}
	return -1
}

// put adds key or replaces its value; added tells which.
func (s *set[K, V]) put(key K, value V) (added bool) {
	if i := s.find(key); i >= 0 {
		s.list[i].Value = value
		return false
	}
	s.list = append(s.list, Entry[K, V]{key, value})
	if s.at != nil {
		s.at[key] = len(s.list) - 1
	} else if len(s.list) > shortSet {
		s.index()
	}
	return true
}

// remove takes key out and reports whether it was there.
func (s *set[K, V]) remove(key K) bool {
	i := s.find(key)
	if i < 0 {
		return false
	}
	last := len(s.list) - 1
	s.list[i] = s.list[last]
	s.list[last] = Entry[K, V]{} // let the subscriber go
	s.list = s.list[:last]
	if s.at != nil {
		delete(s.at, key)
		if i < last {
			s.at[s.list[i].Key] = i
		}
	}
	if cap(s.list) > shortSet && len(s.list) < cap(s.list)/4 {
		s.shrink()
	}
	return true
}

// shrink gives back what a set needed when it was four times as large.
func (s *set[K, V]) shrink() {
	s.list = slices.Clone(s.list)
	s.at = nil
	if len(s.list) > shortSet {
		s.index()
	}
}

func (s *set[K, V]) index() {
	s.at = make(map[K]int, len(s.list))
	for i := range s.list {
		s.at[s.list[i].Key] = i
	}
}
