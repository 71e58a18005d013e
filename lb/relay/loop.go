//go:build linux

package relay

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mqttlb/mqttlb/internal/detach"
	"github.com/mqttlb/mqttlb/internal/overflow"
	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/internal/slab"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A loop is one event loop and the pairs on it. All but pairs and finisher belong to its goroutine.
type loop struct {
	*reactor.Loop
	pairs    atomic.Int64 // that it was given, and that have not ended
	finisher finisher

	slots    slab.Slab[pair]
	sessions sessions
	view     []*[64]session // of sessions, when the last pair was adopted
	overflow overflow.Buffers
	ciphers  *record.Cache
	sealed   []byte // what goes to a TLS client in one write
	closing  bool   // no pair begins any more
	sweeping bool   // the sweep's timer is armed
	sweeper  reactor.Timer
}

// mostCiphers bounds the cipher objects of one loop, 0.9 KB each: those of a thousand clients that talk both ways, or of
// twice as many that only listen. To make one costs a tenth of what it costs to relay a message.
const mostCiphers = 2048

// recordsPerWrite is how many full records go to a client in one write.
const recordsPerWrite = 4

// ownRecord is room in front of them for a record that the record layer sends on its own behalf.
const ownRecord = 64

// sweepKey is the key of the sweep's timer; slots begin at 1, and their keys at 2.
const sweepKey = 0

// sweepEvery is how often what is kept for reuse is looked at.
const sweepEvery = time.Second

func newLoop(r *reactor.Loop) *loop {
	return &loop{
		Loop:     r,
		finisher: newFinisher(),
		ciphers:  record.NewCache(mostCiphers),
		sealed:   make([]byte, ownRecord+recordsPerWrite*(record.MaxPlaintext+record.MaxOverhead)),
	}
}

// run serves until ctx is done, then ends the pairs that are left.
func (l *loop) run(ctx context.Context) error {
	finished := make(chan struct{})
	go func() { defer close(finished); l.finisher.run() }()
	serving, cease := context.WithCancel(context.Background())
	defer cease()
	defer context.AfterFunc(ctx, func() { l.Post(func() { l.endAll(); cease() }) })()
	err := l.Loop.Run(serving, l)
	l.endAll() // of a loop that has failed
	l.finisher.stop()
	<-finished
	l.slots.Close()
	return err
}

// endAll ends the pairs that are left, and lets no other begin.
func (l *loop) endAll() {
	l.closing = true
	for _, slot := range l.sessions.slots() {
		t := l.turn(slot)
		t.close()
	}
}

// cut implements closer: it may be called from anywhere.
func (l *loop) cut(ref uint64) {
	l.Post(func() { // a loop that has ended has closed everything
		if s := l.sessions.find(ref); s != nil && s.slot != 0 {
			t := l.turn(s.slot)
			t.close()
		}
	})
}

// An arrival is a pair on its way to a loop.
type arrival struct {
	ref            uint64 // of its session
	pair           Pair
	client, server detach.Endpoint
}

// abandon closes the sockets of a pair that never came to be.
func (a *arrival) abandon() {
	for _, e := range []*detach.Endpoint{&a.client, &a.server} {
		if e.FD >= 0 {
			syscall.Close(e.FD)
		}
		e.State.Wipe()
		e.Cache = nil
	}
}

// adopt takes an arrival in. Its descriptors report what they are ready for once they are added.
func (l *loop) adopt(a *arrival) {
	if a.client.Err != nil || a.server.Err != nil || l.closing { // closed from outside just before
		l.refuse(a, Result{End: Closed, Err: net.ErrClosed})
		return
	}
	slot, p, err := l.slots.Alloc()
	if err == nil {
		if err = l.register(slot, p, a); err != nil {
			l.slots.Free(slot)
		}
	}
	if err != nil {
		l.refuse(a, Result{End: NoRoom, Err: err})
		return
	}
	l.view = l.sessions.view()
	p.place = uint32(a.ref)
	l.session(p).slot = slot
	l.begin(slot, p, a)
}

