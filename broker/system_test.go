package broker

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/store"
)

// mosquittoTells are the topics below $SYS/broker that mosquitto(8) has and this node as well.
func mosquittoTells() (list []string) {
	list = []string{
		"version", "uptime", "clients/connected", "clients/active", "clients/disconnected", "clients/inactive", "clients/total",
		"clients/maximum", "clients/expired", "messages/received", "messages/sent", "messages/inflight", "messages/stored",
		"store/messages/count", "publish/messages/received", "publish/messages/sent", "publish/messages/dropped", "bytes/received",
		"bytes/sent", "subscriptions/count", "retained messages/count", "heap/current", "heap/maximum",
	}
	for _, of := range []string{
		"messages/received", "messages/sent", "publish/received", "publish/sent", "publish/dropped", "bytes/received", "bytes/sent", "sockets", "connections",
	} {
		for _, over := range []string{"1min", "5min", "15min"} {
			list = append(list, "load/"+of+"/"+over)
		}
	}
	return list
}

// said collects what next tells, by topic below $SYS/broker.
func (y *system) said(t *testing.T, now time.Time, c census) map[string]string {
	t.Helper()
	told := make(map[string]string)
	y.next(now, &c, func(topic, text string) {
		name, found := strings.CutPrefix(topic, "$SYS/broker/")
		if _, twice := told[name]; twice || !found {
			t.Errorf("%s is told twice, or is none of the topics", topic)
		}
		told[name] = text
	})
	return told
}

// TestSystemTellsChanges: everything at first, then what is not as it was.
func TestSystemTellsChanges(t *testing.T) {
	var y system
	now := time.Now()
	c := census{version: "1.2.3", connected: 3, away: 2, most: 4, retained: 7, waiting: 5, inFlight: 1, heap: 1e9, subscriptions: 12}
	told := y.said(t, now, c)
	for _, topic := range mosquittoTells() {
		if told[topic] == "" {
			t.Errorf("nothing of %s", topic)
		}
	}
	if len(told) != len(mosquittoTells()) {
		t.Errorf("%d topics, want %d", len(told), len(mosquittoTells()))
	}
	for topic, want := range map[string]string{
		"version": "mqttbroker version 1.2.3", "uptime": "0 seconds", "clients/connected": "3", "clients/total": "5", "clients/maximum": "4",
		"clients/disconnected": "2", "retained messages/count": "7", "messages/stored": "12", "store/messages/count": "12",
		"messages/inflight": "1", "heap/current": "1000000000", "subscriptions/count": "12", "load/sockets/1min": "0.00",
	} {
		if told[topic] != want {
			t.Errorf("%s: %s, want %s", topic, told[topic], want)
		}
	}
	now = now.Add(10 * time.Second)
	if told = y.said(t, now, c); len(told) != 1 || told["uptime"] != "10 seconds" {
		t.Errorf("nothing has changed: %v", told)
	}
	c.away, c.heap = 0, 5e8
	now = now.Add(10 * time.Second)
	want := map[string]string{"uptime": "20 seconds", "clients/disconnected": "0", "clients/inactive": "0", "clients/total": "3", "heap/current": "500000000"}
	if told = y.said(t, now, c); fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", told, want)
	}
	var quiet system
	if _, there := quiet.said(t, now, census{})["version"]; there {
		t.Error("a version that nobody has given is told")
	}
}

// TestSystemLoads: 60 connections within 10 seconds are 360 a minute, of which an average over a minute has taken in 1 − e^(−1/6)
// by then; when no more come it falls by e^(−1/6) in each 10 seconds.
func TestSystemLoads(t *testing.T) {
	var y system
	now := time.Now()
	y.said(t, now, census{})
	for i, tt := range []struct {
		seconds          time.Duration
		sockets          float64
		one, five, fifty string
	}{
		{10, 60, "55.27", "11.80", "3.98"},
		{10, 60, "46.78", "11.42", "3.93"},
		{10, 120, "94.87", "22.84", "7.87"},
		{0, 120, "", "", ""}, // a tick that comes at the time of the one before
		{3600, 120, "0.00", "0.00", "0.14"},
		{36000, 120, "", "", "0.00"},
	} {
		now = now.Add(tt.seconds * time.Second)
		told := y.said(t, now, census{accepted: tt.sockets})
		if got := []string{told["load/sockets/1min"], told["load/sockets/5min"], told["load/sockets/15min"]}; !slices.Equal(got, []string{tt.one, tt.five, tt.fifty}) {
			t.Errorf("row %d: %q, want %s, %s, %s", i, got, tt.one, tt.five, tt.fifty)
		}
	}
}

