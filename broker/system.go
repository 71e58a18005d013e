package broker

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// The node tells of itself in topics that begin with $SYS/broker/, under the names that mosquitto has for the same things (mosquitto(8),
// "Broker status"). They are retained, so that who subscribes sees all of them at once; published again only when they have changed, so that
// nobody is woken for nothing; and of QoS 0, where mosquitto has 2: each is replaced in ten seconds, and should neither fill the queue of a client that is
// away nor the disk. Wildcards at the first level do not match them [MQTT-4.7.2-1], and only the node publishes there (isSystem).

// systemEvery is mosquitto's sys_interval (mosquitto.conf(5)).
const systemEvery = 10 * time.Second

// system is what has been told. But for topics it belongs to the goroutine in Run.
type system struct {
	version string // of the program; "" = it is not told
	every   time.Duration
	topics  atomic.Int64 // how many are retained: Stats leaves them out

	began, last time.Time
	told        map[string]string // by topic
	loads       [len(loads)]load
	heap        float64 // largest that was seen
}

// census is what the node counts at one moment. The fields are float64 since loads are computed from them: they are exact up to 2⁵³.
type census struct {
	version                                                 string
	connected, away, most, expired, subscriptions, retained float64
	waiting, inFlight, heap                                 float64
	packetsIn, packetsOut, publishIn, publishOut, dropped   float64 // since New, as what follows
	bytesIn, bytesOut, accepted, connects                   float64
}

// loads are the counters that the node tells averages of, in events per minute.
var loads = [...]struct {
	name  string
	count func(*census) float64
}{
	{"messages/received", func(c *census) float64 { return c.packetsIn }},
	{"messages/sent", func(c *census) float64 { return c.packetsOut }},
	{"publish/received", func(c *census) float64 { return c.publishIn }},
	{"publish/sent", func(c *census) float64 { return c.publishOut }},
	{"publish/dropped", func(c *census) float64 { return c.dropped }},
	{"bytes/received", func(c *census) float64 { return c.bytesIn }},
	{"bytes/sent", func(c *census) float64 { return c.bytesOut }},
	{"sockets", func(c *census) float64 { return c.accepted }},
	{"connections", func(c *census) float64 { return c.connects }},
}

// load is one of loads: the count until now, and the averages over windows.
type load struct {
	count    float64
	averages [len(windows)]float64
}

// windows are in minutes.
var windows = [...]float64{1, 5, 15}

// next tells what has changed with the counts of now: everything at first.
func (y *system) next(now time.Time, c *census, tell func(topic, text string)) {
	if y.told == nil {
		y.told = make(map[string]string)
		y.began, y.last = now, now
	}
	change := func(topic, text string) {
		if old, known := y.told[topic]; !known || old != text {
			y.told[topic] = text
			tell("$SYS/broker/"+topic, text)
		}
	}
	if c.version != "" {
		change("version", "mqttbroker version "+c.version)
	}
	change("uptime", fmt.Sprintf("%d seconds", now.Sub(y.began)/time.Second))
	y.heap = max(y.heap, c.heap)
	for _, v := range []struct {
		topic string
		value float64
	}{
		{"clients/connected", c.connected}, {"clients/active", c.connected},
		{"clients/disconnected", c.away}, {"clients/inactive", c.away},
		{"clients/total", c.connected + c.away}, {"clients/maximum", c.most}, {"clients/expired", c.expired},
		{"messages/received", c.packetsIn}, {"messages/sent", c.packetsOut}, {"messages/inflight", c.inFlight},
		{"messages/stored", c.retained + c.waiting}, {"store/messages/count", c.retained + c.waiting},
		{"publish/messages/received", c.publishIn}, {"publish/messages/sent", c.publishOut}, {"publish/messages/dropped", c.dropped},
		{"bytes/received", c.bytesIn}, {"bytes/sent", c.bytesOut},
		{"subscriptions/count", c.subscriptions}, {"retained messages/count", c.retained},
		{"heap/current", c.heap}, {"heap/maximum", y.heap},
	} {
		change(v.topic, strconv.FormatFloat(v.value, 'f', 0, 64))
	}
	for i, l := range loads {
		y.loads[i].advance(l.count(c), now.Sub(y.last))
		for j, minutes := range windows {
			change(fmt.Sprintf("load/%s/%vmin", l.name, minutes), strconv.FormatFloat(y.loads[i].averages[j], 'f', 2, 64))
		}
	}
	y.last = now
}

// advance takes the rate since the last time into the averages, which forget exponentially, as mosquitto's do.
func (l *load) advance(count float64, since time.Duration) {
	if minutes := since.Minutes(); minutes > 0 {
		rate := (count - l.count) / minutes
		for i, window := range windows {
			l.averages[i] = rate + math.Exp(-minutes/window)*(l.averages[i]-rate)
		}
	}
	l.count = count
}

// tellSystem publishes what has changed.
func (b *Broker) tellSystem(now time.Time) {
	y := &b.system
	y.next(now, b.census(), func(topic, text string) {
		b.publish(&delivery.Message{Topic: topic, Payload: []byte(text), Retain: true})
	})
	y.topics.Store(int64(len(y.told)))
}

// watchSystem calls tellSystem again and again. What it costs is a look at each session, as Waiting does, and a publication for each change.
func (b *Broker) watchSystem(ctx context.Context) {
	t := time.NewTicker(cmp.Or(b.system.every, systemEvery))
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			b.tellSystem(now)
		case <-ctx.Done():
			return
		}
	}
}

// census counts. What the node answers to a packet counts as sent when that has come: each answer is one packet.
func (b *Broker) census() *census {
	s := b.Stats()
	c := &census{
		version: b.system.version, connected: float64(s.Clients), away: float64(s.Sessions - s.Clients), expired: float64(b.stats.expired.Load()),
		subscriptions: float64(s.Subscriptions), retained: float64(s.Retained), accepted: float64(s.Accepted), heap: heapInUse(),
	}
	b.mu.Lock()
	c.most = float64(b.most)
	b.mu.Unlock()
	queued, inFlight := b.Waiting()
	c.waiting, c.inFlight = float64(queued+inFlight), float64(inFlight)
	for qos := range s.MessagesSent {
		c.publishIn += float64(s.MessagesReceived[qos])
		c.publishOut += float64(s.MessagesSent[qos])
	}
	c.dropped = float64(b.stats.dropped[queueFull].Load() + b.stats.dropped[clientSlow].Load())
	c.packetsIn, c.packetsOut = c.publishIn, c.publishOut+float64(s.MessagesReceived[1]+s.MessagesReceived[2])
	for typ := range b.stats.packets {
		n := float64(b.stats.packets[typ].Load())
		c.packetsIn += n
		switch packet.Type(typ) {
		case packet.CONNECT, packet.PUBREC, packet.PUBREL, packet.SUBSCRIBE, packet.UNSUBSCRIBE, packet.PINGREQ:
			c.packetsOut += n
		}
	}
	c.connects = float64(b.stats.packets[packet.CONNECT].Load())
	in, out := b.loops.Bytes()
	c.bytesIn, c.bytesOut = float64(in), float64(out)
	return c
}

// heapInUse returns the bytes of objects on the heap, those included that the collector has not seen yet to be garbage.
func heapInUse() float64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return float64(sample[0].Value.Uint64())
}
