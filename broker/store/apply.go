package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"go.etcd.io/bbolt"
)

// change makes of a batch one transaction. Its memory is used again for the next.
type change struct {
	*buckets
	batch *batch
	refs  map[uint64]uint32 // as before; settle brings it up to date
	again bool              // something of the batch may be in the file already

	key     []byte // the last one; bbolt copies keys
	values  []byte // all of them: bbolt refers to them until the transaction has ended
	wants   []want
	changed bool // something in the file is not as before

	unstorable int // messages
}

// keptValues bounds what is kept of the memory for values from one commit to the next, in bytes.
const keptValues = 1 << 20

// reset prepares for the next transaction.
func (c *change) reset() {
	if cap(c.values) > keptValues || c.values == nil {
		c.values = make([]byte, 0, 4<<10)
	}
	*c = change{key: c.key[:0], values: c.values[:0], wants: emptied(c.wants)}
}

// want is a body that one record of the queue more (1) or less (-1) wants; of all wants of a body together it is the sum.
type want struct {
	body    uint64
	by      int
	message *delivery.Message // if a new record wants it
}

// apply needs a batch that was netted.
func (c *change) apply() error {
	for _, step := range []func() error{c.deletions, c.sessionOps, c.filterOps, c.incomingOps, c.queueOps, c.bodyOps, c.retainedOps} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// put writes what was appended to values since it had the length start.
func (c *change) put(b *bbolt.Bucket, start int) error {
	c.changed = true
	return b.Put(c.key, c.values[start:len(c.values):len(c.values)])
}

// remove takes a record out if there is one.
func (c *change) remove(b *bbolt.Bucket) error {
	if b.Get(c.key) == nil {
		return nil
	}
	c.changed = true
	return b.Delete(c.key)
}

func (c *change) deletions() error {
	for _, d := range c.batch.deleted {
		c.key = appendNumber(c.key[:0], d.number)
		if err := c.remove(c.sessions); err != nil {
			return err
		}
		for _, b := range []*bbolt.Bucket{c.filters, c.incoming, c.queue} {
			if err := c.removeAll(b, d.number); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeAll takes everything of a session out of a bucket. The keys are collected first: a cursor loses its place in what is
// being changed, and looking for it again goes over all pages that have become empty.
func (c *change) removeAll(b *bbolt.Bucket, session uint64) error {
	c.key = appendNumber(c.key[:0], session)
	var keys [][]byte
	cursor := b.Cursor()
	for k, v := cursor.Seek(c.key); bytes.HasPrefix(k, c.key); k, v = cursor.Next() {
		keys = append(keys, k)
		if b == c.queue {
			c.letGo(v)
		}
	}
	for _, k := range keys {
		c.changed = true
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// letGo notes that a record of the queue no longer wants its body. One that is damaged or not there wants none, as for countRefs.
func (c *change) letGo(record []byte) {
	if e, err := decodeEntry(record); err == nil && e.body != 0 {
		c.wants = append(c.wants, want{body: e.body, by: -1})
	}
}

func (c *change) sessionOps() error {
	for i := range c.batch.sessions {
		o := &c.batch.sessions[i]
		if o.remove {
			continue
		}
		v := o.session
		if v.Will != nil && !storable(v.Will.Message) {
			v.Will = nil
			c.unstorable++
		}
		start := len(c.values)
		c.values = appendSession(c.values, &v)
		c.key = appendNumber(c.key[:0], v.Number)
		if err := c.put(c.sessions, start); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) filterOps() error {
	for i := range c.batch.filters {
		o := &c.batch.filters[i]
		c.key = appendName(appendNumber(c.key[:0], o.session), o.filter)
		if o.remove {
			if err := c.remove(c.filters); err != nil {
				return err
			}
			continue
		}
		start := len(c.values)
		c.values = appendFilter(c.values, o.filter, o.want)
		if err := c.put(c.filters, start); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) incomingOps() error {
	for _, o := range c.batch.incoming {
		c.key = binary.BigEndian.AppendUint16(appendNumber(c.key[:0], o.session), o.id)
		var err error
		if o.release {
			err = c.remove(c.incoming)
		} else {
			err = c.put(c.incoming, len(c.values))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *change) queueOps() error {
	for i := range c.batch.queue {
		o := &c.batch.queue[i]
		c.key = appendNumber(appendNumber(c.key[:0], o.session), o.position)
		var err error
		if o.kind == written {
			err = c.enqueue(o)
		} else {
			err = c.requeue(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *change) enqueue(o *queueOp) error {
	e := entry{id: o.id, qos: o.qos, retain: o.retain, released: o.released}
	if !o.released {
		if !storable(o.message) {
			c.unstorable++
			return nil
		}
		e.body, e.ids = o.body, o.ids
		c.wants = append(c.wants, want{body: o.body, by: 1, message: o.message})
	}
	if c.again {
		c.letGo(c.queue.Get(c.key))
	}
	start := len(c.values)
	c.values = appendEntry(c.values, e)
	return c.put(c.queue, start)
}

// requeue changes a record that is there, or takes it out. One that is not there, or cannot be read, stays as it is.
func (c *change) requeue(o *queueOp) error {
	record := c.queue.Get(c.key)
	if record == nil {
		return nil
	}
	if o.kind == removed {
		c.letGo(record)
		c.changed = true
		return c.queue.Delete(c.key)
	}
	e, err := decodeEntry(record)
	if err != nil {
		return nil // it is reported when it is read at the next start
	}
	if o.id != 0 {
		e.id = o.id
	}
	if o.released {
		c.letGo(record)
		e.released, e.body, e.ids = true, 0, nil
	}
	start := len(c.values)
	c.values = appendEntry(c.values, e)
	return c.put(c.queue, start)
}

// bodyOps writes the bodies that are wanted for the first time, and takes out those that are no longer.
func (c *change) bodyOps() error {
	c.sumWants()
	for _, w := range c.wants {
		before := int(c.refs[w.body])
		after := before + w.by
		c.key = appendNumber(c.key[:0], w.body)
		var err error
		switch {
		case before == 0 && after > 0:
			start := len(c.values)
			c.values = appendMessage(c.values, w.message)
			err = c.put(c.bodies, start)
		case before > 0 && after <= 0:
			err = c.remove(c.bodies)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sumWants leaves one want for each body, in order.
func (c *change) sumWants() {
	slices.SortFunc(c.wants, func(x, y want) int { return cmp.Compare(x.body, y.body) })
	n := 0
	for _, w := range c.wants {
		if n > 0 && c.wants[n-1].body == w.body {
			sum := &c.wants[n-1]
			sum.by += w.by
			sum.message = cmp.Or(sum.message, w.message)
		} else {
			c.wants[n] = w
			n++
		}
	}
	clear(c.wants[n:])
	c.wants = c.wants[:n]
}

// settle brings refs up to date when the transaction is on disk.
func (c *change) settle() {
	for _, w := range c.wants {
		if after := int(c.refs[w.body]) + w.by; after > 0 {
			c.refs[w.body] = uint32(after)
		} else {
			delete(c.refs, w.body)
		}
	}
}

func (c *change) retainedOps() error {
	for _, o := range c.batch.retained {
		c.key = appendName(c.key[:0], o.topic)
		switch {
		case o.message == nil:
			if err := c.remove(c.retained); err != nil {
				return err
			}
		case !storable(o.message):
			c.unstorable++
		default:
			start := len(c.values)
			c.values = appendMessage(c.values, o.message)
			if err := c.put(c.retained, start); err != nil {
				return err
			}
		}
	}
	return nil
}
