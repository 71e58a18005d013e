//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// idle opens connections and leaves them alone.
func (f *fleet) idle(ctx context.Context, stages Stages) error {
	if err := stages.Reach(ctx, StageStart, 0); err != nil {
		return err
	}
	if f.plan.Storm > 0 {
		s := storm{plan: f.plan, dialer: f.dialer, progress: f.progress, most: f.plan.Storm, tally: NewTally()}
		if err := s.run(ctx, ctx); err != nil {
			return fmt.Errorf("storm of short connections: %w", err)
		}
	}
	opened := 0
	for i, n := range f.plan.Curve {
		if err := f.open(ctx, opened, n); err != nil {
			return err
		}
		opened = n
		if err := stages.Reach(ctx, StageAt(i), f.plan.Settle); err != nil {
			return err
		}
	}
	if err := f.open(ctx, opened, f.plan.Connections); err != nil {
		return err
	}
	f.tally.Units = uint64(f.plan.Connections)
	if err := stages.Reach(ctx, StageConnected, f.plan.Settle); err != nil {
		return err
	}
	if f.plan.Traffic > 0 {
		if err := f.traffic(ctx); err != nil {
			return err
		}
		if err := stages.Reach(ctx, StageTraffic, f.plan.Settle); err != nil {
			return err
		}
	}
	if err := stages.Reach(ctx, StageBegin, 0); err != nil {
		return err
	}
	if err := sleep(ctx, f.plan.Duration); err != nil {
		return err
	}
	return stages.Reach(ctx, StageEnd, 0)
}

// window is how many connections have their traffic at a time.
const window = 256

// A lap has each connection subscribe to a topic of its own, unless it has already, and publish to it once: what goes in comes out again.
// It is a behaviour.
type lap struct {
	f    *fleet
	next int // who is to begin next
	left int
	done chan struct{}
}

// traffic runs one lap.
func (f *fleet) traffic(ctx context.Context) error {
	l := &lap{f: f, left: f.plan.Connections, done: make(chan struct{})}
	begin := func() error {
		f.behaviour = l
		for range min(window, f.plan.Connections) {
			if err := l.begin(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := f.do(ctx, begin); err != nil {
		return err
	}
	return await(ctx, l.done, "the traffic on every connection")
}

// await waits for the other side to have answered, with patience.
func await(ctx context.Context, done <-chan struct{}, what string) error {
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case <-done:
		return nil
	case <-timeout.C:
		return fmt.Errorf("%s is not complete after %v", what, Patience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin lets the next connection, if there is one, begin its lap.
func (l *lap) begin() error {
	if l.next == l.f.plan.Connections {
		return nil
	}
	c := l.f.conns[l.next]
	l.next++
	if c == nil {
		return errors.New("a connection has ended") // and the run with it
	}
	if l.f.plan.Subscribe {
		l.publish(c)
	} else {
		c.Queue(subscribePacket(topic(c.key), 0))
	}
	return l.f.shared.Flush(c.Link)
}

func (l *lap) publish(c *conn) {
	m := packet.Publish{Topic: topic(c.key), Payload: make([]byte, l.f.plan.Traffic)}
	c.Queue(m.Append(nil, packet.V311))
}

func (l *lap) packet(c *conn, h packet.Header, whole []byte) error {
	switch h.Type {
	case packet.SUBACK:
		l.publish(c)
		return granted(h, whole, 0)
	case packet.PUBLISH:
		if l.left--; l.left == 0 {
			close(l.done)
		}
		return l.begin()
	}
	return quiet{}.packet(c, h, nil)
}

func (l *lap) ready(*conn) error { return nil }
