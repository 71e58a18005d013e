package websocket

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"unicode/utf8"
)

// First bytes of a client's frames.
const (
	binaryFrame = finBit | opBinary
	firstPart   = opBinary
	nextPart    = opContinuation
	lastPart    = finBit | opContinuation
	pingFrame   = finBit | opPing
	pongFrame   = finBit | opPong
	closeFrame  = finBit | opClose
)

// frame is a client's frame, its length written as short as can be.
func frame(first byte, payload string) []byte {
	n := len(payload)
	switch {
	case n <= 125:
		return sealed([]byte{first, 0x80 | byte(n)}, payload)
	case n < 1<<16:
		return sealed(binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(n)), payload)
	}
	return sealed(binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, uint64(n)), payload)
}

// sealed adds a mask and the masked payload to the beginning of a header.
func sealed(header []byte, payload string) []byte {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d} // that of the examples in RFC 6455 section 5.7
	b := append(slices.Clone(header), mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

// randomFrames is what a client may send: count frames, mostly good.
func randomFrames(rnd *rand.Rand, count int) []byte {
	var b []byte
	message := false
	for range count {
		size := rnd.IntN(20)
		if rnd.IntN(8) == 0 {
			size = rnd.IntN(300)
		}
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(rnd.Uint32())
		}
		first := byte(0)
		switch kind := rnd.IntN(12); {
		case kind < 3:
			first = pingFrame + byte(rnd.IntN(2))
			payload = payload[:min(size, 125)]
		case kind < 4 && rnd.IntN(count) == 0:
			first = closeFrame
			payload = append([]byte{3, 232}, "gone"...)
		default:
			first = byte(rnd.IntN(2)) * finBit
			if !message {
				first |= opBinary
			}
			message = first&finBit == 0
		}
		b = append(b, frame(first, string(payload))...)
	}
	return b
}

// A reference is a decoder that takes one byte at a time and keeps everything: slow, and plain enough to be read beside RFC 6455.
type reference struct {
	header, payload []byte
	complete        bool // the header; then it has a length
	length          uint64
	open            bool // within a message
}

// An event is what a byte brings about.
type event struct {
	data   []byte
	ping   bool // answer it with data
	status Status
	closed bool // by the client; otherwise, with a status, for what is wrong
}

func (e event) end() bool { return e.status != 0 }

// step takes one byte.
func (r *reference) step(c byte) event {
	var e event
	if r.complete {
		mask := r.header[len(r.header)-4:]
		c ^= mask[len(r.payload)%4]
		r.payload = append(r.payload, c)
		if r.header[0]&8 == 0 {
			e.data = r.payload[len(r.payload)-1:]
		}
	} else {
		r.header = append(r.header, c)
		r.complete, r.length, e.status = parse(r.header, r.open)
	}
	if r.complete && uint64(len(r.payload)) == r.length {
		return r.finish(e)
	}
	return e
}

// parse says whether a header is complete and what is wrong with it.
func parse(h []byte, open bool) (complete bool, length uint64, wrong Status) {
	if len(h) < 2 {
		return false, 0, 0
	}
	fin, opcode, size := h[0] >= 128, h[0]%16, int(h[1]%128)
	switch allowed := map[byte]bool{0: open, 1: true, 2: !open, 8: fin && size < 126, 9: fin && size < 126, 10: fin && size < 126}; {
	case h[0]/16%8 != 0 || h[1] < 128 || !allowed[opcode]:
		return false, 0, 1002
	case opcode == 1:
		return false, 0, 1003
	}
	more := map[int]int{126: 2, 127: 8}[size]
	if len(h) < 2+more+4 {
		return false, 0, 0
	}
	length = uint64(size)
	if more > 0 {
		length = 0
		for _, c := range h[2 : 2+more] {
			length = length<<8 + uint64(c)
		}
		if length < 126 || more == 8 && length < 65536 || length >= 1<<63 {
			return false, 0, 1002
		}
	}
	return true, length, 0
}

// finish is the end of a frame.
func (r *reference) finish(e event) event {
	opcode, fin, p := r.header[0]%16, r.header[0] >= 128, r.payload
	r.header, r.payload, r.complete = nil, nil, false
	switch opcode {
	case 8:
		return closed(p)
	case 9:
		return event{data: p, ping: true}
	case 0, 2:
		r.open = !fin
	}
	return e
}

// closed is the end of the connection.
func closed(p []byte) event {
	if len(p) == 0 {
		return event{status: 1005, closed: true}
	}
	if len(p) == 1 {
		return event{status: 1002}
	}
	switch code := int(p[0])*256 + int(p[1]); {
	case code < 1000, code > 4999, code > 1014 && code < 3000, code == 1004, code == 1005, code == 1006:
		return event{status: 1002}
	case !utf8.Valid(p[2:]):
		return event{status: 1007}
	default:
		return event{status: Status(code), closed: true}
	}
}
