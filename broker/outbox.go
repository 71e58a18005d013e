package broker

import (
	"sync"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
)

const (
	// writeChunk is how many bytes are gathered before they are written: a TLS record's worth. A
	// burst of small messages is one write.
	writeChunk = 16 << 10

	// keptChunk bounds what a pooled buffer keeps after a large packet, in bytes.
	keptChunk = 64 << 10

	// fullOfAnswers is how many answers to a client's own packets may wait before no more of them are read:
	// whoever asks and does not read slows itself. A long answer counts as one for each 256 bytes.
	fullOfAnswers = 128

	// keptItems bounds what a pooled batch keeps after a burst.
	keptItems = 256

	// goodbye bounds the last words to a client that is being disconnected, who may not be reading.
	goodbye = 2 * time.Second
)

// An outbox is what waits to be written to one connection. Sessions and handlers put packets in without
// ever waiting; one goroutine, which exists only while there is something, writes them.
type outbox struct {
	c *conn

	mu       sync.Mutex
	changed  sync.Cond // of mu: the writer took items, or is done
	items    []item
	answers  int            // weight of the items that are not messages
	offered  int            // bytes of the items that offer put in
	version  packet.Version // 0 until the CONNECT has been read
	max      int            // longest packet the client takes, in bytes; 0 = any [MQTT-3.1.2-24]
	accepted bool           // the CONNACK said yes
	writing  bool           // the goroutine exists
	closed   bool           // nothing more goes in
}

// item is one packet to be written: a PUBLISH, an acknowledgement, or one that is encoded already.
type item struct {
	copy delivery.Copy
	id   uint16
	typ  packet.Type // PUBLISH, PUBACK … PUBCOMP; 0 = raw
	code packet.ReasonCode
	dup  bool
	raw  []byte
}

// writeScratch is the memory of a writer.
type writeScratch struct {
	buf   []byte
	batch []item
}

func newWriteScratch() any { return &writeScratch{buf: make([]byte, 0, writeChunk+1<<10)} }

func newOutbox(c *conn) *outbox {
	o := &outbox{c: c}
	o.changed.L = &o.mu
	return o
}

// greet notes what the client speaks and takes. From here on a refusal can be told.
func (o *outbox) greet(v packet.Version, maxPacket int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.version, o.max = v, maxPacket
}

// accept puts in the CONNACK that says yes: the first packet of all [MQTT-3.2.0-1].
func (o *outbox) accept(connack []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.accepted = true
	o.putLocked(item{raw: connack})
}

// answer puts in an acknowledgement.
func (o *outbox) answer(typ packet.Type, id uint16, code packet.ReasonCode) {
	o.put(item{typ: typ, id: id, code: code})
}

// packet puts in one that is encoded.
func (o *outbox) packet(raw []byte) { o.put(item{raw: raw}) }

// message puts in a PUBLISH, or the PUBREL of one that has arrived.
func (o *outbox) message(s delivery.Send) {
	if s.Release {
		o.answer(packet.PUBREL, s.ID, packet.Success)
		return
	}
	o.put(item{typ: packet.PUBLISH, copy: s.Copy, id: s.ID, dup: s.Dup})
}

// offer puts in a PUBLISH of QoS 0, unless so many items, or messages of so many bytes, wait already: then it is false.
func (o *outbox) offer(c delivery.Copy, most, bytes int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.roomLocked(c, most, bytes) {
		return false
	}
	o.offered += c.Message.Size()
	o.putLocked(item{typ: packet.PUBLISH, copy: c})
	return true
}

// room reports whether offer would be true.
func (o *outbox) room(c delivery.Copy, most, bytes int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.roomLocked(c, most, bytes)
}

func (o *outbox) roomLocked(c delivery.Copy, most, bytes int) bool {
	return len(o.items) < most && o.offered+c.Message.Size() <= bytes
}

// waiting returns how many items have not been taken by the writer.
func (o *outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.items)
}

func (o *outbox) put(it item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.putLocked(it)
}

