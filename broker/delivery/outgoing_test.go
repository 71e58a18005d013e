package delivery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func message(topic string) *Message { return &Message{Topic: topic, Payload: []byte(topic)} }

// drain takes everything that may be sent now.
func drain(o *Outgoing, now time.Time) (sends []Send) {
	for s, _, ok := o.Next(now); ok; s, _, ok = o.Next(now) {
		sends = append(sends, s)
	}
	return sends
}

// said is what was sent, in a few characters: 1=a is message a with identifier 1, 1!a a repetition, 1 a PUBREL.
func said(sends []Send) string {
	var all []string
	for _, s := range sends {
		switch {
		case s.Release:
			all = append(all, fmt.Sprint(s.ID))
		case s.Dup:
			all = append(all, fmt.Sprintf("%d!%s", s.ID, s.Message.Topic))
		default:
			all = append(all, fmt.Sprintf("%d=%s", s.ID, s.Message.Topic))
		}
	}
	return fmt.Sprint(all)
}

func expect(t *testing.T, o *Outgoing, want string) {
	t.Helper()
	if got := said(drain(o, time.Time{})); got != want {
		t.Fatalf("sent %s, want %s", got, want)
	}
}

func add(t *testing.T, o *Outgoing, qos byte, topics string) {
	t.Helper()
	for _, r := range topics {
		if _, ok := o.Add(Copy{Message: message(string(r)), QoS: qos}, time.Time{}); !ok {
			t.Fatalf("no room for %c", r)
		}
	}
}

func TestWindow(t *testing.T) {
	o := NewOutgoing(&Limits{10, 1 << 30})
	add(t, &o, 1, "abc")
	expect(t, &o, "[]")
	o.Connected(2) // [MQTT-3.3.4-9]
	expect(t, &o, "[1=a 2=b]")
	if o.Acked(9) || !o.Acked(2) || o.Acked(2) {
		t.Error("acknowledgements are taken for the wrong ones")
	}
	expect(t, &o, "[3=c]")
	o.Acked(1)
	o.Acked(3)
	if o.InFlight() != 0 || o.Waiting() != 0 || o.flights != nil || !o.Open() {
		t.Error("something is left")
	}
}

func TestQueueIsBounded(t *testing.T) {
	o := NewOutgoing(&Limits{2, 1 << 30})
	add(t, &o, 1, "ab")
	if _, ok := o.Add(Copy{Message: message("c"), QoS: 1}, time.Time{}); ok {
		t.Error("a third message found room for two")
	}
	o.Connected(1)
	expect(t, &o, "[1=a]")
	add(t, &o, 1, "d")
	o.Acked(1)
	expect(t, &o, "[2=b]")
}

// TestQueueIsBoundedInBytes: what has gone makes room, in whatever order it went.
func TestQueueIsBoundedInBytes(t *testing.T) {
	now := time.Unix(1000, 0)
	size := message("a").Size()
	o := NewOutgoing(&Limits{100, 3 * size})
	add(t, &o, 1, "abc")
	if _, ok := o.Add(Copy{Message: message("d"), QoS: 1}, now); ok {
		t.Error("room for four where there is room for three")
	}
	o.Connected(1)
	expect(t, &o, "[1=a]")
	m := message("e")
	m.Expires = now.Add(time.Second)
	if _, ok := o.Add(Copy{Message: m, QoS: 1}, now); !ok {
		t.Error("what is on its way is taken for waiting")
	}
	for i, want := range []struct {
		expired int
		ok      bool
	}{{0, false}, {1, true}, {0, false}} {
		at := now.Add(time.Duration(min(i, 1)) * time.Second)
		if expired, ok := o.Add(Copy{Message: message("f"), QoS: 1}, at); expired != want.expired || ok != want.ok {
			t.Errorf("step %d: %d expired, %v", i, expired, ok)
		}
	}
	o.Connected(10)
	expect(t, &o, "[1!a 2=b 3=c 4=f]")
	if o.waiting != nil {
		t.Errorf("%d bytes wait in an empty queue", o.waiting.bytes)
	}
}

