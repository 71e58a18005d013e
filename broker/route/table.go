package route

import (
	"sync"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/topic"
)

// A Subscriber is a session. Its methods do not block.
type Subscriber interface {
	comparable
	ID() string     // client identifier, for No Local
	Number() uint64 // unique and constant, to order by
	Online() bool   // the client is connected
}

// Want is what a subscriber said about a filter (MQTT 5 section 3.8.3.1).
type Want struct {
	ID                uint32 // subscription identifier; 0 = none
	QoS               byte   // granted
	RetainHandling    byte   // 0 send retained messages, 1 send if the subscription is new, 2 do not
	NoLocal           bool
	RetainAsPublished bool
}

// The values of Want.RetainHandling that are not 0.
const (
	sendIfNew = 1
	doNotSend = 2
)

// Retained is a retained message that a new subscription asked for.
type Retained struct {
	Message *delivery.Message
	Want    Want
}

// Copy returns what the subscriber gets: RETAIN is set whatever Retain As Published says [MQTT-3.3.1-8].
func (r Retained) Copy() delivery.Copy {
	c := delivery.Copy{Message: r.Message, QoS: min(r.Message.QoS, r.Want.QoS), Retain: true}
	if r.Want.ID != 0 {
		c.SubscriptionIDs = []uint32{r.Want.ID}
	}
	return c
}

// Table holds subscriptions and retained messages. New makes it.
type Table[S Subscriber] struct {
	pool sync.Pool // of *routing[S]
	keep func(*delivery.Message)

	mu       sync.RWMutex
	direct   topic.Tree[S, Want]
	shared   topic.Tree[*group[S], struct{}]
	groups   map[groupName]*group[S]
	members  int // of all groups
	retained topic.Retained[kept]
	expiring int    // retained messages that will expire
	changes  uint64 // of retained messages, so far
}

// kept is a retained message and when it came, on the clock of Table.changes.
type kept struct {
	m  *delivery.Message
	at uint64
}

// Keep has f called with each message that is retained from here on, in their order; one without a payload says that its topic
// retains nothing any more. f is called with the lock held: it must not block, nor call the Table. For before the table is used.
func (t *Table[S]) Keep(f func(*delivery.Message)) { t.keep = f }

func (t *Table[S]) kept(m *delivery.Message) {
	if t.keep != nil {
		t.keep(m)
	}
}

// Restore retains a message that was kept. For before the table is used.
func (t *Table[S]) Restore(m *delivery.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.retain(m)
}

// New returns an empty table.
func New[S Subscriber]() *Table[S] {
	t := &Table[S]{groups: make(map[groupName]*group[S])}
	t.pool.New = func() any { return new(routing[S]) }
	return t
}

// Subscribe adds or changes a subscription to a filter as the client wrote it, "$share/…" too, and returns the
// retained messages that it asks for, room of them at most; more says that there were more. The error is that of
// topic.ParseFilter.
func (t *Table[S]) Subscribe(s S, filter string, w Want, room int) (list []Retained, more bool, err error) {
	share, bare, err := topic.ParseFilter(filter)
	if err != nil {
		return nil, false, err
	}
	t.mu.Lock()
	if share != "" {
		t.join(groupName{share, bare}, receiver[S]{Key: s, Value: w})
		t.mu.Unlock()
		return nil, false, nil // no retained messages for those who share (section 4.8.2)
	}
	added := t.direct.Subscribe(bare, s, w)
	now := t.changes
	t.mu.Unlock()
	if w.RetainHandling == doNotSend || w.RetainHandling == sendIfNew && !added { // [MQTT-3.3.1-10] [MQTT-3.3.1-11]
		return nil, false, nil
	}
	// [MQTT-3.3.1-9] Later ones are delivered as they come. The lock is not exclusive, since there may be many.
	t.mu.RLock()
	defer t.mu.RUnlock()
	t.retained.Match(bare, func(k kept) bool {
		switch {
		case k.at > now:
		case w.NoLocal && k.m.Publisher == s.ID(): // [MQTT-3.8.3-3]
		case len(list) >= room:
			more = true
		default:
			list = append(list, Retained{k.m, w})
		}
		return !more
	})
	return list, more, nil
}

// Unsubscribe takes a subscription out and reports whether there was one.
func (t *Table[S]) Unsubscribe(s S, filter string) bool {
	share, bare, err := topic.ParseFilter(filter)
	if err != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if share != "" {
		return t.leave(groupName{share, bare}, s)
	}
	return t.direct.Unsubscribe(bare, s)
}

// retain keeps a message for later subscribers in the place of the one before, or removes that when the payload is
// empty [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]. It needs the lock.
func (t *Table[S]) retain(m *delivery.Message) {
	t.kept(m)
	if old, there := t.retained.Get(m.Topic); there && !old.m.Expires.IsZero() {
		t.expiring--
	}
	if len(m.Payload) == 0 {
		t.retained.Delete(m.Topic)
		return
	}
	t.changes++
	t.retained.Set(m.Topic, kept{m, t.changes})
	if !m.Expires.IsZero() {
		t.expiring++
	}
}

// Retains reports whether m is what is retained for its topic now.
func (t *Table[S]) Retains(m *delivery.Message) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	k, _ := t.retained.Get(m.Topic)
	return k.m == m
}

// Purge removes retained messages that have expired [MQTT-3.3.2-5]. Their memory apart they do no harm:
// whoever sends one looks at its expiry.
func (t *Table[S]) Purge(now time.Time) {
	for _, m := range t.expired(now) {
		t.mu.Lock()
		if k, _ := t.retained.Get(m.Topic); k.m == m {
			t.retained.Delete(m.Topic)
			t.expiring--
			t.kept(&delivery.Message{Topic: m.Topic})
		}
		t.mu.Unlock()
	}
}

func (t *Table[S]) expired(now time.Time) (list []*delivery.Message) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.expiring == 0 {
		return nil
	}
	t.retained.All(func(k kept) bool {
		if k.m.Expired(now) {
			list = append(list, k.m)
		}
		return true
	})
	return list
}

// Size returns how many subscriptions and retained messages there are.
func (t *Table[S]) Size() (subscriptions, retained int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.direct.Len() + t.members, t.retained.Len()
}
