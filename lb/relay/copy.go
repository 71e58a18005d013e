package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// linger is how long a half-closed pair may stay without a byte in its other direction. A broker that
// has read DISCONNECT and FIN answers within a round trip; HAProxy names the same
// thing timeout client-fin and server-fin, and its manual proposes seconds to half a minute.
const linger = 30 * time.Second

// stall is how long one write may wait for a side that takes nothing, where that side has no
// timeout of its own: no wait is without an end.
const stall = 5 * time.Minute

// goodbye is how long closing may wait for a client that takes nothing, as in crypto/tls.
const goodbye = 5 * time.Second

// bufferSize is the size of one direction's buffer, in bytes: all that a session usually sends at once fits.
const bufferSize = 4 << 10

// Copy relays with two goroutines a pair. The zero value is ready.
type Copy struct{}

// Start takes both sockets of p and relays between them; o is told on a goroutine of the pair.
func (Copy) Start(p Pair, o Owner) Session {
	s := &copySession{pair: p}
	s.clientTimeout.Store(int64(p.ClientTimeout))
	up := &direction{s: s, from: p.Client, to: p.Server, client: true}
	down := &direction{s: s, from: p.Server, to: p.Client}
	up.other, down.other = down, up

	var both sync.WaitGroup
	both.Go(up.run)
	go func() { // owned by nobody but the pair: it ends when both sockets are closed, and done says so
		down.run()
		both.Wait()
		s.closeBoth()
		o.Relayed(s.result())
	}()
	return Session{by: s}
}

// A copySession is one pair in flight.
type copySession struct {
	pair          Pair
	clientTimeout atomic.Int64 // nanoseconds: Watch may change it
	in, out       atomic.Uint64
	closing       sync.Once

	mu    sync.Mutex // guards the fields below
	ended bool
	end   End
	err   error
}

// cut implements closer.
func (s *copySession) cut(uint64) {
	s.finish(Closed, nil)
	go s.closeBoth() // a TLS client that takes nothing would hold the caller; done waits for it
}

// finish records why the pair ends; the first cause stays.
func (s *copySession) finish(end End, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.end, s.err = true, end, err
	}
}

func (s *copySession) result() Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Result{End: s.end, Err: s.err, In: s.in.Load(), Out: s.out.Load()}
}

func (s *copySession) closeBoth() {
	s.closing.Do(func() {
		// The server first: closing a TLS client may wait for close_notify to be written.
		s.pair.Server.Close()
		s.pair.Client.SetWriteDeadline(after(goodbye)) // frees whoever is in the middle of a write, which Close waits for
		s.pair.Client.Close()
	})
}

// A direction is one half of a pair: its goroutine reads from one socket and writes to the other.
type direction struct {
	s        *copySession
	from, to net.Conn
	client   bool // from is the client
	other    *direction
	heard    atomic.Bool // something came from this side
	shut     atomic.Bool // this direction ended with an end of file
	arming   sync.Mutex  // held while the read deadline of from is chosen and set: both goroutines do it
}

// run relays until the direction ends. An end of file is passed on and leaves the other
// direction alone; anything else ends the pair.
func (d *direction) run() {
	buf := make([]byte, bufferSize)
	for {
		d.armRead()
		n, err := d.from.Read(buf)
		if n > 0 {
			d.heard.Store(true)
			d.watch(buf[:n])
			d.count(n)
			if werr := d.write(buf[:n]); werr != nil {
				d.fail(!d.client, werr)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			d.passEOF(nil)
			return
		}
		if d.client && errors.Is(err, io.ErrUnexpectedEOF) { // of TLS
			d.passEOF(errTruncated)
			return
		}
		if err != nil {
			d.fail(d.client, err)
			return
		}
	}
}

// armRead sets the deadline of the next read, or of the one that waits: the side's timeout, or
// linger once the other direction is shut.
func (d *direction) armRead() {
	d.arming.Lock()
	defer d.arming.Unlock()
	timeout := d.timeout()
	if d.other.shut.Load() && (timeout == 0 || timeout > linger) {
		timeout = linger
	}
	d.from.SetReadDeadline(after(timeout))
}

// timeout is how long this direction's source may say nothing.
func (d *direction) timeout() time.Duration {
	switch {
	case d.client:
		return time.Duration(d.s.clientTimeout.Load())
	case !d.heard.Load() && d.s.pair.ServerFirst > 0:
		return d.s.pair.ServerFirst
	}
	return d.s.pair.ServerTimeout
}

// write sends p on. A side that takes nothing is given as long as it may say nothing.
func (d *direction) write(p []byte) error {
	timeout := d.other.timeout()
	if timeout == 0 {
		timeout = stall
	}
	d.to.SetWriteDeadline(after(timeout))
	_, err := d.to.Write(p)
	return err
}

// passEOF ends the other socket's sending direction and gives what still flows the other way linger.
func (d *direction) passEOF(missing error) {
	if d.client {
		d.s.finish(ClientClosed, missing)
	} else {
		d.s.finish(ServerClosed, nil)
	}
	d.shut.Store(true)
	if half, ok := d.to.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		d.s.closeBoth()
		return
	}
	d.other.armRead() // its read may be waiting without end
}

// fail ends the pair because the client's or the server's socket failed.
func (d *direction) fail(client bool, err error) {
	timedOut := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) // ours, or TCP keep-alive's
	switch {
	case timedOut && client:
		d.s.finish(ClientTimeout, nil)
	case timedOut:
		d.s.finish(ServerTimeout, nil)
	case client:
		d.s.finish(ClientReset, err)
	default:
		d.s.finish(ServerReset, err)
	}
	d.s.closeBoth()
}

// watch shows what the server said to Watch, until that has seen enough.
func (d *direction) watch(p []byte) {
	if d.client || d.s.pair.Watch == nil {
		return
	}
	timeout, more := d.s.pair.Watch(p)
	if !more {
		d.s.pair.Watch = nil // and what it has collected: only this goroutine reads it
	}
	if timeout != 0 {
		d.s.clientTimeout.Store(int64(max(timeout, 0)))
		d.other.armRead() // the client's read is waiting by the old timeout
	}
}

func (d *direction) count(n int) {
	own := &d.s.out
	if d.client {
		own = &d.s.in
	}
	own.Add(uint64(n))
	for _, t := range d.s.pair.Traffic {
		if t == nil {
			continue
		}
		if d.client {
			t.In.Add(uint64(n))
		} else {
			t.Out.Add(uint64(n))
		}
	}
}

// after is the deadline d from now; none when d is 0.
func after(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}
