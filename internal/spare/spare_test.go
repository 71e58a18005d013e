package spare

import (
	"context"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"
)

const size = 64 << 20

// released is how much of the heap the system has got back, in bytes.
func released() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// use takes memory, and lets go of it.
func use() {
	held := make([][]byte, size>>16)
	for i := range held {
		held[i] = make([]byte, 1<<16)
		held[i][0] = 1
	}
	runtime.KeepAlive(held)
}

func TestReturnsWhenQuiet(t *testing.T) {
	use()
	before := released()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var calls atomic.Uint64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Return(ctx, func() uint64 { // a busy second, and then none
			if calls.Add(1) == 1 {
				return 0
			}
			return 1 << 20
		})
	}()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for released() < before+size/2 {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("%d bytes were given back before, %d now: %d are in vain", before, released(), size)
		}
	}
	cancel()
	<-ended
}

func TestDoesNothingWhileBusy(t *testing.T) {
	use() // so that there is something to give back
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Uint64
	ended := make(chan struct{})
	enough := make(chan struct{})
	go func() {
		defer close(ended)
		Return(ctx, func() uint64 {
			n := calls.Add(1)
			if n == 4 { // after three rounds
				close(enough)
			}
			return n * busy
		})
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	<-enough
	runtime.ReadMemStats(&after)
	cancel()
	<-ended
	if n := after.NumForcedGC - before.NumForcedGC; n != 0 {
		t.Errorf("%d collections in busy seconds, want none", n)
	}
}
