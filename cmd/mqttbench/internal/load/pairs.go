//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// A couple is a publisher and the one subscriber of its topic.
type couple struct {
	form  form
	sent  uint64 // number of the last message, from 1 on
	came  uint64 // of the last that was delivered
	acked uint64 // of the last that was acknowledged to the publisher; with QoS 0 of the last
}

// couples publish each from one to one: in closed loop, where a message is followed by another when it was delivered and, with QoS 1,
// acknowledged, or at the pace of a ticker, whatever comes. Connection i subscribes, and as many further on its publisher
// publishes. It is a behaviour.
type couples struct {
	f    *fleet
	list []couple
	next int // whose turn it is, of a pace
}

// pairs runs messages from one to one.
func (f *fleet) pairs(ctx context.Context, stages Stages) error {
	if err := stages.Reach(ctx, StageStart, 0); err != nil {
		return err
	}
	n := f.plan.Connections
	if err := f.openAll(ctx, 2*n); err != nil {
		return err
	}
	if err := f.join(ctx, n, topic); err != nil {
		return err
	}
	p := &couples{f: f, list: make([]couple, n)}
	for i := range p.list {
		p.list[i].form = newForm(topic(uint32(i)), f.plan.QoS, f.plan.Size)
	}
	begin := func() (err error) {
		f.behaviour = p
		if f.plan.Rate > 0 {
			f.ticker, err = newTicker(f.loop, uint32(len(f.conns)), f.plan.Rate, p.due)
			return err
		}
		for i := range p.list {
			p.publish(i, now())
		}
		return nil
	}
	if err := f.do(ctx, begin); err != nil {
		return err
	}
	return f.measure(ctx, stages)
}

// due publishes the message that is due.
func (p *couples) due(at time.Duration) {
	i := p.next
	p.next = (p.next + 1) % len(p.list)
	k := &p.list[i]
	if k.sent-min(k.came, k.acked) >= mostUnanswered {
		p.f.fail(fmt.Errorf("%d messages of one publisher are not delivered or not acknowledged: lower --rate", mostUnanswered))
		return
	}
	p.publish(i, at)
}

// publish sends the next message of couple i. What goes wrong is the publisher's connection, whoever has asked for it.
func (p *couples) publish(i int, at time.Duration) {
	c, k := p.f.conns[len(p.list)+i], &p.list[i]
	if c == nil {
		return // and the run is over
	}
	k.sent++
	if p.f.plan.QoS == 0 {
		k.acked = k.sent
	}
	c.Queue(k.form.set(k.sent, int64(at)))
	if err := p.f.shared.Flush(c.Link); err != nil {
		p.f.lost(c, err)
	}
}

func (p *couples) packet(c *conn, h packet.Header, whole []byte) error {
	i := int(c.key)
	switch publisher := i >= len(p.list); {
	case h.Type == packet.PUBLISH && !publisher:
		k := &p.list[i]
		number, at, err := k.form.take(whole)
		if err != nil {
			return err
		}
		k.form.acknowledge(c, whole)
		if number != k.came+1 || number > k.sent {
			return fmt.Errorf("message %d has come where %d was due: does the other side drop some? Lower --rate", number, k.came+1)
		}
		k.came = number
		p.f.count(time.Duration(at))
		p.settle(i)
		return nil
	case h.Type == packet.PUBACK && publisher:
		i -= len(p.list)
		k := &p.list[i]
		if k.acked == k.sent {
			return errors.New("a PUBACK has come for nothing")
		}
		k.acked++
		if err := acknowledged(h, whole, k.acked); err != nil {
			return err
		}
		p.settle(i)
		return nil
	}
	return quiet{}.packet(c, h, nil)
}

// settle lets couple i go on, in closed loop, if nothing of it is under way.
func (p *couples) settle(i int) {
	if k := &p.list[i]; p.f.ticker == nil && k.came == k.sent && k.acked == k.sent {
		p.publish(i, now())
	}
}

func (p *couples) ready(*conn) error { return nil }
