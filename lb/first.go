package lb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/lb/config"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// maxConnect bounds the CONNECT that is held until a server is found, in bytes. A client identifier, a
// user name, a token of some kilobytes as a password and a will fit many times; what a
// stranger can make us hold before anybody knows him is this, and only once he has sent it.
const maxConnect = 64 << 10

// maxClientID bounds what is kept of a client identifier for the log, in bytes.
const maxClientID = 128

// connackTimeout is how long a server may take to answer a CONNECT: authentication against a slow
// database fits, a server that accepts and never says a word is found out.
const connackTimeout = 60 * time.Second

// An mqttClient is what its CONNECT says of a client.
type mqttClient struct {
	version   packet.Version // 0: not known
	keepAlive time.Duration  // 0: none
}

// readConnect reads the whole CONNECT where the protocol is MQTT, so that garbage and idlers never reach
// a server [MQTT-3.1.0-1].
func (c *conn) readConnect(context.Context) error {
	if c.f.cfg.Protocol != config.ProtocolMQTT {
		return nil
	}
	// For writing as well: TLS answers while it reads.
	if err := c.stream.SetDeadline(c.deadline()); err != nil {
		return refuse(ClientReset, err)
	}
	r := packet.NewReader(&connectOnly{src: c.stream}, maxConnect)
	header, body, err := r.Next()
	if err != nil {
		return refuseConnect(err)
	}
	if err := c.learn(header, body); err != nil {
		return refuse(NotMQTT, err)
	}
	c.first = append(bytes.Clone(r.Packet()), r.Buffered()...)
	if err := c.stream.SetDeadline(time.Time{}); err != nil {
		return refuse(ClientReset, err)
	}
	return nil
}

// connectByte is what every MQTT connection begins with: type CONNECT, flags 0 [MQTT-3.1.0-1].
const connectByte = byte(packet.CONNECT) << 4

// connectOnly looks at the first byte as soon as it is there: what is no CONNECT is not waited for.
type connectOnly struct {
	src   io.Reader
	begun bool
}

func (r *connectOnly) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	if n > 0 && !r.begun {
		r.begun = true
		if p[0] != connectByte {
			return 0, notConnect(p[0])
		}
	}
	return n, err
}

// notConnect is the error of a connection that begins with another byte.
type notConnect byte

func (b notConnect) Error() string {
	guess := ""
	switch b {
	case 0x16: // a TLS record with a handshake (RFC 8446, section 5.1)
		guess = ": TLS, on a listener without tls?"
	case 'P', '\r':
		guess = ": a PROXY header, on a listener without accept_proxy?"
	case 'G', 'H', 'O':
		guess = ": HTTP? WebSocket needs protocol tcp"
	}
	return fmt.Sprintf("the first byte is %#02x where CONNECT is %#02x%s", byte(b), connectByte, guess)
}

// refuseConnect sorts why no packet could be read.
func refuseConnect(err error) error {
	var malformed *packet.Error
	var other notConnect
	switch {
	case errors.As(err, &other):
		return refuse(NotMQTT, other)
	case err == io.EOF:
		return refuse(ClientClose, nil)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(MQTTConnectTimeout, nil)
	case errors.Is(err, packet.ErrTooLarge):
		return refuse(ConnectTooLarge, err)
	case errors.As(err, &malformed):
		return refuse(NotMQTT, err)
	}
	return refuse(ClientReset, err)
}

// bridgeBit is set in the protocol level by mosquitto's bridges (try_private); the rest of the
// packet is as without it.
const bridgeBit = 0x80

