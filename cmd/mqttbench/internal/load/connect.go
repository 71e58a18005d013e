//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// A storm is short connections, one after the other or several at a time.
type storm struct {
	plan     Plan
	dialer   *dialer
	progress *Progress
	most     int // that are made; 0: until the context ends

	begun     atomic.Int64
	measuring atomic.Bool
	mu        sync.Mutex // guards tally
	tally     *Tally
}

// maxAnswer bounds a CONNACK, in bytes.
const maxAnswer = 1 << 10

// defaultConcurrency is how many connections are under way when the plan does not say.
const defaultConcurrency = 32

// runConnect runs the scenario Connect.
func (p Plan) runConnect(ctx context.Context, d *dialer, stages Stages, progress *Progress) (*Tally, error) {
	s := &storm{plan: p, dialer: d, progress: progress, tally: NewTally()}
	if p.Resume {
		d.tls.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	}
	if err := stages.Reach(ctx, StageStart, 0); err != nil {
		return nil, err
	}
	if err := s.once(ctx, 0, time.Now()); err != nil { // what does not work is told at once, and a session is there to be resumed
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(ctx)
	g.Go(func() error { return s.run(ctx, running) })
	g.Go(func() error {
		defer stop()
		return s.measure(ctx, stages)
	})
	err := g.Wait()
	return s.tally, err
}

func (s *storm) measure(ctx context.Context, stages Stages) error {
	if err := sleep(ctx, s.plan.Warmup); err != nil {
		return err
	}
	if err := stages.Reach(ctx, StageBegin, 0); err != nil {
		return err
	}
	s.measuring.Store(true)
	if err := sleep(ctx, s.plan.Duration); err != nil {
		return err
	}
	s.measuring.Store(false)
	return stages.Reach(ctx, StageEnd, 0)
}

// run makes connections until there were enough of them or running is done. Those that are under way then are completed, unless ctx is
// done as well.
func (s *storm) run(ctx, running context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if s.plan.Rate > 0 {
		g.SetLimit(max(s.concurrency(), int(s.plan.Rate))) // a second's worth: whoever is late holds nobody up
		pace := newPace(s.plan.Rate)
		for i := 1; s.most == 0 || i <= s.most; i++ {
			due, err := pace.wait(running)
			if err != nil || ctx.Err() != nil {
				break
			}
			g.Go(func() error { return s.once(ctx, i, due) })
		}
		return g.Wait()
	}
	for range s.concurrency() {
		g.Go(func() error {
			for running.Err() == nil && ctx.Err() == nil {
				i := int(s.begun.Add(1))
				if s.most > 0 && i > s.most {
					return nil
				}
				if err := s.once(ctx, i, time.Now()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *storm) concurrency() int {
	if s.plan.Concurrency > 0 {
		return s.plan.Concurrency
	}
	return defaultConcurrency
}

// once makes connection i, and ends it. Its latency is the time from when it was due to the CONNACK.
func (s *storm) once(ctx context.Context, i int, due time.Time) error {
	s.progress.Open.Add(1)
	defer s.progress.Open.Add(-1)
	connected, err := s.exchange(ctx, i)
	if err != nil {
		return fmt.Errorf("connection %d: %w", i, err)
	}
	s.progress.Units.Add(1)
	if s.measuring.Load() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tally.Units++
		s.tally.record(connected.Sub(due))
	}
	return nil
}

// exchange is one connection, from TCP's handshake to DISCONNECT; it returns when CONNACK came.
func (s *storm) exchange(ctx context.Context, i int) (connected time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	tcp, err := s.dialer.tcp(ctx, i)
	if err != nil {
		return time.Time{}, err
	}
	defer tcp.Close()
	var c net.Conn = tcp
	if s.dialer.tls != nil {
		client := tls.Client(tcp, s.dialer.tls)
		defer client.CloseWrite() // close_notify
		if err := client.HandshakeContext(ctx); err != nil {
			return time.Time{}, fmt.Errorf("TLS handshake: %w", err)
		}
		if s.plan.Resume && i > 0 && !client.ConnectionState().DidResume {
			return time.Time{}, errors.New("the TLS session was not resumed: does the other side give tickets?")
		}
		c = client
	}
	unhook := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Now()) })
	defer unhook()
	if _, err := c.Write(s.dialer.connectPacket(i)); err != nil {
		return time.Time{}, fmt.Errorf("send CONNECT: %w", err)
	}
	r := packet.NewReader(c, maxAnswer)
	h, body, err := r.Next()
	if err != nil {
		return time.Time{}, fmt.Errorf("wait for CONNACK: %w", err)
	}
	connected = time.Now()
	var answer packet.Connack
	if err := answer.Decode(packet.V311, h, body); err != nil {
		return time.Time{}, err
	}
	if answer.Code != packet.Success {
		return time.Time{}, fmt.Errorf("CONNECT is refused with code %#x", byte(answer.Code))
	}
	if _, err := c.Write((&packet.Disconnect{}).Append(nil, packet.V311)); err != nil {
		return time.Time{}, fmt.Errorf("send DISCONNECT: %w", err)
	}
	return connected, nil
}
