package store

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// model is what a store is to hold, in the simplest way there is.
type model struct {
	sessions map[uint64]*modelSession
	retained map[string]*delivery.Message
}

type modelSession struct {
	Session
	filters  map[string]route.Want
	queue    map[uint64]*Queued
	incoming map[uint16]bool
	last     uint64
}

// said is everything of a state, as text that is the same for what is the same.
func said(st *State) string {
	var lines []string
	for _, k := range st.Sessions {
		lines = append(lines, saidSession(&k.Session))
		slices.SortFunc(k.Subscriptions, func(a, b Subscription) int { return cmp.Compare(a.Filter, b.Filter) })
		for _, f := range k.Subscriptions {
			lines = append(lines, fmt.Sprintf("  filter %.20s %d %+v", f.Filter, len(f.Filter), f.Want))
		}
		for _, q := range k.Queue {
			lines = append(lines, fmt.Sprintf("  %d: body %d id %d released %v ids %v qos %d %v %s", q.Position, q.Body, q.ID, q.Released,
				q.Copy.SubscriptionIDs, q.Copy.QoS, q.Copy.Retain, saidMessage(q.Copy.Message)))
		}
		lines = append(lines, fmt.Sprintf("  incoming %v", k.Incoming))
	}
	slices.SortFunc(st.Retained, func(a, b *delivery.Message) int { return cmp.Compare(a.Topic, b.Topic) })
	for _, m := range st.Retained {
		lines = append(lines, "retained "+saidMessage(m))
	}
	return strings.Join(lines, "\n")
}

func saidSession(s *Session) string {
	line := fmt.Sprintf("session %d %s %v %d", s.Number, s.ClientID, s.Expiry, s.Away.UnixMilli())
	if w := s.Will; w != nil {
		line += fmt.Sprintf(" will %v %d %v %v %s", w.Delay, w.Due.UnixMilli(), w.Expires, w.Lifetime, saidMessage(w.Message))
	}
	return line
}

func saidMessage(m *delivery.Message) string {
	if m == nil {
		return "no message"
	}
	var user []string
	for name, value := range m.Forwarded.User() {
		user = append(user, string(name)+"="+string(value))
	}
	return fmt.Sprintf("%.30s %d %.10x %d qos %d %v %v %s %q %s", m.Topic, len(m.Topic), m.Payload, len(m.Payload), m.QoS, m.Retain,
		m.Expires.UnixMilli(), m.Publisher, m.Forwarded.Bytes(packet.ContentType), user)
}

// state is what a store that holds the model returns.
func (m *model) state() *State {
	st := new(State)
	for _, number := range slices.Sorted(maps.Keys(m.sessions)) {
		s := m.sessions[number]
		k := Kept{Session: s.Session, Incoming: slices.Sorted(maps.Keys(s.incoming))}
		for filter, w := range s.filters {
			k.Subscriptions = append(k.Subscriptions, Subscription{filter, w})
		}
		for _, position := range slices.Sorted(maps.Keys(s.queue)) {
			k.Queue = append(k.Queue, *s.queue[position])
		}
		st.Sessions = append(st.Sessions, k)
	}
	st.Retained = slices.Collect(maps.Values(m.retained))
	return st
}

// difference is the first one between two texts.
func difference(got, want string) string {
	g, w := append(strings.Split(got, "\n"), "the end"), append(strings.Split(want, "\n"), "the end")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d of %d is\n%s\nand should be one of %d,\n%s", i, len(g), g[i], len(w), w[i])
		}
	}
	return "none"
}

