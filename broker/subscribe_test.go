package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
)

// TestWildcards: the traps of section 4.7, through the whole node.
func TestWildcards(t *testing.T) {
	n := start(t, nil)
	tests := []struct {
		filter string
		yes    []string
		no     []string
	}{
		{"a/+/#", []string{"a/b", "a/b/c", "a//c", "a/"}, []string{"a", "b/b"}},
		{"a/#", []string{"a", "a/", "a/b"}, []string{"ab", "/a"}},
		{"#", []string{"a", "/", "a/$x"}, []string{"$x", "$x/y"}},
		{"+/y", []string{"x/y", "/y"}, []string{"$x/y"}},
		{"$x/#", []string{"$x/y", "$x"}, []string{"x/y"}},
		{"+", []string{"a"}, []string{"/a", "a/"}},
	}
	p := n.join(t, packet.V311, "p")
	versions(t, func(t *testing.T, v packet.Version) {
		for _, tt := range tests {
			c := n.join(t, v, "c")
			c.subscribe(packet.Options{}, tt.filter)
			for _, name := range tt.yes {
				p.say(name, "yes", 1)
				c.hears(name, "yes")
			}
			for _, name := range tt.no {
				p.say(name, "no", 1)
			}
			c.silent()
			c.bye()
		}
	})
}

// TestBadFilters are refused one by one [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1]; the others in the packet count [MQTT-3.8.4-6].
func TestBadFilters(t *testing.T) {
	n := start(t, nil)
	filters := []string{"a+/b", "good", "a/#/b", "b#", "$share/g", "$share/+/a", strings.Repeat("/", 300), "$share/g/x"}
	versions(t, func(t *testing.T, v packet.Version) {
		c := n.join(t, v, "c")
		bad := byte(packet.TopicFilterInvalid)
		switch v {
		case packet.V311:
			bad = 0x80
		case packet.V31: // which cannot say so
			bad = 0
		}
		want := []byte{bad, 1, bad, bad, bad, bad, bad, 1}
		if codes := c.subscribe(packet.Options{QoS: 1}, filters...); !slices.Equal(codes, want) {
			t.Errorf("codes %x, want %x", codes, want)
		}
		c.bye()
		until(t, "the subscriptions are gone", func() bool { return n.Stats().Subscriptions == 0 })
	})
}

func TestUnsubscribe(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V311, "p")
	versions(t, func(t *testing.T, v packet.Version) {
		c := n.join(t, v, "c")
		c.subscribe(packet.Options{}, "a", "a/+", "$share/g/a")
		u := packet.Unsubscribe{PacketID: 9}
		for _, f := range []string{"a", "a/+", "$share/g/a", "never", "bad#"} {
			u.Filters.Add([]byte(f))
		}
		c.write(u.Append(nil, v))
		h, body := c.want(packet.UNSUBACK) // [MQTT-3.10.4-4]
		var ack packet.Unsuback
		c.ok(ack.Decode(v, h, body))
		none := byte(packet.NoSubscriptionExisted)
		if want := []byte{0, 0, 0, none, none}; ack.PacketID != 9 || v == packet.V5 && !slices.Equal(ack.Codes, want) { // [MQTT-3.11.3-1]
			t.Errorf("%+v", ack)
		}
		p.say("a", "x", 1)
		p.say("a/b", "x", 1)
		c.silent() // [MQTT-3.10.4-1] [MQTT-3.10.4-2]
		c.bye()
	})
}

// TestOverlap: a client with several subscriptions that match gets one copy, with the highest QoS [MQTT-3.3.4-2] and every
// identifier [MQTT-3.3.4-3] [MQTT-3.3.4-4].
func TestOverlap(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V311, "p")
	versions(t, func(t *testing.T, v packet.Version) {
		c, other := n.join(t, v, "c"), n.join(t, v, "other")
		other.subscribe(packet.Options{}, "a/b", "#")
		for i, filter := range []string{"a/b", "a/+", "#", "+/b"} {
			s := packet.Subscribe{PacketID: 1}
			s.Subscriptions.Add([]byte(filter), packet.Options{QoS: byte(i) % 3})
			if v == packet.V5 && i > 0 {
				s.Properties.AddSubscriptionID(uint32(i * 1000))
			}
			c.subscribeWith(s)
		}
		p.say("a/b", "x", 2)
		m := c.hears("a/b", "x")
		if ids := slices.Sorted(m.Properties.SubscriptionIDs()); m.QoS != 2 || v == packet.V5 && !slices.Equal(ids, []uint32{1000, 2000, 3000}) {
			t.Errorf("QoS %d, identifiers %v", m.QoS, ids)
		}
		c.silent()
		other.hears("a/b", "x")
		other.silent()
		c.bye()
		other.bye()
	})
}