// watched runs a node that tells of itself often.
func watched(t *testing.T, change func(*Options)) *node {
	return start(t, func(o *Options) {
		o.Version, o.systemEvery = "1.2.3", 5*time.Millisecond
		if change != nil {
			change(o)
		}
	})
}

// pupil is a client that remembers what the node says of itself, by topic.
type pupil struct {
	*client
	known map[string]string
}

func learning(c *client) pupil { return pupil{c, make(map[string]string)} }

// learns reads what the node says of itself until a topic below $SYS/broker has that text.
func (p pupil) learns(topic, text string) {
	p.t.Helper()
	name := "$SYS/broker/" + topic
	for deadline := time.Now().Add(patience); p.known[name] != text; {
		m := p.message()
		if m.QoS != 0 || time.Now().After(deadline) {
			p.t.Fatalf("%s is %q, want %q; the last message is %s, with QoS %d", name, p.known[name], text, m.Topic, m.QoS)
		}
		p.known[string(m.Topic)] = string(m.Payload)
	}
}

// drain reads what was sent to the client before now.
func (c *client) drain() {
	c.t.Helper()
	c.write(packet.AppendPingreq(nil))
	for h, _ := c.next(); h.Type != packet.PINGRESP; h, _ = c.next() {
		continue
	}
}

// TestSystemIsTold: who subscribes sees all of them, and how they change.
func TestSystemIsTold(t *testing.T) {
	n := watched(t, nil)
	c := learning(n.join(t, packet.V311, "watcher"))
	c.subscribe(packet.Options{QoS: 2}, "$SYS/#")
	missing := mosquittoTells()
	for len(missing) > 0 {
		m := c.message()
		missing = slices.DeleteFunc(missing, func(name string) bool { return string(m.Topic) == "$SYS/broker/"+name })
	}
	a := n.stay(t, packet.V5, "a")
	c.learns("clients/connected", "2")
	a.subscribe(packet.Options{QoS: 1}, "a/#", "b")
	c.learns("subscriptions/count", "3")
	a.drop(n, "a")
	c.learns("clients/disconnected", "1")
	b := n.join(t, packet.V5, "b")
	b.say("a/1", "text", 1) // waits for a
	c.learns("messages/stored", "1")
	b.retain("kept", "text", 1)
	c.learns("retained messages/count", "1")
	if got := n.Stats().Retained; got != 1 {
		t.Errorf("%d retained messages are counted, want 1", got)
	}
	n.stay(t, packet.V5, "a").hears("a/1", "text")
	c.learns("publish/messages/received", "2")
	d := n.join(t, packet.V5, "d")
	d.bye()
	d = n.join(t, packet.V311, "d") // the fifth to come; four at a time
	c.learns("clients/maximum", "4")
	d.subscribe(packet.Options{}, "$SYS/broker/version")
	if m := d.hears("$SYS/broker/version", "mqttbroker version 1.2.3"); !m.Retain {
		t.Error("the version is not retained")
	}
	d.silent() // and does not come again
}

// TestSystemCounts: what counters have to say, of clients whose packets are known.
func TestSystemCounts(t *testing.T) {
	n := start(t, nil) // which is silent: $SYS counts as sent
	c := n.join(t, packet.V5, "c")
	c.subscribe(packet.Options{QoS: 2}, "a")
	c.say("a", "none", 0)
	c.hears("a", "none")
	c.write((&packet.Publish{Topic: []byte("a"), Payload: []byte("once"), QoS: 2, PacketID: 9}).Append(nil, c.v))
	for done := 0; done < 2; { // one message to the node, one from it, side by side
		h, body := c.next()
		var ack packet.Ack
		switch h.Type {
		case packet.PUBLISH:
			var p packet.Publish
			c.ok(p.Decode(c.v, h, body))
			c.send(packet.PUBREC, p.PacketID)
			continue
		case packet.PUBCOMP:
			done++
			continue
		}
		c.ok(ack.Decode(c.v, h, body))
		if h.Type == packet.PUBREC {
			c.send(packet.PUBREL, ack.PacketID)
		} else {
			c.send(packet.PUBCOMP, ack.PacketID)
			done++
		}
	}
	c.silent()
	got := n.census()
	// CONNECT, SUBSCRIBE, 2 PUBLISH, PUBREL, PUBREC, PUBCOMP, PINGREQ; CONNACK, SUBACK, 2 PUBLISH, PUBREC, PUBCOMP, PUBREL, PINGRESP
	if got.packetsIn != 8 || got.packetsOut != 8 || got.publishIn != 2 || got.publishOut != 2 || got.connects != 1 || got.accepted != 1 {
		t.Errorf("%+v", got)
	}
	if got.bytesIn < 40 || got.bytesOut < 40 || got.heap == 0 {
		t.Errorf("%+v", got)
	}
	p := packet.Connect{Version: packet.V5, ClientID: []byte("brief"), CleanStart: true}
	p.Properties.AddInt(packet.SessionExpiry, 1)
	n.open(t, p).conn.Close()
	until(t, "its session has expired", func() bool { return n.census().expired == 1 })
}

