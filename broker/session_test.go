package broker

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// lasting is a CONNECT of MQTT 5 with a session that lasts so many seconds.
func lasting(id string, clean bool, seconds uint32) packet.Connect {
	p := packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: clean, KeepAlive: 60}
	if seconds > 0 {
		p.Properties.AddInt(packet.SessionExpiry, seconds)
	}
	return p
}

// TestSessionPresent [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6].
func TestSessionPresent(t *testing.T) {
	n := start(t, nil)
	steps := []struct {
		name    string
		p       packet.Connect
		present bool
	}{
		{"nothing there", lasting("a", false, 60), false},
		{"there", lasting("a", false, 60), true},
		{"wiped", lasting("a", true, 60), false},
		{"there again", lasting("a", false, 0), true},
		{"gone with its connection, as the client wanted", lasting("a", false, 60), false},
		{"3.1.1 takes over what MQTT 5 left", packet.Connect{Version: packet.V311, ClientID: []byte("a")}, true},
		{"and wipes it", packet.Connect{Version: packet.V311, ClientID: []byte("a"), CleanStart: true}, false},
		{"a clean session leaves nothing", packet.Connect{Version: packet.V311, ClientID: []byte("a")}, false},
		{"3.1 has no flag for it", packet.Connect{Version: packet.V31, ClientID: []byte("a")}, false},
	}
	for _, s := range steps {
		c, ack := n.connect(t, s.p)
		if ack.Code != packet.Success || ack.SessionPresent != s.present {
			t.Fatalf("%s: %+v", s.name, ack)
		}
		c.drop(n, "a")
	}
	if s := n.Stats(); s.Sessions != 1 || s.Clients != 0 {
		t.Errorf("%d sessions of %d clients, want one of nobody", s.Sessions, s.Clients)
	}
}

// TestSubscriptionsEndWithTheSession, however it ends.
func TestSubscriptionsEndWithTheSession(t *testing.T) {
	n := start(t, nil)
	filters := []string{"a/b", "a/+", "a/#", "$share/g/a"}
	for name, end := range map[string]func(*client){
		"disconnect":  func(c *client) { c.bye() },
		"drop":        func(c *client) { c.drop(n, "c") },
		"clean start": func(*client) { n.join(t, packet.V5, "c").bye() },
	} {
		t.Run(name, func(t *testing.T) {
			c := n.join(t, packet.V5, "c")
			c.subscribe(packet.Options{QoS: 1}, filters...)
			if got := n.Stats().Subscriptions; got != len(filters) {
				t.Fatalf("%d subscriptions", got)
			}
			end(c)
			until(t, "the subscriptions are gone", func() bool { return n.Stats().Subscriptions == 0 && n.Stats().Sessions == 0 })
		})
	}
}

// TestTakeover [MQTT-3.1.4-3]: the old connection ends, with 0x8E where there is a code; the session goes on.
func TestTakeover(t *testing.T) {
	n := start(t, nil)
	versions(t, func(t *testing.T, v packet.Version) {
		id := "t" + v.String()
		old := n.stay(t, v, id)
		old.subscribe(packet.Options{QoS: 1}, "a")
		p := n.join(t, v, "p")
		p.say("a", "1", 1)
		if m := old.message(); string(m.Payload) != "1" {
			t.Fatal(m)
		}
		fresh := n.stay(t, v, id)
		old.told(packet.SessionTakenOver)
		if m := fresh.hears("a", "1"); !m.Dup {
			t.Error("not marked as sent again")
		}
		p.say("a", "2", 1)
		fresh.hears("a", "2")
		fresh.silent()
	})
}

// TestTakeoverOfAnEndingSession: one that is to end with its connection ends when that is taken over, with its subscriptions, and its will is
// published now [MQTT-3.1.2-6 of 3.1.1] [MQTT-3.2.2-3].
func TestTakeoverOfAnEndingSession(t *testing.T) {
	n := start(t, nil)
	p := n.join(t, packet.V5, "p")
	p.subscribe(packet.Options{}, "will")
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		old := n.open(t, mortal(v, "m", 3600, 0))
		old.subscribe(packet.Options{QoS: 1}, "a")
		fresh, ack := n.connect(t, packet.Connect{Version: v, ClientID: []byte("m"), KeepAlive: 60})
		if ack.SessionPresent || ack.Code != packet.Success {
			t.Errorf("%v: %+v", v, ack)
		}
		old.told(packet.SessionTakenOver)
		p.hears("will", "gone")
		p.say("a", "x", 1)
		fresh.silent()
		n.join(t, v, "m").bye()
	}
}

