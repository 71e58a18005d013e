package route

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
)

// sub is a subscriber that notes what it is given.
type sub struct {
	id     string
	number uint64
	away   bool

	mu  sync.Mutex
	got []string
}

func (s *sub) ID() string     { return s.id }
func (s *sub) Number() uint64 { return s.number }
func (s *sub) Online() bool   { return !s.away }

func (s *sub) deliver(c delivery.Copy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, string(c.Message.Payload))
}

func subs(n int) []*sub {
	list := make([]*sub, n)
	for i := range list {
		list[i] = &sub{id: fmt.Sprint(i), number: uint64(i)}
	}
	return list
}

// publish publishes and returns the copies as text: client, QoS, r for RETAIN, identifiers.
func publish(t *Table[*sub], m *delivery.Message) []string {
	list := []string{}
	t.Publish(m, func(s *sub, c delivery.Copy) {
		text := fmt.Sprint(s.id, " q", c.QoS)
		if c.Retain {
			text += " r"
		}
		if c.SubscriptionIDs != nil {
			ids := slices.Sorted(slices.Values(c.SubscriptionIDs))
			text += fmt.Sprint(" ", ids)
		}
		list = append(list, text)
	})
	slices.Sort(list)
	return list
}

func TestPublishMerges(t *testing.T) {
	table := New[*sub]()
	s := subs(4)
	for _, e := range []struct {
		s      *sub
		filter string
		w      Want
	}{
		{s[0], "a/b", Want{QoS: 0, ID: 3}},
		{s[0], "a/+", Want{QoS: 2, ID: 1}},
		{s[0], "#", Want{QoS: 1, RetainAsPublished: true}},
		{s[1], "a/#", Want{QoS: 1}},
		{s[2], "a/b", Want{QoS: 2, NoLocal: true}},
		{s[3], "b", Want{}},
		{s[3], "$share/g/a/b", Want{QoS: 1}},
		{s[3], "$share/h/#", Want{QoS: 0}},
	} {
		if _, _, err := table.Subscribe(e.s, e.filter, e.w, 100); err != nil {
			t.Fatal(err)
		}
	}
	m := &delivery.Message{Topic: "a/b", Payload: []byte("x"), QoS: 2, Retain: true, Publisher: "2"}
	got := publish(table, m)
	want := []string{"0 q2 r [1 3]", "1 q1", "3 q0", "3 q1"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if !m.Many {
		t.Error("a message for many is not marked so")
	}
	one := &delivery.Message{Topic: "b", Payload: []byte("x"), Publisher: "x"}
	table.Unsubscribe(s[0], "#")
	table.Unsubscribe(s[3], "$share/h/#")
	if got := publish(table, one); !slices.Equal(got, []string{"3 q0"}) || one.Many {
		t.Errorf("%q, many %v", got, one.Many)
	}
	if table.Publish(&delivery.Message{Topic: "nobody"}, func(*sub, delivery.Copy) {}) != 0 {
		t.Error("somebody wants what nobody wants")
	}
}

func TestSize(t *testing.T) {
	table := New[*sub]()
	s := subs(2)
	filters := []string{"a", "a/+", "$share/g/a", "$share/g/+", "$share/h/a"}
	for range 2 {
		for _, f := range filters {
			for _, c := range s {
				if _, _, err := table.Subscribe(c, f, Want{}, 100); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n, _ := table.Size(); n != 2*len(filters) {
			t.Errorf("%d subscriptions, want %d", n, 2*len(filters))
		}
	}
	for _, f := range filters {
		for _, c := range s {
			if !table.Unsubscribe(c, f) || table.Unsubscribe(c, f) {
				t.Errorf("%s: found is wrong", f)
			}
		}
	}
	if n, _ := table.Size(); n != 0 || len(table.groups) != 0 || table.shared.Len() != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	if _, _, err := table.Subscribe(s[0], "a#", Want{}, 100); err == nil || table.Unsubscribe(s[0], "a#") {
		t.Error("a bad filter is accepted")
	}
}

func TestShareTakesTurns(t *testing.T) {
	table := New[*sub]()
	s := subs(4)
	s[1].away = true
	for _, c := range s {
		table.Subscribe(c, "$share/g/a", Want{}, 100)
	}
	count := map[string]int{}
	for range 300 {
		for _, who := range publish(table, &delivery.Message{Topic: "a"}) {
			count[who]++
		}
	}
	if count["1 q0"] != 0 || count["0 q0"]+count["2 q0"]+count["3 q0"] != 300 || min(count["0 q0"], count["2 q0"], count["3 q0"]) < 75 {
		t.Errorf("%v", count)
	}
	for _, c := range s {
		c.away = true
	}
	if got := publish(table, &delivery.Message{Topic: "a"}); len(got) != 1 {
		t.Errorf("with everyone away: %q", got)
	}
}

func TestRetainAndPurge(t *testing.T) {
	now := time.Unix(1000, 0)
	table := New[*sub]()
	keep := func(topic, text string, expires time.Time) *delivery.Message {
		m := &delivery.Message{Topic: topic, Payload: []byte(text), QoS: 1, Retain: true, Expires: expires}
		publish(table, m)
		return m
	}
	first := keep("a", "1", now)
	second := keep("a", "2", now.Add(time.Hour))
	keep("b", "x", now)
	keep("$x", "x", now)
	keep("c", "x", time.Time{})
	if table.Retains(first) || !table.Retains(second) {
		t.Error("Retains is wrong")
	}
	table.Purge(now)
	if _, n := table.Size(); n != 2 || table.expiring != 1 {
		t.Errorf("%d retained, %d of them expiring", n, table.expiring)
	}
	s := subs(1)[0]
	got, _, _ := table.Subscribe(s, "+", Want{QoS: 2, ID: 9}, 100)
	if len(got) != 2 {
		t.Fatalf("%d retained messages, want 2", len(got))
	}
	if c := got[0].Copy(); c.QoS != 1 || !c.Retain || !slices.Equal(c.SubscriptionIDs, []uint32{9}) {
		t.Errorf("%+v", c)
	}
	keep("a", "", time.Time{})
	keep("c", "", time.Time{})
	if _, n := table.Size(); n != 0 || table.expiring != 0 {
		t.Errorf("%d retained, %d of them expiring", n, table.expiring)
	}
}

// TestRetainedOrLive: while one goroutine publishes retained messages, others subscribe; each gets the messages from some point on
// without a gap, the first of them retained or live, and none twice.
func TestRetainedOrLive(t *testing.T) {
	table := New[*sub]()
	const messages, clients = 2000, 50
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range messages {
			table.Publish(&delivery.Message{Topic: "a", Payload: fmt.Append(nil, i), Retain: true}, (*sub).deliver)
		}
	})
	list := subs(clients)
	for _, s := range list {
		wg.Go(func() {
			s.mu.Lock() // as a session does, so that what is retained comes before what is live
			defer s.mu.Unlock()
			retained, _, err := table.Subscribe(s, "+", Want{}, 1<<20)
			if err != nil {
				t.Error(err)
			}
			for _, r := range retained {
				s.got = append(s.got, string(r.Message.Payload))
			}
		})
	}
	wg.Wait()
	for _, s := range list {
		if len(s.got) == 0 || s.got[len(s.got)-1] != fmt.Sprint(messages-1) {
			t.Fatalf("client %s: the last message is missing: %s", s.id, strings.Join(s.got, " "))
		}
		for i := 1; i < len(s.got); i++ {
			var a, b int
			fmt.Sscan(s.got[i-1], &a)
			fmt.Sscan(s.got[i], &b)
			if b != a+1 {
				t.Fatalf("client %s: %d comes after %d", s.id, b, a)
			}
		}
	}
}

// TestRouteDoesNotAllocate; the pool that Publish takes its memory from is left out, as the race detector empties
// it at random.
func TestRouteDoesNotAllocate(t *testing.T) {
	table := New[*sub]()
	for _, s := range subs(100) {
		table.Subscribe(s, "a/+", Want{}, 100)
		table.Subscribe(s, "a/b", Want{}, 100)
	}
	m := &delivery.Message{Topic: "a/b", Payload: []byte("x")}
	r := new(routing[*sub])
	if allocs := testing.AllocsPerRun(100, func() { table.route(r, m) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if len(r.receivers) != 200 {
		t.Errorf("%d receivers", len(r.receivers))
	}
}

func BenchmarkPublish1000(b *testing.B) {
	table := New[*sub]()
	for _, s := range subs(1000) {
		table.Subscribe(s, "a/+", Want{}, 100)
	}
	m := &delivery.Message{Topic: "a/b", Payload: []byte("x")}
	b.ReportAllocs()
	for b.Loop() {
		table.Publish(m, func(*sub, delivery.Copy) {})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/copy")
}
