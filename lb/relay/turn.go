//go:build linux

package relay

import (
	"errors"
	"io"
	"slices"
	"syscall"

	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A turn is what a loop does for one pair at one event. Its methods that return a bool tell whether the pair lives on;
// when it does not, the turn is over.
type turn struct {
	*loop
	slot    uint32
	pair    *pair
	session *session
	left    int // of the budget, in bytes
}

// What opening or sealing one record takes from the budget beside its bytes, so that a client that sends its data one byte a
// record, or changes keys all the time, has no longer turns than others: 0.3 µs is what 1 KiB of full records takes, 4 µs, of a
// KeyUpdate, are sixteen times that.
const (
	recordCost  = 1 << 10
	messageCost = 16 << 10 // without data
)

// serve does what an event allows.
func (t *turn) serve(key uint32, e reactor.Events) {
	p := t.pair
	from, to := &p.client, &p.server
	if key == serverKey {
		from, to = to, from
	}
	if e&reactor.HangUp != 0 {
		from.set(hungUp)
	}
	if e&(reactor.Readable|reactor.HangUp) != 0 {
		from.set(readable)
	}
	if e&(reactor.Writable|reactor.HangUp) != 0 && from.unsent != 0 {
		if !t.flush(from) || !t.move(to) {
			return
		}
	}
	if t.move(from) {
		t.sweepSoon()
	}
}

// resume begins with what was read of the client before the pair was: plain was opened already, and goes first.
func (t *turn) resume(raw, plain []byte) bool {
	if len(raw)+len(plain) == 0 {
		return true
	}
	return t.decode(slices.Concat(plain, raw), len(plain))
}

// move lets flow what comes from a side.
func (t *turn) move(from *side) bool {
	if from == &t.pair.client {
		return t.up()
	}
	return t.down()
}

// up moves what the client sends to the server.
func (t *turn) up() bool {
	p := t.pair
	for p.client.flows(&p.server) {
		if t.left <= 0 {
			t.Again(p.client.ref)
			return true
		}
		if p.client.flags.has(waiting) {
			if !t.goOn() {
				return false
			}
			continue
		}
		// What there is of a record goes to the front only when more of it has come.
		buf := t.Buffer()
		have := len(t.overflow.Bytes(p.partial))
		n, err := reactor.Read(int(p.client.fd), buf[have:])
		if err != nil {
			return t.stopped(&p.client, err)
		}
		t.left -= n
		if have+n < len(buf) && !p.client.flags.has(hungUp) {
			p.client.clear(readable) // a short read has taken all (epoll(7), "Questions and answers", 9)
		}
		if !p.flags.has(encrypted) {
			if !t.pass(buf[:n]) {
				return false
			}
			continue
		}
		copy(buf, t.overflow.Bytes(p.partial))
		t.overflow.Drop(&p.partial)
		if !t.decode(buf[:have+n], 0) {
			return false
		}
	}
	return true
}

// goOn decodes what a turn before had to leave.
func (t *turn) goOn() bool {
	p := t.pair
	p.client.clear(waiting)
	buf := t.Buffer()
	n := copy(buf, t.overflow.Bytes(p.partial))
	t.overflow.Drop(&p.partial)
	return t.decode(buf[:n], 0)
}

// decode opens the records in buf from at on, and passes on what is before them and in them; the beginning of another is kept.
func (t *turn) decode(buf []byte, at int) bool {
	data, rest, closed, err := t.open(buf, at)
	if len(data) > 0 && !t.pass(data) {
		return false
	}
	if err != nil {
		return t.refuseRecord(err)
	}
	if t.pair.tls.Owes() && !t.answer() {
		return false
	}
	if closed {
		return t.ended(&t.pair.client)
	}
	if len(rest) > 0 {
		t.pair.partial = t.overflow.Keep(rest)
		if t.left <= 0 {
			t.pair.client.set(waiting) // there may be whole records in it
			t.Again(t.pair.client.ref)
		}
	}
	return true
}

// open opens every whole record in buf from at on, in place, as far as the budget reaches. What is before at and in the records is
// data, without gaps; rest is what was not opened: the beginning of a record, or more when the budget is spent.
func (t *turn) open(buf []byte, at int) (data, rest []byte, closed bool, err error) {
	state, from, to := &t.pair.tls, 0, at // data is buf[from:to], and buf[at:] is not opened
	for at < len(buf) && !closed && t.left > 0 {
		o, err := state.Open(t.ciphers, buf[at:])
		if err != nil {
			return buf[from:to], nil, false, err
		}
		if o.Used == 0 {
			break
		}
		if t.left -= recordCost; len(o.Data) == 0 {
			t.left -= messageCost
		}
		if from == to { // the first data stays where it is
			from = at + state.Prefix()
			to = from + len(o.Data)
		} else {
			to += copy(buf[to:], o.Data)
		}
		at, closed = at+o.Used, o.Close
	}
	return buf[from:to], buf[at:], closed, nil
}

// pass sends the server what the client has said.
func (t *turn) pass(data []byte) bool {
	p, n := t.pair, uint64(len(data))
	p.client.heard = t.now()
	p.in += n
	for _, traffic := range t.session.traffic {
		if traffic != nil {
			traffic.In.Add(n)
		}
	}
	return t.send(&p.server, data)
}

// down moves what the server sends to the client: what there is becomes one write, of one record for each 16 KiB.
func (t *turn) down() bool {
	p := t.pair
	for p.server.flows(&p.client) {
		if t.left <= 0 {
			t.Again(p.server.ref)
			return true
		}
		out, n, err := t.collect()
		if n > 0 {
			t.left -= n
			t.counted(n)
		}
		if len(out) > 0 && !t.send(&p.client, out) { // with a record of our own it is something even when n is 0
			return false
		}
		if err != nil {
			return t.stopped(&p.server, err)
		}
	}
	return true
}

// collect reads what the server has sent, shows it to watch, and seals it: n bytes became out.
func (t *turn) collect() (out []byte, n int, err error) {
	p := t.pair
	if !p.flags.has(encrypted) {
		n, err = t.take(t.Buffer())
		return t.Buffer()[:n], n, err
	}
	out = t.sealed[:0]
	if p.tls.Owes() {
		out = p.tls.AppendOwed(t.ciphers, out)
	}
	prefix := p.tls.Prefix()
	for range recordsPerWrite {
		room := t.sealed[len(out):]
		var m int
		m, err = t.take(room[prefix : prefix+record.MaxPlaintext])
		if m == 0 {
			break
		}
		out = t.sealed[:len(out)+len(p.tls.Seal(t.ciphers, room, m))]
		t.left -= recordCost
		n += m
		if m < record.MaxPlaintext {
			break
		}
	}
	return out, n, err
}

// take reads what the server has sent.
func (t *turn) take(room []byte) (int, error) {
	p := t.pair
	n, err := reactor.Read(int(p.server.fd), room)
	if n <= 0 {
		return 0, err
	}
	if n < len(room) && !p.server.flags.has(hungUp) {
		p.server.clear(readable)
	}
	if t.session.watch != nil {
		t.watch(room[:n])
	}
	return n, nil
}

// watch shows what the server said to the pair's Watch.
func (t *turn) watch(b []byte) {
	timeout, more := t.session.watch(b)
	if !more {
		t.session.watch = nil
	}
	if timeout != 0 {
		t.pair.client.timeout = ticksOf(max(timeout, 0))
		t.arm()
	}
}

// counted counts n bytes of the server.
func (t *turn) counted(n int) {
	p := t.pair
	p.server.heard = t.now()
	p.out += uint64(n)
	for _, traffic := range t.session.traffic {
		if traffic != nil {
			traffic.Out.Add(uint64(n))
		}
	}
	if p.server.timeout != p.serverTimeout { // those were the first
		p.server.timeout = p.serverTimeout
		t.arm()
	}
}

// send gives b to a side, and keeps what it does not take. What is unsent goes first: nobody sends while there is some, but
// for the record layer, which has its own reasons.
func (t *turn) send(to *side, b []byte) bool {
	if to.unsent != 0 {
		t.overflow.Add(&to.unsent, b)
		return true
	}
	n, err := reactor.Write(int(to.fd), b)
	if err != nil && err != syscall.EAGAIN {
		return t.fail(to, err)
	}
	if n < len(b) {
		to.unsent = t.overflow.Keep(b[n:])
		to.stalled = t.now()
		t.arm()
	}
	return true
}

// flush gives a side what it has not taken yet; with the last of it the other side is read again.
func (t *turn) flush(to *side) bool {
	n, err := reactor.Write(int(to.fd), t.overflow.Bytes(to.unsent))
	if err == syscall.EAGAIN {
		return true
	}
	if err != nil {
		return t.fail(to, err)
	}
	to.stalled = t.now()
	t.overflow.Skip(&to.unsent, n)
	if to.unsent != 0 {
		return true
	}
	from := t.other(to)
	from.heard = t.now() // it could not speak until now
	t.arm()
	if to == &t.pair.client && t.pair.tls.Owes() && !t.answer() {
		return false
	}
	if from.flags.has(ended) && to.unsent == 0 {
		return t.shut(to)
	}
	return true
}

func (t *turn) other(s *side) *side {
	if s == &t.pair.client {
		return &t.pair.server
	}
	return &t.pair.client
}

// stopped is called when there is nothing more to read of a side for the moment, or for good.
func (t *turn) stopped(from *side, err error) bool {
	switch {
	case err == syscall.EAGAIN:
		from.clear(readable)
		return true
	case !errors.Is(err, io.EOF):
		return t.fail(from, err)
	case from == &t.pair.client && t.pair.flags.has(encrypted):
		t.pair.flags |= truncated
	}
	return t.ended(from)
}
