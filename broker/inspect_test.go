package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// clientIDs are the identifiers of a page.
func clientIDs(page []ClientInfo) []string {
	var list []string
	for _, c := range page {
		list = append(list, c.ID)
	}
	return list
}

func TestClients(t *testing.T) {
	n := start(t, nil)
	for i := range 5 {
		n.join(t, packet.V311, fmt.Sprintf("dev/%d", i))
	}
	for i := range 3 {
		id := fmt.Sprintf("meter %d", i)
		n.stay(t, packet.V5, id).drop(n, id)
	}
	n.join(t, packet.V5, "Ünïcode ☃")
	tests := []struct {
		name  string
		q     ClientQuery
		ids   string
		total int
	}{
		{"all, by their bytes", ClientQuery{}, "dev/0,dev/1,dev/2,dev/3,dev/4,meter 0,meter 1,meter 2,Ünïcode ☃", 9},
		{"both states", ClientQuery{Connected: true, Away: true, Limit: 2}, "dev/0,dev/1", 9},
		{"connected", ClientQuery{Connected: true}, "dev/0,dev/1,dev/2,dev/3,dev/4,Ünïcode ☃", 6},
		{"away", ClientQuery{Away: true}, "meter 0,meter 1,meter 2", 3},
		{"containing", ClientQuery{Contains: "e"}, "dev/0,dev/1,dev/2,dev/3,dev/4,meter 0,meter 1,meter 2,Ünïcode ☃", 9},
		{"containing characters of several bytes", ClientQuery{Contains: "ïcode ☃"}, "Ünïcode ☃", 1},
		{"the case matters", ClientQuery{Contains: "METER"}, "", 0},
		{"a page", ClientQuery{Limit: 4, After: "dev/2"}, "dev/3,dev/4,meter 0,meter 1", 9},
		{"after one that is not there", ClientQuery{After: "dev/35", Limit: 1}, "dev/4", 9},
		{"nothing after the last", ClientQuery{After: "Ünïcode ☃"}, "", 9},
		{"away, containing, second page", ClientQuery{Away: true, Contains: "r ", After: "meter 1"}, "meter 2", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page, total := n.Clients(tt.q)
			if got := strings.Join(clientIDs(page), ","); got != tt.ids || total != tt.total {
				t.Errorf("%q of %d, want %q of %d", got, total, tt.ids, tt.total)
			}
		})
	}
}

func TestClientInfo(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Session.MaxExpiry = time.Hour })
	began := time.Now()
	p := packet.Connect{Version: packet.V5, ClientID: []byte("c"), KeepAlive: 7, CleanStart: true}
	p.Properties.AddInt(packet.SessionExpiry, 100)
	c := n.open(t, p)
	c.subscribe(packet.Options{QoS: 1}, "a", "b/+", "$share/g/c")
	pub := n.join(t, packet.V5, "pub")
	pub.say("a", "1", 1)
	pub.say("a", "2", 1)
	c.hears("a", "1")
	c.message() // not acknowledged
	got, _ := n.Client("c")
	until(t, "the acknowledgement has arrived", func() bool {
		got, _ = n.Client("c")
		return got.InFlight == 1
	})
	want := ClientInfo{
		ID: "c", Connected: true, Addr: got.Addr, Version: packet.V5, Listener: "mqtt", KeepAlive: 7 * time.Second,
		CleanStart: true, SessionExpiry: 100 * time.Second, Since: got.Since, Subscriptions: 3, InFlight: 1,
	}
	if got != want || got.Addr.String() != c.conn.LocalAddr().String() {
		t.Errorf("connected: %+v, want %+v", got, want)
	}
	if got.Since.Before(began) || got.Since.After(time.Now()) {
		t.Errorf("connected since %v, began at %v", got.Since, began)
	}

	connected := time.Now()
	c.drop(n, "c")
	pub.say("a", "3", 1)
	pub.say("a", "4", 1)
	got, there := n.Client("c")
	want = ClientInfo{ID: "c", SessionExpiry: 100 * time.Second, Since: got.Since, Subscriptions: 3, InFlight: 1, Queued: 2}
	if got != want || !there {
		t.Errorf("away: %+v, want %+v", got, want)
	}
	if got.Since.Before(connected) || got.Since.After(time.Now()) {
		t.Errorf("away since %v, was there until after %v", got.Since, connected)
	}
	if queued, inFlight := n.Waiting(); queued != 2 || inFlight != 1 {
		t.Errorf("%d wait and %d are under way, want 2 and 1", queued, inFlight)
	}
	if info, there := n.Client("nobody"); there {
		t.Errorf("%+v for a client that is not there", info)
	}
}

// TestClientInfoOfClean: what MQTT 3.1.1 leaves open is shown as it was settled.
func TestClientInfoOfClean(t *testing.T) {
	n := start(t, nil)
	n.open(t, packet.Connect{Version: packet.V311, ClientID: []byte("c"), CleanStart: true})
	got, _ := n.Client("c")
	if got.KeepAlive != 0 || got.SessionExpiry != 0 || !got.CleanStart {
		t.Errorf("%+v", got)
	}
	n.stay(t, packet.V311, "d")
	got, _ = n.Client("d")
	if got.KeepAlive != time.Minute || got.SessionExpiry != config.Default().Session.MaxExpiry || got.CleanStart {
		t.Errorf("%+v", got)
	}
}

