package record

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// goodbye bounds how long the last alert may wait for a peer that takes nothing, as in crypto/tls.
const goodbye = 5 * time.Second

// A Conn's buffers begin with smallBuffer bytes, which hold what MQTT says at once nearly always, and grow to a whole record.
const (
	smallBuffer = 2 << 10
	largeBuffer = HeaderSize + MaxCiphertext
	ownRecord   = 32 // the most that AppendOwed appends
)

// A Conn is a blocking stream over a State: a net.Conn for one reader, one writer, and anybody who closes. It takes the State and
// the connection under it. Read never writes but an alert: a KeyUpdate is answered with the next Write, which is when it
// must be (RFC 8446, section 4.6.3), so that a peer that asks and does not read cannot hold a reader.
type Conn struct {
	under net.Conn

	reading sync.Mutex // held by Read; guards the fields below
	buf     []byte     // what raw and plain are in
	raw     []byte     // read from under, and not opened yet
	plain   []byte     // opened, and not read yet
	brought int        // bytes that the last read of under brought
	opened  int        // bytes of the last record
	readErr error      // final

	writing  sync.Mutex // held by who writes to under; guards the fields below
	out      []byte
	writeErr error // final: part of a record may have been sent

	mu      sync.Mutex // held while a record is computed, and not while anything waits; guards the fields below
	state   State
	ciphers *Cache // nil: the keys are wiped
	ended   error  // why no data is sent any more
	closed  bool   // Close or Detach was called
}

var errShut = fmt.Errorf("write to a TLS connection after CloseWrite: %w", net.ErrClosed)

// NewConn returns a Conn that goes on where s is. under, s and raw belong to it then; raw are the bytes that were read
// from under already and not opened.
func NewConn(under net.Conn, s State, raw []byte) *Conn {
	return &Conn{under: under, raw: raw, state: s, ciphers: NewCache(2)}
}

// NetConn returns the connection under it, which is not to be read, written or closed.
func (c *Conn) NetConn() net.Conn { return c.under }

// LocalAddr returns the address of the connection under it.
func (c *Conn) LocalAddr() net.Addr { return c.under.LocalAddr() }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.under.RemoteAddr() }

// SetDeadline sets that of reads and writes. A Read that timed out may be repeated; a Write that did ends what can be written.
func (c *Conn) SetDeadline(t time.Time) error { return c.under.SetDeadline(t) }

// SetReadDeadline is SetDeadline for Read alone.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.under.SetReadDeadline(t) }

// SetWriteDeadline is SetDeadline for Write and CloseWrite alone.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.under.SetWriteDeadline(t) }

// Read returns data of one record at most. The error is io.EOF after close_notify, io.ErrUnexpectedEOF if the stream ended
// without it (what is missing, nobody can know), an *Alert, or that of the connection under it.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.plain) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

// next opens the next record, or reads more of it. The caller holds reading.
func (c *Conn) next() error {
	if c.readErr != nil {
		return c.readErr
	}
	o, err := c.open()
	switch {
	case err != nil:
		c.readErr = err
		c.refuse(err)
	case o.Close:
		c.readErr = io.EOF
	case o.Used == 0:
		return c.fill()
	}
	c.raw, c.plain, c.opened = c.raw[o.Used:], o.Data, o.Used
	return c.readErr
}

func (c *Conn) open() (Opened, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ciphers == nil {
		return Opened{}, net.ErrClosed
	}
	o, err := c.state.Open(c.ciphers, c.raw)
	if err != nil && c.ended == nil {
		c.ended = err
	}
	return o, err
}

// fill reads from under behind raw. While a stream has large records, or fills what it is given, it is given room for a whole one.
func (c *Conn) fill() error {
	need := max(smallBuffer, Size(c.raw))
	if max(c.brought, c.opened) >= smallBuffer {
		need = largeBuffer
	}
	have := len(c.raw)
	buf := grow(c.buf, need)
	copy(buf, c.raw)
	n, err := c.under.Read(buf[have:])
	c.buf, c.raw, c.brought = buf, buf[:have+n], n
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) { // RFC 8446, section 6.1: without close_notify it is truncated, wherever
		c.readErr = io.ErrUnexpectedEOF
		return c.readErr
	}
	return err
}

// grow returns a buffer of a size for need bytes, buf if it has that.
func grow(buf []byte, need int) []byte {
	size := smallBuffer
	if need > size {
		size = largeBuffer + ownRecord
	}
	if cap(buf) == size {
		return buf[:size]
	}
	return make([]byte, size)
}

