//go:build linux

package relay

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// A reference finds its own session, and nothing once that has ended, whoever has its place then.
func TestSessionReferences(t *testing.T) {
	var table sessions
	old := table.add(session{slot: 1})
	other := table.add(session{slot: 2})
	if s := table.find(old); s == nil || s.slot != 1 {
		t.Fatalf("found %v", s)
	}
	table.remove(uint32(old))
	if s := table.find(old); s != nil {
		t.Errorf("found %v, which has ended", s)
	}
	again := table.add(session{slot: 3})
	if uint32(again) != uint32(old) {
		t.Errorf("place %d, want %d again: the test shows nothing", uint32(again), uint32(old))
	}
	if s := table.find(old); s != nil {
		t.Errorf("an old reference found %v", s)
	}
	if s := table.find(again); s == nil || s.slot != 3 {
		t.Errorf("found %v", s)
	}
	if s := table.find(other); s == nil || s.slot != 2 {
		t.Errorf("found %v", s)
	}
	if s := table.find(1<<32 | 1<<20); s != nil {
		t.Errorf("found %v where nothing ever was", s)
	}
}

// With the last session all memory goes; the references are still told apart.
func TestSessionsGiveMemoryBack(t *testing.T) {
	var table sessions
	refs := make([]uint64, 200)
	for i := range refs {
		refs[i] = table.add(session{slot: uint32(i) + 1})
	}
	for i, ref := range refs {
		if s := table.find(ref); s == nil || s.slot != uint32(i)+1 {
			t.Fatalf("session %d: found %v", i, s)
		}
	}
	view := table.view()
	more := table.add(session{slot: 500})
	for i := range 64 {
		table.add(session{slot: 600 + uint32(i)})
	}
	if len(view) != 4 || view[0][0].slot == 0 {
		t.Errorf("a view has %d chunks, or lost what is in them", len(view))
	}
	for _, chunk := range table.view() {
		for i := range chunk {
			chunk[i].slot = 0
		}
	}
	table.remove(uint32(more))
	for place := range uint32(265) {
		if place != uint32(more) {
			table.remove(place)
		}
	}
	if len(table.chunks) != 1 || len(table.free) != 64 {
		t.Errorf("%d chunks are left of nothing", len(table.chunks))
	}
	if fresh := table.add(session{slot: 9}); table.find(refs[0]) != nil || table.find(fresh) == nil {
		t.Error("after the memory went, references are mistaken")
	}
}

// A crowd of pairs comes and goes, and is closed by others at any moment: every owner is told once, and nothing is left.
func TestComeAndGo(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 2)
	const crowd, each = 8, 25
	var all sync.WaitGroup
	told := make(chan int, 2*crowd*each)
	for c := range crowd {
		rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(c)))
		lives := make([]*fixture, each)
		for i := range lives {
			client, a := p.connect(t)
			server, b := p.connect(t)
			lives[i] = &fixture{client: client, server: server, done: make(chan Result, 2)}
			lives[i].session = p.loops.Start(Pair{Client: a, Server: b}, Func(func(Result) { told <- c*each + i }))
		}
		for _, f := range lives {
			what := rng.IntN(6)
			all.Go(func() { f.live(what) })
			if rng.IntN(2) == 0 {
				all.Go(f.session.Close)
				all.Go(f.session.Close)
			}
		}
	}
	all.Wait()
	seen := make(map[int]bool)
	for range crowd * each {
		select {
		case i := <-told:
			if seen[i] {
				t.Fatalf("owner %d was told twice", i)
			}
			seen[i] = true
		case <-time.After(patience):
			t.Fatalf("%d of %d owners were told", len(seen), crowd*each)
		}
	}
	for i, l := range p.loops.loops {
		done := make(chan struct{})
		l.Post(func() { // behind what ended the last of them
			defer close(done)
			if l.pairs.Load() != 0 || l.slots.Len() != 0 || l.overflow.Used() != 0 || len(l.sessions.chunks) > 1 {
				t.Errorf("loop %d counts %d pairs and has %d, %d buffers and %d chunks of sessions", i, l.pairs.Load(), l.slots.Len(), l.overflow.Used(), len(l.sessions.chunks))
			}
		})
		<-done
	}
	select {
	case i := <-told:
		t.Errorf("owner %d was told twice", i)
	default:
	}
}

// live does one of the things that clients and servers do, as far as it gets.
func (f *fixture) live(what int) {
	f.client.Write(random(1, 30_000))
	switch what {
	case 0:
		f.server.Close()
	case 1:
		reset(f.client)
	case 2:
		f.server.Write(random(2, 100_000))
		reset(f.server)
	case 3:
		f.client.(*net.TCPConn).CloseWrite()
		f.server.Close()
	}
	f.client.Close()
	f.server.Close()
}

// Whoever closes a pair that has ended closes no other.
func TestStaleClose(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	old := p.start(t, false, nil)
	old.client.Close()
	old.server.Close()
	old.wait(t)
	f := p.start(t, false, nil) // in its place
	old.session.Close()
	send(t, f.client, "x")
	expect(t, f.server, "x")
	send(t, f.server, "y")
	expect(t, f.client, "y")
}
