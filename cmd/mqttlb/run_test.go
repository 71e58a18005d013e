package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Durations are readable in both formats.
func TestLogDurations(t *testing.T) {
	for format, want := range map[string]string{"json": `"took":"48ms"`, "text": "took=48ms"} {
		var out bytes.Buffer
		newLog(&out, format, slog.LevelInfo).Info("done", "took", 48*time.Millisecond)
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: got %s, want %s", format, out.String(), want)
		}
	}
}

// Signals that come while a reload is waiting are one with it: none blocks, and none is lost.
func TestAsk(t *testing.T) {
	asked := make(chan struct{}, 1)
	for range 100 {
		ask(asked)
	}
	<-asked
	select {
	case <-asked:
		t.Error("a second reload is waiting")
	default:
	}
	ask(asked)
	if len(asked) != 1 {
		t.Error("a signal after the reload has begun was lost")
	}
}
