//go:build linux

package relay

import (
	"errors"
	"io"
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

// recordCost is what opening or sealing one record takes from the budget beside its bytes: a client that sends its data one
// byte a record has no longer turns than others.
const recordCost = 512

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

// resume begins with what was read of the client before the pair was.
func (t *turn) resume(raw, plain []byte) bool {
	if len(plain) > 0 && !t.pass(plain) {
		return false
	}
	if len(raw) > 0 {
		t.pair.partial = t.overflow.keep(raw)
		return t.decode(t.Buffer()[:copy(t.Buffer(), raw)])
	}
	return true
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
		// What there is of a record goes to the front only when more of it has come.
		buf := t.Buffer()
		have := len(t.overflow.bytes(p.partial))
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
		copy(buf, t.overflow.bytes(p.partial))
		t.overflow.drop(&p.partial)
		if !t.decode(buf[:have+n]) {
			return false
		}
	}
	return true
}

// decode opens the records in buf and passes on what is in them; the beginning of another is kept.
func (t *turn) decode(buf []byte) bool {
	data, rest, closed, err := t.open(buf)
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
		t.pair.partial = t.overflow.keep(rest)
	}
	return true
}

// open opens every whole record in buf, in place. What was in them is data, without gaps; rest is the beginning of the next.
func (t *turn) open(buf []byte) (data, rest []byte, closed bool, err error) {
	state, from, to, at := &t.pair.tls, 0, 0, 0 // data is buf[from:to], and buf[at:] is not opened
	for at < len(buf) && !closed {
		o, err := state.Open(t.ciphers, buf[at:])
		if err != nil {
			return buf[from:to], nil, false, err
		}
		if o.Used == 0 {
			break
		}
		t.left -= recordCost
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
			if !t.listen(n) || !t.send(&p.client, out) {
				return false
			}
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

// listen counts n bytes of the server.
func (t *turn) listen(n int) bool {
	p := t.pair
	p.server.heard = t.now()
	p.out += uint64(n)
	for _, traffic := range t.session.traffic {
		if traffic != nil {
			traffic.Out.Add(uint64(n))
		}
	}
	if p.server.timeout != p.later { // those were the first
		p.server.timeout = p.later
		t.arm()
	}
	return true
}

// send gives b to a side that has nothing unsent, and keeps what it does not take.
func (t *turn) send(to *side, b []byte) bool {
	n, err := reactor.Write(int(to.fd), b)
	if err != nil && err != syscall.EAGAIN {
		return t.fail(to, err)
	}
	if n < len(b) {
		to.unsent = t.overflow.keep(b[n:])
		to.stalled = t.now()
		t.arm()
	}
	return true
}

// flush gives a side what it has not taken yet; with the last of it the other side is read again.
func (t *turn) flush(to *side) bool {
	n, err := reactor.Write(int(to.fd), t.overflow.bytes(to.unsent))
	if err == syscall.EAGAIN {
		return true
	}
	if err != nil {
		return t.fail(to, err)
	}
	to.stalled = t.now()
	t.overflow.skip(&to.unsent, n)
	if to.unsent != 0 {
		return true
	}
	from := t.other(to)
	from.heard = t.now() // it could not speak until now
	t.arm()
	if to == &t.pair.client && t.pair.tls.Owes() && !t.answer() {
		return false
	}
	if from.flags.has(ended) {
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