// TestTakeoverOfABusyClient: one that keeps sending is told as well, and counted for what it was.
func TestTakeoverOfABusyClient(t *testing.T) {
	n := start(t, nil)
	var u packet.Unsubscribe
	u.PacketID = 1
	u.Filters.Add([]byte("q"))
	busy := bytes.Repeat(u.Append(nil, packet.V5), 20)
	old := n.join(t, packet.V5, "c")
	const rounds = 30
	for range rounds {
		done, gone := make(chan struct{}), make(chan struct{})
		turns := make(chan struct{}, 100) // 100 × 20 packets on the way are busy enough, and less than is lingered for
		go func() {
			defer close(done)
			for {
				select {
				case turns <- struct{}{}:
				case <-gone:
					return
				}
				if _, err := old.conn.Write(busy); err != nil {
					return
				}
			}
		}()
		old.want(packet.UNSUBACK)
		fresh := talk(t, n.dial(t), packet.V5)
		fresh.write((&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil))
		for answered := 1; ; answered++ {
			h, body := old.next()
			if h.Type == packet.UNSUBACK {
				if answered%20 == 0 {
					<-turns
				}
				continue
			}
			var d packet.Disconnect
			old.ok(d.Decode(packet.V5, h, body))
			if d.Code != packet.SessionTakenOver {
				t.Fatalf("DISCONNECT: %v", d.Code)
			}
			break
		}
		close(gone)
		fresh.connack()
		old.conn.Close()
		<-done
		old = fresh
	}
	until(t, "all are counted", func() bool { return n.Stats().Ended["taken_over"] == rounds })
}

// TestTakeoverByMany: of many that connect at the same time with one identifier exactly one stays, and it works.
func TestTakeoverByMany(t *testing.T) {
	n := start(t, nil)
	const many = 32
	versions(t, func(t *testing.T, v packet.Version) {
		p := packet.Connect{Version: v, ClientID: []byte("one"), CleanStart: v == packet.V31, KeepAlive: 60}
		accepted := n.Stats().Accepted + many
		alone := func() bool {
			s := n.Stats()
			return s.Accepted == accepted && s.Connections == 1
		}
		clients := make([]*client, many)
		for i := range clients {
			clients[i] = talk(t, n.dial(t), v)
		}
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() { c.conn.Write(p.Append(nil)) })
		}
		wg.Wait()
		alive := make(chan *client, many)
		for _, c := range clients {
			wg.Go(func() {
				if c.stays(alone) {
					alive <- c
				}
			})
		}
		var winner *client
		select {
		case winner = <-alive:
		case <-time.After(patience):
			t.Fatal("nobody is left")
		}
		winner.conn.Close() // lets the others, who wait for their end, come to theirs if they are alive by mistake
		wg.Wait()
		if len(alive) > 0 {
			t.Errorf("%d more are alive", len(alive))
		}
		n.waitAway(t, "one")
	})
}

// stays reports whether the client is still served once the node has no other connection than this one. It sends PINGREQ until that is
// so, or until the node ends the connection; it then closes it, for the node not to linger.
func (c *client) stays(alone func() bool) bool {
	c.conn.SetDeadline(time.Now().Add(patience))
	for last := false; ; {
		h, _, err := c.r.Next()
		if err != nil || h.Type == packet.DISCONNECT {
			c.conn.Close()
			return false
		}
		if h.Type == packet.PINGRESP {
			if last { // to a PINGREQ that was sent when nobody else was there
				return true
			}
			last = alone()
		}
		if _, err := c.conn.Write(packet.AppendPingreq(nil)); err != nil {
			c.conn.Close()
			return false
		}
	}
}

// TestTakeoverOfABlockedClient: a client that has stopped reading, with full buffers on the way, does not hold up whoever
// takes over its session.
func TestTakeoverOfABlockedClient(t *testing.T) {
	n := start(t, nil)
	old := n.join(t, packet.V5, "s")
	old.subscribe(packet.Options{}, "a")
	p := n.join(t, packet.V5, "p")
	blockWriter(t, n, p, "s")
	began := time.Now()
	fresh := n.join(t, packet.V5, "s")
	fresh.silent()
	if took := time.Since(began); took > n.writeTimeout/2 {
		t.Errorf("the newcomer waited %v", took)
	}
	until(t, "the old connection is gone", func() bool { return n.Stats().Connections == 2 })
}