// TestResume: what was not acknowledged comes again, in order, with its identifier and DUP, before what
// waits; what has arrived is released again [MQTT-4.4.0-1] [MQTT-3.3.1-1].
func TestResume(t *testing.T) {
	o := NewOutgoing(&Limits{10, 1 << 30})
	o.Connected(4)
	add(t, &o, 2, "abcd")
	add(t, &o, 1, "ef")
	expect(t, &o, "[1=a 2=b 3=c 4=d]")
	o.Received(2, true)
	o.Disconnected()
	expect(t, &o, "[]")
	o.Connected(4)
	expect(t, &o, "[1!a 2 3!c 4!d]")
	if o.Acked(1) || o.Completed(1) {
		t.Error("a message of QoS 2 ends without its PUBREC")
	}
	for _, id := range []uint16{1, 2, 3, 4} {
		if !o.Received(id, true) || !o.Completed(id) {
			t.Errorf("message %d does not end", id)
		}
	}
	expect(t, &o, "[5=e 6=f]")
}

// TestResumeWithSmallerWindow: the new connection's Receive Maximum holds for what is sent again,
// too; the rest keeps its place and its identifier.
func TestResumeWithSmallerWindow(t *testing.T) {
	o := NewOutgoing(&Limits{10, 1 << 30})
	o.Connected(5)
	add(t, &o, 1, "abcdef")
	expect(t, &o, "[1=a 2=b 3=c 4=d 5=e]")
	o.Connected(2)
	expect(t, &o, "[1!a 2!b]")
	o.Acked(1)
	expect(t, &o, "[3!c]")
	o.Acked(3)
	o.Acked(2)
	expect(t, &o, "[4!d 5!e]")
	o.Acked(4)
	expect(t, &o, "[6=f]")
}

func TestReceivedWithFailureEnds(t *testing.T) {
	o := NewOutgoing(&Limits{10, 1 << 30})
	o.Connected(1)
	add(t, &o, 2, "ab")
	expect(t, &o, "[1=a]")
	if !o.Received(1, false) || o.Completed(1) {
		t.Error("a refused message is still on its way")
	}
	expect(t, &o, "[2=b]")
	o.Drop(2)
	if o.InFlight() != 0 {
		t.Error("a dropped message is still on its way")
	}
}

func TestExpiredNeverStart(t *testing.T) {
	now := time.Unix(1000, 0)
	o := NewOutgoing(&Limits{10, 1 << 30})
	for i := range 4 {
		m := message(string(rune('a' + i)))
		if i%2 == 0 {
			m.Expires = now
		}
		o.Add(Copy{Message: m, QoS: 1}, now)
	}
	o.Connected(10)
	s, expired, ok := o.Next(now)
	if !ok || expired != 1 || s.Message.Topic != "b" {
		t.Errorf("%v, %d expired, want b after one [MQTT-3.3.2-5]", s, expired)
	}
	o.Connected(10) // begun before it expired: it goes on
	expect(t, &o, "[1!b 2=c 3=d]")
}

// TestIdentifiers: none is given out twice while it is on its way, none is 0, and the counter comes
// round [MQTT-2.2.1-3].
func TestIdentifiers(t *testing.T) {
	o := NewOutgoing(&Limits{10, 1 << 30})
	o.Connected(3)
	add(t, &o, 2, "x")
	expect(t, &o, "[1=x]") // stays
	for i := range 150_000 {
		o.Add(Copy{Message: message("y"), QoS: 1}, time.Time{})
		s, _, ok := o.Next(time.Time{})
		if !ok || s.ID == 0 || s.ID == 1 {
			t.Fatalf("step %d: %v %v", i, s.ID, ok)
		}
		o.Acked(s.ID)
	}
}

func TestIncoming(t *testing.T) {
	var in Incoming
	if !in.Receive(7) || in.Receive(7) || !in.Receive(8) || in.Len() != 2 {
		t.Error("first is wrong [MQTT-4.3.3-10]")
	}
	if !in.Release(7) || in.Release(7) || !in.Receive(7) {
		t.Error("a released identifier is not free [MQTT-4.3.3-12]")
	}
	in.Release(7)
	in.Release(8)
	if in.ids != nil {
		t.Error("something is left behind")
	}
}

