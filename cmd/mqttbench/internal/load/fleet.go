//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/link"
	"github.com/mqttlb/mqttlb/internal/reactor"
)

// A behaviour is what a scenario does on the loop.
type behaviour interface {
	// packet takes what has come, but for the CONNACK. What it queues on c is flushed afterwards.
	packet(c *conn, h packet.Header, whole []byte) error
	// ready is called after everything that came has been taken and everything queued was written, as far as there was room.
	ready(c *conn) error
}

// A fleet is the connections of a run, on one loop. But for open, do and fail, everything is the loop's goroutine's.
type fleet struct {
	plan     Plan
	dialer   *dialer
	progress *Progress
	fail     context.CancelCauseFunc

	loop      *reactor.Loop
	shared    *link.Shared
	conns     []*conn // by key; nil until it is there
	behaviour behaviour
	ticker    *ticker // nil: none
	tally     *Tally
	measuring bool
}

// A conn is one connection.
type conn struct {
	*link.Link
	key     uint32
	up      chan<- error // told when it is complete, and nil then
	joining bool         // the CONNACK has come, and the SUBACK has not
	sent    []time.Duration
	id      uint16 // of the last PUBLISH
}

// quiet is the behaviour of connections that nothing is expected from.
type quiet struct{}

func (quiet) packet(_ *conn, h packet.Header, _ []byte) error {
	return fmt.Errorf("%v came, which nobody has asked for", h.Type)
}
func (quiet) ready(*conn) error { return nil }

// mostConns is how many connections a fleet has at most.
func (p Plan) mostConns() int {
	if p.Scenario == Pairs {
		return 2 * p.Connections
	}
	return p.Connections + 1 // with the publisher of Fanout
}

// runFleet runs every scenario but Connect.
func (p Plan) runFleet(ctx context.Context, d *dialer, stages Stages, progress *Progress) (*Tally, error) {
	loop, err := reactor.New()
	if err != nil {
		return nil, fmt.Errorf("open an event loop: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &fleet{
		plan: p, dialer: d, progress: progress, fail: cancel, loop: loop, shared: link.New(loop),
		conns: make([]*conn, p.mostConns()), behaviour: quiet{}, tally: NewTally(),
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := loop.Run(running, f); err != nil {
			cancel(err)
		}
	})
	switch p.Scenario {
	case Idle:
		err = f.idle(ctx, stages)
	case Echo:
		err = f.echo(ctx, stages)
	case Fanout:
		err = f.fanout(ctx, stages)
	case Pairs:
		err = f.pairs(ctx, stages)
	case Bulk:
		err = f.bulk(ctx, stages)
	}
	loop.Post(f.closeAll)
	stop()
	wg.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // the first thing that went wrong, and not what came of it
	}
	return f.tally, err
}