// learn takes from a CONNECT what the connection needs. A version that is none of ours is the server's to
// refuse, with a CONNACK that says so [MQTT-3.1.2-2]: nothing is known of that client.
func (c *conn) learn(header packet.Header, body []byte) error {
	var connect packet.Connect
	err := connect.Decode(header, body)
	var unknown *packet.Error
	if errors.As(err, &unknown) && unknown.Code == packet.UnsupportedProtocolVersion && connect.Version&bridgeBit != 0 {
		err = connect.Decode(header, withoutBridgeBit(body))
	}
	switch {
	case err == nil:
		id := connect.ClientID[:min(len(connect.ClientID), maxClientID)]
		c.client = string(id)
		c.mqtt = mqttClient{version: connect.Version, keepAlive: time.Duration(connect.KeepAlive) * time.Second}
		return nil
	case errors.As(err, &unknown) && unknown.Code == packet.UnsupportedProtocolVersion && connect.Version != 0:
		return nil
	}
	return err
}

// withoutBridgeBit returns a copy of a CONNECT's body whose protocol level, which follows the
// protocol's name, has no bridge bit.
func withoutBridgeBit(body []byte) []byte {
	plain := bytes.Clone(body)
	level := 2 + (int(plain[0])<<8 | int(plain[1])) // Decode has found it there
	plain[level] &^= bridgeBit
	return plain
}

// clientTimeout is how long the client may say nothing.
func (c *conn) clientTimeout() time.Duration {
	if t := c.f.cfg.ClientTimeout; !t.Auto {
		return t.Duration
	}
	return keepAliveTimeout(c.mqtt.keepAlive)
}

// keepAliveTimeout is when a server would have given the client up, one and a half times the keep alive
// [MQTT-3.1.2-22], and 10 s for the way. Without a keep alive there is none.
func keepAliveTimeout(keepAlive time.Duration) time.Duration {
	if keepAlive == 0 {
		return 0
	}
	return keepAlive + keepAlive/2 + 10*time.Second
}

// expectConnack bounds the wait for the server's answer to the CONNECT, and looks for a Server Keep Alive
// in it, which overrides the client's [MQTT-3.1.2-21].
func (c *conn) expectConnack(pair *relay.Pair) {
	if c.f.cfg.Protocol != config.ProtocolMQTT {
		return
	}
	pair.ServerFirst = connackTimeout
	if pair.ServerTimeout > 0 {
		pair.ServerFirst = min(pair.ServerFirst, pair.ServerTimeout)
	}
	if c.f.cfg.ClientTimeout.Auto && c.mqtt.version == packet.V5 {
		pair.Watch = new(connackWatch).watch
	}
}

// maxConnack bounds what is collected to look for the CONNACK, in bytes; a larger one is passed on all the same, but its
// Server Keep Alive is not seen.
const maxConnack = 4 << 10

// A connackWatch collects the first packets from a server, up to the CONNACK.
type connackWatch struct{ got []byte }

// watch is a relay.Pair's Watch.
func (w *connackWatch) watch(p []byte) (timeout time.Duration, more bool) {
	kept := min(len(p), maxConnack-len(w.got))
	w.got = append(w.got, p[:kept]...)
	for {
		header, n, err := packet.ParseHeader(w.got)
		size := n + header.Remaining
		switch {
		case err != nil || size > maxConnack:
			return 0, false
		case n == 0 || len(w.got) < size:
			return 0, kept == len(p) // what was cut off would be missing in the next round
		case header.Type == packet.CONNACK:
			return connackTimeoutOf(header, w.got[n:size]), false
		case header.Type != packet.AUTH: // which is all that may come before it (MQTT 5, section 4.12)
			return 0, false
		}
		w.got = w.got[size:]
	}
}

// connackTimeoutOf is what a CONNACK of MQTT 5 makes of the client's timeout: see relay.Pair.
func connackTimeoutOf(header packet.Header, body []byte) time.Duration {
	var connack packet.Connack
	if connack.Decode(packet.V5, header, body) != nil {
		return 0
	}
	seconds, present := connack.Properties.Int(packet.ServerKeepAlive)
	switch {
	case !present:
		return 0
	case seconds == 0:
		return -1
	}
	return keepAliveTimeout(time.Duration(seconds) * time.Second)
}
