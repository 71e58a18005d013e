//go:build linux

package wire

import (
	"fmt"
	"io"
	"syscall"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/reactor"
)

// read handles what the client has sent, until there is no more, or its turn is over.
func (l *loop) read(c *Conn) {
	for c.stage == open && !c.blocked() {
		switch {
		case c.flags&(paused|hungUp|settled) == paused|hungUp && l.hasOnlyAsked(c): // it has gone while it was to wait for its welcome
			l.end(c, io.EOF)
			return
		case c.flags&paused != 0:
			return
		case l.left <= 0:
			l.again(c)
			return
		case c.flags&waiting != 0:
			c.flags &^= waiting
			l.feed(c, nil)
		case c.flags&over != 0:
			l.end(c, io.EOF)
		case c.flags&readable == 0 || !l.readOnce(c):
			return
		}
	}
	if c.stage == lingering {
		l.discard(c)
	}
}

// readOnce reads what fits into the loop's buffer, and reports whether there may be more.
func (l *loop) readOnce(c *Conn) bool {
	buf, have := l.Buffer(), 0
	if c.secure != nil {
		have = copy(buf, l.held.Bytes(c.secure.raw))
	}
	n, err := reactor.Read(int(c.fd), buf[have:])
	switch {
	case err == syscall.EAGAIN:
		c.flags &^= readable
		return false
	case err != nil:
		l.end(c, err)
		return false
	}
	l.bytesIn.Add(uint64(n))
	l.left -= n >> 4 // not when it is a packet: it may be a part of one, or nothing for us
	if have+n < len(buf) && c.flags&hungUp == 0 {
		c.flags &^= readable // a short read has taken all (epoll(7), "Questions and answers", 9)
	}
	if c.secure != nil {
		l.held.Drop(&c.secure.raw)
	}
	l.received(c, buf[:have+n])
	return true
}

// received handles bytes as they were on the wire.
func (l *loop) received(c *Conn, buf []byte) {
	if c.secure == nil {
		l.input(c, buf)
		return
	}
	data, done, err := l.unseal(c, buf)
	if !l.input(c, data) {
		return
	}
	switch {
	case err != nil:
		l.refuseRecord(c, err)
	case done:
		l.finish(c)
	}
}

// finish ends c when the client has said in a layer below that it is done, but not before the packets are handled that wait.
func (l *loop) finish(c *Conn) {
	if c.flags&waiting != 0 {
		c.flags |= over
		return
	}
	l.end(c, io.EOF)
}

// input handles bytes of MQTT, or of the frames that carry it; false when the connection is over.
func (l *loop) input(c *Conn, data []byte) bool {
	if len(data) == 0 || c.flags&over != 0 {
		return true
	}
	if c.frames == nil {
		l.feed(c, data)
		return c.stage == open
	}
	payload, reply, err := c.frames.unwrap(data, l.controls())
	if len(payload) > 0 {
		l.feed(c, payload)
	}
	if len(reply) > headroom && !l.control(c, reply, err != nil) {
		return false
	}
	switch err {
	case nil:
	case io.EOF:
		l.finish(c)
	default:
		l.end(c, err)
	}
	return c.stage == open
}

// feed handles the packets in data, and keeps what is not complete, or has to wait.
func (l *loop) feed(c *Conn, data []byte) {
	if c.flags&preface != 0 {
		if data = l.introduce(c, data); len(data) == 0 {
			return
		}
	}
	if len(data) > 0 && c.flags&begun == 0 {
		c.flags |= begun
		if data[0] != byte(packet.CONNECT)<<4 { // known at once, whatever else is to come [MQTT-3.1.0-1]
			l.end(c, fmt.Errorf("%w: the first byte is 0x%02x", ErrNotMQTT, data[0]))
			return
		}
	}
	held := c.partial != 0
	fresh := len(data)
	if held {
		l.held.Add(&c.partial, data)
		data = l.held.Bytes(c.partial)
	}
	if c.flags&waiting != 0 { // it is not its turn
		if !held {
			c.partial = l.held.Keep(data)
		}
		return
	}
	used, err := l.packets(c, data)
	switch {
	case c.stage != open:
	case err != nil:
		l.end(c, err)
	case held:
		l.held.Skip(&c.partial, used)
	default:
		c.partial = l.held.Keep(data[used:])
	}
	if c.stage == open && used == 0 && c.flags&waiting == 0 {
		c.trickle(l.tick(), fresh)
	}
}