// TestSubscribeAgain replaces [MQTT-3.8.4-3], identifier and options too.
func TestSubscribeAgain(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V311, "p")
	c := n.join(t, packet.V5, "c")
	for _, id := range []uint32{5, 6, 0} {
		s := packet.Subscribe{PacketID: 1}
		s.Subscriptions.Add([]byte("a"), packet.Options{QoS: byte(id % 3)})
		if id > 0 {
			s.Properties.AddSubscriptionID(id)
		}
		c.subscribeWith(s)
		p.say("a", "x", 2)
		m := c.hears("a", "x")
		if ids := slices.Collect(m.Properties.SubscriptionIDs()); m.QoS != byte(id%3) || id > 0 && !slices.Equal(ids, []uint32{id}) || id == 0 && ids != nil {
			t.Errorf("QoS %d, identifiers %v after subscribing with %d", m.QoS, ids, id)
		}
		c.silent()
	}
}

// TestNoLocalRetained: what the client itself has retained is its own message later on, too [MQTT-3.8.3-3].
func TestNoLocalRetained(t *testing.T) {
	n := start(t, nil)
	c, other := n.join(t, packet.V5, "c"), n.join(t, packet.V5, "other")
	c.retain("a", "mine", 1)
	other.retain("b", "other", 1)
	c.subscribe(packet.Options{NoLocal: true}, "+")
	c.hears("b", "other")
	c.silent()
	c.subscribe(packet.Options{}, "a")
	c.hears("a", "mine")
}

// TestNoLocal [MQTT-3.8.3-3].
func TestNoLocal(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, packet.V5, "c")
	c.subscribe(packet.Options{NoLocal: true}, "a")
	c.say("a", "own", 1)
	c.silent()
	n.join(t, packet.V5, "p").say("a", "others'", 1)
	c.hears("a", "others'")
	c.subscribe(packet.Options{}, "+") // wants them
	c.say("a", "own", 0)
	c.hears("a", "own")
}

// TestRetained: kept [MQTT-3.3.1-5], given to new subscribers with RETAIN [MQTT-3.3.1-8], passed on to old ones without
// [MQTT-3.3.1-12], removed by an empty payload [MQTT-3.3.1-6] [MQTT-3.3.1-7].
func TestRetained(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V311, "p")
	versions(t, func(t *testing.T, v packet.Version) {
		for qos := range byte(3) {
			old := n.join(t, v, "old")
			old.subscribe(packet.Options{QoS: 2}, "a/#")
			for _, text := range []string{"first", "second", "not kept"} {
				p.publish(packet.Publish{Topic: []byte("a/b"), Payload: []byte(text), QoS: qos, Retain: text != "not kept"})
				if m := old.hears("a/b", text); m.Retain {
					t.Error("RETAIN is set for an old subscriber")
				}
			}
			late := n.join(t, v, "late")
			late.subscribe(packet.Options{QoS: 1}, "a/+")
			if m := late.hears("a/b", "second"); !m.Retain || m.QoS != min(1, qos) {
				t.Errorf("%+v", m)
			}
			late.subscribe(packet.Options{QoS: 1}, "a/+") // again: sent again [MQTT-3.8.4-4]
			late.hears("a/b", "second")
			late.silent()
			p.retain("a/b", "", qos)
			if m := old.hears("a/b", ""); m.Retain {
				t.Error("RETAIN is set for an old subscriber")
			}
			late.hears("a/b", "")
			later := n.join(t, v, "later")
			later.subscribe(packet.Options{}, "#")
			later.silent()
			if n.Stats().Retained != 0 {
				t.Error("something is still retained")
			}
		}
	})
}

