//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// A fan publishes to all connections but the last, which publishes. A publication is followed by another when everybody has it and, with
// QoS 1, it is acknowledged as well. It is a behaviour.
type fan struct {
	f     *fleet
	form  form
	last  uint64   // number of the last publication
	acked uint64   // of the last that was acknowledged
	came  []uint64 // of the last that each subscriber has
	left  []int    // deliveries, and with QoS 1 one acknowledgement, that are missing, by number modulo their length
}

// fanout runs publications to many.
func (f *fleet) fanout(ctx context.Context, stages Stages) error {
	if err := stages.Reach(ctx, StageStart, 0); err != nil {
		return err
	}
	if err := f.openAll(ctx, f.plan.Connections+1); err != nil {
		return err
	}
	name := fmt.Appendf(nil, "bench/%d/fan", os.Getpid())
	if err := f.join(ctx, f.plan.Connections, func(uint32) []byte { return name }); err != nil {
		return err
	}
	n := &fan{
		f: f, form: newForm(name, f.plan.QoS, f.plan.Size),
		came: make([]uint64, f.plan.Connections), left: make([]int, max(1, f.plan.InFlight)),
	}
	begin := func() error {
		f.behaviour = n
		for range n.left {
			if err := n.publish(); err != nil {
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

func (n *fan) publish() error {
	c := n.f.conns[n.f.plan.Connections]
	if c == nil {
		return errors.New("the publisher's connection has ended")
	}
	n.last++
	*n.missing(n.last) = n.f.plan.Connections + n.f.plan.QoS
	c.Queue(n.form.set(n.last, int64(now())))
	return n.f.shared.Flush(c.Link)
}

func (n *fan) missing(number uint64) *int { return &n.left[number%uint64(len(n.left))] }

func (n *fan) packet(c *conn, h packet.Header, whole []byte) error {
	switch publisher := int(c.key) == len(n.came); {
	case h.Type == packet.PUBLISH && !publisher:
		number, at, err := n.form.take(whole)
		if err != nil {
			return err
		}
		n.form.acknowledge(c, whole)
		if number != n.came[c.key]+1 || number > n.last {
			return fmt.Errorf("publication %d has come where %d was due, of %d", number, n.came[c.key]+1, n.last)
		}
		n.came[c.key] = number
		n.f.count(time.Duration(at))
		return n.settle(number)
	case h.Type == packet.PUBACK && publisher && n.acked < n.last:
		n.acked++
		if err := acknowledged(h, whole, n.acked); err != nil {
			return err
		}
		return n.settle(n.acked)
	}
	return quiet{}.packet(c, h, nil)
}

// settle notes that one thing less of a publication is missing. They are complete in their order, since each connection has them
// in order [MQTT-4.6.0-5], the acknowledgements too.
func (n *fan) settle(number uint64) error {
	left := n.missing(number)
	if *left--; *left > 0 {
		return nil
	}
	return n.publish()
}

func (n *fan) ready(*conn) error { return nil }
