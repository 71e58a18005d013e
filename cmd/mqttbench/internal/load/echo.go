//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// An echoer sends and has it answered: in closed loop, where each connection sends when its last message was answered, or at the pace of a
// ticker, whatever comes back. It is a behaviour.
type echoer struct {
	f       *fleet
	answer  packet.Type
	request []byte // with room for a packet identifier at idAt, unless that is 0
	idAt    int
	next    int // the connection that is next, of a pace
}

// echo runs round trips.
func (f *fleet) echo(ctx context.Context, stages Stages) error {
	if err := stages.Reach(ctx, StageStart, 0); err != nil {
		return err
	}
	if err := f.openAll(ctx, f.plan.Connections); err != nil {
		return err
	}
	e := &echoer{f: f, answer: packet.PINGRESP, request: packet.AppendPingreq(nil)}
	if f.plan.QoS == 1 {
		name := fmt.Appendf(nil, "bench/%d/echo", os.Getpid())
		m := packet.Publish{QoS: 1, PacketID: 1, Topic: name, Payload: make([]byte, f.plan.Size)}
		e.answer, e.request = packet.PUBACK, m.Append(nil, packet.V311)
		e.idAt = len(e.request) - f.plan.Size - 2
	}
	begin := func() (err error) {
		f.behaviour = e
		if f.plan.Rate > 0 {
			f.ticker, err = newTicker(f.loop, uint32(len(f.conns)), f.plan.Rate, e.due)
			return err
		}
		for _, c := range f.conns[:f.plan.Connections] {
			if c == nil {
				return errors.New("a connection has ended")
			}
			e.send(c, now())
			if err := f.shared.Flush(c.Link); err != nil {
				return err
			}
		}
		return nil
	}
	if err := f.do(ctx, begin); err != nil {
		return err
	}
	return f.measure(ctx, stages)
}

// openAll opens n connections, all at once or as many as the plan lets be under way, whatever its rate, which is that of messages.
func (f *fleet) openAll(ctx context.Context, n int) error {
	rate := f.plan.Rate
	f.plan.Rate = 0
	defer func() { f.plan.Rate = rate }()
	return f.open(ctx, 0, n)
}

// mostUnanswered bounds what a paced load has under way on one connection: half of all packet identifiers. Whatever is under test is hopelessly late
// then.
const mostUnanswered = 1 << 15

// due sends the message that is due on the connection whose turn it is.
func (e *echoer) due(at time.Duration) {
	c := e.f.conns[e.next]
	e.next = (e.next + 1) % e.f.plan.Connections
	if c == nil {
		return // and the run is over
	}
	if len(c.sent) == mostUnanswered {
		e.f.fail(fmt.Errorf("%d messages on one connection are unanswered: lower --rate", mostUnanswered))
		return
	}
	e.send(c, at)
	if err := e.f.shared.Flush(c.Link); err != nil {
		e.f.lost(c, err)
	}
}

func (e *echoer) send(c *conn, at time.Duration) {
	if e.idAt > 0 {
		if c.id++; c.id == 0 {
			c.id = 1 // [MQTT-2.2.1-3]
		}
		binary.BigEndian.PutUint16(e.request[e.idAt:], c.id)
	}
	c.Queue(e.request)
	c.sent = append(c.sent, at)
}

func (e *echoer) packet(c *conn, h packet.Header, _ []byte) error {
	if h.Type != e.answer || len(c.sent) == 0 {
		return quiet{}.packet(c, h, nil)
	}
	e.f.count(c.sent[0])
	c.sent = slices.Delete(c.sent, 0, 1) // one, mostly
	if e.f.ticker == nil {
		e.send(c, now())
	}
	return nil
}

func (e *echoer) ready(*conn) error { return nil }