// TestResetWhileWriting: a client that resets the connection has closed it, whatever the node was doing.
func TestResetWhileWriting(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, packet.V5, "s")
	c.subscribe(packet.Options{}, "a")
	blockWriter(t, n, n.join(t, packet.V5, "p"), "s")
	c.conn.(*net.TCPConn).SetLinger(0)
	c.conn.Close()
	until(t, "it is counted", func() bool { return n.Stats().Ended["client_closed"] == 1 })
	if e := endingOf(&net.OpError{Op: "write", Err: syscall.EPIPE}, writeTimeout); e.reason != clientClosed {
		t.Errorf("a broken pipe is a %v", e)
	}
}

// blockWriter publishes to topic a until the writer of that client, who does not read, is stuck.
func blockWriter(t *testing.T, n *node, p *client, id string) {
	t.Helper()
	payload := bytes.Repeat([]byte("x"), 256<<10)
	c := n.connOf(id)
	until(t, "the writer is stuck", func() bool {
		p.publish(packet.Publish{Topic: []byte("a"), Payload: payload, QoS: 1})
		c.session.mu.Lock()
		defer c.session.mu.Unlock()
		return c.out.Len() > 20
	})
}

func TestSessionExpires(t *testing.T) {
	n := start(t, nil)
	c := n.open(t, lasting("a", false, 1))
	c.subscribe(packet.Options{QoS: 1}, "a/#")
	c.drop(n, "a")
	if n.Stats().Sessions != 1 {
		t.Fatal("the session ended with the connection")
	}
	until(t, "the session has expired", func() bool { s := n.Stats(); return s.Sessions == 0 && s.Subscriptions == 0 })
}

// TestSessionExpiryInDisconnect: the last word counts, but cannot turn a session that was to end into one that lasts
// (section 3.14.2.2.2).
func TestSessionExpiryInDisconnect(t *testing.T) {
	n := start(t, nil)
	disconnect := func(seconds uint32) []byte {
		var d packet.Disconnect
		d.Properties.AddInt(packet.SessionExpiry, seconds)
		return d.Append(nil, packet.V5)
	}
	c := n.open(t, lasting("a", false, 60))
	c.write(disconnect(0))
	c.gone()
	until(t, "the session is gone", func() bool { return n.Stats().Sessions == 0 })

	c = n.open(t, lasting("a", false, 0))
	c.write(disconnect(60))
	c.told(packet.ProtocolError)
}

// TestMaxExpiry: no session outlives its connection by more than the node allows; with 0 none does.
func TestMaxExpiry(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Session.MaxExpiry = 0 })
	versions(t, func(t *testing.T, v packet.Version) {
		n.stay(t, v, "a").bye()
		until(t, "the session is gone", func() bool { return n.Stats().Sessions == 0 })
	})
}

// TestOfflineQueue: what comes while the client is away waits in order, up to max_queued; QoS 0 does not wait.
func TestOfflineQueue(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxQueued = 5 })
	versions(t, func(t *testing.T, v packet.Version) {
		id := "o" + v.String()
		before := n.Stats().Dropped["queue_full"]
		c := n.stay(t, v, id)
		c.subscribe(packet.Options{QoS: 2}, "a")
		c.drop(n, id)
		p := n.join(t, v, "p")
		for i := range 8 {
			p.say("a", fmt.Sprint(i), 1+byte(i%2))
			p.say("a", "not kept", 0)
		}
		p.silent() // all of them have been taken
		c = n.stay(t, v, id)
		for i := range 5 {
			if m := c.message(); m.Dup || string(m.Payload) != fmt.Sprint(i) {
				t.Errorf("%+v instead of message %d", m, i)
			}
		}
		c.silent()
		if got := n.Stats().Dropped["queue_full"] - before; got != 3 {
			t.Errorf("%d counted as dropped, want 3", got)
		}
		n.join(t, v, id).bye() // wipes the session
	})
}

// TestExpiredMakeRoom: messages that expired while they waited do not keep others out of the queue [MQTT-3.3.2-5].
func TestExpiredMakeRoom(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxQueued = 3 })
	c := n.stay(t, packet.V5, "c")
	c.subscribe(packet.Options{QoS: 1}, "a")
	c.drop(n, "c")
	p := n.join(t, packet.V5, "p")
	old := packet.Publish{Topic: []byte("a"), Payload: []byte("old"), QoS: 1}
	old.Properties.AddInt(packet.MessageExpiry, 0)
	p.say("a", "1", 1)
	p.publish(old)
	p.publish(old)
	p.say("a", "2", 1)
	p.say("a", "3", 1)
	p.say("a", "4", 1) // no room
	c = n.stay(t, packet.V5, "c")
	c.hears("a", "1")
	c.hears("a", "2")
	c.hears("a", "3")
	c.silent()
	if d := n.Stats().Dropped; d["expired"] != 2 || d["queue_full"] != 1 {
		t.Errorf("dropped: %v", d)
	}
}

