//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/internal/reactor"
)

// now is the monotonic clock of this process. Times of one process mean nothing in another.
func now() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it cannot fail for a clock that exists
	return time.Duration(t.Nano())
}

// sleep waits, or returns why the run has ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A pace says when the next of a series is due, for goroutines: late by up to a millisecond, and never slower in the long run.
type pace struct {
	every time.Duration // 0: at once
	next  time.Time
}

func newPace(rate float64) *pace {
	p := &pace{next: time.Now()}
	if rate > 0 {
		p.every = time.Duration(float64(time.Second) / rate)
	}
	return p
}

// wait returns when the next is due, and when that was.
func (p *pace) wait(ctx context.Context) (due time.Time, err error) {
	if p.every == 0 {
		return time.Now(), context.Cause(ctx)
	}
	due = p.next
	p.next = due.Add(p.every)
	return due, sleep(ctx, time.Until(due))
}

// shortest is the shortest period of a ticker: at higher rates several units are due at a time.
const shortest = 100 * time.Microsecond

// A ticker calls a function on the loop for each unit that is due. It is a timerfd, which the kernel lets expire to the microsecond.
type ticker struct {
	fd    int
	ref   reactor.Ref
	loop  *reactor.Loop
	every float64 // nanoseconds
	begun time.Duration
	n     float64 // units that were due
	due   func(at time.Duration)
}

// newTicker calls due rate times a second, with the time at which each should have been. For the loop's goroutine.
func newTicker(loop *reactor.Loop, key uint32, rate float64, due func(at time.Duration)) (*ticker, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	t := &ticker{fd: fd, loop: loop, every: float64(time.Second) / rate, begun: now(), due: due}
	period := unix.NsecToTimespec(max(int64(t.every), int64(shortest)))
	if err = unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: period, Value: period}, nil); err == nil {
		t.ref, err = loop.Add(fd, key)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("start a timer: %w", err)
	}
	return t, nil
}

func (t *ticker) ready() {
	var expirations [8]byte
	if n, err := reactor.Read(t.fd, expirations[:]); err != nil || n < 8 || binary.NativeEndian.Uint64(expirations[:]) == 0 {
		return // told of it twice
	}
	for {
		at := t.begun + time.Duration((t.n+1)*t.every)
		if at > now() {
			return
		}
		t.n++
		t.due(at)
	}
}

func (t *ticker) close() {
	t.loop.Remove(t.ref)
	_ = unix.Close(t.fd)
}
