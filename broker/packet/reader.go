package packet

import (
	"fmt"
	"io"
)

const (
	// firstBuffer is what a Reader starts with: the CONNECT of a device, and most of what it sends
	// afterwards, is shorter.
	firstBuffer = 512

	// keptBuffer is the most that a Reader keeps between packets: one large packet must not hold its
	// memory for the life of a connection.
	keptBuffer = 4 << 10

	// emptyReads ends a source that returns neither bytes nor an error, as bufio does.
	emptyReads = 100
)

// A Reader cuts a stream of bytes into packets. Its buffer grows with the bytes that have arrived,
// never with those that a header announces, and never beyond the limit. One goroutine uses it;
// deadlines are the source's.
type Reader struct {
	src   io.Reader
	limit int

	buf        []byte
	start, end int   // of what has been read and not yet been returned, within buf
	last       int   // length of the packet at start that Next has returned; 0 if there is none
	err        error // of the source, for when the bytes before it have been used
}

// NewReader returns a Reader of packets up to limit bytes, fixed header included; 0 or less means the
// largest that the protocol has. It reads nothing yet.
func NewReader(src io.Reader, limit int) *Reader {
	r := &Reader{src: src}
	r.SetLimit(limit)
	return r
}

// SetLimit changes the limit from the next packet on.
func (r *Reader) SetLimit(limit int) {
	if limit <= 0 {
		limit = MaxRemaining + MaxHeader
	}
	r.limit = limit
}

// Next returns the next packet. The body is valid until the following call and may be changed.
//
// The error is io.EOF at an end between two packets, wraps io.ErrUnexpectedEOF at an end within one,
// wraps ErrTooLarge for a packet beyond the limit, of which no more than the buffered bytes have been
// read, is an *Error for a bad header, and wraps whatever else the source returned: a deadline, say,
// after which Next may be called again and goes on where it was.
func (r *Reader) Next() (Header, []byte, error) {
	r.drop()
	for {
		h, n, err := ParseHeader(r.buf[r.start:r.end])
		if err != nil {
			return h, nil, err
		}
		total := n + h.Remaining
		switch {
		case n == 0:
			total = MaxHeader // at least one byte is missing; how many is not known
		case total > r.limit:
			return h, nil, fmt.Errorf("read %v of %d bytes where %d are allowed: %w", h.Type, total, r.limit, ErrTooLarge)
		case total <= r.end-r.start:
			r.last = total
			return h, r.buf[r.start+n : r.start+total : r.start+total], nil
		}
		if err := r.fill(total); err != nil {
			return h, nil, err
		}
	}
}

// Packet returns the whole packet that Next has returned, with its fixed header: what a proxy passes
// on. It is valid until the next call of Next, and nil after an error.
func (r *Reader) Packet() []byte {
	if r.last == 0 {
		return nil
	}
	return r.buf[r.start : r.start+r.last : r.start+r.last]
}

// Buffered returns what has been read beyond the packet that Next has returned, or all that has been
// read and not been returned when Next has failed. It is valid until the next call of Next.
func (r *Reader) Buffered() []byte { return r.buf[r.start+r.last : r.end : r.end] }

// drop forgets the last packet, and a buffer that it alone needed: one that is longer than keptBuffer
// has been made for one packet, of exactly its length, and holds nothing of the next.
func (r *Reader) drop() {
	r.start += r.last
	r.last = 0
	if r.start < r.end {
		return
	}
	r.start, r.end = 0, 0
	if len(r.buf) > keptBuffer {
		r.buf = nil
	}
}

// fill reads once, for a packet of total bytes that is not complete.
func (r *Reader) fill(total int) error {
	if r.err == nil {
		r.room(total)
		for range emptyReads {
			n, err := r.src.Read(r.buf[r.end:])
			r.end += n
			r.err = err
			if n > 0 {
				return nil
			}
			if err != nil {
				break
			}
		}
		if r.err == nil {
			r.err = io.ErrNoProgress
		}
	}
	err := r.err
	r.err = nil
	switch {
	case err == io.EOF && r.start == r.end:
		return io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read packet, %d bytes of it so far: %w", r.end-r.start, err)
}

// room makes sure that there is space behind end: it moves the beginning of the packet to the front,
// or doubles the buffer, for which as many bytes as it holds must have arrived, but not beyond the
// packet.
func (r *Reader) room(total int) {
	if r.end < len(r.buf) {
		return
	}
	to := r.buf
	if r.start == 0 {
		to = make([]byte, min(max(2*len(r.buf), firstBuffer), max(total, firstBuffer)))
	}
	r.end = copy(to, r.buf[r.start:r.end])
	r.start, r.buf = 0, to
}
