//go:build linux

package wire

import (
	"syscall"

	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/lb/record"
)

const (
	// plainChunk is how many bytes go to a client in one write; sealedChunk is a TLS record's worth with room for a frame's header.
	plainChunk  = 64 << 10
	sealedChunk = record.MaxPlaintext - frameHeader

	// headroom is in front of what is sent, for the header of a WebSocket frame (RFC 6455, section 5.2) and that of a record; tailroom
	// behind it, for what a record ends with.
	headroom = 64
	tailroom = 4<<10 + record.MaxOverhead

	// chunksPerTurn is how many writes one client has before others have theirs.
	chunksPerTurn = 4
)

// flush sends what there is to say, as far as the socket takes it, in so many writes.
func (l *loop) flush(c *Conn, writes int) {
	for left := writes; left > 0; left-- {
		if c.unsent != 0 || c.stage > ending {
			return
		}
		out, more := l.collect(c, left == 1)
		if len(out) > headroom && !l.send(c, out) {
			return
		}
		if !more {
			l.drained(c)
			return
		}
	}
	c.Wake()
}

// collect returns what goes out in the next write, behind headroom bytes. Replies are behind what Fill has, or in the last write of a turn: a
// client that is sent more than it can read still has its answers.
func (l *loop) collect(c *Conn, last bool) (out []byte, more bool) {
	most := plainChunk
	if c.secure != nil {
		most = sealedChunk
	}
	out = append(l.out[:headroom], l.held.Bytes(c.first)...)
	l.held.Drop(&c.first)
	if c.stage != open { // nothing is behind the last words
		out = l.takeReplies(c, out)
	}
	out, more = c.peer.Fill(out, headroom+most)
	if !more || last {
		out = l.takeReplies(c, out)
	}
	return out, more
}

func (l *loop) takeReplies(c *Conn, out []byte) []byte {
	out = append(out, l.held.Bytes(c.replies)...)
	l.held.Drop(&c.replies)
	return out
}

// drained goes on when everything was given to the socket.
func (l *loop) drained(c *Conn) {
	switch {
	case c.unsent != 0 || c.stage == closed:
	case c.stage == ending:
		l.farewell(c)
	case c.flags&(readable|waiting) != 0 && c.flags&paused == 0:
		l.again(c) // reading may have waited for this
	}
}

// send sends out[headroom:], in a frame and in records where the client wants them. It is false when the connection is over.
func (l *loop) send(c *Conn, out []byte) bool {
	from := headroom
	if c.frames != nil {
		if c.frames.bye { // the client has closed, and hears nothing more
			return true
		}
		from = wrap(out, headroom)
	}
	switch {
	case c.secure == nil:
		return l.put(c, out[from:])
	case c.secure.bye: // as above
		return true
	}
	return l.sendSealed(c, out, from)
}

// put gives b to the socket, and keeps what that does not take.
func (l *loop) put(c *Conn, b []byte) bool {
	if c.unsent != 0 {
		l.held.Add(&c.unsent, b)
		return true
	}
	n, err := reactor.Write(int(c.fd), b)
	if err != nil && err != syscall.EAGAIN {
		l.fail(c, err)
		return false
	}
	l.bytesOut.Add(uint64(n))
	if n < len(b) {
		c.unsent = l.held.Keep(b[n:])
		if c.stage == open {
			c.flags |= stalled
			c.since = l.tick()
			l.arm(c)
		}
		l.sweepSoon()
	}
	return true
}

// drain gives the socket what it did not take before, and goes on when that is all.
func (l *loop) drain(c *Conn) {
	for c.unsent != 0 {
		n, err := reactor.Write(int(c.fd), l.held.Bytes(c.unsent))
		switch {
		case err == syscall.EAGAIN:
			return
		case err != nil:
			l.fail(c, err)
			return
		}
		l.bytesOut.Add(uint64(n))
		l.held.Skip(&c.unsent, n)
		if c.stage == open {
			c.since = l.tick() // it reads
		}
	}
	c.flags &^= stalled
	l.flush(c, 1) // with the replies: the socket may be full again after it
}

// farewell ends our half of the connection, and waits for the client's.
func (l *loop) farewell(c *Conn) {
	if !l.lastWords(c) {
		return
	}
	if c.unsent != 0 { // drain comes here again
		return
	}
	if err := syscall.Shutdown(int(c.fd), syscall.SHUT_WR); err != nil {
		l.close(c)
		return
	}
	c.stage, c.got = lingering, 0
	c.flags |= readable
	l.discard(c)
}
