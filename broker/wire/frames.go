package wire

import (
	"errors"
	"io"

	"github.com/mqttlb/mqttlb/broker/websocket"
)

// frames is what a connection has beside whose MQTT is in the frames of a WebSocket.
type frames struct {
	decoder websocket.Decoder
	bye     bool // a close frame was sent: nothing may follow it
}

// frameHeader is the longest header of a frame that a server sends, in bytes (RFC 6455, section 5.2).
const frameHeader = 10

// controlRoom is how long a pong or close frame may be, in bytes (RFC 6455, section 5.5).
const controlRoom = 2 + 125

// unwrap takes frames apart, in place. Control is what answers those that are not data, appended to it.
func (f *frames) unwrap(b, control []byte) (payload, reply []byte, err error) {
	payload, reply, err = f.decoder.Decode(b, control)
	var over *websocket.CloseError
	if errors.As(err, &over) {
		err = io.EOF
	}
	return payload, reply, err
}

// wrap puts the header of a frame directly in front of out[at:], and returns where the frame begins.
func wrap(out []byte, at int) int {
	var room [frameHeader]byte
	header := websocket.AppendHeader(room[:0], len(out)-at)
	return at - copy(out[at-len(header):], header)
}
