package broker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
	"github.com/mqttlb/mqttlb/broker/store"
	"github.com/mqttlb/mqttlb/broker/wire"
)

// What a node with a data_dir keeps: sessions that outlive their connection, with all that belongs to them, and retained messages. Memory is what
// the node works with; the store is told of each change, under the lock of what has changed, and what acknowledges a change waits until it is on
// disk (durably). A session that ends with its connection is not kept.

// keepsake tells the store what changes in the queue of a session. It implements delivery.Journal.
type keepsake struct {
	store  *store.Store
	number uint64 // of the session
}

func (k keepsake) Enqueue(c delivery.Copy) {
	k.store.Enqueue(k.number, c.Position, c.Message.Stored, c)
}

func (k keepsake) Sent(position uint64, id uint16) { k.store.Sent(k.number, position, id) }

func (k keepsake) Released(position uint64) { k.store.Released(k.number, position) }

func (k keepsake) Done(position uint64) { k.store.Done(k.number, position) }

// restore opens the store, if there is to be one, and puts back what it has.
func (b *Broker) restore(now time.Time) error {
	if b.config.DataDir == "" {
		return nil
	}
	s, state, err := store.Open(b.config.DataDir, now, b.log)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	b.sessionNumber = state.LastSession
	for _, m := range state.Retained {
		b.table.Restore(m)
	}
	for i := range state.Sessions {
		b.restoreSession(s, &state.Sessions[i], now)
	}
	b.store, b.ended = s, state.Ended
	b.table.Keep(func(m *delivery.Message) {
		if !isSystem(m.Topic) {
			s.Retain(m)
		}
	})
	for _, err := range state.Damage {
		b.log.Error("a record of the data directory cannot be read and is left out", slog.Any("error", err))
	}
	b.log.Info("restored", slog.String("data_dir", b.config.DataDir), slog.Int("sessions", len(state.Sessions)),
		slog.Int("retained", len(state.Retained)), slog.Int("expired", state.Expired), slog.Int("damaged", state.Damaged))
	return nil
}

// restoreSession makes a session that was kept one whose client is away. Its timer begins with startKept.
func (b *Broker) restoreSession(st *store.Store, k *store.Kept, now time.Time) {
	s := &session{b: b, id: k.ClientID, user: k.User, number: k.Number, expiry: k.Expiry, outgoing: delivery.NewOutgoing(&b.queued)}
	queue := make([]delivery.Restored, len(k.Queue))
	for i, q := range k.Queue {
		queue[i] = delivery.Restored{Copy: q.Copy, ID: q.ID, Released: q.Released}
		queue[i].Position = q.Position
		if q.Copy.Message != nil {
			q.Copy.Message.Stored = q.Body
		}
	}
	s.outgoing.Restore(queue, k.LastPosition)
	s.kept = true
	s.outgoing.Keep(keepsake{st, s.number})
	for _, id := range k.Incoming {
		s.incoming.Receive(id)
	}
	for _, sub := range k.Subscriptions {
		w := sub.Want
		w.RetainHandling = 2 // what is retained was sent when it subscribed
		if _, _, err := b.table.Subscribe(s, sub.Filter, w, 0); err == nil {
			s.filters.Add(sub.Filter)
		}
	}
	away := k.Away
	if away.IsZero() { // the node ended under it
		away = now
	}
	s.away = &absence{expireAt: away.Add(s.expiry)}
	if k.Will != nil {
		s.will = willOf(k.Will)
		s.away.willAt = k.Will.Due
		if soonest := now.Add(max(k.Will.Delay, comeBack)); k.Will.Due.IsZero() || k.Away.IsZero() {
			s.away.willAt = soonest
		} else if early := now.Add(comeBack); s.away.willAt.Before(early) {
			s.away.willAt = early
		}
	}
	s.filtered = b.access.Load().Rules() != nil // the rules may have changed
	b.sessions[s.id] = s
}

// comeBack is the time that clients have to come back after the node has, before their wills are published: it was not they who went.
const comeBack = 5 * time.Second

// keepBacklog puts the retained messages that the client has not been sent yet in its queue, which is kept. s.mu is held.
func (s *session) keepBacklog(now time.Time) {
	if s.backlog == nil {
		return
	}
	for r, ok := s.backlog.First(); ok; r, ok = s.backlog.First() {
		s.backlog.Pop()
		if c := r.Copy(); c.QoS > 0 {
			s.deliverRetained(c, now)
		}
	}
	s.backlog = nil
}

