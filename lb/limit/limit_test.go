package limit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestGateBoundsHolders(t *testing.T) {
	const limit, visitors = 3, 500
	var g Gate
	g.Set(limit)
	var in, most atomic.Int64
	var all sync.WaitGroup
	for range visitors {
		all.Go(func() {
			if err := g.Acquire(t.Context()); err != nil {
				t.Error(err)
				return
			}
			if n := in.Add(1); n > most.Load() {
				most.Store(n)
			}
			in.Add(-1)
			g.Release()
		})
	}
	all.Wait()
	if most.Load() > limit || g.used != 0 || g.waiting.Len() != 0 {
		t.Errorf("%d inside at once, %d left inside, %d waiting", most.Load(), g.used, g.waiting.Len())
	}
}

func TestGateServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		g.Set(1)
		g.Acquire(t.Context())
		var order []int
		for i := range 20 {
			go func() {
				g.Acquire(t.Context())
				order = append(order, i)
				g.Release()
			}()
			synctest.Wait()
		}
		g.Release()
		synctest.Wait()
		inTurn(t, order, 20)
	})
}

// inTurn checks that so many, who came in the order of their numbers from 0, were let in in that order.
func inTurn(t *testing.T, order []int, want int) {
	t.Helper()
	for i, n := range order {
		if i != n {
			t.Fatalf("let in in the order %v", order)
		}
	}
	if len(order) != want {
		t.Errorf("%d of %d were let in", len(order), want)
	}
}

func TestGateLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		g.Set(1)
		g.Acquire(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { failed <- g.Acquire(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("Acquire = %v, want context.Canceled", err)
		}
		g.Release()
		if err := g.Acquire(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestGateChangesItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		g.Set(1)
		g.Acquire(t.Context())
		var in atomic.Int64
		for range 5 {
			go func() {
				g.Acquire(t.Context())
				in.Add(1)
			}()
		}
		for _, step := range []struct {
			limit int
			want  int64
		}{{3, 2}, {1, 2}, {0, 5}} {
			g.Set(step.limit)
			synctest.Wait()
			if in.Load() != step.want {
				t.Errorf("with limit %d: %d let in, want %d", step.limit, in.Load(), step.want)
			}
		}
	})
}

func TestRate(t *testing.T) {
	r := Rate{Most: 2}
	start := time.Unix(1000, 0)
	for i, want := range []bool{true, true, false, false, false} {
		if ok, dropped := r.Allow(start.Add(time.Duration(i) * time.Millisecond)); ok != want || dropped != 0 {
			t.Errorf("call %d: %v, %d dropped", i, ok, dropped)
		}
	}
	if ok, dropped := r.Allow(start.Add(time.Second)); !ok || dropped != 3 {
		t.Errorf("a second later: %v, %d dropped, want 3", ok, dropped)
	}
}