// introduce takes what is said before MQTT off, and returns what comes behind it; what is not complete is kept.
func (l *loop) introduce(c *Conn, data []byte) []byte {
	if c.partial != 0 {
		l.held.Add(&c.partial, data)
		data = l.held.Bytes(c.partial)
	}
	used, more, err := c.peer.(Prefacer).Preface(data)
	switch {
	case err != nil:
		l.end(c, err)
		return nil
	case !more:
		c.flags &^= preface
		if c.partial == 0 {
			return data[used:]
		}
		rest := l.Buffer()[:copy(l.Buffer(), data[used:])] // it is less than the loop's buffer: it came from there
		l.held.Drop(&c.partial)
		return rest
	case c.partial == 0:
		c.partial = l.held.Keep(data)
	}
	return nil
}

// trickle takes parts of a packet for a sign of life when they are large enough.
func (c *Conn) trickle(now tick, n int) {
	if c.got += uint32(n); c.got >= sign && c.flags&settled != 0 {
		c.heard, c.got = now, 0
	}
}

// packets handles whole packets at the front of data, and returns how many bytes they had.
func (l *loop) packets(c *Conn, data []byte) (used int, err error) {
	for c.stage == open {
		if used == len(data) {
			return used, nil
		}
		h, n, err := packet.ParseHeader(data[used:])
		if err != nil {
			return used, err
		}
		total := n + h.Remaining
		switch {
		case n == 0:
			return used, nil
		case total > c.most(l.options):
			return used, fmt.Errorf("read %v of %d bytes where %d are allowed: %w", h.Type, total, c.most(l.options), packet.ErrTooLarge)
		case total > len(data)-used:
			return used, nil
		case l.left <= 0:
			c.flags |= waiting
			return used, nil
		}
		verdict, err := c.peer.Packet(h, data[used+n:used+total:used+total])
		if err != nil {
			return used, err
		}
		l.left -= packetWork
		switch verdict {
		case Wait:
			c.flags |= paused
			fallthrough
		case Again:
			c.flags |= waiting
			return used, nil
		}
		used += total
		c.heard, c.got = l.tick(), 0
	}
	return used, nil
}

// hasOnlyAsked reports whether nothing came behind the packet that waits. A client that says all at once, and that this is all, is
// heard to the end [MQTT-3.1.4-6].
func (l *loop) hasOnlyAsked(c *Conn) bool {
	held := l.held.Bytes(c.partial)
	h, n, err := packet.ParseHeader(held)
	return err == nil && n+h.Remaining >= len(held)
}

// mostFirst bounds what a client may send before it is known who it is, in bytes: the five fields of a CONNECT have 64 KiB at most each, and
// that leaves some for properties.
const mostFirst = 384 << 10

// most is how long the next packet may be.
func (c *Conn) most(o *Options) int {
	if c.flags&settled == 0 {
		return min(o.MaxPacket, mostFirst)
	}
	return o.MaxPacket
}

// lingerBytes bounds what a client that has been told to go may still send.
const lingerBytes = 256 << 10

// discard reads what a client is still sending that has been told to go, until it has closed: a socket that is closed with unread data
// resets the connection, and the reset overtakes the packet that says why (RFC 1122, section 4.2.2.13).
func (l *loop) discard(c *Conn) {
	for c.flags&readable != 0 {
		n, err := reactor.Read(int(c.fd), l.Buffer())
		switch {
		case err == syscall.EAGAIN:
			c.flags &^= readable
			return
		case err != nil:
			l.close(c)
			return
		}
		if c.got += uint32(n); c.got > lingerBytes {
			l.close(c)
			return
		}
	}
}