func TestSubscriptions(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxQoS = 1 })
	c := n.join(t, packet.V5, "c")
	p := packet.Subscribe{PacketID: 7}
	p.Properties.AddSubscriptionID(42)
	p.Subscriptions.Add([]byte("b/#"), packet.Options{QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2})
	p.Subscriptions.Add([]byte("$share/g/x/+"), packet.Options{QoS: 1})
	c.subscribeWith(p)
	c.subscribe(packet.Options{RetainHandling: 1}, "a")
	got, there := n.Subscriptions("c")
	want := []SubscriptionInfo{
		{ClientID: "c", Filter: "$share/g/x/+", QoS: 1, ID: 42},
		{ClientID: "c", Filter: "a", RetainHandling: 1},
		{ClientID: "c", Filter: "b/#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, ID: 42},
	}
	if !slices.Equal(got, want) || !there {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, there := n.Subscriptions("nobody"); got != nil || there {
		t.Errorf("%+v of nobody", got)
	}
	n.join(t, packet.V5, "d")
	if got, there := n.Subscriptions("d"); len(got) != 0 || !there {
		t.Errorf("%+v of one who has none", got)
	}
}

// TestAllSubscriptionsPages: whatever the size of the pages, together they hold everything once and in order.
func TestAllSubscriptionsPages(t *testing.T) {
	n := start(t, nil)
	var want []string
	for _, id := range []string{"a", "a b", "ab", "b", "é"} { // whose order a separator that is not the least would change
		c := n.join(t, packet.V5, id)
		for _, filter := range []string{"#", "+/x", "a b", "a/b/c", "temp/é"} {
			c.subscribe(packet.Options{QoS: 1}, filter)
			want = append(want, id+" "+filter)
		}
	}
	for _, limit := range []int{1, 2, 3, 7, 24, 25, 26, 0} {
		var got []string
		after := ""
		for range 100 {
			page, next, total := n.AllSubscriptions("", after, limit)
			if total != len(want) || limit > 0 && len(page) > limit {
				t.Fatalf("limit %d: %d of %d, want %d", limit, len(page), total, len(want))
			}
			for _, s := range page {
				got = append(got, s.ClientID+" "+s.Filter)
			}
			if after = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
	for contains, want := range map[string]int{"": 25, "é": 9, "temp": 5, "a b": 9, "nothing": 0} {
		if page, _, total := n.AllSubscriptions(contains, "", 100); len(page) != want || total != want {
			t.Errorf("containing %q: %d of %d, want %d", contains, len(page), total, want)
		}
	}
}

// TestLowest compares with sorting everything.
func TestLowest(t *testing.T) {
	for round := range 300 {
		l := lowest[int]{most: 1 + rand.IntN(8), compare: func(a, b int) int { return a - b }}
		var all []int
		for range rand.IntN(60) {
			x := rand.IntN(40)
			all = append(all, x)
			l.offer(x)
		}
		slices.Sort(all)
		all = slices.Compact(all)
		all = all[:min(l.most, len(all))]
		if got := l.list(); !slices.Equal(got, all) {
			t.Fatalf("round %d: %v, want %v", round, got, all)
		}
	}
}

// TestInspectWhileChanging looks at a node on which everything changes, for the race detector, and sees to it that who
// stays is on every page.
func TestInspectWhileChanging(t *testing.T) {
	n := start(t, nil)
	const staying = 600 // more than two batches
	for i := range staying {
		id := fmt.Sprintf("stays-%03d", i)
		c := n.stay(t, packet.V5, id)
		if i%100 == 0 {
			c.subscribe(packet.Options{}, "a/"+id)
		}
		c.conn.Close()
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 2 {
		c := n.join(t, packet.V5, fmt.Sprint("busy-", w))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c.subscribe(packet.Options{QoS: 1}, "x", "y/+")
				c.retain("x/y", "z", 1)
				id := fmt.Sprint("comes-", w)
				n.join(t, packet.V311, id).bye()
			}
		})
	}
	until(t, "all are away", func() bool {
		_, total := n.Clients(ClientQuery{Contains: "stays", Away: true})
		return total == staying
	})
	for range 20 {
		if page, total := n.Clients(ClientQuery{Contains: "stays", Limit: MaxPage}); len(page) != staying || total != staying {
			t.Errorf("%d of %d clients, want %d", len(page), total, staying)
		}
		if page, _, _ := n.AllSubscriptions("a/stays", "", 0); len(page) != staying/100 {
			t.Errorf("%d subscriptions, want %d", len(page), staying/100)
		}
		n.Waiting()
		n.Subscriptions("busy-0")
		n.Retained("#", 0)
	}
	close(stop)
	wg.Wait()
}

func TestListeners(t *testing.T) {
	n := start(t, func(o *Options) {
		o.Config.Listeners = append(o.Config.Listeners, config.Listener{Name: "lb", Listen: "127.0.0.1:0", ProxyProtocol: config.ProxyRequire})
	})
	got := n.Listeners()
	want := []ListenerInfo{
		{"mqtt", n.Addr("mqtt"), config.TCP, false, config.ProxyNone},
		{"lb", n.Addr("lb"), config.TCP, false, config.ProxyRequire},
	}
	if len(got) != 2 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestUnready(t *testing.T) {
	c := config.Default()
	c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
	b, err := New(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if why := b.Unready(); !strings.Contains(why, "starting") {
		t.Errorf("before Run: %q", why)
	}
	n := start(t, nil)
	until(t, "the node is ready", func() bool { return n.Unready() == "" })
	n.stop()
	if why := n.Unready(); !strings.Contains(why, "stopping") {
		t.Errorf("after Run: %q", why)
	}
}
