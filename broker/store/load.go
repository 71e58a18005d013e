package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"go.etcd.io/bbolt"
)

// loader is what was read of a file.
type loader struct {
	state    State
	refs     map[uint64]uint32 // how many records of the queue that stay want a body
	lastBody uint64            // the highest in use
	doomed   []doomed          // what is to be taken out
	id       int               // of the transaction that has written the file

	now    time.Time
	places map[uint64]int // of living sessions in state.Sessions, by number
	torn   map[uint64]bool
	bodies map[uint64]*delivery.Message
}

// doomed is a record that nobody wants any more.
type doomed struct {
	bucket string
	key    []byte
}

// mostDamage bounds the damage that is described.
const mostDamage = 10

var errBody = errors.New("the message that it names is not there, or cannot be read")

// load reads everything. What is of no living session is doomed, but for what is of one that cannot be read.
func load(tx *bbolt.Tx, now time.Time) (*loader, error) {
	l := &loader{
		refs: make(map[uint64]uint32), id: tx.ID(), now: now,
		places: make(map[uint64]int), torn: make(map[uint64]bool), bodies: make(map[uint64]*delivery.Message),
	}
	for _, step := range []struct {
		bucket string
		keyLen int // 0 = any
		read   func(key, value []byte) (keep bool, err error)
	}{
		{"sessions", numberKey, l.session},
		{"filters", 0, l.filter},
		{"incoming", incomingKey, l.incoming},
		{"bodies", numberKey, l.body},
		{"queue", queueKey, l.queued},
		{"retained", 0, l.retained},
	} {
		err := tx.Bucket([]byte(step.bucket)).ForEach(func(k, v []byte) error {
			keep, err := true, errRecord
			if v != nil && (len(k) == step.keyLen || step.keyLen == 0) {
				keep, err = step.read(k, v)
			}
			if err != nil {
				l.damage(step.bucket, k, err)
			} else if !keep {
				l.doom(step.bucket, k)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for number := range l.bodies {
		if l.refs[number] == 0 {
			l.doom("bodies", appendNumber(nil, number))
		}
	}
	return l, nil
}

func (l *loader) doom(bucket string, key []byte) {
	l.doomed = append(l.doomed, doomed{bucket, append([]byte(nil), key...)})
}

func (l *loader) damage(bucket string, key []byte, err error) {
	l.state.Damaged++
	if len(l.state.Damage) < mostDamage {
		l.state.Damage = append(l.state.Damage, fmt.Errorf("record %x of %s: %w", key, bucket, err))
	}
}

func (l *loader) session(key, value []byte) (keep bool, err error) {
	number := numberOf(key)
	l.state.LastSession = number // they come in order
	s, err := decodeSession(value)
	if err != nil {
		l.torn[number] = true
		return true, err
	}
	s.Number = number
	switch {
	case !s.ended(l.now):
		l.places[number] = len(l.state.Sessions)
		l.state.Sessions = append(l.state.Sessions, Kept{Session: s})
	case s.Will != nil:
		l.state.Ended = append(l.state.Ended, s)
	default:
		return false, nil
	}
	return true, nil
}

// owner returns the session whose number a key begins with; nil when there is none, and whether the record stays all the same.
func (l *loader) owner(key []byte) (s *Kept, stays bool) {
	if i, alive := l.places[numberOf(key)]; alive {
		return &l.state.Sessions[i], true
	}
	return nil, l.torn[numberOf(key)]
}

func (l *loader) filter(key, value []byte) (keep bool, err error) {
	if len(key) <= numberKey {
		return true, errRecord
	}
	s, stays := l.owner(key)
	if s == nil {
		return stays, nil
	}
	f, err := decodeFilter(value)
	if err == nil {
		s.Subscriptions = append(s.Subscriptions, f)
	}
	return true, err
}

func (l *loader) incoming(key, _ []byte) (keep bool, err error) {
	s, stays := l.owner(key)
	if s != nil {
		s.Incoming = append(s.Incoming, binary.BigEndian.Uint16(key[numberKey:]))
	}
	return stays, nil
}

func (l *loader) body(key, value []byte) (keep bool, err error) {
	l.lastBody = numberOf(key)
	m, err := decodeMessage(value)
	if err == nil {
		l.bodies[l.lastBody] = m
	}
	return true, err
}

func (l *loader) queued(key, value []byte) (keep bool, err error) {
	s, stays := l.owner(key)
	if s == nil && !stays {
		return false, nil
	}
	if s != nil {
		s.LastPosition = numberOf(key[numberKey:])
	}
	e, err := decodeEntry(value)
	if err != nil {
		return true, err
	}
	m := l.bodies[e.body]
	if s != nil && m != nil && e.id == 0 && m.Expired(l.now) { // one that was sent goes on
		l.state.Expired++
		return false, nil
	}
	if e.body != 0 {
		l.refs[e.body]++
		l.lastBody = max(l.lastBody, e.body)
	}
	if s == nil {
		return true, nil
	}
	if m == nil && !e.released {
		return true, errBody
	}
	q := Queued{Position: s.LastPosition, Body: e.body, ID: e.id, Released: e.released}
	if m != nil {
		m.Many = l.refs[e.body] > 1
		q.Copy = delivery.Copy{Message: m, SubscriptionIDs: e.ids, QoS: e.qos, Retain: e.retain}
	}
	s.Queue = append(s.Queue, q)
	return true, nil
}

func (l *loader) retained(_, value []byte) (keep bool, err error) {
	m, err := decodeMessage(value)
	switch {
	case err != nil:
		return true, err
	case m.Expired(l.now):
		l.state.Expired++
		return false, nil
	}
	l.state.Retained = append(l.state.Retained, m)
	return true, nil
}
