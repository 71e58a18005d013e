// Package topic finds who wants a message, and which retained messages a new
// subscriber wants.
//
//	share, filter, err := topic.ParseFilter("$share/workers/jobs/+") // "workers", "jobs/+"
//	var t topic.Tree[*Client, byte]
//	t.Subscribe(filter, client, 1)
//	matches, _ = t.Match(matches[:0], "jobs/7") // no allocation once matches is large enough
//	t.Unsubscribe(filter, client)
//
// Invariants:
//
//   - A [Tree] and a [Retained] take no locks. Calls that only read (Match, Len, Get) may run
//     at the same time as each other; a call that changes one runs alone. The owner holds a
//     sync.RWMutex, or gives the whole structure to one goroutine.
//   - Names and filters handed to them have passed [CheckName] or [ParseFilter]. An unchecked one
//     does no harm to memory safety, but its wildcards are not where the matcher looks for them.
//   - Nothing is left behind: a tree from which everything was taken is as small as a new one.
//   - Levels are bounded by [MaxLevels], so recursion and the nodes one filter can cost are, too.
//
// # Why
//
// Filters without wildcards are nearly all of the filters on a large broker (each device listens
// to its own topics). They live in one map from the whole filter to its subscribers: one lookup
// however deep the name, and no nodes. Only filters with wildcards make a trie, whose nodes hold
// the subscribers of "…/#" themselves, so that "devices/17/#" costs one node. Matching random names against a million
// subscriptions of both kinds takes 0.85 µs of CPU, nearly all of it cache misses, and allocates nothing
// (BenchmarkMatchMillion, 2-core x86 virtual machine). A subscription costs 95 bytes besides the filter's own when it has no
// wildcard, 182 as "devices/17/#", 351 as "devices/17/+/x" (BenchmarkMemory). A map in each node would
// cost 250 bytes more for each level with a single child, hence the short slice that comes before the map.
package topic
