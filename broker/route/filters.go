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
	one  string // the only one, while more is nil; "" = none: no filter is empty [MQTT-4.7.3-1]
	more *moreFilters
}

// moreFilters are those of a client that has, or had, more than one: a slice while they are a handful, for which a map would take 240 bytes.
type moreFilters struct {
	few    []string
	set    map[string]struct{} // in place of few
	memory int                 // about what all take, in bytes
}

// fewFilters is how many filters are kept in a slice.
const fewFilters = 8

func memoryOf(filter string) int {
	return len(filter) + levelMemory*(1+strings.Count(filter, "/"))
}

// Len returns how many there are.
func (f *Filters) Len() int {
	switch {
	case f.more != nil:
		return len(f.more.few) + len(f.more.set)
	case f.one != "":
		return 1
	}
	return 0
}

func (f *Filters) has(filter string) bool {
	if f.more == nil {
		return f.one == filter
	}
	_, there := f.more.set[filter]
	return there || slices.Contains(f.more.few, filter)
}

func (f *Filters) memory() int {
	switch {
	case f.more != nil:
		return f.more.memory
	case f.one != "":
		return memoryOf(f.one)
	}
	return 0
}

// Room reports whether filter is there or may be added.
func (f *Filters) Room(filter string) bool {
	return f.has(filter) || f.Len() < MaxFilters && f.memory()+memoryOf(filter) <= maxFilterMemory
}

// Add notes a filter.
func (f *Filters) Add(filter string) {
	switch {
	case f.has(filter):
		return
	case f.more == nil && f.one == "":
		f.one = filter
		return
	case f.more == nil:
		f.more = &moreFilters{few: []string{f.one}, memory: memoryOf(f.one)}
		f.one = ""
	}
	m := f.more
	m.memory += memoryOf(filter)
	if m.set == nil && len(m.few) < fewFilters {
		m.few = append(m.few, filter)
		return
	}
	if m.set == nil {
		m.set = make(map[string]struct{}, 2*fewFilters)
		for _, one := range m.few {
			m.set[one] = struct{}{}
		}
		m.few = nil
	}
	m.set[filter] = struct{}{}
}

// Remove forgets a filter.
func (f *Filters) Remove(filter string) {
	switch {
	case !f.has(filter):
		return
	case f.more == nil:
		f.one = ""
		return
	}
	m := f.more
	m.memory -= memoryOf(filter)
	delete(m.set, filter)
	if i := slices.Index(m.few, filter); i >= 0 {
		m.few = slices.Delete(m.few, i, i+1)
	}
	if f.Len() == 0 {
		f.more = nil
	}
}

// All yields the filters, in no order. They may not change meanwhile.
func (f *Filters) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		switch {
		case f.more == nil:
			if f.one != "" {
				yield(f.one)
			}
		case f.more.set != nil:
			maps.Keys(f.more.set)(yield)
		default:
			slices.Values(f.more.few)(yield)
		}
	}
}

// Forget takes every subscription in filters out of the table: those of a subscriber who has gone.
func (t *Table[S]) Forget(s S, filters Filters) {
	for filter := range filters.All() {
		t.Unsubscribe(s, filter)
	}
}
