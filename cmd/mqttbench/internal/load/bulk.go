//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/reactor"
)

// A pump writes PUBLISH packets to a topic that nobody has subscribed to, as fast as there is room. It is a behaviour.
type pump struct {
	f       *fleet
	form    []byte
	running bool
	pongs   int // that are missing
	drained chan struct{}
}

// bulk runs a stream of messages on each connection. What is measured begins and ends with PINGREQ and its answer on each: when nothing is
// under way.
func (f *fleet) bulk(ctx context.Context, stages Stages) error {
	if err := stages.Reach(ctx, StageStart, 0); err != nil {
		return err
	}
	if err := f.openAll(ctx, f.plan.Connections); err != nil {
		return err
	}
	m := packet.Publish{Topic: fmt.Appendf(nil, "bench/%d/bulk", os.Getpid()), Payload: make([]byte, f.plan.Size)}
	p := &pump{f: f, form: m.Append(nil, packet.V311)}
	if err := p.stream(ctx, f.plan.Warmup); err != nil {
		return err
	}
	if err := f.do(ctx, func() error { f.tally = NewTally(); return nil }); err != nil {
		return err
	}
	if err := stages.Reach(ctx, StageBegin, 0); err != nil {
		return err
	}
	if err := p.stream(ctx, f.plan.Duration); err != nil {
		return err
	}
	return stages.Reach(ctx, StageEnd, 0)
}

// stream lets the pump run for some time, and returns when all that it has sent was received.
func (p *pump) stream(ctx context.Context, d time.Duration) error {
	begin := func() error {
		p.f.behaviour, p.running = p, true
		return p.each(func(c *conn) error {
			c.Record = len(p.form) // a client writes its messages one by one
			return p.ready(c)
		})
	}
	if err := p.f.do(ctx, begin); err != nil {
		return err
	}
	if err := sleep(ctx, d); err != nil {
		return err
	}
	drained := make(chan struct{})
	end := func() error {
		p.running, p.pongs, p.drained = false, p.f.plan.Connections, drained
		return p.each(func(c *conn) error {
			c.Queue(packet.AppendPingreq(nil))
			return p.f.shared.Flush(c.Link)
		})
	}
	if err := p.f.do(ctx, end); err != nil {
		return err
	}
	return await(ctx, drained, "the answer behind the last message")
}

func (p *pump) each(step func(c *conn) error) error {
	for _, c := range p.f.conns[:p.f.plan.Connections] {
		if c == nil {
			return errors.New("a connection has ended")
		}
		if err := step(c); err != nil {
			return err
		}
	}
	return nil
}

func (p *pump) packet(c *conn, h packet.Header, _ []byte) error {
	if h.Type != packet.PINGRESP || p.pongs == 0 {
		return quiet{}.packet(c, h, nil)
	}
	if p.pongs--; p.pongs == 0 {
		close(p.drained)
	}
	return nil
}

// portion is how many bytes are queued before they are flushed: what one write of four records takes.
const portion = 64 << 10

// ready fills the socket, for as long as a turn may take.
func (p *pump) ready(c *conn) error {
	for moved := 0; p.running && c.Backlog() == 0; {
		if moved >= reactor.Budget {
			p.f.shared.Again(c.Link)
			return nil
		}
		for c.Backlog() < portion {
			c.Queue(p.form)
			moved += len(p.form)
			p.f.tally.Units++
			p.f.tally.Bytes += uint64(len(p.form))
			p.f.progress.Units.Add(1)
		}
		if err := p.f.shared.Flush(c.Link); err != nil {
			return err
		}
	}
	return nil
}
