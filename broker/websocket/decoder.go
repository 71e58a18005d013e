package websocket

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// A Decoder takes the frames that a client sends apart, as their bytes arrive:
//
//	   ┌───────────────── payload complete ─────────────────┐
//	   ▼                                                    │
//	header ── 2 bytes: rules of section 5 ── all: length ─► payload
//	   │                                                    │
//	   └── ProtocolError ──► ended ◄── CloseError, or ──────┘
//	                                   ProtocolError in it
//
// Its zero value is ready for the first byte after the request. It is part of one connection's state and belongs to whoever
// reads from that; it must not be copied once in use. It has 40 bytes, one pointer among them.
type Decoder struct {
	left    uint64                // bytes of the frame's payload that have not come
	partial *[maxControl]byte     // payload of a ping or close frame of which a part has come; otherwise nil
	mask    uint32                // for the next bytes of the payload, the next one's in the lowest byte
	head    [maxClientHeader]byte // of a header of which a part has come
	had     uint8                 // bytes in head, or in partial: never in both
	opcode  uint8                 // of the frame
	framed  bool                  // within a frame's payload, which may be empty; otherwise in a header
	message bool                  // within a message: continuation frames are to follow
	ended   bool
}

// Decode takes the next bytes that the client has sent, cut in any way. It returns the payload of the data frames among them, which lies at
// the front of b, where it overwrites them; and reply with what is to be written to the client appended: the pong for the last ping (RFC
// 6455 section 5.5.3 allows to leave out those before), and with an error the close frame, after which the connection is to be
// closed. What the payload brings about is written before reply: nothing may follow a close frame. Who has sent one already drops reply.
//
// The error is a *CloseError or a *ProtocolError. The payload is what came before it, and must be used first: clients send
// DISCONNECT and the close frame together. Later calls return another error and nothing else.
//
// reply must not lie in b. With 131 bytes of room in reply nothing is allocated, but for an error and for a ping or a close frame
// that comes in parts: 125 bytes, until it is complete.
func (d *Decoder) Decode(b, reply []byte) (payload, _ []byte, _ error) {
	if d.ended {
		return nil, reply, errEnded
	}
	n, in, mark := 0, b, len(reply)
	for {
		if !d.framed {
			size, problem := d.header(in)
			if problem != nil {
				return b[:n], d.end(reply, problem.Status), problem
			}
			in = in[size:]
			if !d.framed {
				return b[:n], reply, nil
			}
		}
		part := in[:min(d.left, uint64(len(in)))]
		in = in[len(part):]
		d.left -= uint64(len(part))
		if d.opcode < opClose {
			d.mask = unmask(b[n:], part, d.mask)
			n += len(part)
		} else {
			part = d.control(part)
		}
		if d.left > 0 {
			return b[:n], reply, nil
		}
		d.framed = false
		switch d.opcode {
		case opPing:
			reply = AppendPong(reply[:mark], part)
		case opClose:
			status, err := closing(part)
			return b[:n], d.end(reply, status), err
		}
	}
}

// end is the end of the connection: it appends a close frame to reply.
func (d *Decoder) end(reply []byte, status Status) []byte {
	d.ended = true
	return AppendClose(reply, status)
}

// header takes a frame's header from the front of in and from what of it came before, and returns how many bytes of in it took. If
// that completes the header, d is framed; if not, it took all.
func (d *Decoder) header(in []byte) (int, *ProtocolError) {
	h := in
	if d.had > 0 {
		h = d.head[:int(d.had)+copy(d.head[d.had:], in)]
	}
	size := 2
	if len(h) >= 2 {
		if problem := d.check(h[0], h[1]); problem != nil {
			return 0, problem
		}
		size = headerSize(h[1])
	}
	if len(h) < size {
		if d.had == 0 {
			copy(d.head[:], h)
		}
		d.had = uint8(len(h))
		return len(in), nil
	}
	length, problem := payloadLength(h)
	if problem != nil {
		return 0, problem
	}
	size -= int(d.had)
	d.begin(h, length)
	return size, nil
}