func randomMessage(r *rand.Rand) *delivery.Message {
	m := &delivery.Message{
		Topic:     fmt.Sprintf("t/%d", r.IntN(30)),
		Payload:   make([]byte, 1+r.IntN(1+r.IntN(3000))),
		QoS:       byte(r.IntN(3)),
		Retain:    r.IntN(2) == 0,
		Publisher: fmt.Sprint("p", r.IntN(5)),
	}
	for i := range m.Payload {
		m.Payload[i] = byte(r.Uint32())
	}
	if r.IntN(10) == 0 {
		m.Topic += strings.Repeat("/x", 100+r.IntN(1+r.IntN(32_000)))
	}
	if r.IntN(3) == 0 {
		m.Forwarded.AddBytes(packet.ContentType, []byte("text"))
		m.Forwarded.AddUser([]byte("a"), []byte("b"))
	}
	if r.IntN(3) == 0 {
		m.Expires = time.UnixMilli(1<<41 + r.Int64N(1000))
	}
	return m
}

func randomSession(r *rand.Rand, number uint64) Session {
	s := Session{Number: number, ClientID: fmt.Sprint("client ", number), Expiry: time.Duration(20+r.IntN(200)) * 10000 * time.Hour}
	if r.IntN(2) == 0 {
		s.Away = time.UnixMilli(1<<40 + r.Int64N(1000)) // in 2004, not so long before start
	}
	if r.IntN(2) == 0 {
		s.Will = &Will{Message: randomMessage(r), Delay: time.Duration(r.IntN(1000)) * time.Second, Due: s.Away, Expires: r.IntN(2) == 0}
		s.Will.Message.Expires = time.Time{}
		if s.Will.Expires {
			s.Will.Lifetime = time.Duration(r.IntN(100)) * time.Second
		}
	}
	return s
}

// player does the same to a store and a model.
type player struct {
	*rand.Rand
	model
	store  *Store
	number uint64
	shared []shared // messages that were enqueued before, or were in the file
}

type shared struct {
	body    uint64
	message *delivery.Message
}

func (p *player) someSession() *modelSession {
	numbers := slices.Sorted(maps.Keys(p.sessions))
	if len(numbers) == 0 {
		return nil
	}
	return p.sessions[numbers[p.IntN(len(numbers))]]
}

func (s *modelSession) somePosition(r *rand.Rand) (uint64, bool) {
	positions := slices.Sorted(maps.Keys(s.queue))
	if len(positions) == 0 {
		return 0, false
	}
	return positions[r.IntN(len(positions))], true
}

func (p *player) step() {
	s := p.someSession()
	if s == nil || p.IntN(40) == 0 {
		p.number++
		s = &modelSession{Session: randomSession(p.Rand, p.number), filters: map[string]route.Want{}, queue: map[uint64]*Queued{}, incoming: map[uint16]bool{}}
		p.sessions[p.number] = s
		p.store.PutSession(s.Session)
		return
	}
	switch p.IntN(14) {
	case 0:
		if p.IntN(5) == 0 {
			delete(p.sessions, s.Number)
			p.store.DeleteSession(s.Number)
		} else {
			s.Session = randomSession(p.Rand, s.Number)
			p.store.PutSession(s.Session)
		}
	case 1, 2:
		p.subscribe(s)
	case 3:
		p.retain()
	case 4, 5:
		id := uint16(p.IntN(20))
		if s.incoming[id] = p.IntN(2) == 0; s.incoming[id] {
			p.store.Receive(s.Number, id)
		} else {
			delete(s.incoming, id)
			p.store.Release(s.Number, id)
		}
	case 6, 7, 8, 9:
		p.enqueue(s)
	default:
		p.advance(s)
	}
}

func (p *player) subscribe(s *modelSession) {
	filter := fmt.Sprintf("f/%d", p.IntN(10))
	if p.IntN(5) == 0 {
		filter += strings.Repeat("/+", 100+p.IntN(2)*30_000)
	}
	if p.IntN(3) == 0 {
		delete(s.filters, filter)
		p.store.Unsubscribe(s.Number, filter)
		return
	}
	w := route.Want{ID: p.Uint32N(1 << 28), QoS: byte(p.IntN(3)), RetainHandling: byte(p.IntN(3)), NoLocal: p.IntN(2) == 0, RetainAsPublished: p.IntN(2) == 0}
	s.filters[filter] = w
	p.store.Subscribe(s.Number, filter, w)
}