// TestRetainOptions: the three values of Retain Handling [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11], and Retain As Published
// [MQTT-3.3.1-13].
func TestRetainOptions(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V311, "p")
	p.retain("a", "kept", 1)
	c := n.join(t, packet.V5, "c")
	steps := []struct {
		handling byte
		filter   string
		sent     bool
	}{{2, "a", false}, {1, "a", false}, {0, "a", true}, {1, "+", true}, {1, "+", false}, {0, "$share/g/a", false}}
	for _, s := range steps {
		c.subscribe(packet.Options{QoS: 1, RetainHandling: s.handling}, s.filter)
		if s.sent {
			c.hears("a", "kept")
		}
		c.silent()
	}
	for _, asPublished := range []bool{true, false} {
		d := n.join(t, packet.V5, "d")
		d.subscribe(packet.Options{RetainAsPublished: asPublished, RetainHandling: 2}, "a")
		p.retain("a", "kept", 1)
		if m := d.hears("a", "kept"); m.Retain != asPublished {
			t.Errorf("RETAIN is %v", m.Retain)
		}
		p.say("a", "x", 1)
		if m := d.hears("a", "x"); m.Retain {
			t.Error("RETAIN is set on a message that had none")
		}
	}
}

// TestManyRetained: a subscription to everything brings all of them, far more than the queue holds, without one lost, and live
// messages in between.
func TestManyRetained(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxQueued, o.Config.Limits.MaxInflight = 10, 5 })
	p := n.join(t, packet.V311, "p")
	const many = 3000
	for i := range many {
		p.retain(fmt.Sprintf("r/%d", i), "x", 1)
	}
	for qos := range byte(3) {
		c := n.join(t, packet.V5, "c")
		c.subscribe(packet.Options{QoS: qos}, "#")
		seen := map[string]bool{}
		for len(seen) < many {
			m := c.message()
			if !m.Retain || seen[string(m.Topic)] {
				t.Fatalf("%s comes again, or without RETAIN", m.Topic)
			}
			seen[string(m.Topic)] = true
			if m.QoS == 1 {
				c.send(packet.PUBACK, m.PacketID)
			}
		}
		c.silent()
		if d := n.Stats().Dropped; d["queue_full"]+d["client_slow"] > 0 {
			t.Errorf("dropped: %v", d)
		}
		c.bye()
	}
}

// TestLargeRetained: retained messages that together are more than may wait come one after the other.
func TestLargeRetained(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V5, "p")
	large := strings.Repeat("x", 1<<20-1<<10)
	const many = 20
	for i := range many {
		p.retain(fmt.Sprintf("r/%d", i), large, 1)
	}
	for qos := range byte(2) {
		c := n.join(t, packet.V5, "c")
		c.subscribe(packet.Options{QoS: qos}, "#")
		for range many {
			if m := c.message(); m.QoS == 1 {
				c.send(packet.PUBACK, m.PacketID)
			}
		}
		c.silent()
		c.bye()
	}
}

// TestRetainedForOneFilterManyTimes: one packet of many filters that match everything asks for no more than the client
// would get by asking once and again.
func TestRetainedForOneFilterManyTimes(t *testing.T) {
	const kept, queued = 50, 10
	n := start(t, func(o *Options) { o.Config.Limits.MaxQueued = queued })
	p := n.join(t, packet.V5, "p")
	for i := range kept {
		p.retain(fmt.Sprintf("r/%d", i), "x", 1)
	}
	c := n.join(t, packet.V5, "c")
	filters := slices.Repeat([]string{"#"}, 2*filtersAtOnce)
	codes := c.subscribe(packet.Options{}, filters...)
	if codes[filtersAtOnce-1] != 0 || codes[filtersAtOnce] != byte(packet.QuotaExceeded) {
		t.Errorf("codes %x %x", codes[filtersAtOnce-1], codes[filtersAtOnce])
	}
	_, all := n.table.Size() // what # does not match among them: $SYS
	for range all + queued {
		c.message()
	}
	c.silent()
}

