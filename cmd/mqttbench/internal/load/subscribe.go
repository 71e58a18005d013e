//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// topic is one that connection number i of this process has for itself, with as many levels as that of a device's commands mostly has.
func topic(i uint32) []byte { return fmt.Appendf(nil, "bench/%d-%d/cmd", os.Getpid(), i) }

func subscribePacket(topic []byte, qos int) []byte {
	s := packet.Subscribe{PacketID: 1}
	s.Subscriptions.Add(topic, packet.Options{QoS: byte(qos)})
	return s.Append(nil, packet.V311)
}

// granted says what is wrong with the answer to a subscribePacket.
func granted(h packet.Header, whole []byte, qos int) error {
	var answer packet.Suback
	if err := answer.Decode(packet.V311, h, whole[len(whole)-h.Remaining:]); err != nil {
		return err
	}
	if code := answer.Codes[0]; int(code) != qos {
		return fmt.Errorf("a subscription with QoS %d is answered by code %#x: does the other side allow it?", qos, code)
	}
	return nil
}

// A joining is the behaviour of connections that are subscribing.
type joining struct {
	qos  int
	left int
	done chan struct{}
}

func (j *joining) packet(c *conn, h packet.Header, whole []byte) error {
	if h.Type != packet.SUBACK {
		return quiet{}.packet(c, h, whole)
	}
	if err := granted(h, whole, j.qos); err != nil {
		return err
	}
	if j.left--; j.left == 0 {
		close(j.done)
	}
	return nil
}

func (j *joining) ready(*conn) error { return nil }

// join subscribes the first n connections, each to the topic for its key, and returns when all are subscribed. From any goroutine but the
// loop's.
func (f *fleet) join(ctx context.Context, n int, topic func(key uint32) []byte) error {
	j := &joining{qos: f.plan.QoS, left: n, done: make(chan struct{})}
	begin := func() error {
		f.behaviour = j
		for _, c := range f.conns[:n] {
			if c == nil {
				return errors.New("a connection has ended")
			}
			c.Queue(subscribePacket(topic(c.key), j.qos))
			if err := f.shared.Flush(c.Link); err != nil {
				return err
			}
		}
		return nil
	}
	if err := f.do(ctx, begin); err != nil {
		return err
	}
	return await(ctx, j.done, "the subscription on every connection")
}

// stamp is how many bytes of a payload are ours, where messages come back: when it should have been published, and its number.
const stamp = 16

// A form is a PUBLISH that is sent again and again.
type form struct {
	whole   []byte
	payload int // where in whole it begins
}

func newForm(topic []byte, qos, size int) form {
	m := packet.Publish{QoS: byte(qos), Topic: topic, Payload: make([]byte, max(stamp, size))}
	if qos > 0 {
		m.PacketID = 1
	}
	whole := m.Append(nil, packet.V311)
	return form{whole: whole, payload: len(whole) - len(m.Payload)}
}

// qosBits are where the QoS is in the first byte of a PUBLISH (MQTT 3.1.1 section 3.3.1).
const qosBits = 3 << 1

// set makes it message number n, from 1 on, due at a time. It is valid until the next set.
func (m form) set(n uint64, at int64) []byte {
	binary.BigEndian.PutUint64(m.whole[m.payload:], uint64(at))
	binary.BigEndian.PutUint64(m.whole[m.payload+8:], n)
	if m.whole[0]&qosBits != 0 {
		binary.BigEndian.PutUint16(m.whole[m.payload-2:], identifier(n))
	}
	return m.whole
}

// take reads a message that has come back.
func (m form) take(whole []byte) (n uint64, at int64, err error) {
	if len(whole) != len(m.whole) || whole[0]&qosBits != m.whole[0]&qosBits {
		return 0, 0, fmt.Errorf("a PUBLISH of %d bytes with QoS %d has come, of %d with QoS %d were sent",
			len(whole), whole[0]&qosBits>>1, len(m.whole), m.whole[0]&qosBits>>1)
	}
	p := whole[m.payload:]
	return binary.BigEndian.Uint64(p[8:]), int64(binary.BigEndian.Uint64(p)), nil
}

// acknowledge queues the answer to a message that has come back, if its QoS wants one.
func (m form) acknowledge(c *conn, whole []byte) {
	if whole[0]&qosBits == 0 {
		return
	}
	a := packet.Ack{Type: packet.PUBACK, PacketID: binary.BigEndian.Uint16(whole[m.payload-2:])}
	c.SetQueued(a.Append(c.Queued(), packet.V311))
}

// identifier is the packet identifier of message number n of a connection: any but 0 [MQTT-2.2.1-3].
func identifier(n uint64) uint16 { return uint16((n-1)%math.MaxUint16) + 1 }

// acknowledged says what is wrong with a PUBACK that should be for message number n. They come in the order of the messages
// [MQTT-4.6.0-2].
func acknowledged(h packet.Header, whole []byte, n uint64) error {
	var a packet.Ack
	if err := a.Decode(packet.V311, h, whole[len(whole)-h.Remaining:]); err != nil {
		return err
	}
	if a.PacketID != identifier(n) {
		return fmt.Errorf("a PUBACK for message %d has come, that for %d was due", a.PacketID, identifier(n))
	}
	return nil
}
