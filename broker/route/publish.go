package route

import (
	"cmp"
	"slices"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/topic"
)

// receiver is a subscriber and what it said about a filter that matched.
type receiver[S Subscriber] = topic.Entry[S, Want]

// routing is the memory for finding the receivers of one message.
type routing[S Subscriber] struct {
	receivers []receiver[S]
	groups    []topic.Entry[*group[S], struct{}]
	single    int // receivers through subscriptions of their own come first; so many, those of one client together
}

// keptReceivers bounds what is kept of the memory after a large fan-out, in receivers of 16 bytes.
const keptReceivers = 1 << 12

// Publish retains a message if it asks for that, and calls deliver with a copy for everyone who wants it. It
// returns how many did. The message must not have been seen by others yet; it is constant from here on.
func (t *Table[S]) Publish(m *delivery.Message, deliver func(S, delivery.Copy)) (receivers int) {
	r := t.pool.Get().(*routing[S])
	t.route(r, m)
	list := r.receivers
	for i := 0; i < len(list); {
		n := i + 1
		for n < r.single && list[n].Key == list[i].Key {
			n++
		}
		if c, ok := merge(list[i:n], m); ok {
			deliver(list[i].Key, c)
			receivers++
		}
		i = n
	}
	if cap(r.receivers) <= keptReceivers {
		clear(r.receivers) // let the sessions go
		clear(r.groups)
		t.pool.Put(r)
	}
	return receivers
}

// route fills r with the receivers of m.
func (t *Table[S]) route(r *routing[S], m *delivery.Message) {
	var filters int
	if m.Retain {
		t.mu.Lock()
		filters = t.match(r, m)
		t.retain(m) // from here on others see it
		t.mu.Unlock()
	} else {
		t.mu.RLock()
		filters = t.match(r, m)
		t.mu.RUnlock()
	}
	if filters > 1 { // otherwise nobody appears twice
		slices.SortFunc(r.receivers[:r.single], func(a, b receiver[S]) int { return cmp.Compare(a.Key.Number(), b.Key.Number()) })
	}
}

// match needs at least the read lock.
func (t *Table[S]) match(r *routing[S], m *delivery.Message) (filters int) {
	r.receivers, filters = t.direct.Match(r.receivers[:0], m.Topic)
	r.single = len(r.receivers)
	r.groups, _ = t.shared.Match(r.groups[:0], m.Topic)
	for _, g := range r.groups {
		r.receivers = append(r.receivers, g.Key.pick(m.QoS))
	}
	m.Many = len(r.receivers) > 1
	return filters
}

// merge makes one copy of a message for one client, whichever number of its subscriptions match: with the highest of
// their QoS [MQTT-3.3.4-2], all of their identifiers [MQTT-3.3.4-3] [MQTT-3.3.4-4], and RETAIN as published if
// one of them asks for that [MQTT-3.3.1-12] [MQTT-3.3.1-13]. Where No Local is set the client's own
// messages do not match [MQTT-3.8.3-3].
func merge[S Subscriber](entries []receiver[S], m *delivery.Message) (c delivery.Copy, ok bool) {
	c.Message = m
	for _, e := range entries {
		w := e.Value
		if w.NoLocal && m.Publisher == e.Key.ID() {
			continue
		}
		ok = true
		c.QoS = max(c.QoS, min(w.QoS, m.QoS))
		c.Retain = c.Retain || w.RetainAsPublished && m.Retain
		if w.ID != 0 {
			c.SubscriptionIDs = append(c.SubscriptionIDs, w.ID)
		}
	}
	return c, ok
}