// begin enters the payload of the frame with header h.
func (d *Decoder) begin(h []byte, length uint64) {
	d.had = 0
	d.framed = true
	d.left = length
	d.opcode = h[0] & opcodeBits
	d.mask = binary.LittleEndian.Uint32(h[headerSize(h[1])-4:])
	if d.opcode < opClose {
		d.message = h[0]&finBit == 0
	}
}

// headerSize returns how many bytes a header has, by its second: with the mask, which check has seen announced.
func headerSize(second byte) int {
	switch second & lengthBits {
	case length16:
		return 8
	case length64:
		return maxClientHeader
	}
	return 6
}

// check looks at the first two bytes of a header.
func (d *Decoder) check(first, second byte) *ProtocolError {
	opcode := first & opcodeBits
	switch {
	case first&rsvBits != 0:
		return wrong("reserved bits are set, no extension was negotiated (RFC 6455 section 5.2)")
	case second&maskBit == 0:
		return wrong("a client's must be masked (RFC 6455 section 5.1)")
	case opcode == opContinuation && !d.message:
		return wrong("a continuation without a message (RFC 6455 section 5.4)")
	case opcode == opText:
		return &ProtocolError{StatusUnsupported, "text, MQTT is sent in binary frames [MQTT-6.0.0-1]"}
	case opcode == opBinary && d.message:
		return wrong("a message within a message (RFC 6455 section 5.4)")
	case opcode > opBinary && opcode < opClose || opcode > opPong:
		return wrong("a reserved opcode (RFC 6455 section 5.2)")
	case opcode >= opClose && first&finBit == 0:
		return wrong("a control frame in fragments (RFC 6455 section 5.5)")
	case opcode >= opClose && second&lengthBits > maxControl:
		return wrong("a control frame of more than 125 bytes (RFC 6455 section 5.5)")
	}
	return nil
}

// payloadLength reads the length from a complete header.
func payloadLength(h []byte) (uint64, *ProtocolError) {
	switch n := uint64(h[1] & lengthBits); n {
	case length16:
		n = uint64(binary.BigEndian.Uint16(h[2:]))
		if n <= maxControl {
			return 0, wrong("a length in more bytes than it needs (RFC 6455 section 5.2)")
		}
		return n, nil
	case length64:
		n = binary.BigEndian.Uint64(h[2:])
		if n <= math.MaxUint16 {
			return 0, wrong("a length in more bytes than it needs (RFC 6455 section 5.2)")
		}
		if n > math.MaxInt64 {
			return 0, wrong("a length of 64 bits (RFC 6455 section 5.2)")
		}
		return n, nil
	default:
		return n, nil
	}
}

// control takes a part of a control frame's payload. If it is the last it returns the whole, which is valid until the next call
// of Decode; nobody wants that of a pong.
func (d *Decoder) control(part []byte) []byte {
	if d.opcode == opPong {
		return nil
	}
	d.mask = unmask(part, part, d.mask)
	if d.left == 0 && d.had == 0 {
		return part
	}
	if d.partial == nil {
		d.partial = new([maxControl]byte)
	}
	d.had += uint8(copy(d.partial[d.had:], part))
	if d.left > 0 {
		return nil
	}
	whole := d.partial[:d.had]
	d.partial, d.had = nil, 0
	return whole
}

// closing reads the payload of a close frame and returns the status to answer with: the client's own (RFC 6455 section 5.5.1),
// unless the frame breaks a rule.
func closing(payload []byte) (Status, error) {
	status, reason := StatusNone, payload
	if len(payload) >= 2 {
		status, reason = Status(binary.BigEndian.Uint16(payload)), payload[2:]
	}
	problem := &ProtocolError{Status: StatusProtocolError}
	switch {
	case len(payload) == 1:
		problem.Problem = "a close frame of one byte (RFC 6455 section 5.5.1)"
	case len(payload) > 0 && !status.sendable():
		problem.Problem = "a close frame with a status that must not be sent (RFC 6455 section 7.4)"
	case !utf8.Valid(reason):
		problem = &ProtocolError{StatusInvalidData, "a close frame whose reason is not UTF-8 (RFC 6455 section 5.5.1)"}
	default:
		return status, &CloseError{status}
	}
	return problem.Status, problem
}

// wrong makes the error for what breaks a rule of RFC 6455.
func wrong(problem string) *ProtocolError { return &ProtocolError{StatusProtocolError, problem} }
