package lb

import (
	"reflect"
	"testing"
)

// A conn that is given again is as new, and who had it before cannot end it.
func TestLiveSetUsesConnsAgain(t *testing.T) {
	s := &Server{}
	c := s.live.add()
	c.s, c.f = s, &frontend{door: newDoor("x")}
	ended := 0
	c.arrival = &arrival{}
	c.register(7, func() { ended++ })
	stale := s.live.all()
	if len(stale) != 1 || stale[0] != (handle{c, 7}) {
		t.Fatalf("the set has %v", stale)
	}
	c.reset()
	s.live.remove(c)
	if s.live.count() != 0 || len(s.live.chunks) != 1 {
		t.Errorf("%d connections are left, in %d chunks", s.live.count(), len(s.live.chunks))
	}

	again := s.live.add()
	fields := reflect.ValueOf(again).Elem()
	for i := range fields.NumField() {
		if name := fields.Type().Field(i).Name; !fields.Field(i).IsZero() && name != "place" {
			t.Errorf("%s is not as in a new conn", name)
		}
	}
	stale[0].close(Drained)
	stale[0].evict(nil, Drained)
	if again.closing || ended != 0 {
		t.Error("a handle of the connection that was there before has ended this one")
	}
}

// Places are filled from the front, so that what stays lies close together.
func TestLiveSetFillsGaps(t *testing.T) {
	var l liveSet
	var conns []*conn
	for range 3 * 64 {
		conns = append(conns, l.add())
	}
	for _, i := range []int{150, 70, 3} {
		l.remove(conns[i])
	}
	for _, want := range []uint32{3, 70, 150, 192} {
		if c := l.add(); c.place != want {
			t.Errorf("place %d was given, want %d", c.place, want)
		}
	}
	for i := 64; i < 128; i++ {
		l.remove(conns[i])
	}
	if l.chunks[1] != nil {
		t.Error("a chunk that nobody uses is kept")
	}
	for _, h := range l.everyone() {
		l.remove(h)
	}
	if len(l.chunks) != 1 || cap(l.chunks) != 1 || l.used != 0 {
		t.Errorf("of nothing %d chunks are left", len(l.chunks))
	}
}

// everyone is each conn that is given.
func (l *liveSet) everyone() []*conn {
	var list []*conn
	for _, k := range l.chunks {
		for i := range 64 {
			if k != nil && k.used>>i&1 == 1 {
				list = append(list, &k.conns[i])
			}
		}
	}
	return list
}