// TestQueueIsBoundedInBytes: a few large messages fill a queue that many small ones do not.
func TestQueueIsBoundedInBytes(t *testing.T) {
	n := start(t, func(o *Options) { o.Config.Limits.MaxPacketSize = 1 << 20 })
	c := n.stay(t, packet.V5, "c")
	c.subscribe(packet.Options{QoS: 1}, "a")
	c.drop(n, "c")
	p := n.join(t, packet.V5, "p")
	large := strings.Repeat("x", 1<<20-1<<10)
	for range 20 {
		p.say("a", large, 1)
	}
	if got := n.Stats().Dropped["queue_full"]; got != 12 {
		t.Errorf("%d dropped, want 12 of 20 where there is room for 8", got)
	}
}

// TestSlowSubscriber: one that stops reading slows nobody, costs a bounded amount, has its QoS 0 messages dropped and
// counted, and is cut in the end.
func TestSlowSubscriber(t *testing.T) {
	n := start(t, func(o *Options) {
		o.Config.Limits.MaxQueued = 10
		o.WriteTimeout = 500 * time.Millisecond
	})
	slow := n.open(t, lasting("slow", false, 60))
	slow.subscribe(packet.Options{}, "a")
	other := n.join(t, packet.V311, "other")
	other.subscribe(packet.Options{}, "a")
	p := n.join(t, packet.V311, "p")
	payload := string(bytes.Repeat([]byte("x"), 100<<10))
	for i := 0; n.Stats().Dropped["client_slow"] == 0 || n.Stats().Clients > 2; i++ {
		if i == 10_000 {
			t.Fatal("nothing was dropped, or the slow one is still there")
		}
		p.say("a", payload, 1)
		other.hears("a", payload)
	}
	until(t, "the slow one is cut", func() bool { return n.Stats().Ended["write_timeout"] == 1 })
}

// TestClientThatReadsNoAnswers is not read from any more: the answers that wait are bounded.
func TestClientThatReadsNoAnswers(t *testing.T) {
	n := start(t, func(o *Options) { o.WriteTimeout = 500 * time.Millisecond })
	c := n.join(t, packet.V311, "c")
	pings := bytes.Repeat(packet.AppendPingreq(nil), 32<<10)
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	for range 10_000 {
		if _, err := c.conn.Write(pings); err != nil {
			break // the node has had enough
		}
	}
	until(t, "it is cut", func() bool { return n.Stats().Ended["write_timeout"] == 1 })
}

// TestStop: MQTT 5 clients are told, others are not sent a DISCONNECT, wills stay unpublished, nothing is left.
func TestStop(t *testing.T) {
	n := start(t, nil)
	var clients []*client
	for i, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		c := n.open(t, packet.Connect{Version: v, ClientID: fmt.Append(nil, i), CleanStart: true, Will: &packet.Will{Topic: []byte("w")}})
		c.subscribe(packet.Options{}, "w")
		clients = append(clients, c)
	}
	silent := n.dial(t)                                     // has not said CONNECT
	n.open(t, lasting("away", false, 3600)).drop(n, "away") // has a timer
	n.stop()
	for _, c := range clients {
		c.told(packet.ServerShuttingDown)
	}
	talk(t, silent, packet.V5).gone()
	if _, err := net.Dial("tcp", n.Addr("mqtt").String()); err == nil {
		t.Error("the port is still open")
	}
	if n.Accepting() {
		t.Error("the node says that it accepts")
	}
}

// TestProbes: what health checks of load balancers do, many times, leaves nothing behind.
func TestProbes(t *testing.T) {
	n := start(t, nil)
	for i := range 200 {
		switch i % 3 {
		case 0: // a connection and nothing
			n.dial(t).Close()
		case 1: // reset
			c := n.dial(t)
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		case 2:
			n.join(t, packet.V311, fmt.Sprint("mqttlb-check-", i)).bye()
		}
	}
	until(t, "all have gone", func() bool {
		s := n.Stats()
		return s.Accepted == 200 && s.Connections == 0 && s.Clients == 0 && s.Sessions == 0
	})
}