// TestRetainedBeforeLive: a message that comes while retained ones still wait does not overtake that of its own topic
// [MQTT-4.6.0-5].
func TestRetainedBeforeLive(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V5, "p")
	const topics = 5
	name := func(i int) string { return fmt.Sprint("r/", i) }
	for i := range topics {
		p.retain(name(i), "kept", 1)
	}
	con := lasting("c", false, 60)
	con.Properties.AddInt(packet.ReceiveMaximum, 1)
	c := n.open(t, con)
	c.subscribe(packet.Options{QoS: 1}, "r/#", "+/4")
	first := c.message() // not acknowledged: the others wait
	for i := range topics {
		p.say(name(i), "live", 1)
	}
	c.drop(n, "c")
	c = n.open(t, con)
	if m := c.message(); !m.Dup || string(m.Topic) != string(first.Topic) {
		t.Fatalf("%s", m.Topic)
	}
	c.send(packet.PUBACK, first.PacketID)
	got := map[string]string{string(first.Topic): "kept "}
	for range 2 * topics { // one topic twice, one of all has come
		m := c.message()
		got[string(m.Topic)] += string(m.Payload) + " "
		c.send(packet.PUBACK, m.PacketID)
	}
	c.silent()
	for i := range topics {
		want := "kept live "
		if i == 4 {
			want = "kept kept live "
		}
		if got[name(i)] != want {
			t.Errorf("%s: %s, want %s", name(i), got[name(i)], want)
		}
	}
}

// TestShared (section 4.8.2): one of those who share gets each message, those who do not share get all.
func TestShared(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V311, "p")
	versions(t, func(t *testing.T, v packet.Version) {
		var members []*client
		for i := range 3 {
			c := n.join(t, v, fmt.Sprint("m", i))
			c.subscribe(packet.Options{QoS: 1}, "$share/g/a/+")
			members = append(members, c)
		}
		all := n.join(t, v, "all")
		all.subscribe(packet.Options{}, "a/b", "$share/other/#")
		const rounds = 10
		for i := range 3 * rounds {
			p.say("a/b", fmt.Sprint(i), 1)
			all.hears("a/b", fmt.Sprint(i))
			all.hears("a/b", fmt.Sprint(i)) // of the other group
		}
		for _, m := range members {
			for range rounds {
				p := m.message()
				m.send(packet.PUBACK, p.PacketID)
			}
			m.silent()
		}
		members[0].bye()
		members[1].bye()
		for i := range 5 {
			p.say("a/b", fmt.Sprint(i), 1)
			members[2].hears("a/b", fmt.Sprint(i))
			all.hears("a/b", fmt.Sprint(i))
			all.hears("a/b", fmt.Sprint(i))
		}
		members[2].bye()
		all.bye()
		until(t, "all have gone", func() bool { return n.Stats().Subscriptions == 0 })
	})
}

// TestSharedPrefersThoseWhoAreThere: a member that is away gets something only when all are.
func TestSharedPrefersThoseWhoAreThere(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V5, "p")
	away := n.stay(t, packet.V5, "away")
	away.subscribe(packet.Options{QoS: 1}, "$share/g/a")
	away.drop(n, "away")
	there := n.join(t, packet.V5, "there")
	there.subscribe(packet.Options{QoS: 1}, "$share/g/a")
	for i := range 4 {
		p.say("a", fmt.Sprint(i), 1)
		there.hears("a", fmt.Sprint(i))
	}
	there.bye()
	p.say("a", "waits", 1)
	n.stay(t, packet.V5, "away").hears("a", "waits")
}

// TestMaxFilters: what one session may hold is bounded.
func TestMaxFilters(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, packet.V5, "c")
	const step = 10_000
	for i := range route.MaxFilters/step + 1 {
		filters := make([]string, step)
		for j := range filters {
			filters[j] = fmt.Sprintf("f/%d", i*step+j)
		}
		codes := c.subscribe(packet.Options{}, filters...)
		want := byte(0)
		if i == route.MaxFilters/step {
			want = byte(packet.QuotaExceeded)
		}
		if codes[0] != want || codes[step-1] != want {
			t.Fatalf("step %d: %x … %x, want %x", i, codes[0], codes[step-1], want)
		}
	}
	if got := n.Stats().Subscriptions; got != route.MaxFilters {
		t.Errorf("%d subscriptions", got)
	}
	c.bye()
	until(t, "the subscriptions are gone", func() bool { return n.Stats().Subscriptions == 0 })
}
