package delivery

import (
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestAliases: a topic goes with its number once, then the number alone; no more numbers than the client takes; a new connection begins
// anew [MQTT-3.3.2-7]; whatever else the packet has stays.
func TestAliases(t *testing.T) {
	now := time.Now()
	var properties packet.Properties
	properties.AddBytes(packet.ContentType, []byte("text"))
	message := func(topic string) *Message {
		return &Message{Topic: topic, Payload: []byte("x"), QoS: 1, Forwarded: properties, Expires: now.Add(90 * time.Second), Many: true}
	}
	if NewAliases(0) != nil {
		t.Error("a client that takes no numbers is given some")
	}
	for range 2 { // connections
		enc := Encoder{Version: packet.V5, Aliases: NewAliases(2)}
		for i, tt := range []struct {
			topic, sent string
			alias       uint32
		}{{"topic/a", "topic/a", 1}, {"topic/a", "", 1}, {"topic/b", "topic/b", 2}, {"topic/c", "topic/c", 0}, {"topic/b", "", 2}, {"t", "t", 0}} {
			c := Copy{Message: message(tt.topic), QoS: 1, SubscriptionIDs: []uint32{7}}
			b := enc.Append(nil, c, 5, true, now)
			if size := enc.Size(c, now); len(b) > size {
				t.Errorf("%d: %d bytes, and Size says %d", i, len(b), size)
			}
			h, n, err := packet.ParseHeader(b)
			var p packet.Publish
			if err != nil || p.Decode(packet.V5, h, b[n:]) != nil {
				t.Fatalf("%d: %x", i, b)
			}
			alias, _ := p.Properties.Int(packet.TopicAlias)
			seconds, _ := p.Properties.Int(packet.MessageExpiry)
			ids := 0
			for id := range p.Properties.SubscriptionIDs() {
				ids += int(id)
			}
			if string(p.Topic) != tt.sent || alias != tt.alias || seconds != 90 || ids != 7 || p.PacketID != 5 || !p.Dup ||
				string(p.Properties.Bytes(packet.ContentType)) != "text" || string(p.Payload) != "x" {
				t.Errorf("%d: topic %q, alias %d, expiry %d, identifiers %d: %+v", i, p.Topic, alias, seconds, ids, p)
			}
		}
	}
}

// TestAliasesWithinLimit: a number that makes a packet longer than the client takes is not given [MQTT-3.1.2-24], nor one with QoS 2.
func TestAliasesWithinLimit(t *testing.T) {
	now := time.Now()
	m := &Message{Topic: "topic", Payload: []byte("payload"), QoS: 2}
	plain := Encoder{Version: packet.V5}
	exact := len(plain.Append(nil, Copy{Message: m, QoS: 1}, 1, false, now))
	for _, tt := range []struct {
		qos   byte
		most  int
		alias bool
	}{{1, exact, false}, {1, exact + 6, true}, {1, 0, true}, {2, 0, false}} {
		enc := Encoder{Version: packet.V5, Aliases: NewAliases(5), Most: tt.most}
		for range 2 {
			b := enc.Append(nil, Copy{Message: m, QoS: tt.qos}, 1, false, now)
			if (len(b) != exact) != tt.alias || tt.most > 0 && len(b) > tt.most {
				t.Errorf("QoS %d, at most %d: %d bytes, %d without an alias", tt.qos, tt.most, len(b), exact)
			}
		}
	}
}

// TestOutbox: what is put in comes out in its order, across batches; QoS 0 is bounded in number and bytes.
func TestOutbox(t *testing.T) {
	var pool Pool
	var o Outbox
	m := &Message{Topic: "t"}
	next := uint16(0)
	for n := range 100 {
		for i := range n {
			o.Push(&pool, Send{Copy: Copy{Message: m, QoS: byte(i % 2)}, ID: uint16(i)})
		}
		if o.Len() != n {
			t.Fatalf("%d wait, want %d", o.Len(), n)
		}
		next = 0
		for b := o.Take(); b != nil; b = o.Take() {
			for _, s := range b.Sends() {
				if s.ID != next {
					t.Fatalf("%d came, want %d", s.ID, next)
				}
				next++
			}
			pool.Release(b)
		}
		if int(next) != n || o.Len() != 0 || o.bytes != 0 || o.first != nil || o.last != nil {
			t.Fatalf("%d of %d came, %d and %d bytes are left", next, n, o.Len(), o.bytes)
		}
	}
	for o.Room(Copy{Message: m}, 10, 1<<20) {
		o.Push(&pool, Send{Copy: Copy{Message: m}})
	}
	if o.Len() != 10 {
		t.Errorf("%d are in where 10 may be", o.Len())
	}
	if o.Room(Copy{Message: m}, 100, 10*m.Size()) || !o.Room(Copy{Message: m}, 100, 11*m.Size()) {
		t.Error("bytes are not bounded")
	}
	o.Drop(&pool)
	if o.Len() != 0 || o.Take() != nil {
		t.Error("something is left")
	}
}
