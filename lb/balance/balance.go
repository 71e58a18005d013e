package balance

import (
	"fmt"
	"net/netip"
)

// Policy says by what a member is chosen: the values of backends[].balance.
type Policy string

// The policies. The names are those of HAProxy's "balance" keyword (configuration manual,
// section 4.2), except that Random always makes the two draws that are HAProxy's default.
const (
	Source     Policy = "source"     // by the client's address; see Hash
	RoundRobin Policy = "roundrobin" // in turn, interleaved by weight
	LeastConn  Policy = "leastconn"  // the fewest live sessions for its weight
	Random     Policy = "random"     // the less loaded of two drawn by weight
)

// Hash says how Source turns an address into a member: the values of backends[].hash.
type Hash string

// The kinds of Hash.
const (
	Consistent Hash = "consistent" // only the clients of a member that leaves or returns move
	Map        Hash = "map"        // HAProxy's "hash-type map-based", its default (manual, section 4.2)
)

// Member is one server that can be chosen. It is immutable.
type Member struct {
	// Name identifies the member to Consistent: it keeps its clients as long as it keeps its name,
	// wherever it stands in the list. Names are unique in one list.
	Name string

	// Weight is the member's share relative to the others: 0 … 256 in a configuration file. A
	// member of weight 0, or less, gets no newcomers (HAProxy manual, section 5.2, "weight").
	Weight int

	// Backup marks a member that is chosen only while no other is usable, and of several
	// only the first usable one in the order of the list: HAProxy without "option
	// allbackups" (manual, sections 5.2 "backup" and 4.2 "option allbackups").
	Backup bool
}

// Options say what New builds.
type Options struct {
	Policy  Policy   // "" means Source
	Hash    Hash     // "" means Consistent; matters to Source only
	Members []Member // copied

	// Active returns how many live sessions member i has; LeastConn and Random need it. It
	// is called from whichever goroutine calls Pick, must not block, and should count a
	// session from the moment Pick has returned its member: whoever counts only after
	// dialling sends clients that arrive together to one and the same member.
	Active func(i int) int
}

// Picker chooses one of its members for each new connection. It knows nothing about health, and
// its members never change: whoever changes the list or a weight makes a new one. All methods are safe from any goroutine.
type Picker struct {
	// At most one of these is set, and chooses among the members that are not backups. They are
	// no interface so that the compiler sees that Pick keeps no hold of its function: a
	// caller's closure then stays on the caller's stack.
	consistent *consistent
	mapped     *mapped
	turns      *turns
	least      *least
	random     *random

	backups []int // in declared order, without those of weight 0
}

// New returns a picker over a copy of o.Members; i in Pick and Active is an index into that
// list. It panics when the policy or the hash is unknown, or Active missing where it is needed:
// configuration was checked long before.
func New(o Options) *Picker {
	p := &Picker{}
	var main []candidate
	for i, m := range o.Members {
		switch {
		case m.Weight <= 0:
		case m.Backup:
			p.backups = append(p.backups, i)
		default:
			main = append(main, candidate{index: i, weight: m.Weight})
		}
	}
	if (o.Policy == LeastConn || o.Policy == Random) && o.Active == nil {
		panic(fmt.Sprintf("balance: policy %q without Active", o.Policy))
	}
	switch o.Policy {
	case Source, "":
		p.bySource(o, main)
	case RoundRobin:
		p.turns = newTurns(main)
	case LeastConn:
		p.least = newLeast(main, o.Active)
	case Random:
		p.random = newRandom(main, o.Active)
	default:
		panic(fmt.Sprintf("balance: unknown policy %q", o.Policy))
	}
	return p
}

func (p *Picker) bySource(o Options, main []candidate) {
	switch o.Hash {
	case Consistent, "":
		p.consistent = newConsistent(o.Members, main)
	case Map:
		p.mapped = newMapped(main)
	default:
		panic(fmt.Sprintf("balance: unknown hash %q", o.Hash))
	}
}

// Pick returns the index of the member that client should go to, or false when usable has
// refused all of them. usable(i) says whether member i may be chosen; it is called on the caller's
// goroutine, for some members or for all, any number of times before Pick returns, never with a lock held, and is
// not kept. To try another member when one could not be reached, call Pick again with a usable that refuses
// the ones already tried.
//
// IPv4 addresses and their IPv4-mapped IPv6 form (RFC 4291, section 2.5.5.2) are the same
// client, a zone does not count, and the invalid address is like "::". Only Source looks at the
// client at all.
func (p *Picker) Pick(client netip.Addr, usable func(i int) bool) (i int, ok bool) {
	switch {
	case p.consistent != nil:
		i = p.consistent.pick(client, usable)
	case p.mapped != nil:
		i = p.mapped.pick(client, usable)
	case p.turns != nil:
		i = p.turns.pick(usable)
	case p.least != nil:
		i = p.least.pick(usable)
	default:
		i = p.random.pick(usable)
	}
	if i != none {
		return i, true
	}
	for _, i := range p.backups {
		if usable(i) {
			return i, true
		}
	}
	return none, false
}

// none is what a policy returns when no candidate is usable.
const none = -1

// candidate is a member that newcomers may be sent to while no backup is needed.
type candidate struct {
	index  int // in Options.Members
	weight int // at least 1
}