// open makes connections from to to-1, and returns when all are complete. From any goroutine but the loop's.
func (f *fleet) open(ctx context.Context, from, to int) error {
	outer := ctx
	g, ctx := errgroup.WithContext(outer)
	if f.plan.Concurrency > 0 {
		g.SetLimit(f.plan.Concurrency)
	}
	pace := newPace(f.plan.Rate)
	for i := from; i < to; i++ {
		if _, err := pace.wait(ctx); err != nil {
			break // the group's error is the reason, or the caller's context
		}
		g.Go(func() error {
			if err := f.connect(ctx, i); err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
			f.progress.Open.Add(1)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(outer)
}

// connect makes one connection.
func (f *fleet) connect(ctx context.Context, i int) error {
	l, err := f.dialer.link(ctx, i)
	if err != nil {
		return err
	}
	up := make(chan error, 1)
	if !f.loop.Post(func() { f.add(&conn{Link: l, key: uint32(i), up: up}) }) {
		_ = unix.Close(l.FD)
		return errors.New("the event loop has ended")
	}
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case err := <-up:
		return err
	case <-timeout.C:
		return fmt.Errorf("no answer within %v", Patience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fleet) add(c *conn) {
	f.conns[c.key] = c
	err := f.shared.Add(c.Link, c.key)
	if err == nil {
		c.Queue(f.dialer.connectPacket(int(c.key)))
		err = f.shared.Flush(c.Link)
	}
	if err != nil {
		f.lost(c, err)
	}
}

// connectPacket is the CONNECT of connection i: 3.1.1, as most devices speak, with an identifier that no other process has.
func (d *dialer) connectPacket(i int) []byte {
	c := packet.Connect{Version: packet.V311, CleanStart: true, KeepAlive: d.keepAlive, ClientID: fmt.Appendf(nil, "bench-%d-%d", os.Getpid(), i)}
	return c.Append(nil)
}

// Ready is the loop's.
func (f *fleet) Ready(key uint32, e reactor.Events) {
	if int(key) == len(f.conns) {
		f.ticker.ready()
		return
	}
	c := f.conns[key]
	err := f.shared.Receive(c.Link, key, e, f)
	if err == nil {
		err = f.shared.Flush(c.Link)
	}
	if err == nil && c.up == nil {
		err = f.behaviour.ready(c)
	}
	if err != nil {
		f.lost(c, err)
	}
}

// Expired is the loop's: there are no timers.
func (f *fleet) Expired(uint32) {}

// Packet is the link's.
func (f *fleet) Packet(key uint32, h packet.Header, whole []byte) error {
	c := f.conns[key]
	switch {
	case c.up == nil:
		return f.behaviour.packet(c, h, whole)
	case c.joining:
		if err := granted(h, whole, 0); err != nil {
			return err
		}
		c.complete()
		return nil
	}
	var answer packet.Connack
	if err := answer.Decode(packet.V311, h, whole[len(whole)-h.Remaining:]); err != nil {
		return err
	}
	if answer.Code != packet.Success {
		return fmt.Errorf("CONNECT is refused with code %#x", byte(answer.Code))
	}
	if f.plan.Subscribe {
		c.joining = true
		c.Queue(subscribePacket(topic(c.key), 0))
		return nil
	}
	c.complete()
	return nil
}

func (c *conn) complete() {
	c.up <- nil
	c.up = nil
}

// lost ends a connection, and the run: none may end before its time.
func (f *fleet) lost(c *conn, err error) {
	f.remove(c)
	if c.up != nil {
		c.up <- err
		return
	}
	f.progress.Open.Add(-1)
	f.fail(fmt.Errorf("connection %d ended before its time: %w", c.key, err))
}

func (f *fleet) remove(c *conn) {
	f.shared.Close(c.Link)
	f.conns[c.key] = nil
}

// closeAll says DISCONNECT on every connection, and closes it.
func (f *fleet) closeAll() {
	bye := (&packet.Disconnect{}).Append(nil, packet.V311)
	for _, c := range f.conns {
		if c == nil {
			continue
		}
		if c.up == nil && c.Backlog() == 0 {
			c.Queue(bye)
			_ = f.shared.Flush(c.Link) // it is the end anyway
		}
		f.remove(c)
	}
	if f.ticker != nil {
		f.ticker.close()
	}
}

// do runs a function on the loop, and waits for it. Its error is the function's.
func (f *fleet) do(ctx context.Context, step func() error) error {
	done := make(chan error, 1)
	if !f.loop.Post(func() { done <- step() }) {
		return errors.New("the event loop has ended")
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// measure has the load, which goes on by itself, measured for the plan's time.
func (f *fleet) measure(ctx context.Context, stages Stages) error {
	if err := sleep(ctx, f.plan.Warmup); err != nil {
		return err
	}
	if err := stages.Reach(ctx, StageBegin, 0); err != nil {
		return err
	}
	set := func(on bool) error {
		return f.do(ctx, func() error { f.measuring = on; return nil })
	}
	if err := set(true); err != nil {
		return err
	}
	if err := sleep(ctx, f.plan.Duration); err != nil {
		return err
	}
	if err := set(false); err != nil {
		return err
	}
	return stages.Reach(ctx, StageEnd, 0)
}

// count counts one unit, if it is the time.
func (f *fleet) count(since time.Duration) {
	f.progress.Units.Add(1)
	if f.measuring {
		f.tally.Units++
		f.tally.record(now() - since)
	}
}
