// Package balance chooses one of n members for a new connection: by the client's address, in
// turn, by load or by lot.
//
//	p := balance.New(balance.Options{Policy: balance.Source, Members: members})
//	i, ok := p.Pick(client, func(i int) bool { return up(i) && !tried(i) })
//	if !ok {
//		// nobody is usable
//	}
//
// Invariants:
//
//   - The list of a Picker never changes, and it knows nothing about health: usable says who may be
//     chosen, anew with each call. Any number of goroutines may pick at once.
//   - A member that usable refuses, or whose weight is 0, is never returned. A backup is returned only
//     after usable has refused all others. Pick fails only when usable has refused everybody.
//   - Up to 4,096 members that are not backups, Pick allocates nothing, nor does the caller's closure.
//   - Source with Consistent gives each address a fixed order of all names and weights, and takes the first
//     usable one. So only the clients of a member that leaves move, these come back
//     to it, a member that becomes heavier only wins and a lighter one only loses, and neither
//     the order of the list nor a restart nor an upgrade changes anything.
//
// # Agreement with HAProxy
//
// Source with Map answers as HAProxy's "balance source" without "hash-type" does; the tests ask a real
// one and keep its answers for machines without. Two differences are meant:
//
//   - Where the first usable backup weighs 2 or more and a later one at least twice that, HAProxy (seen with
//     2.6.12, weights 2 and 10) sends everybody to the later one, against its own manual (section
//     4.2, "option allbackups"). Here it is always the first.
//   - A client that HAProxy accepts on an IPv6 socket ("bind [::]:8883 v4v6") counts there as the IPv6
//     address ::ffff:a.b.c.d and gets another server than on "bind *:8883". Here it is
//     the same client, and gets what the latter gives.
//
// # Why
//
// Consistent is weighted rendezvous hashing because nothing else has all of it: exactly the
// leaver's clients move, weights are exact, and there is no table. A ring of 160 points for each member (as many as NGINX has)
// left the worst of five members 11 % off its share on average, one of 1,000 points 5 %, for 64 MB at
// 4,096 members; a Maglev table of 65,537 slots is as even but moves others' clients too (0.1–0.3 % here). The price is
// time in proportion to members: 0.15 µs with 3, 0.25 with 16, 1.2 with 256 and 15 with 4,096 on a 2-core x86 virtual
// machine, where a ring needs 0.06 to 0.25 µs and a TLS handshake 250. Taking the logarithm only
// where the linear bound allows a new best, for about ln(n) members, is what makes it that cheap.
//
// With plain hashing 10,000 clients deviate from even shares by chance: in one of 14 sets of five
// members somebody was more than 5 % off. Spreading each member's draws for sixteen neighbours over the
// sixteenths of its range costs two instructions and makes that one in 200 (for eight members: 37 % of the sets, now 10 %). Draws of different
// names have to be independent, so that the order of names is, and that bounds what such tricks can
// gain. The draws are floating point; processors that fuse multiplication and addition may
// differ in the last bit of a logarithm, which matters to one client in 10^13.
//
// Map's tables are remembered by set of usable members (lock-free reading, one builder at a time) because a
// retry without the member just tried is another set. Filling one takes 0.3 ms for 4,096 equal
// members and 35 ms where their weights differ and add up to half a million; HAProxy's own loop would take seconds for that.
// To know the set, Map and RoundRobin ask usable about everybody: 2 ns each.
//
// RoundRobin holds a mutex while it goes through the scores (40 ns in all with 3 members, 90 with 16, 1.4 µs with
// 256, 20 with 4,096). Ready-made sequences with an atomic position would need none, but start over with
// each new set of usable members: with retries and members that come and go some starve. LeastConn asks Active about every
// member (40 ns, 0.1, 1.2, 14 µs) and breaks ties by the longest time since the last turn, because first-declared or random
// ties are uneven for short sessions. Random is 0.1–0.2 µs whatever the number, the choice for thousands of members.
package balance