// refuse tells the peer why its record was refused, unless a Write is in the middle of something: then the end of the stream tells it.
func (c *Conn) refuse(err error) {
	var alert *Alert
	if errors.As(err, &alert) && !alert.Remote && c.writing.TryLock() {
		defer c.writing.Unlock()
		c.under.SetWriteDeadline(time.Now().Add(goodbye)) // nothing is written after it; if it fails, so does the write
		c.alert(alert.Code)                               // the Read that called fails already
	}
}

// alert sends an alert, the last record. The caller holds writing.
func (c *Conn) alert(code AlertCode) error {
	if record := c.appendAlert(code); len(record) > 0 && c.writeErr == nil {
		return c.send(record)
	}
	return c.writeErr
}

func (c *Conn) appendAlert(code AlertCode) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ciphers == nil {
		return nil
	}
	return c.state.AppendAlert(c.ciphers, nil, code)
}

// send writes whole records. The caller holds writing.
func (c *Conn) send(records []byte) error {
	if _, err := c.under.Write(records); err != nil {
		c.writeErr = err
	}
	return c.writeErr
}

// Write sends p in records of MaxPlaintext. n is what was in those that were sent completely.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for n < len(p) {
		chunk := p[n:min(len(p), n+MaxPlaintext)]
		records, err := c.seal(chunk)
		if err != nil {
			return n, err
		}
		if err := c.send(records); err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return n, nil
}

// seal makes a record of data, and one that is owed before it. The caller holds writing.
func (c *Conn) seal(data []byte) ([]byte, error) {
	if c.writeErr != nil {
		return nil, c.writeErr
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return nil, c.ended
	}
	c.out = grow(c.out, ownRecord+MaxOverhead+len(data))
	own := c.state.AppendOwed(c.ciphers, c.out[:0])
	room := c.out[len(own):]
	copy(room[c.state.Prefix():], data)
	return c.out[:len(own)+len(c.state.Seal(c.ciphers, room, len(data)))], nil
}

// CloseWrite sends close_notify: the peer's Read ends with io.EOF, and ours goes on. Its wait is the write deadline's. As with crypto/tls,
// the connection under it stays open both ways. It may be repeated; it fails where Write would fail for another reason.
func (c *Conn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if before := c.end(errShut); before != nil && before != errShut {
		return before
	}
	return c.alert(CloseNotify)
}

// end lets no data be sent any more, and returns why it was so before.
func (c *Conn) end(why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.ended
	if before == nil {
		c.ended = why
	}
	return before
}

// Close sends close_notify, for which it waits 5 seconds at most, closes the connection under it, and wipes the keys. A Write that waits
// meanwhile fails, and close_notify is not sent: it would stand in the middle of a record. A second Close, and one after
// Detach, is net.ErrClosed and does nothing.
func (c *Conn) Close() error {
	c.end(net.ErrClosed)
	if !c.close() {
		return net.ErrClosed
	}
	if c.writing.TryLock() {
		c.under.SetWriteDeadline(time.Now().Add(goodbye)) // if it fails, so does the write
		c.alert(CloseNotify)                              // a peer that does not take it misses nothing else
		c.out = nil
		c.writing.Unlock()
	}
	err := c.under.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wipe()
	return err
}

// close reports whether it is the first.
func (c *Conn) close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.closed
	c.closed = true
	return first
}

// wipe forgets all keys. The caller holds mu.
func (c *Conn) wipe() {
	c.state.Wipe()
	c.ciphers = nil
}

// A Rest is what there is to go on with where a Conn was.
type Rest struct {
	Under   net.Conn
	State   State
	Ciphers *Cache // that State was used with (Cache.Adopt); nil: none
	Raw     []byte // read and not opened
	Plain   []byte // opened and not read yet: it comes before what is in Raw
}

// Detach ends the Conn without a word and gives away what it has; it keeps nothing. No Read or Write may be in flight; later ones
// fail with net.ErrClosed.
func (c *Conn) Detach() Rest {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	r := Rest{Under: c.under, State: c.state, Ciphers: c.ciphers, Raw: c.raw, Plain: c.plain}
	c.wipe()
	c.closed, c.ended, c.readErr = true, net.ErrClosed, net.ErrClosed
	c.buf, c.raw, c.plain, c.out = nil, nil, nil, nil
	return r
}
