package route

import "strings"

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
	set    map[string]struct{}
	memory int // about what they take, in bytes
}

func memoryOf(filter string) int {
	return len(filter) + levelMemory*(1+strings.Count(filter, "/"))
}

// Room reports whether filter is there or may be added.
func (f *Filters) Room(filter string) bool {
	_, there := f.set[filter]
	return there || len(f.set) < MaxFilters && f.memory+memoryOf(filter) <= maxFilterMemory
}

// Add notes a filter.
func (f *Filters) Add(filter string) {
	if _, there := f.set[filter]; there {
		return
	}
	if f.set == nil {
		f.set = make(map[string]struct{})
	}
	f.set[filter] = struct{}{}
	f.memory += memoryOf(filter)
}

// Remove forgets a filter.
func (f *Filters) Remove(filter string) {
	if _, there := f.set[filter]; there {
		delete(f.set, filter)
		f.memory -= memoryOf(filter)
	}
}

// Forget takes every subscription in filters out of the table: those of a subscriber who has gone.
func (t *Table[S]) Forget(s S, filters Filters) {
	for filter := range filters.set {
		t.Unsubscribe(s, filter)
	}
}
