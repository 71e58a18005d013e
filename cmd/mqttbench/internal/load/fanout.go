//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// stamp is how many bytes of each payload are ours: when it was published, and its number.
const stamp = 16

// A fan publishes to all connections but the last, which publishes. A publication is followed by another when everybody has it. It is a
// behaviour.
type fan struct {
	f      *fleet
	joint  int // connections that have subscribed
	joined chan struct{}
	form   []byte // the PUBLISH
	last   uint64 // number of the last publication
	left   []int  // deliveries that are missing, by number modulo their length
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
	m := packet.Publish{Topic: name, Payload: make([]byte, max(stamp, f.plan.Size))}
	n := &fan{f: f, joined: make(chan struct{}), form: m.Append(nil, packet.V311), left: make([]int, max(1, f.plan.InFlight))}
	join := func() error {
		f.behaviour = n
		for _, c := range f.conns[:f.plan.Connections] {
			if c == nil {
				return errors.New("a connection has ended")
			}
			c.Queue(subscribePacket(name))
			if err := f.shared.Flush(c.Link); err != nil {
				return err
			}
		}
		return nil
	}
	if err := f.do(ctx, join); err != nil {
		return err
	}
	if err := await(ctx, n.joined, "the subscription on every connection"); err != nil {
		return err
	}
	begin := func() error {
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
	n.left[n.last%uint64(len(n.left))] = n.f.plan.Connections
	p := n.form[len(n.form)-max(stamp, n.f.plan.Size):]
	binary.BigEndian.PutUint64(p, uint64(now()))
	binary.BigEndian.PutUint64(p[8:], n.last)
	c.Queue(n.form)
	return n.f.shared.Flush(c.Link)
}

func (n *fan) packet(c *conn, h packet.Header, whole []byte) error {
	switch h.Type {
	case packet.SUBACK:
		if n.joint++; n.joint == n.f.plan.Connections {
			close(n.joined)
		}
		return nil
	case packet.PUBLISH:
		if len(whole) != len(n.form) {
			return fmt.Errorf("a PUBLISH of %d bytes has come, %d were sent", len(whole), len(n.form))
		}
		p := whole[len(whole)-max(stamp, n.f.plan.Size):]
		at, number := binary.BigEndian.Uint64(p), binary.BigEndian.Uint64(p[8:])
		left := &n.left[number%uint64(len(n.left))]
		if *left == 0 || number > n.last {
			return fmt.Errorf("publication %d has come more often than it was sent", number)
		}
		n.f.count(time.Duration(at))
		if *left--; *left == 0 {
			return n.publish()
		}
		return nil
	}
	return quiet{}.packet(c, h, nil)
}

func (n *fan) ready(*conn) error { return nil }
