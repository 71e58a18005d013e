package health

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/pires/go-proxyproto"
)

// clientID returns the id of the checks of one server by this process: always the same, so that a
// broker which keeps statistics by client keeps one, and different from every other load balancer's and
// server's, so that no check takes over the connection of another. 23 characters are the most that
// every server has to accept [MQTT-3.1.3-5 of 3.1.1]; ten of them carry 50 bits.
func (m *Monitor) clientID(key string) string {
	sum := sha256.Sum256([]byte(m.nonce + key))
	return "mqttlb-check-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:10])
}

// probeMQTT asks the server to accept a client, and leaves as a client does.
func probeMQTT(ctx context.Context, t Target, id string) error {
	limit := t.Check.Timeout
	d := net.Dialer{KeepAlive: -1}
	conn, err := d.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return failed(err, limit, "connecting")
	}
	defer conn.Close()
	// The one deadline is ctx's; a cancelled ctx ends the conversation likewise.
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	hello, err := greeting(t.ProxyHeader, id)
	if err != nil {
		return err
	}
	if _, err := conn.Write(hello); err != nil {
		return failed(err, limit, "sending CONNECT")
	}
	if err := readConnack(conn); err != nil {
		return failed(err, limit, "waiting for CONNACK")
	}
	bye := packet.Disconnect{Code: packet.NormalDisconnection}
	// The server has answered: whether it also hears the farewell says nothing about it.
	_, _ = conn.Write(bye.Append(nil, packet.V311))
	return nil
}

// greeting returns the PROXY header, where one is wanted, and the CONNECT in one piece: a server that
// wants the header must not find the first segment without it.
func greeting(proxyHeader int, id string) ([]byte, error) {
	var hello []byte
	if proxyHeader != 0 {
		// Version 1 has no command: its line for UNSPEC is "PROXY UNKNOWN", section 2.1.
		h := proxyproto.Header{
			Version: byte(proxyHeader), Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC,
		}
		line, err := h.Format()
		if err != nil {
			return nil, fmt.Errorf("write a PROXY header of version %d: %w", proxyHeader, err)
		}
		hello = line
	}
	// Keep alive 0 [MQTT-3.1.2-23]: the check's own timeout is shorter than any.
	c := packet.Connect{Version: packet.V311, CleanStart: true, ClientID: []byte(id)}
	return c.Append(hello), nil
}

// A CONNACK of MQTT 3.1.1 (section 3.2) is these two bytes, flags and code. No more is ever read
// of an answer.
const (
	connackHeader = "\x20\x02"
	connackSize   = len(connackHeader) + 2
)

// readConnack reads the answer to CONNECT. It gives up at the first byte that no CONNACK has, so
// that a server which speaks something else is named at once and not at the timeout.
func readConnack(r io.Reader) error {
	var buf [connackSize]byte
	for got := 0; got < connackSize; {
		n, err := r.Read(buf[got:])
		got += n
		if start := buf[:min(got, len(connackHeader))]; !strings.HasPrefix(connackHeader, string(start)) {
			return stranger(buf[:got])
		}
		if err != nil && got < connackSize {
			return err
		}
	}
	var ack packet.Connack
	header := packet.Header{Type: packet.CONNACK, Remaining: connackSize - len(connackHeader)}
	if err := ack.Decode(packet.V311, header, buf[len(connackHeader):]); err != nil {
		return stranger(buf[:])
	}
	if ack.Code != packet.Success {
		code, _ := ack.Code.ReturnCode()
		return &failure{Rejected, fmt.Sprintf("CONNACK code %d (%s)", code, ack.Code), nil}
	}
	return nil
}

// stranger names an answer by its first bytes, at most connackSize: 15 03 is TLS's alert, "HTTP"
// is 48 54 54 50.
func stranger(b []byte) *failure {
	return &failure{NotMQTT, fmt.Sprintf("answered with something that is not MQTT 3.1.1's CONNACK: % x", b), nil}
}