func (p *player) retain() {
	m := randomMessage(p.Rand)
	if p.IntN(3) == 0 {
		m.Payload = nil
		delete(p.retained, m.Topic)
	} else {
		p.retained[m.Topic] = m
	}
	p.store.Retain(m)
}

func (p *player) enqueue(s *modelSession) {
	if len(p.shared) == 0 || p.IntN(3) == 0 {
		p.shared = append(p.shared, shared{p.store.NewBody(), randomMessage(p.Rand)})
	}
	of := p.shared[max(0, len(p.shared)-1-p.IntN(5))]
	c := delivery.Copy{Message: of.message, QoS: 1 + byte(p.IntN(2)), Retain: p.IntN(2) == 0}
	for range p.IntN(3) {
		c.SubscriptionIDs = append(c.SubscriptionIDs, 1+p.Uint32N(1<<28-1))
	}
	s.last += 1 + p.Uint64N(3)
	s.queue[s.last] = &Queued{Position: s.last, Body: of.body, Copy: c}
	p.store.Enqueue(s.Number, s.last, of.body, c)
}

// advance takes a message one step further.
func (p *player) advance(s *modelSession) {
	position, ok := s.somePosition(p.Rand)
	if !ok {
		return
	}
	q := s.queue[position]
	switch {
	case p.IntN(2) == 0:
		delete(s.queue, position)
		p.store.Done(s.Number, position)
	case q.ID == 0:
		q.ID = uint16(1 + p.IntN(1<<16-1))
		p.store.Sent(s.Number, position, q.ID)
	case !q.Released:
		*q = Queued{Position: position, ID: q.ID, Released: true}
		p.store.Released(s.Number, position)
	}
}

// TestModel does random things, with the file closed and opened between them, and then everything away again.
func TestModel(t *testing.T) {
	leaktest.Check(t)
	for seed := range uint64(6) {
		dir := t.TempDir()
		p := &player{Rand: rand.New(rand.NewPCG(seed, 7)), model: model{map[uint64]*modelSession{}, map[string]*delivery.Message{}}}
		for round := range 12 {
			s, st := opened(t, dir)
			if got, want := said(st), said(p.state()); got != want {
				t.Errorf("seed %d, round %d: %s", seed, round, difference(got, want))
				s.Close()
				return
			}
			checkShared(t, st)
			p.store, p.shared = s, nil
			for _, k := range st.Sessions {
				for _, q := range k.Queue {
					if q.Body != 0 {
						p.shared = append(p.shared, shared{q.Body, q.Copy.Message})
					}
				}
			}
			stop := run(t, s)
			for range 20 {
				for range p.IntN(60) {
					p.step()
				}
				if p.IntN(2) == 0 {
					wait(t, s)
				}
			}
			stop()
		}
		p.clear(t, dir)
	}
}

// checkShared wants one message for each body.
func checkShared(t *testing.T, st *State) {
	t.Helper()
	messages, counts := map[uint64]*delivery.Message{}, map[uint64]int{}
	for _, k := range st.Sessions {
		for _, q := range k.Queue {
			if q.Released {
				continue
			}
			if m := messages[q.Body]; m != nil && m != q.Copy.Message {
				t.Errorf("body %d is two messages", q.Body)
			}
			messages[q.Body] = q.Copy.Message
			counts[q.Body]++
		}
	}
	for body, m := range messages {
		if m.Many != (counts[body] > 1) {
			t.Errorf("body %d goes to %d sessions and Many is %v", body, counts[body], m.Many)
		}
	}
}

// clear deletes everything, and nothing is to be left in the file.
func (p *player) clear(t *testing.T, dir string) {
	t.Helper()
	s, _ := opened(t, dir)
	stop := run(t, s)
	for number := range p.sessions {
		s.DeleteSession(number)
	}
	for topic := range p.retained {
		s.Unretain(topic)
	}
	stop()
	if n := records(t, dir); n != 0 {
		t.Errorf("%d records are left of nothing", n)
	}
}