// client is the other side of the random test: a client that keeps the rules, on a connection that loses
// what is on its way when it breaks.
type client struct {
	wire     []Send          // sent to it, not yet read
	held     map[uint16]bool // QoS 2 identifiers it has seen and that were not released
	got      []string        // messages it has taken, in order
	answered []func(*Outgoing)
}

func (c *client) read(t *testing.T) {
	if len(c.wire) == 0 {
		return
	}
	s := c.wire[0]
	c.wire = c.wire[1:]
	id := s.ID
	switch {
	case s.Release:
		delete(c.held, id)
		c.answered = append(c.answered, func(o *Outgoing) { o.Completed(id) })
	case s.QoS == 1:
		c.got = append(c.got, s.Message.Topic)
		c.answered = append(c.answered, func(o *Outgoing) { o.Acked(id) })
	default:
		if !c.held[id] {
			c.got = append(c.got, s.Message.Topic)
		} else if !s.Dup {
			t.Fatalf("identifier %d is used for a new message while it is on its way", id)
		}
		c.held[id] = true
		c.answered = append(c.answered, func(o *Outgoing) {
			if o.Received(id, true) {
				c.wire = append(c.wire, Send{ID: id, Release: true})
			}
		})
	}
}

// TestRandomLife drives both sides through random steps: QoS 2 arrives exactly once and in order, QoS 1 at
// least once and in order but for repetitions, the window holds, nothing is forgotten.
func TestRandomLife(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		o := NewOutgoing(&Limits{1 << 20, 1 << 30})
		c := &client{held: map[uint16]bool{}}
		window, online, sent := 0, false, [3]int{}
		for range 2000 {
			switch r.IntN(10) {
			case 0:
				c.wire, c.answered = nil, nil
				if online = !online; online {
					window = 1 + r.IntN(8)
					o.Connected(window)
				} else {
					o.Disconnected()
				}
			case 1, 2, 3:
				qos := 1 + byte(r.IntN(2))
				o.Add(Copy{Message: message(fmt.Sprintf("%d:%05d", qos, sent[qos])), QoS: qos}, time.Time{})
				sent[qos]++
			case 4, 5, 6:
				c.read(t)
			default:
				if len(c.answered) > 0 {
					c.answered[0](&o)
					c.answered = c.answered[1:]
				}
			}
			if online {
				c.wire = append(c.wire, drain(&o, time.Time{})...)
			}
			if open := len(c.wire) + len(c.answered); open > window+o.InFlight() && online {
				t.Fatalf("seed %d: %d packets under way with a window of %d", seed, open, window)
			}
			if online && int(o.next) > window && !slices.ContainsFunc(o.flights, func(f flight) bool { return f.released }) {
				t.Fatalf("seed %d: %d messages under way with a window of %d", seed, o.next, window)
			}
		}
		c.wire, c.answered = nil, nil
		o.Connected(4)
		for range 100_000 {
			if o.InFlight() == 0 && o.Waiting() == 0 {
				break
			}
			c.wire = append(c.wire, drain(&o, time.Time{})...)
			c.read(t)
			for _, answer := range c.answered {
				answer(&o)
			}
			c.answered = nil
		}
		check(t, seed, c.got, sent)
	}
}

// check compares what a client took with what was sent.
func check(t *testing.T, seed uint64, got []string, sent [3]int) {
	t.Helper()
	var once []string
	first := map[string]bool{}
	for _, topic := range got {
		if topic[0] == '2' && first[topic] {
			t.Fatalf("seed %d: %s of QoS 2 arrived twice", seed, topic)
		}
		if !first[topic] {
			once = append(once, topic)
		}
		first[topic] = true
	}
	for qos := 1; qos <= 2; qos++ {
		n := 0
		for _, topic := range once {
			if topic[0] != byte('0'+qos) {
				continue
			}
			if want := fmt.Sprintf("%d:%05d", qos, n); topic != want {
				t.Fatalf("seed %d: %s arrived where %s belongs", seed, topic, want)
			}
			n++
		}
		if n != sent[qos] {
			t.Fatalf("seed %d: %d messages of QoS %d arrived, %d were sent", seed, n, qos, sent[qos])
		}
	}
}

