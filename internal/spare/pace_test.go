package spare

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPercentOf(t *testing.T) {
	for _, tt := range []struct {
		live, roots uint64 // MiB
		want        int
	}{
		{0, 0, 300}, {1, 0, 300}, {4, 0, 300}, {6, 0, 200}, {5, 1, 200}, {11, 1, 100}, {12, 0, 100}, {100, 0, 100},
		{6, 18, 50},      // a storm: twelve megabytes
		{300, 100, 75},   // a storm beside a million connections: three hundred
		{1, 1 << 10, 20}, // nothing sensible
		{1 << 30, 0, 100},
	} {
		if got := percentOf(tt.live<<20, tt.roots<<20); got != tt.want {
			t.Errorf("with %d MiB that live, and %d on stacks: %d, want %d", tt.live, tt.roots, got, tt.want)
		}
	}
}

// read is the value of a metric.
func read(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// collect waits until the percentage is as it must be, and has garbage collected for that.
func collect(t *testing.T, what string, ok func(percent uint64) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(read("/gc/gogc:percent")); runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: GOGC is %d", what, read("/gc/gogc:percent"))
		}
	}
}

// waste allocates so many bytes of garbage, and returns how often that was collected.
func waste(bytes int) uint64 {
	before := read("/gc/cycles/total:gc-cycles")
	var held []byte
	for ; bytes > 0; bytes -= 4096 {
		held = make([]byte, 4096)
	}
	runtime.KeepAlive(held)
	return read("/gc/cycles/total:gc-cycles") - before
}

func TestPace(t *testing.T) {
	if value, set := os.LookupEnv("GOGC"); set {
		os.Unsetenv("GOGC")
		defer os.Setenv("GOGC", value)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Pace(ctx)
	}()
	collect(t, "while little lives", func(percent uint64) bool { return percent >= 200 })
	// Once for each stride, and some for what lives meanwhile; without Pace 24 times, but fewer where the collector lacks a CPU.
	if times := waste(96 << 20); times > 96<<20/stride*3/2 {
		t.Errorf("96 MB were collected %d times", times)
	}
	alive := make([]byte, 64<<20)
	collect(t, "while 64 MB live", func(percent uint64) bool { return percent > 80 && percent <= 100 })
	runtime.KeepAlive(alive)
	collect(t, "when they are gone", func(percent uint64) bool { return percent >= 200 })
	cancel()
	<-ended
	if percent := read("/gc/gogc:percent"); percent != 100 {
		t.Errorf("at the end GOGC is %d", percent)
	}
	runtime.GC()
	runtime.GC()
	if percent := read("/gc/gogc:percent"); percent != 100 {
		t.Errorf("after the end GOGC became %d", percent)
	}
}

// What the operator has set is left alone.
func TestPaceObeysGOGC(t *testing.T) {
	t.Setenv("GOGC", "150") // for Pace alone: the runtime has read it long ago
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Pace(ctx)
	}()
	before := read("/gc/gogc:percent")
	runtime.GC()
	cancel()
	<-ended
	if percent := read("/gc/gogc:percent"); percent != before {
		t.Errorf("GOGC became %d", percent)
	}
}
