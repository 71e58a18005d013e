package broker

import (
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
)

// aftermath is what remains to be done after a change of sessions, when no lock is held any more.
type aftermath struct {
	displaced *conn             // lost its session to a newcomer
	gone      *session          // has ended; its filters are still in the table
	filters   route.Filters     // of gone
	will      *delivery.Message // is due
}

// settle does what remains.
func (b *Broker) settle(a aftermath) {
	if a.displaced != nil {
		a.displaced.end(&ending{takenOver, packet.SessionTakenOver, nil}) // [MQTT-3.1.4-3]
	}
	b.table.Forget(a.gone, a.filters)
	if a.will != nil {
		b.publish(a.will)
	}
}

// attach gives a connection its session: that of the client identifier, or a new one, and puts in the CONNACK. Of
// many that come with one identifier each displaces the one before; the last has it.
func (b *Broker) attach(c *conn, a *arrival) error {
	after, err := b.attachLocked(c, a, time.Now())
	b.settle(after)
	return err
}

func (b *Broker) attachLocked(c *conn, a *arrival, now time.Time) (after aftermath, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping {
		return after, refuse(packet.ServerUnavailable, "the node is stopping")
	}
	if c.cause.Load() != nil { // it made room for another one
		return after, errEnded
	}
	b.hear(c)
	s := b.sessions[a.id]
	if most := b.config.Limits.MaxConnections; most > 0 && b.online >= most && (s == nil || !s.online.Load()) {
		return after, refuse(packet.ServerBusy, "%d clients are connected already", b.online)
	}
	present := false
	if s != nil {
		after, present = s.handOver(a.clean || s.user != c.fresh.user, now) // one user's messages are not another's
		if after.displaced != nil {
			b.online--
		}
	}
	if !present {
		b.sessionNumber++
		s = &session{
			b: b, id: a.id, user: c.fresh.user, number: b.sessionNumber,
			outgoing: delivery.NewOutgoing(&b.queued),
		}
		b.sessions[a.id] = s
	}
	b.online++
	b.most = max(b.most, b.online)
	c.fresh = nil
	s.take(c, a, present, now)
	return after, nil
}

// handOver takes the session away from whoever has it, for a newcomer, and ends it unless it is present for the
// newcomer. Broker.mu is held.
func (s *session) handOver(clean bool, now time.Time) (after aftermath, present bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopTimer()
	after.displaced = s.conn
	over := s.away != nil && !now.Before(s.away.expireAt) || s.conn != nil && s.expiry == 0 // it goes with its connection
	present = !clean && !over                                                               // [MQTT-3.1.2-4] [MQTT-3.1.2-5]
	if w := s.will; w != nil && (!present || s.conn != nil && w.Delay == 0) {
		// Section 3.1.2.5: the connection is closed; a delay is cut short by the end of the session.
		after.will = s.testament(w, now)
	}
	s.will, s.away = nil, nil // else the newcomer came in time [MQTT-3.1.3-9]
	s.leave()
	if !present {
		after.gone, after.filters = s, s.finish()
	}
	return after, present
}

// testament returns what a will has to say, nil when its client may not say it any more: the rules may have changed since it
// connected. s.mu is held.
func (s *session) testament(w *delivery.Will, now time.Time) *delivery.Message {
	m := w.Message(now)
	if !s.b.mayPublish(s.user, s.id, m.Topic) {
		return nil
	}
	return m
}

// leave marks the client as away. s.mu is held.
func (s *session) leave() {
	s.conn = nil
	s.online.Store(false)
	s.outgoing.Disconnected()
}

// finish ends the session and returns the filters that the table is to forget. s.mu is held.
func (s *session) finish() route.Filters {
	s.forget()
	filters := s.filters
	s.ended, s.filters, s.backlog, s.away = true, route.Filters{}, nil, nil
	s.outgoing, s.incoming = delivery.Outgoing{}, delivery.Incoming{}
	return filters
}