// refuse ends an arrival.
func (l *loop) refuse(a *arrival, r Result) {
	a.abandon()
	l.view = l.sessions.view()
	l.finish(uint32(a.ref), r)
}

// finish tells the owner of a session how it ended, and takes its place back.
func (l *loop) finish(place uint32, r Result) {
	owner := l.view[place/64][place%64].owner
	if l.sessions.remove(place) {
		l.view = nil
	}
	l.pairs.Add(-1)
	l.finisher.add(owner, r)
}

// session is that of a pair.
func (l *loop) session(p *pair) *session { return &l.view[p.place/64][p.place%64] }

// turn begins a turn of a pair.
func (l *loop) turn(slot uint32) turn {
	p := l.slots.At(slot)
	return turn{loop: l, slot: slot, pair: p, session: l.session(p), left: reactor.Budget}
}

// register makes the pair of an arrival, and lets the loop watch its descriptors.
func (l *loop) register(slot uint32, p *pair, a *arrival) error {
	var err error
	if p.timer, err = l.NewTimer(slot << 1); err != nil {
		return err
	}
	if p.client.ref, err = l.Add(a.client.FD, slot<<1|clientKey); err != nil {
		l.FreeTimer(p.timer)
		return err
	}
	if p.server.ref, err = l.Add(a.server.FD, slot<<1|serverKey); err != nil {
		l.Remove(p.client.ref)
		l.FreeTimer(p.timer)
		return err
	}
	return nil
}

// begin sets the pair's state, and goes on with what of the client's bytes was read before.
func (l *loop) begin(slot uint32, p *pair, a *arrival) {
	now := l.now()
	p.tls = a.client.State
	a.client.State.Wipe()
	l.ciphers.Adopt(&p.tls, a.client.Cache)
	p.client.fd, p.server.fd = int32(a.client.FD), int32(a.server.FD)
	p.client.heard, p.server.heard = now, now
	p.client.timeout, p.server.timeout = ticksOf(a.pair.ClientTimeout), ticksOf(a.pair.ServerTimeout)
	p.serverTimeout = p.server.timeout
	if a.pair.ServerFirst > 0 {
		p.server.timeout = ticksOf(a.pair.ServerFirst)
	}
	if a.client.TLS {
		p.flags = encrypted
	}
	t := l.turn(slot)
	t.arm()
	if !t.resume(a.client.Raw, a.client.Plain) {
		return
	}
	l.sweepSoon()
}

// Ready implements reactor.Handler.
func (l *loop) Ready(key uint32, e reactor.Events) {
	t := l.turn(key >> 1)
	t.serve(key&1, e)
}

// Expired implements reactor.Handler.
func (l *loop) Expired(key uint32) {
	if key == sweepKey {
		l.sweep()
		return
	}
	t := l.turn(key >> 1)
	t.expired()
}

// over closes both sockets, and gives back all that the pair has. The pair is not to be touched after it.
func (l *loop) over(slot uint32, r Result) {
	p := l.slots.At(slot)
	r.In, r.Out = p.in, p.out
	for _, side := range []*side{&p.server, &p.client} {
		l.Forget(side.ref)
		syscall.Close(int(side.fd))
		l.overflow.Drop(&side.unsent)
	}
	l.overflow.Drop(&p.partial)
	l.FreeTimer(p.timer)
	place := p.place
	l.ciphers.Drop(&p.tls)
	p.tls.Wipe()
	l.slots.Free(slot)
	l.finish(place, r)
}

// sweepSoon lets sweep come when something is kept for reuse.
func (l *loop) sweepSoon() {
	if l.sweeping {
		return
	}
	if l.sweeper == 0 {
		t, err := l.NewTimer(sweepKey)
		if err != nil {
			return // what is kept is bounded all the same
		}
		l.sweeper = t
	}
	l.sweeping = true
	l.Arm(l.sweeper, sweepEvery)
}

// sweep gives back what was kept for reuse and not used: an idle process keeps nothing, and is not woken.
func (l *loop) sweep() {
	l.sweeping = false
	ciphers, buffers := l.ciphers.Sweep(), l.overflow.Sweep()
	if ciphers || buffers {
		l.sweepSoon()
	}
}