// TestSystemIsApart: other wildcards do not match [MQTT-4.7.2-1], nobody else speaks there, and it cannot be deleted.
func TestSystemIsApart(t *testing.T) {
	n := watched(t, nil)
	s := learning(n.join(t, packet.V5, "s"))
	s.subscribe(packet.Options{}, "$SYS/broker/clients/connected")
	s.learns("clients/connected", "1")
	c := n.join(t, packet.V5, "c")
	c.subscribe(packet.Options{}, "#", "+/broker/uptime", "+/#", "$share/g/#")
	s.learns("clients/connected", "2") // the node has told of itself since
	c.silent()
	if code := c.publish(packet.Publish{Topic: []byte("$SYS/broker/version"), Payload: []byte("x"), QoS: 1, Retain: true}); code != packet.NotAuthorized {
		t.Errorf("a client publishes there: %v", code)
	}
	if n.DeleteRetained("$SYS/broker/version") {
		t.Error("it was deleted")
	}
	page, more, err := n.Retained("$SYS/#", MaxPage)
	if len(page) != len(mosquittoTells()) || more || err != nil {
		t.Errorf("the operator sees %d, %v, %v", len(page), more, err)
	}
	if page, _, _ := n.Retained("", MaxPage); len(page) != 0 || n.Stats().Retained != 0 {
		t.Errorf("among others: %d, %d", len(page), n.Stats().Retained)
	}
}

// TestSystemIsNotKept: nothing of it is in the data directory, nor waits for a client that is away.
func TestSystemIsNotKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := watched(t, func(o *Options) { o.Config.DataDir = dir })
	c := learning(n.stay(t, packet.V5, "c"))
	c.subscribe(packet.Options{QoS: 2}, "$SYS/#", "kept")
	c.learns("clients/connected", "1")
	c.drop(n, "c")
	d := n.join(t, packet.V5, "d")
	d.retain("kept", "text", 1)
	d.subscribe(packet.Options{}, "$SYS/broker/messages/received")
	for range 3 { // further rounds
		d.message()
		d.drain()
	}
	d.conn.Close()
	n.stop()
	s, state, err := store.Open(dir, time.Now(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(state.Retained) != 1 || state.Retained[0].Topic != "kept" {
		t.Errorf("%d retained messages are kept", len(state.Retained))
	}
	if len(state.Sessions) != 1 || len(state.Sessions[0].Queue) != 1 {
		t.Errorf("sessions: %+v", state.Sessions)
	}
}

// TestSystemAccess: an ACL file decides who sees $SYS, and lines with wildcards at the first level do not allow it.
func TestSystemAccess(t *testing.T) {
	g := guard(t, map[string]string{"admin": "a", "user": "u"}, "user admin\ntopic read $SYS/#\nuser user\ntopic #\n", func(o *Options) {
		o.Version, o.systemEvery = "1.2.3", 5*time.Millisecond
	})
	u := g.enter(t, packet.V5, "u", "user", "u")
	if got := u.subscribe(packet.Options{}, "$SYS/#", "$SYS/broker/uptime", "#", "+/broker/uptime"); got[0] != 0x87 || got[1] != 0x87 || got[2] != 0 {
		t.Errorf("% x", got)
	}
	a := learning(g.enter(t, packet.V5, "a", "admin", "a"))
	a.subscribe(packet.Options{}, "$SYS/broker/version", "$SYS/broker/clients/connected")
	a.learns("clients/connected", "2")
	u.silent()
	g.write(t, g.acl, "user admin\ntopic read other\n")
	if _, err := g.Reload(g.config); err != nil {
		t.Fatal(err)
	}
	a.drain() // what comes from here on is by the new rules
	g.enter(t, packet.V5, "v", "user", "u")
	until(t, "the node tells of three", func() bool {
		page, _, _ := g.Retained("$SYS/broker/clients/connected", 1)
		return string(page[0].Payload) == "3"
	})
	a.silent()
}
