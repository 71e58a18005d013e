package packet

const (
	// MaxRemaining is the largest Remaining Length: four bytes of seven bits (MQTT 5 section
	// 1.5.5, MQTT 3.1.1 section 2.2.3).
	MaxRemaining = 1<<28 - 1

	// MaxHeader is the length of the longest fixed header: type and flags, four bytes of length.
	MaxHeader = 5
)

// A Header is the fixed header of a packet (MQTT 5 section 2.1).
type Header struct {
	Type      Type
	Flags     byte // the lower four bits of the first byte
	Remaining int  // length of what follows the header, in bytes: 0 … MaxRemaining
}

// Flags of the first byte.
const (
	flagRetain = 1 << 0
	flagDup    = 1 << 3
	qosShift   = 1
	qosMask    = 3
	// flagsReserved is what PUBREL, SUBSCRIBE and UNSUBSCRIBE carry [MQTT-3.6.1-1]
	// [MQTT-3.8.1-1] [MQTT-3.10.1-1]; in MQTT 3.1 it was a QoS of 1, with DUP beside it.
	flagsReserved = 1 << qosShift
)

// ParseHeader reads the fixed header that b begins with. n is its length in bytes; n == 0 with a
// nil error means that b is too short to tell. An error is an *Error and does not wait for the
// whole header: the first byte of a TLS record or of an HTTP request is refused alone.
//
// A length that takes more bytes than it needs is accepted. [MQTT-1.5.5-1] forbids writing it, but
// 3.1 and 3.1.1 do not, and the version is unknown until the first packet has been read.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return Header{}, 0, nil
	}
	h = Header{Type: Type(b[0] >> 4), Flags: b[0] & 0x0f}
	if e := h.check(); e != nil {
		return h, 0, e
	}
	for i := 1; i < MaxHeader; i++ {
		if i >= len(b) {
			return Header{}, 0, nil
		}
		h.Remaining |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			n = i + 1
			break
		}
	}
	switch {
	case n == 0:
		return h, 0, &Error{h.Type, MalformedPacket, "remaining length takes more than four bytes"}
	case h.Remaining != 0 && (h.Type == PINGREQ || h.Type == PINGRESP):
		return h, 0, &Error{h.Type, MalformedPacket, "remaining length is not 0"}
	}
	return h, n, nil
}

// check refuses types and flags that no version has [MQTT-2.1.3-1].
func (h Header) check() *Error {
	flags := h.Flags
	switch h.Type {
	case 0:
		return &Error{0, MalformedPacket, "packet type 0 is reserved"}
	case PUBLISH:
		switch qos := flags >> qosShift & qosMask; {
		case qos == 3: // [MQTT-3.3.1-4]
			return &Error{PUBLISH, MalformedPacket, "QoS is 3"}
		case qos == 0 && flags&flagDup != 0: // [MQTT-3.3.1-2]
			return &Error{PUBLISH, MalformedPacket, "DUP is set with QoS 0"}
		}
		return nil
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		flags = flags&^flagDup ^ flagsReserved // DUP: see checkVersion
	}
	if flags != 0 {
		return &Error{h.Type, MalformedPacket, "reserved flags are wrong"}
	}
	return nil
}

// checkVersion refuses what one version has and v has not.
func (h Header) checkVersion(v Version) *Error {
	switch h.Type {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		// MQTT 3.1 (sections 2.1 and 3.6 to 3.10) let them be repeated with DUP set.
		if v != V31 && h.Flags&flagDup != 0 {
			return &Error{h.Type, MalformedPacket, "reserved flags are wrong"}
		}
	case AUTH:
		if v < V5 {
			return &Error{h.Type, MalformedPacket, "packet type 15 is reserved before MQTT 5"}
		}
	}
	return nil
}

// AppendPingreq appends a PINGREQ, the same two bytes in every version (MQTT 5 section 3.12).
func AppendPingreq(dst []byte) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// AppendPingresp appends a PINGRESP, the same two bytes in every version (MQTT 5 section 3.13).
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }
