package route

import (
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/topic"
)

// Wanted returns what a subscriber said about a filter as it wrote it, "$share/…" too, and whether it is subscribed.
func (t *Table[S]) Wanted(s S, filter string) (w Want, ok bool) {
	share, bare, err := topic.ParseFilter(filter)
	if err != nil {
		return w, false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if share == "" {
		return t.direct.Get(bare, s)
	}
	g := t.groups[groupName{share, bare}]
	if g == nil {
		return w, false
	}
	if i := g.find(s); i >= 0 {
		return g.members[i].Value, true
	}
	return w, false
}

// Retained returns up to limit of the retained messages whose topics filter matches, those that have expired left
// out, in no order; more says that there are others. The messages are shared and not to be changed. The error is that
// of topic.ParseFilter; a shared subscription has no retained messages (MQTT 5 section 4.8.2).
func (t *Table[S]) Retained(filter string, limit int, now time.Time) (list []*delivery.Message, more bool, err error) {
	share, bare, err := topic.ParseFilter(filter)
	if err != nil || share != "" {
		return nil, false, err
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	t.retained.Match(bare, func(k kept) bool {
		switch {
		case k.m.Expired(now):
		case len(list) >= limit:
			more = true
		default:
			list = append(list, k.m)
		}
		return !more
	})
	return list, more, nil
}

// DeleteRetained takes the retained message of a topic out, without telling subscribers, and reports whether there was one.
func (t *Table[S]) DeleteRetained(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, there := t.retained.Get(name)
	if !there {
		return false
	}
	if !old.m.Expires.IsZero() {
		t.expiring--
	}
	return t.retained.Delete(name)
}
