package lb

import (
	"testing"
	"time"
)

// A listener that could not accept is ready again by itself: a load balancer above that goes by /readyz sends nobody
// whose arrival could show it.
func TestDoorRecoversByItself(t *testing.T) {
	d, now := newDoor("mqtts"), time.Now()
	if !d.accepts(now) {
		t.Error("a new door does not accept")
	}
	d.failing.Store(now.UnixNano())
	if d.accepts(now) || d.accepts(now.Add(failingFor)) {
		t.Error("a door accepts right after a failure")
	}
	if !d.accepts(now.Add(failingFor + time.Nanosecond)) {
		t.Error("a door does not accept though nothing has failed for a while")
	}
}
