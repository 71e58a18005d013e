package packet

import "errors"

// ErrTooLarge is wrapped by what Reader.Next returns when a packet's header announces more bytes
// than the limit. An MQTT 5 server answers PacketTooLarge (section 3.14.2.1).
var ErrTooLarge = errors.New("packet is larger than the limit")

// An Error says why bytes are not the packet they claim to be. Every error of ParseHeader and of
// the Decode methods is an *Error. The connection it came from must be closed (MQTT 5 section
// 4.13.1, MQTT 3.1.1 section 4.8); Code is what to say before that, where the version has a way.
// What never holds a byte of the packet, so it may be logged.
type Error struct {
	Type Type       // of the packet; 0 when not even that could be read
	Code ReasonCode // MalformedPacket, ProtocolError, or a more precise one
	What string     // the rule that was broken
}

// Error returns type, code and rule, such as "PUBLISH: malformed packet: topic name is empty".
func (e *Error) Error() string {
	if e.Type == 0 {
		return e.Code.String() + ": " + e.What
	}
	return e.Type.String() + ": " + e.Code.String() + ": " + e.What
}
