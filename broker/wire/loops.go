//go:build linux

package wire

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/internal/detach"
	"github.com/mqttlb/mqttlb/internal/overflow"
	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/lb/record"
)

// Loops are the event loops of a node.
type Loops struct {
	loops []*loop
	next  atomic.Uint32
}

// A loop is one event loop and the connections on it. What is not said to be for others belongs to its goroutine.
type loop struct {
	*reactor.Loop
	options  *Options
	conns    []*Conn  // by key; the first is nobody's
	free     []uint32 // keys that nobody has
	held     overflow.Buffers
	ciphers  *record.Cache
	out      []byte // what Fill appends to, behind the room for headers
	aside    []byte // see controls
	sealed   []byte // records on their way to a client
	left     int    // work of the turn in hand
	sweeping bool   // the sweep's timer is armed
	sweeper  reactor.Timer
	closing  bool // no connection begins any more
	attend   func()

	bytesIn, bytesOut atomic.Uint64

	mu     sync.Mutex // guards the fields below
	wanted []*Conn    // that have something to say
	spare  []*Conn    // to take its place
}

// mostCiphers bounds the cipher objects of one loop, 0.9 KB each.
const mostCiphers = 2048

// sweepKey is the key of the sweep's timer.
const sweepKey = 0

// sweepEvery is how often what is kept for reuse is looked at.
const sweepEvery = time.Second

// keptWanted bounds what is kept of the list of connections with something to say, in pointers.
const keptWanted = 16 << 10

// Open opens n event loops; nothing happens on them before Run. Who does not call Run calls Close.
func Open(n int, o Options) (*Loops, error) {
	ls := &Loops{}
	o.defaults()
	for range n {
		r, err := reactor.New()
		if err != nil {
			ls.Close()
			return nil, err
		}
		l := &loop{
			Loop: r, options: &o, conns: make([]*Conn, 1),
			ciphers: record.NewCache(mostCiphers),
			out:     make([]byte, headroom, headroom+plainChunk+tailroom),
		}
		l.attend = l.attendAll
		ls.loops = append(ls.loops, l)
	}
	return ls, nil
}

// Close closes loops that were never run.
func (ls *Loops) Close() {
	for _, l := range ls.loops {
		l.Loop.Close()
	}
}

// Run serves until ctx is done, or until a loop fails, which a sound system does not let happen. Connections that are left then end with
// net.ErrClosed, without a word. It is called once, and returns when all are closed.
func (ls *Loops) Run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, l := range ls.loops {
		all.Go(func() error {
			serving, cease := context.WithCancel(context.Background())
			defer cease()
			defer context.AfterFunc(ctx, func() { l.Post(func() { l.endAll(); cease() }) })()
			err := l.Loop.Run(serving, l)
			l.endAll() // of a loop that has failed
			return err
		})
	}
	return all.Wait()
}

// Bytes returns how many bytes came from clients and went to them so far, as they were on the wire. From anywhere.
func (ls *Loops) Bytes() (in, out uint64) {
	for _, l := range ls.loops {
		in += l.bytesIn.Load()
		out += l.bytesOut.Load()
	}
	return in, out
}

// Adopt gives c the connection nc, which from here on belongs to c's loop; nobody may read or write it any more. It is one that package detach
// understands. The error is that the loops have ended: nc is closed then, and c.Peer is told nothing. From anywhere.
func (ls *Loops) Adopt(c *Conn, nc net.Conn, s Start) error {
	l := ls.loops[int(ls.next.Add(1))%len(ls.loops)]
	c.loop, c.peer = l, s.Peer
	if s.WebSocket {
		c.frames = new(frames)
	}
	e := detach.Conn(nc)
	if !l.Post(func() { l.adopt(c, &e, &s) }) {
		abandon(&e)
		return net.ErrClosed
	}
	return nil
}

func abandon(e *detach.Endpoint) {
	if e.FD >= 0 {
		syscall.Close(e.FD)
	}
	e.State.Wipe()
	e.Cache = nil
}

// adopt takes a connection in, and handles what was read of it before.
func (l *loop) adopt(c *Conn, e *detach.Endpoint, s *Start) {
	err := e.Err
	switch {
	case err != nil:
	case l.closing:
		err = net.ErrClosed
	default:
		err = l.register(c, e.FD)
	}
	if err != nil {
		abandon(e)
		c.stage = closed
		c.peer.Ended(err)
		c.peer.Closed()
		return
	}
	if e.TLS {
		c.secure = &secure{state: e.State}
		e.State.Wipe()
		l.ciphers.Adopt(&c.secure.state, e.Cache)
	}
	c.stage = open
	if s.Preface {
		c.flags |= preface
	}
	c.heard, c.idle = l.tick(), max(ticks(s.Timeout), 1)
	l.arm(c)
	l.sweepSoon()
	l.left = turnWork
	if l.input(c, append(s.Rest, e.Plain...)) && len(e.Raw) > 0 {
		l.received(c, e.Raw)
	}
}

// register lets the loop watch a descriptor.
func (l *loop) register(c *Conn, fd int) error {
	key := uint32(len(l.conns))
	if n := len(l.free); n > 0 {
		key = l.free[n-1]
	}
	t, err := l.NewTimer(key)
	if err != nil {
		return err
	}
	ref, err := l.Add(fd, key)
	if err != nil {
		l.FreeTimer(t)
		return err
	}
	if n := len(l.free); n > 0 {
		l.free = l.free[:n-1]
		l.conns[key] = c
	} else {
		l.conns = append(l.conns, c)
	}
	c.key, c.fd, c.timer, c.ref = key, int32(fd), uint32(t), uint64(ref)
	return nil
}

