package websocket

import (
	"encoding/binary"
	"math"
)

// The first two bytes of a frame's header (RFC 6455 section 5.2).
const (
	finBit     = 0x80 // the last frame of a message
	rsvBits    = 0x70 // for extensions; 0 without
	opcodeBits = 0x0f

	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8 // and all above are control frames
	opPing         = 0x9
	opPong         = 0xa

	maskBit    = 0x80
	lengthBits = 0x7f // the length itself up to maxControl, or one of the next two
	length16   = 126  // the length is in the next 2 bytes
	length64   = 127  // the length is in the next 8 bytes
)

const (
	// maxControl is the longest payload of a control frame, in bytes (RFC 6455 section 5.5), and the longest of any frame with a
	// header of two bytes and the mask.
	maxControl = 125

	// maxClientHeader is the longest header of a masked frame, in bytes: 2, a length of 8, a mask of 4 (RFC 6455 section 5.2).
	maxClientHeader = 14
)

// MaxHeader is the most that AppendHeader appends, in bytes: the header of an unmasked frame with a length of 64 bits
// (RFC 6455 section 5.2).
const MaxHeader = 10

// A Status says in a close frame why a connection ends (RFC 6455 section 7.4.1, and the registry of IANA that it opens).
type Status uint16

// The statuses that this package and a broker have a use for.
const (
	StatusNormal        Status = 1000 // the purpose has been fulfilled: after DISCONNECT
	StatusGoingAway     Status = 1001 // the server stops
	StatusProtocolError Status = 1002 // a frame breaks the rules of RFC 6455
	StatusUnsupported   Status = 1003 // a text frame: MQTT is sent in binary ones [MQTT-6.0.0-1]
	StatusNone          Status = 1005 // never sent: the close frame had no status
	StatusInvalidData   Status = 1007 // text that is not UTF-8
	StatusPolicy        Status = 1008 // a packet breaks the rules of MQTT, or the client is not let in
)

// sendable says whether a close frame may hold s: it is registered for that, or in a range left to applications (RFC 6455
// sections 7.4.1 and 7.4.2; 1012 to 1014 by IANA's registry).
func (s Status) sendable() bool {
	switch {
	case s >= 3000:
		return s <= 4999
	case s >= 1007:
		return s <= 1014
	default:
		return s >= 1000 && s <= 1003
	}
}

// AppendHeader appends the header of a whole message of n bytes in one binary frame [MQTT-6.0.0-1] to dst; n bytes of MQTT are to follow. It
// is unmasked, as a server's must be (RFC 6455 section 5.1). Any goroutine may call it; n is not negative.
func AppendHeader(dst []byte, n int) []byte {
	dst = append(dst, finBit|opBinary)
	switch {
	case n <= maxControl:
		return append(dst, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, length16), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, length64), uint64(n))
	}
}

// AppendPong appends the pong frame that answers a ping with this payload, of 125 bytes at most, to dst (RFC 6455 section 5.5.3). Any
// goroutine may call it; the payload is copied.
func AppendPong(dst, payload []byte) []byte {
	return append(append(dst, finBit|opPong, byte(len(payload))), payload...)
}

// AppendClose appends a close frame with the status to dst, 4 bytes, or one without for StatusNone, 2 bytes (RFC 6455 section 5.5.1).
// Nothing may be sent after it. Any goroutine may call it.
func AppendClose(dst []byte, status Status) []byte {
	if status == StatusNone {
		return append(dst, finBit|opClose, 0)
	}
	return binary.BigEndian.AppendUint16(append(dst, finBit|opClose, 2), uint16(status))
}
