package handshake

import (
	"encoding/binary"
	"io"

	"github.com/mqttlb/mqttlb/lb/record"
)

// firstRead is how much is asked of the socket before anything is known, in bytes: a ClientHello with a hybrid key share has
// about 1,500.
const firstRead = 2 << 10

// records hands a stream on record by record. The zero value is ready.
type records struct {
	buf  []byte // read, and not handed on
	left int    // bytes of the record that is being handed on
	room []byte // that buf is in
}

// next reads some of the current record into p: never of two.
func (r *records) next(src io.Reader, p []byte) (int, error) {
	for r.left == 0 && len(r.buf) < record.HeaderSize || len(r.buf) == 0 {
		if err := r.fill(src); err != nil {
			if len(r.buf) == 0 {
				return 0, err
			}
			r.left = len(r.buf) // what there is of a header; the error comes again
		}
	}
	if r.left == 0 { // RFC 8446, section 5.1: type, version, length
		r.left = record.HeaderSize + int(binary.BigEndian.Uint16(r.buf[3:]))
	}
	n := copy(p, r.buf[:min(len(r.buf), r.left)])
	r.buf, r.left = r.buf[n:], r.left-n
	return n, nil
}

// fill reads from the socket behind what there is.
func (r *records) fill(src io.Reader) error {
	if r.room == nil {
		r.room = make([]byte, firstRead)
	}
	have := copy(r.room, r.buf) // less than a header
	n, err := src.Read(r.room[have:])
	r.buf = r.room[:have+n]
	if n > 0 {
		return nil
	}
	return err
}
