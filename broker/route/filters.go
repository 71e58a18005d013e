package route

import (
	"iter"
	"maps"
	"slices"
	"strings"
)

const (
	// MaxFilters bounds the subscriptions of one session, and maxFilterMemory what they take in bytes: it is not in
	// proportion to the packets that make them. A hundred thousand filters of five levels fit.
	MaxFilters      = 100_000
	maxFilterMemory = 64 << 20

	// levelMemory is what one more level of a filter may take in the table, in bytes: a node and its place in that above it.
	levelMemory = 120
)

// Filters is what one session subscribes to, as the client wrote it, within the bounds of one session. The zero value is empty. It
// belongs to whoever holds the session's lock.
type Filters struct {
	few  []string // while there are no more than fewFilters
	many *manyFilters
}

// manyFilters is a set, for clients that have more than a handful.
type manyFilters struct {
	set    map[string]struct{}
	memory int // about what they take, in bytes
}

// fewFilters is how many filters are kept in a slice: nearly every client has one or two, for which a map would take 240 bytes.
const fewFilters = 8

func memoryOf(filter string) int {
	return len(filter) + levelMemory*(1+strings.Count(filter, "/"))
}

// Len returns how many there are.
func (f *Filters) Len() int {
	if f.many != nil {
		return len(f.many.set)
	}
	return len(f.few)
}

func (f *Filters) has(filter string) bool {
	if f.many != nil {
		_, there := f.many.set[filter]
		return there
	}
	return slices.Contains(f.few, filter)
}

func (f *Filters) memory() (n int) {
	if f.many != nil {
		return f.many.memory
	}
	for _, filter := range f.few {
		n += memoryOf(filter)
	}
	return n
}

// Room reports whether filter is there or may be added.
func (f *Filters) Room(filter string) bool {
	return f.has(filter) || f.Len() < MaxFilters && f.memory()+memoryOf(filter) <= maxFilterMemory
}

// Add notes a filter.
func (f *Filters) Add(filter string) {
	if f.has(filter) {
		return
	}
	if f.many == nil && len(f.few) < fewFilters {
		f.few = append(f.few, filter)
		return
	}
	if f.many == nil {
		f.many = &manyFilters{set: make(map[string]struct{}, 2*fewFilters), memory: f.memory()}
		for _, one := range f.few {
			f.many.set[one] = struct{}{}
		}
		f.few = nil
	}
	f.many.set[filter] = struct{}{}
	f.many.memory += memoryOf(filter)
}

// Remove forgets a filter.
func (f *Filters) Remove(filter string) {
	if f.many == nil {
		if i := slices.Index(f.few, filter); i >= 0 {
			f.few = slices.Delete(f.few, i, i+1)
		}
		return
	}
	if _, there := f.many.set[filter]; there {
		delete(f.many.set, filter)
		f.many.memory -= memoryOf(filter)
	}
}

// All yields the filters, in no order.
func (f *Filters) All() iter.Seq[string] {
	if f.many != nil {
		return maps.Keys(f.many.set)
	}
	return slices.Values(f.few)
}

// Forget takes every subscription in filters out of the table: those of a subscriber who has gone.
func (t *Table[S]) Forget(s S, filters Filters) {
	for filter := range filters.All() {
		t.Unsubscribe(s, filter)
	}
}