// notice puts c among those with something to say. From anywhere.
func (l *loop) notice(c *Conn) {
	l.mu.Lock()
	l.wanted = append(l.wanted, c)
	first := len(l.wanted) == 1
	l.mu.Unlock()
	if first {
		l.Post(l.attend) // once for all that come until then
	}
}

// attendAll lets those speak who have something to say. It runs at the end of a round: whatever came in it for one connection is one write.
func (l *loop) attendAll() {
	l.mu.Lock()
	list := l.wanted
	l.wanted = l.spare[:0]
	l.mu.Unlock()
	for i, c := range list {
		list[i] = nil
		c.awake.Store(false)
		l.attendTo(c)
	}
	if cap(list) > keptWanted {
		list = nil
	}
	l.mu.Lock()
	l.spare = list[:0]
	l.mu.Unlock()
}

func (l *loop) attendTo(c *Conn) {
	switch c.stage {
	case coming: // adopt was posted before, and runs before this comes again
		c.Wake()
		return
	case closed:
		return
	}
	if c.asked.Load() {
		l.end(c, nil)
	}
	if c.resumed.Swap(false) && c.stage == open {
		c.flags &^= paused
		c.heard = l.tick() // it was we who let it wait
		l.arm(c)           // the timer may have come meanwhile, when there was nothing to wait for
		l.again(c)
	}
	if c.stage == open || c.stage == ending {
		l.flush(c, chunksPerTurn)
	}
}

// post implements Conn.Post.
func (l *loop) post(f func()) bool { return l.Post(f) }

// again gives c a turn in another round, for what it has not read or handled.
func (l *loop) again(c *Conn) { l.Again(reactor.Ref(c.ref)) }

// Ready implements reactor.Handler.
func (l *loop) Ready(key uint32, e reactor.Events) {
	c := l.conns[key]
	if e&reactor.HangUp != 0 {
		c.flags |= hungUp
	}
	if e&(reactor.Readable|reactor.HangUp) != 0 {
		c.flags |= readable
	}
	if e&(reactor.Writable|reactor.HangUp) != 0 && c.unsent != 0 {
		l.drain(c)
	}
	l.left = turnWork
	l.read(c)
}

// Expired implements reactor.Handler.
func (l *loop) Expired(key uint32) {
	if key == sweepKey {
		l.sweep()
		return
	}
	c := l.conns[key]
	left, some := c.left(l.tick(), l.options)
	switch {
	case !some:
	case left > 0:
		l.Arm(reactor.Timer(c.timer), left.duration())
	case c.stage != open:
		l.close(c)
	case c.flags&stalled != 0 && l.tick()-c.since >= ticks(l.options.WriteTimeout):
		l.end(c, ErrStalled)
	default:
		l.end(c, ErrIdle)
	}
}

// tick is the time of this round.
func (l *loop) tick() tick { return tick(l.Now() / tickLength) }

// arm has Expired called when the time of c may be over.
func (l *loop) arm(c *Conn) {
	if left, some := c.left(l.tick(), l.options); some {
		l.Arm(reactor.Timer(c.timer), left.duration())
	}
}

// end lets c speak for the last time.
func (l *loop) end(c *Conn, err error) {
	if c.stage != open {
		return
	}
	c.stage, c.since = ending, l.tick()
	l.held.Drop(&c.partial)
	if c.secure != nil {
		l.held.Drop(&c.secure.raw)
	}
	if c.peer.Ended(err) {
		l.arm(c)
		l.flush(c, chunksPerTurn)
		return
	}
	if err == nil || c.unsent == 0 { // what answers the packets before: if there is no room for it, nobody waits
		l.flush(c, chunksPerTurn)
	}
	if c.stage != closed {
		l.close(c)
	}
}

// close closes the socket, and gives back all that c has.
func (l *loop) close(c *Conn) {
	if c.stage == open { // a socket that failed
		c.stage = closed
		c.peer.Ended(net.ErrClosed)
	}
	c.stage = closed
	l.Forget(reactor.Ref(c.ref))
	syscall.Close(int(c.fd))
	l.FreeTimer(reactor.Timer(c.timer))
	l.held.Drop(&c.partial)
	l.held.Drop(&c.first)
	l.held.Drop(&c.replies)
	l.held.Drop(&c.unsent)
	if s := c.secure; s != nil {
		l.held.Drop(&s.raw)
		l.ciphers.Drop(&s.state)
		s.state.Wipe()
	}
	l.conns[c.key] = nil
	l.free = append(l.free, c.key)
	if len(l.free) == len(l.conns)-1 { // nobody is left
		l.conns, l.free = make([]*Conn, 1), nil
	}
	c.peer.Closed()
}

// fail ends c when its socket does not work any more.
func (l *loop) fail(c *Conn, err error) {
	if c.stage == open {
		c.stage = ending
		c.peer.Ended(err)
	}
	l.close(c)
}

// endAll ends the connections that are left, and lets no other begin.
func (l *loop) endAll() {
	l.closing = true
	for key := 1; key < len(l.conns); key++ {
		if c := l.conns[key]; c != nil {
			l.fail(c, net.ErrClosed)
		}
	}
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

// sweep gives back what was kept for reuse and not used: an idle node keeps nothing, and is not woken.
func (l *loop) sweep() {
	l.sweeping = false
	ciphers, buffers := l.ciphers.Sweep(), l.held.Sweep()
	if ciphers || buffers {
		l.sweepSoon()
	}
}
