package route

import (
	"slices"
	"sync/atomic"
)

type groupName struct{ share, filter string }

// group is the subscribers that share one filter: each message goes to one of them (MQTT 5 section 4.8.2).
type group[S Subscriber] struct {
	members []receiver[S]
	turn    atomic.Uint32
}

// pick returns the member whose turn it is to get a message of that QoS, and rather one that is connected; when none is, rather one for whom it waits than one
// that it is lost for. It needs at least the read lock.
func (g *group[S]) pick(qos byte) receiver[S] {
	n := uint32(len(g.members))
	first := g.turn.Add(1) % n
	for i := range n {
		if m := g.members[(first+i)%n]; m.Key.Online() {
			return m
		}
	}
	for i := range n {
		if m := g.members[(first+i)%n]; min(m.Value.QoS, qos) > 0 {
			return m
		}
	}
	return g.members[first]
}

func (g *group[S]) find(s S) int {
	return slices.IndexFunc(g.members, func(m receiver[S]) bool { return m.Key == s })
}

// join needs the lock.
func (t *Table[S]) join(name groupName, m receiver[S]) {
	g := t.groups[name]
	if g == nil {
		g = new(group[S])
		t.groups[name] = g
		t.shared.Subscribe(name.filter, g, struct{}{})
	}
	if i := g.find(m.Key); i >= 0 {
		g.members[i] = m
		return
	}
	g.members = append(g.members, m)
	t.members++
}

// leave needs the lock.
func (t *Table[S]) leave(name groupName, s S) bool {
	g := t.groups[name]
	if g == nil {
		return false
	}
	i := g.find(s)
	if i < 0 {
		return false
	}
	t.members--
	if g.members = slices.Delete(g.members, i, i+1); len(g.members) == 0 {
		delete(t.groups, name)
		t.shared.Unsubscribe(name.filter, g)
	}
	return true
}
