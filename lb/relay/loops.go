//go:build linux

package relay

import (
	"context"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/internal/detach"
	"github.com/mqttlb/mqttlb/internal/reactor"
)

// Loops relays on event loops: while nothing moves, a pair costs a few hundred bytes without pointers, and no goroutine.
type Loops struct {
	loops []*loop
	copy  Copy // for what has no descriptor to give away
}

// Open opens n event loops; nothing is relayed before Run. Who does not call Run calls Close.
func Open(n int) (*Loops, error) {
	ls := &Loops{}
	for range n {
		r, err := reactor.New()
		if err != nil {
			ls.Close()
			return nil, err
		}
		ls.loops = append(ls.loops, newLoop(r))
	}
	return ls, nil
}

// Close closes loops that were never run.
func (ls *Loops) Close() {
	for _, l := range ls.loops {
		l.Loop.Close()
	}
}

// Run relays until ctx is done, or until a loop fails, which a sound system does not let happen. Pairs on the loops that are left
// then end with Closed, and Run returns when the owner of each was told. It is called once.
func (ls *Loops) Run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, l := range ls.loops {
		all.Go(func() error { return l.run(ctx) })
	}
	return all.Wait()
}

// Start takes both sockets of p and relays between them. o is told on a goroutine that all pairs of a loop share: it may wait
// for a lock or a log, not for another pair. What cannot give its descriptor away is relayed by Copy: a *tls.Conn, because
// its cipher suite is none of package record's, and the sockets of package net.
func (ls *Loops) Start(p Pair, o Owner) Session {
	if !detach.Possible(p.Client) || !detach.Possible(p.Server) {
		return ls.copy.Start(p, o)
	}
	l := ls.least()
	l.pairs.Add(1)
	ref := l.sessions.add(session{owner: o, watch: p.Watch, traffic: p.Traffic})
	a := &arrival{ref: ref, pair: p, client: detach.Conn(p.Client), server: detach.Conn(p.Server)}
	if !l.Post(func() { l.adopt(a) }) {
		a.abandon()
		l.pairs.Add(-1)
		go o.Relayed(Result{End: Closed, Err: net.ErrClosed}) // there is no loop any more to tell it
	}
	return Session{by: l, ref: ref}
}

// least is the loop with the fewest pairs.
func (ls *Loops) least() *loop {
	best := ls.loops[0]
	for _, l := range ls.loops[1:] {
		if l.pairs.Load() < best.pairs.Load() {
			best = l
		}
	}
	return best
}