// take makes c the session's connection. Broker.mu is held.
func (s *session) take(c *conn, a *arrival, present bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.session = s
	s.conn = c
	s.online.Store(true)
	s.expiry = a.expiry
	s.will = a.will
	s.outgoing.Connected(a.window)
	if s.kept = s.kept || s.b.store != nil && a.expiry > 0; s.kept {
		s.outgoing.Keep(keepsake{s.b.store, s.number})
	}
	s.put(now)
	connack := packet.Connack{SessionPresent: present, Properties: a.granted} // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
	c.welcome(connack.Append(nil, c.version))
	s.pump(now)
}

// detach takes the session from a connection that has ended, unless a newcomer has done so.
func (b *Broker) detach(c *conn, e *ending) {
	if c.session == nil {
		return
	}
	b.mu.Lock()
	after := b.detachLocked(c, e, time.Now())
	b.mu.Unlock()
	b.settle(after)
}

func (b *Broker) detachLocked(c *conn, e *ending, now time.Time) (after aftermath) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return after
	}
	s.leave()
	b.online--
	if e.reason == clientDisconnect && e.code != packet.DisconnectWithWill || e.reason == administrative && e.code == packet.NotAuthorized || b.stopping && !s.kept {
		// [MQTT-3.1.2-10] [MQTT-3.14.4-3]; a server that is shut down may keep wills back (section 3.1.2.5): those of sessions on disk, for when it is
		// there again, others for good
		s.will = nil
	}
	if s.kept && s.expiry > 0 && b.stopping {
		s.away = &absence{expireAt: now.Add(s.expiry)}
		if s.will != nil {
			s.away.willAt = now.Add(s.will.Delay)
		}
		s.keepBacklog(now)
		s.put(now)   // for when the node is there again
		return after // it stays: until all have gone, messages come for it that are acknowledged
	}
	if s.expiry == 0 || b.stopping {
		if s.will != nil {
			after.will = s.testament(s.will, now)
		}
		delete(b.sessions, s.id)
		after.gone, after.filters = s, s.finish()
		return after
	}
	s.away = &absence{expireAt: now.Add(s.expiry)}
	if s.will != nil && s.will.Delay == 0 {
		after.will, s.will = s.testament(s.will, now), nil
	}
	if s.will != nil {
		s.away.willAt = now.Add(s.will.Delay)
	}
	s.put(now)
	s.startTimer(now)
	return after
}

// startTimer wakes the session when its will is due or it expires. s.mu is held.
func (s *session) startTimer(now time.Time) {
	at := s.away.expireAt
	if s.will != nil && s.away.willAt.Before(at) {
		at = s.away.willAt
	}
	s.away.timer = time.AfterFunc(at.Sub(now), s.due)
}

func (s *session) stopTimer() {
	if s.away != nil && s.away.timer != nil {
		s.away.timer.Stop()
	}
}

// due is called by the timer. A client that came back in the meantime makes it one without effect.
func (s *session) due() {
	if !s.b.begin() {
		return
	}
	defer s.b.running.Done()
	s.b.mu.Lock()
	after := s.dueLocked(time.Now())
	s.b.mu.Unlock()
	s.b.settle(after)
}

// dueLocked ends the session if its time has come, and publishes the will if that has [MQTT-3.1.3-9]. Broker.mu is held.
func (s *session) dueLocked(now time.Time) (after aftermath) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.away == nil {
		return after
	}
	over := !now.Before(s.away.expireAt)
	if s.will != nil && (over || !now.Before(s.away.willAt)) {
		after.will, s.will = s.testament(s.will, now), nil
	}
	if over {
		s.b.stats.expired.Add(1)
		delete(s.b.sessions, s.id)
		after.gone, after.filters = s, s.finish()
	} else {
		if after.will != nil {
			s.put(s.away.expireAt.Add(-s.expiry))
		}
		s.startTimer(now)
	}
	return after
}
