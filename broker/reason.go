package broker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/websocket"
	"github.com/mqttlb/mqttlb/broker/wire"
)

// reason is why a connection ended: a log attribute and a metric's label, hence a closed list.
type reason uint8

const (
	clientDisconnect reason = iota // the client said DISCONNECT
	clientClosed                   // it closed, or was reset, without a word
	connectTimeout                 // no CONNECT in time
	keepAliveTimeout               // nothing for one and a half times the keep alive
	writeTimeout                   // it stopped reading
	takenOver                      // its client identifier connected again
	refused                        // the CONNACK said no
	protocolError                  // it broke a rule after the CONNECT
	notMQTT                        // what came first was no CONNECT
	packetTooLarge                 // more than max_packet_size
	proxyHeader                    // the PROXY header was missing or broken
	tlsHandshake                   // the TLS handshake did not succeed
	upgrade                        // the request for a WebSocket was none, or of another path or subprotocol
	tooMany                        // max_connections, and not even room to say so
	stopped                        // the node is stopping
	administrative                 // the operator disconnected the client
	reasons                        // how many there are
)

var reasonNames = [reasons]string{
	clientDisconnect: "client_disconnect", clientClosed: "client_closed", connectTimeout: "connect_timeout",
	keepAliveTimeout: "keep_alive_timeout", writeTimeout: "write_timeout", takenOver: "taken_over",
	refused: "refused", protocolError: "protocol_error", notMQTT: "not_mqtt", packetTooLarge: "packet_too_large",
	proxyHeader: "proxy_header", tlsHandshake: "tls_handshake", upgrade: "websocket_upgrade", tooMany: "too_many", stopped: "stopped",
	administrative: "administrative",
}

func (r reason) String() string { return reasonNames[r] }

// ending is the error that a connection ends with.
type ending struct {
	reason reason
	// code goes into the CONNACK of a refusal, else into a DISCONNECT; only MQTT 5 has the latter. Success
	// means that nothing is said.
	code packet.ReasonCode
	err  error // for the log; may be nil
}

// Error returns reason, code and cause.
func (e *ending) Error() string {
	s := e.reason.String()
	if e.code.Failed() {
		s += ": " + e.code.String()
	}
	if e.err != nil {
		s += ": " + e.err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *ending) Unwrap() error { return e.err }

// refuse ends a connection with a CONNACK.
func refuse(code packet.ReasonCode, format string, args ...any) *ending {
	return &ending{refused, code, fmt.Errorf(format, args...)}
}

// violation ends a connection that broke a rule [MQTT-4.13.1-1].
func violation(code packet.ReasonCode, format string, args ...any) *ending {
	return &ending{protocolError, code, fmt.Errorf(format, args...)}
}

// endingOf finds out what an error of reading or handling a packet means. While is what the
// connection was waiting for when time ran out.
func endingOf(err error, while reason) *ending {
	var e *ending
	var broken *packet.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, errEnded):
		return &ending{takenOver, packet.SessionTakenOver, nil} // [MQTT-3.1.4-3]
	case errors.Is(err, wire.ErrNotMQTT), while == connectTimeout && isBroken(err):
		return &ending{reason: notMQTT, err: err}
	case errors.As(err, &broken):
		return &ending{protocolError, broken.Code, err}
	case errors.Is(err, wire.ErrStalled):
		return &ending{reason: writeTimeout}
	case isFrame(err):
		return &ending{protocolError, 0, err}
	case errors.Is(err, packet.ErrTooLarge):
		return &ending{packetTooLarge, packet.PacketTooLarge, err}
	case late(err) && while == keepAliveTimeout:
		return &ending{while, packet.KeepAliveTimeout, nil} // [MQTT-3.1.2-22]
	case late(err):
		return &ending{reason: while}
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return &ending{reason: clientClosed}
	}
	return &ending{clientClosed, 0, err}
}

// late reports whether time ran out: on the loop, or before.
func late(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, wire.ErrIdle)
}

// isBroken reports whether bytes could not be read as a packet.
func isBroken(err error) bool {
	var broken *packet.Error
	return errors.As(err, &broken)
}

// isFrame reports whether a frame of a WebSocket broke a rule; the close frame has told the client.
func isFrame(err error) bool {
	var frame *websocket.ProtocolError
	return errors.As(err, &frame)
}