func TestFifoLetsGo(t *testing.T) {
	var q fifo
	for i := range 10_000 {
		q.push(Copy{Message: message("x"), QoS: byte(i % 3)})
		if i%3 != 0 {
			if got := q.pop(); got.QoS > 2 {
				t.Fatal(got)
			}
		}
	}
	for q.len() > 0 {
		q.pop()
	}
	if q.items != nil {
		t.Error("an empty queue holds memory")
	}
	for range 10_000 {
		q.push(Copy{Message: message("x")})
		q.push(Copy{Message: message("x")})
		q.pop()
		q.pop()
	}
	if cap(q.items) > 64 {
		t.Errorf("room for %d after two at a time", cap(q.items))
	}
}

func TestEncoderForms(t *testing.T) {
	now := time.Unix(5000, 0)
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for _, many := range []bool{false, true} {
			m := &Message{Topic: "a/b", Payload: []byte("hello"), Many: many}
			m.Forwarded.AddBytes(packet.ContentType, []byte("text/plain"))
			for qos := range byte(3) {
				for _, c := range []Copy{
					{Message: m, QoS: qos},
					{Message: m, QoS: qos, Retain: true},
					{Message: m, QoS: qos, SubscriptionIDs: []uint32{3, 300}},
				} {
					e := Encoder{Version: v}
					for range 2 { // the second time out of what is kept
						checkForm(t, &e, c, now)
					}
				}
			}
		}
	}
}

func checkForm(t *testing.T, e *Encoder, c Copy, now time.Time) {
	t.Helper()
	b := e.Append(nil, c, 77, c.QoS > 0, now)
	h, n, err := packet.ParseHeader(b)
	if err != nil || n+h.Remaining != len(b) || len(b) != e.Size(c, now) {
		t.Fatalf("%v: header %v, %d of %d bytes, size %d", err, h, n+h.Remaining, len(b), e.Size(c, now))
	}
	var p packet.Publish
	if err := p.Decode(e.Version, h, b[n:]); err != nil {
		t.Fatal(err)
	}
	if string(p.Topic) != c.Message.Topic || string(p.Payload) != string(c.Message.Payload) || p.QoS != c.QoS || p.Retain != c.Retain {
		t.Errorf("%+v", p)
	}
	if c.QoS > 0 && (p.PacketID != 77 || !p.Dup) {
		t.Errorf("identifier %d, dup %v", p.PacketID, p.Dup)
	}
	if e.Version == packet.V5 {
		if string(p.Properties.Bytes(packet.ContentType)) != "text/plain" {
			t.Error("the content type is lost [MQTT-3.3.2-20]")
		}
		if ids := slices.Collect(p.Properties.SubscriptionIDs()); !slices.Equal(ids, c.SubscriptionIDs) {
			t.Errorf("subscription identifiers %v, want %v", ids, c.SubscriptionIDs)
		}
	}
}

func TestExpiryRunsDown(t *testing.T) {
	now := time.Unix(5000, 0)
	m := &Message{Topic: "a", Expires: now.Add(10 * time.Second), Many: true}
	for after, want := range map[time.Duration]uint32{0: 10, 3 * time.Second: 7, 3500 * time.Millisecond: 7} {
		e := Encoder{Version: packet.V5}
		b := e.Append(nil, Copy{Message: m}, 0, false, now.Add(after))
		h, n, _ := packet.ParseHeader(b)
		var p packet.Publish
		if err := p.Decode(packet.V5, h, b[n:]); err != nil {
			t.Fatal(err)
		}
		if got, _ := p.Properties.Int(packet.MessageExpiry); got != want {
			t.Errorf("after %v: %d s left, want %d [MQTT-3.3.2-6]", after, got, want)
		}
	}
	if m.Expired(now.Add(9*time.Second)) || !m.Expired(now.Add(10*time.Second)) {
		t.Error("Expired is wrong")
	}
}
