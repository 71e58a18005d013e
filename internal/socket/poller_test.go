//go:build linux

package socket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

func TestPollerClose(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	ln := port(t, p)
	waiting, peer := pair(t, p, ln)
	fresh, freshPeer := pair(t, p, ln)
	write(t, freshPeer, "abc")
	read := later(func() string { return result(waiting.Read(make([]byte, 1))) })
	parked(t, waiting, false)

	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ got, want string }{
		{get(t, read), "0 read closed"},
		{result(fresh.Read(make([]byte, 1))), "0 read closed"}, // though there is data
		{result(fresh.Write([]byte("x"))), "0 write closed"},
		{describe(fresh.Close()), "ok"},
	} {
		if r.got != r.want {
			t.Errorf("got %q, want %q", r.got, r.want)
		}
	}
	if err := p.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if _, err := p.Dial(t.Context(), ln.Addr().String(), net.KeepAliveConfig{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial after Close: %v", err)
	}
	fd, err := peer.Detach()
	if err != nil {
		t.Fatalf("Detach after the poller's Close: %v", err)
	}
	unix.Close(fd)
}

func TestPollerClosesWhileUsed(t *testing.T) {
	leaktest.Check(t)
	for range 20 {
		p := open(t)
		ln := port(t, p)
		var all sync.WaitGroup
		for range 8 {
			a, b := pair(t, p, ln)
			all.Go(func() { io.Copy(a, b) })
			all.Go(func() { io.Copy(b, a) })
			a.Write([]byte("round and round"))
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
	}
}

// TestManyWait has thousands wait at once, wakes each, and looks at what a connection costs.
func TestManyWait(t *testing.T) {
	leaktest.Check(t)
	const pairs = 2000
	p := open(t)
	ln := port(t, p)
	results := make(chan error, pairs)
	conns := make([]*Conn, pairs)
	peers := make([]*Conn, pairs)
	for i := range pairs {
		conns[i], peers[i] = pair(t, p, ln)
		conns[i].SetReadDeadline(time.Now().Add(patience))
		go func() {
			var b [8]byte
			_, err := conns[i].Read(b[:])
			if got := binary.BigEndian.Uint64(b[:]); err == nil && got != uint64(i) {
				err = fmt.Errorf("connection %d read what was sent to %d", i, got)
			}
			results <- err
		}()
	}
	for _, c := range conns {
		parked(t, c, false)
	}
	for i, c := range peers {
		write(t, c, string(binary.BigEndian.AppendUint64(nil, uint64(i))))
	}
	for range pairs {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	if size := unsafe.Sizeof(Conn{}); size > 200 {
		t.Errorf("a Conn has %d bytes", size)
	}
	for _, c := range conns {
		if c.in.waiter.Load() != nil || c.out.waiter.Load() != nil {
			t.Fatal("a connection that nobody waits for has a waiter")
		}
	}
	if n := len(p.slots); n > 2*pairs+2 {
		t.Errorf("%d slots for %d connections", n, 2*pairs)
	}
}

// TestNoWakeUpIsLost plays ping-pong over many connections at once, so that events come in while others are taken.
// A single wake-up that is lost ends in a timeout.
func TestNoWakeUpIsLost(t *testing.T) {
	leaktest.Check(t)
	const pairs, rounds = 150, 300
	p := open(t)
	ln := port(t, p)
	results := make(chan error, 2*pairs)
	for range pairs {
		a, b := pair(t, p, ln)
		for i, c := range []*Conn{a, b} {
			c.SetDeadline(time.Now().Add(2 * patience))
			go func() { results <- pingPong(c, rounds, i == 0) }()
		}
	}
	for range 2 * pairs {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
}

// pingPong serves, or answers.
func pingPong(c net.Conn, rounds int, serve bool) error {
	var b [1]byte
	steps := []func([]byte) (int, error){c.Read, c.Write}
	if serve {
		steps = []func([]byte) (int, error){c.Write, c.Read}
	}
	for i := range rounds {
		for _, step := range steps {
			if _, err := step(b[:]); err != nil {
				return fmt.Errorf("round %d: %w", i, err)
			}
		}
	}
	return nil
}

func TestStaleEventWakesNobody(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	ln := port(t, p)
	old, _ := pair(t, p, ln)
	if err := p.watch(old); err != nil {
		t.Fatal(err)
	}
	slot := old.slot.Load()
	stale := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(slot), Pad: int32(p.slots[slot].generation)}
	old.Close()

	fresh, _ := pair(t, p, ln)
	if err := p.watch(fresh); err != nil {
		t.Fatal(err)
	}
	if fresh.slot.Load() != slot {
		t.Fatalf("slot %d is not used again, but %d", slot, fresh.slot.Load())
	}
	var b batch
	b.events[0] = stale
	p.deliver(&b, 1)
	if fresh.in.ready.Load() {
		t.Error("an event of the slot's last user reached the new one")
	}
	b.events[0].Pad++
	p.deliver(&b, 1)
	if !fresh.in.ready.Load() {
		t.Error("an event of the right generation did not arrive")
	}
}

// TestDescriptorsAreReused opens and closes connections as fast as it can, in the middle of waits and of data, so that numbers come
// back at once. Each must see its own bytes and nothing else, and no number may be closed twice.
func TestDescriptorsAreReused(t *testing.T) {
	leaktest.Check(t)
	const workers, rounds = 8, 150
	p := open(t)
	ln := port(t, p)
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(ln)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range rounds {
				if err := useOnce(ctx, p, ln.Addr().String(), uint64(w*rounds+i)); err != nil {
					t.Errorf("worker %d, round %d: %v", w, i, err)
					return
				}
			}
		})
	}
	all.Wait()
	ln.Close()
	<-served
}

// serve echoes each connection of ln until ln is closed and all have ended.
func serve(ln net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			leaktest.Copy(c, c)
		})
	}
}

// useOnce sends id twice, reads it once, and closes in one of several ways while a Read waits or the rest arrives.
func useOnce(ctx context.Context, p *Poller, address string, id uint64) error {
	nc, err := p.Dial(ctx, address, net.KeepAliveConfig{})
	if err != nil {
		return err
	}
	c := nc.(*Conn)
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	b := binary.BigEndian.AppendUint64(nil, id)
	if _, err := c.Write(append(b, b...)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if got := binary.BigEndian.Uint64(b); got != id {
		return fmt.Errorf("sent %d, got %d", id, got)
	}
	read := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = c.Read(make([]byte, 100))
		}
		read <- err
	}()
	switch id % 3 {
	case 0:
		c.SetLinger(0)
	case 1:
		runtime.Gosched()
	}
	if id%2 == 0 {
		c.Close()
	} else {
		fd, err := c.Detach()
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("the read under way ended with %w", err)
	}
	return nil
}