func willOf(w *store.Will) *delivery.Will {
	return delivery.RestoreWill(w.Message, w.Delay, w.Expires, w.Lifetime)
}

// startKept begins what waits for time in sessions that were restored, and publishes the wills of those that have ended meanwhile.
func (b *Broker) startKept(now time.Time) {
	b.mu.Lock()
	for _, s := range b.sessions {
		s.mu.Lock()
		if s.away != nil && s.away.timer == nil {
			s.startTimer(now)
		}
		s.mu.Unlock()
	}
	b.mu.Unlock()
	for _, e := range b.ended {
		if e.Will != nil && b.mayPublish(e.User, e.ClientID, e.Will.Message.Topic) {
			b.publish(willOf(e.Will).Message(now))
		}
		b.store.DeleteSession(e.Number)
	}
	b.ended = nil
}

// runStore writes what is kept until ctx is done. That it fails ends the node: what clients are told is kept would not be.
func (b *Broker) runStore(ctx context.Context, failed func()) error {
	if b.store == nil {
		return nil
	}
	defer failed()
	if err := b.store.Run(ctx); err != nil {
		return fmt.Errorf("data_dir %s: %w", b.config.DataDir, err)
	}
	return nil
}

// put keeps what the session is, apart from its queue. s.mu is held.
func (s *session) put(now time.Time) {
	if !s.kept {
		return
	}
	record := store.Session{Number: s.number, ClientID: s.id, User: s.user, Expiry: s.expiry}
	if s.away != nil {
		record.Away = now
	}
	if w := s.will; w != nil {
		record.Will = &store.Will{Delay: w.Delay}
		record.Will.Message, record.Will.Expires, record.Will.Lifetime = w.Kept()
		if s.away != nil {
			record.Will.Due = s.away.willAt
		}
	}
	s.b.store.PutSession(record)
}

// forget keeps nothing of the session any more. s.mu is held.
func (s *session) forget() {
	if s.kept {
		s.b.store.DeleteSession(s.number)
		s.kept = false
	}
}

// keepFilter keeps a subscription. s.mu is held.
func (s *session) keepFilter(filter string, w route.Want) {
	if s.kept {
		s.b.store.Subscribe(s.number, filter, w)
	}
}

// receive notes a message of QoS 2 of the client, release forgets it: see delivery.Incoming. s.mu is held.
func (s *session) receive(id uint16) (first bool) {
	if first = s.incoming.Receive(id); first && s.kept {
		s.b.store.Receive(s.number, id)
	}
	return first
}

func (s *session) release(id uint16) bool {
	known := s.incoming.Release(id)
	if known && s.kept {
		s.b.store.Release(s.number, id)
	}
	return known
}

// together calls f, and keeps what it changes in one piece.
func (b *Broker) together(f func()) {
	if b.store == nil {
		f()
		return
	}
	b.store.Together(f)
}

// durably calls f on the connection's loop when everything that has changed until now is on disk: at once in a node without a data_dir.
func (c *conn) durably(f func()) {
	if c.b.store == nil {
		f()
		return
	}
	c.b.store.After(func() { c.Post(f) })
}

// acknowledge is reply when what is acknowledged is on disk.
func (c *conn) acknowledge(typ packet.Type, id uint16, code packet.ReasonCode) {
	if c.b.store == nil {
		c.reply(typ, id, code)
		return
	}
	c.durably(func() { c.reply(typ, id, code) })
}

// pushDurably is push when it is on disk which identifier the message has, or that it was released. session.mu is held.
func (c *conn) pushDurably(send delivery.Send) {
	s := c.session
	c.behind++
	c.durably(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.behind--
		if s.conn == c {
			c.push(send)
		}
	})
}

// mostPending is how many bytes may wait for the disk before no more is taken from clients that there would be more to write for.
const mostPending = 64 << 20

// held reports whether the client has to wait before it publishes more: the disk is slower than it. It is resumed when that has changed.
func (c *conn) held() bool {
	st := c.b.store
	if st == nil || st.Pending() < mostPending {
		return false
	}
	st.After(c.Resume)
	return true
}

// welcome sends the CONNACK when the session that it speaks of is on disk. Until then nothing else is said or heard.
func (c *conn) welcome(connack []byte) {
	c.durably(func() {
		c.greeted = true
		c.ReplyFirst(connack) // the first packet of all [MQTT-3.2.0-1]
		c.Wake()
		c.Resume()
	})
}

// greet says whether the client has been welcomed. It is called again with wire.Wait.
func (c *conn) greet() wire.Verdict {
	if !c.greeted {
		return wire.Wait
	}
	return wire.Done
}
