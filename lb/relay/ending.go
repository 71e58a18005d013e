//go:build linux

package relay

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/lb/record"
)

// answer sends what the record layer has to say of itself, once nothing stands before it.
func (t *turn) answer() bool {
	p := t.pair
	if p.client.unsent != 0 || p.client.flags.has(shut) {
		return true
	}
	return t.send(&p.client, p.tls.AppendOwed(t.ciphers, t.sealed[:0]))
}

// refuseRecord ends the pair for a record that is none, or one that says that the client ends.
func (t *turn) refuseRecord(err error) bool {
	var alert *record.Alert
	if errors.As(err, &alert) && !alert.Remote {
		t.alert(alert.Code)
	}
	return t.fail(&t.pair.client, err)
}

// alert sends the client an alert, if it can be sent at once: it is the last that is sent, whether it arrives or not.
func (t *turn) alert(code record.AlertCode) {
	p := t.pair
	if p.flags.has(encrypted) && p.client.unsent == 0 && !p.client.flags.has(shut) {
		reactor.Write(int(p.client.fd), p.tls.AppendAlert(t.ciphers, t.sealed[:0], code))
	}
}

// closeNotify is what a TLS client is told behind the last byte; nothing when it was told.
func (t *turn) closeNotify(to *side) []byte {
	if to != &t.pair.client || !t.pair.flags.has(encrypted) {
		return nil
	}
	return t.pair.tls.AppendAlert(t.ciphers, t.sealed[:0], record.CloseNotify)
}

// close ends the pair from outside.
func (t *turn) close() {
	t.pair.cause(Closed)
	t.alert(record.CloseNotify)
	t.over(t.slot, t.result(nil))
}

// ended passes an end of file on: nothing comes from this side any more, and the other has linger from now on.
func (t *turn) ended(from *side) bool {
	p := t.pair
	if from == &p.client {
		p.cause(ClientClosed)
		t.overflow.Drop(&p.partial)
	} else {
		p.cause(ServerClosed)
	}
	from.set(ended)
	from.clear(readable)
	to := t.other(from)
	if to.unsent != 0 {
		return true // flush comes back to it
	}
	return t.shut(to)
}

// shut ends what is sent to a side: all of it is sent. When the other direction has ended before, that was the pair.
func (t *turn) shut(to *side) bool {
	if notify := t.closeNotify(to); len(notify) > 0 {
		if !t.send(to, notify) {
			return false
		}
		if to.unsent != 0 {
			return true // flush comes back to it, and closeNotify has no more to say
		}
	}
	to.set(shut)
	if t.other(to).flags.has(shut) {
		t.over(t.slot, t.result(nil))
		return false
	}
	// ENOTCONN: the other end has reset the connection, which the next read tells.
	if err := syscall.Shutdown(int(to.fd), syscall.SHUT_WR); err != nil && err != syscall.ENOTCONN {
		return t.fail(to, err)
	}
	to.heard = t.now()
	t.arm()
	return true
}

// fail ends the pair because a side's socket failed.
func (t *turn) fail(at *side, err error) bool {
	client := at == &t.pair.client
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || err == syscall.ETIMEDOUT: // ours, or TCP keep-alive's
		err = nil
		t.pair.cause(pick(client, ClientTimeout, ServerTimeout))
	default:
		t.pair.cause(pick(client, ClientReset, ServerReset))
	}
	t.over(t.slot, t.result(err))
	return false
}

func pick(client bool, a, b End) End {
	if client {
		return a
	}
	return b
}

// result tells how the pair ended; err is of its last step, and counts only when that was the cause.
func (t *turn) result(err error) Result {
	r := Result{End: t.pair.end}
	switch {
	case r.End == ClientReset || r.End == ServerReset:
		r.Err = wrap(r.End, err)
	case r.End == ClientClosed && t.pair.flags.has(truncated):
		r.Err = errTruncated
	}
	return r
}

// wrap says whose error it is, and of what.
func wrap(e End, err error) error {
	if e == ClientReset {
		return fmt.Errorf("client's connection: %w", err)
	}
	return fmt.Errorf("server's connection: %w", err)
}

// expired is called when the earliest deadline of the pair may have passed: those of a side that has spoken since are later now.
func (t *turn) expired() {
	for _, s := range []*side{&t.pair.client, &t.pair.server} {
		if left, limited := t.remaining(s); limited && left <= 0 {
			t.fail(s, os.ErrDeadlineExceeded)
			return
		}
	}
	t.arm()
}

// arm lets expired come at the earliest deadline.
func (t *turn) arm() {
	client, a := t.remaining(&t.pair.client)
	server, b := t.remaining(&t.pair.server)
	switch {
	case a && b:
		t.Arm(t.pair.timer, min(client, server))
	case a:
		t.Arm(t.pair.timer, client)
	case b:
		t.Arm(t.pair.timer, server)
	default:
		t.Disarm(t.pair.timer)
	}
}

// remaining is how long a side may still say nothing, or take nothing.
func (t *turn) remaining(s *side) (left time.Duration, limited bool) {
	other := t.other(s)
	var since, limit ticks
	switch {
	case s.unsent != 0: // it is to take something
		since, limit = s.stalled, s.timeout
		if limit == 0 {
			limit = ticksOf(stall)
		}
	case s.flags.has(ended) || other.unsent != 0: // nothing is expected of it
		return 0, false
	case s.flags.has(shut) && (s.timeout == 0 || s.timeout > ticksOf(linger)):
		since, limit = s.heard, ticksOf(linger)
	default:
		since, limit = s.heard, s.timeout
	}
	return time.Duration(int32(since+limit-t.now())) * tick, limit > 0
}