func (o *outbox) putLocked(it item) {
	if o.closed {
		return
	}
	o.items = append(o.items, it)
	if it.typ != packet.PUBLISH {
		o.answers += 1 + len(it.raw)>>8
	}
	if !o.writing {
		o.writing = true
		go o.write() // wait waits for it
	}
}

// pace waits while too many answers are unread. It is called by the reader, between packets, and ends at the
// latest when writing has failed.
func (o *outbox) pace() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.answers >= fullOfAnswers && !o.closed {
		o.changed.Wait()
	}
}

// close puts in the last words that an ending has for this client, and lets nothing in any more. What waits is
// still written. It reports whether there were last words, and whether the client has said who it is.
func (o *outbox) close(e *ending) (spoke, greeted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var last []byte
	switch {
	case o.closed || !e.code.Failed():
	case o.accepted && o.version == packet.V5: // no version before has a DISCONNECT from the server
		last = (&packet.Disconnect{Code: e.code}).Append(nil, o.version)
	case !o.accepted && o.version != 0:
		last = (&packet.Connack{Code: e.code}).Append(nil, o.version)
	}
	if o.max > 0 && len(last) > o.max {
		last = nil
	}
	if len(last) > 0 {
		o.putLocked(item{raw: last})
	}
	o.closed = true
	o.changed.Broadcast()
	return len(last) > 0, o.version != 0
}

// wait returns when the writer is done; call it after close.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.changed.Wait()
	}
}

// write writes until nothing waits.
func (o *outbox) write() {
	pool := &o.c.b.scratch
	w := pool.Get().(*writeScratch)
	defer pool.Put(w)
	enc := delivery.Encoder{Version: o.version}
	for o.take(w) {
		if err := o.flush(w, &enc); err != nil {
			o.c.end(endingOf(err, writeTimeout))
			o.stop()
			return
		}
		if s := o.c.session; s != nil && o.waiting() == 0 {
			s.refill(o.c)
		}
	}
}

// take moves what waits into the batch. It is false when there is nothing: the writer is then done.
func (o *outbox) take(w *writeScratch) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changed.Broadcast()
	if len(o.items) == 0 {
		o.items, o.writing = nil, false // an idle connection holds no memory
		return false
	}
	w.batch, o.items = o.items, w.batch[:0]
	o.answers, o.offered = 0, 0
	return true
}

// stop ends the writer after a failure: nobody will read what waits.
func (o *outbox) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.items, o.answers = nil, 0
	o.writing, o.closed = false, true
	o.changed.Broadcast()
}

// flush writes the batch in as few writes as its size allows.
func (o *outbox) flush(w *writeScratch, enc *delivery.Encoder) error {
	defer w.tidy()
	now := time.Now()
	w.buf = w.buf[:0]
	for i := range w.batch {
		w.buf = o.append(w.buf, &w.batch[i], enc, now)
		if len(w.buf) >= writeChunk {
			if err := o.c.write(w.buf); err != nil {
				return err
			}
			w.buf = w.buf[:0]
		}
	}
	if len(w.buf) == 0 {
		return nil
	}
	return o.c.write(w.buf)
}

// tidy lets go of the messages, and of memory that only a few writers need.
func (w *writeScratch) tidy() {
	clear(w.batch)
	if cap(w.batch) > keptItems {
		w.batch = nil
	}
	if cap(w.buf) > keptChunk {
		w.buf = make([]byte, 0, writeChunk)
	}
}

func (o *outbox) append(dst []byte, it *item, enc *delivery.Encoder, now time.Time) []byte {
	switch it.typ {
	case 0:
		return append(dst, it.raw...)
	case packet.PUBLISH:
		if it.copy.QoS == 0 && it.copy.Message.Expired(now) { // others have an identifier that must be used up
			o.c.b.stats.dropped[messageExpired].Add(1)
			return dst
		}
		o.c.b.stats.sent[it.copy.QoS].Add(1)
		return enc.Append(dst, it.copy, it.id, it.dup, now)
	}
	ack := packet.Ack{Type: it.typ, PacketID: it.id, Code: it.code}
	return ack.Append(dst, o.version)
}
