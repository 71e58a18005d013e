package health

import (
	"context"
	"fmt"
	"net"
	"time"
)

// probeServer checks one server by the kind of its check. ctx carries the deadline of the whole
// check. What the error says about the server is for classify to find out.
func (m *Monitor) probeServer(ctx context.Context, t Target) error {
	switch t.Check.Type {
	case TCP:
		return probeTCP(ctx, t)
	case MQTT:
		return probeMQTT(ctx, t, m.clientID(t.Key))
	default:
		return nil // unreachable: nothing schedules such a check
	}
}

// probeTCP asks the server's kernel whether anybody listens. The server itself learns nothing of it
// where the handshake can be left unfinished: see quiet.
func probeTCP(ctx context.Context, t Target) error {
	d := net.Dialer{Control: quiet, KeepAlive: -1}
	d.SetMultipathTCP(false) // what quiet asks for is an option of plain TCP
	conn, err := d.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return failed(err, t.Check.Timeout, "connecting")
	}
	resetOnClose(conn)
	conn.Close()
	return nil
}

// resetOnClose makes Close send RST: nothing stays in TIME_WAIT here, and where the
// handshake is unfinished the other side forgets it.
func resetOnClose(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		c.SetLinger(0) // an error would mean that the socket has gone, and then so has the need
	}
}

// failed makes a failure of an error of the network, which came while doing something.
func failed(err error, limit time.Duration, doing string) *failure {
	f := classify(err)
	switch f.outcome {
	case Timeout:
		f.reason = fmt.Sprintf("timeout after %s %s", limit, doing)
	case Closed:
		f.reason += " while " + doing
	}
	return f
}
