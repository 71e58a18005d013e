package websocket

import (
	"errors"
	"fmt"
)

// errEnded is what Decode returns after it has returned another error.
var errEnded = errors.New("decode WebSocket frames: an earlier call has returned the end of the connection; close it")

// A CloseError is what Decode returns when the client has sent a close frame (RFC 6455 section 5.5.1): an orderly end, if MQTT's
// DISCONNECT came before.
type CloseError struct {
	Status Status // what the client gave as the reason; StatusNone if nothing
}

// Error tells the status.
func (e *CloseError) Error() string {
	if e.Status == StatusNone {
		return "the client closed the WebSocket without a status"
	}
	return fmt.Sprintf("the client closed the WebSocket with status %d", e.Status)
}

// A ProtocolError is what Decode returns for a frame that breaks the rules of RFC 6455 or of MQTT 5 section 6. The connection must be
// closed (RFC 6455 section 7.1.7).
type ProtocolError struct {
	Status  Status // of the close frame in Decode's reply
	Problem string // the rule that was broken; never holds a byte of the frame
}

// Error tells the rule.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("WebSocket frame: %s; closed with status %d", e.Problem, e.Status)
}

// A Refusal is wrapped by what Upgrade returns when the client's request was read and answered with an error. Other
// errors of Upgrade are the connection's.
type Refusal struct {
	Status  int    // of the HTTP answer, as http.StatusNotFound
	Problem string // what is wrong with the request; sent to the client, may be logged
}

// Error tells what is wrong and how it was answered.
func (r *Refusal) Error() string { return fmt.Sprintf("%s; answered %d", r.Problem, r.Status) }

// refuse makes a Refusal.
func refuse(status int, format string, args ...any) error {
	return &Refusal{Status: status, Problem: fmt.Sprintf(format, args...)}
}
