package store

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

// A Store writes what a node keeps to its file. Open makes it. The operations, NewBody, After and Pending may be called
// from any goroutine, and never block.
type Store struct {
	path     string
	db       *bbolt.DB
	log      *slog.Logger
	commitTx func(*bbolt.Tx) error // bbolt's Commit, but where a test has it fail
	bodies   atomic.Uint64         // the last number that was given out
	pending  atomic.Int64          // bytes
	wake     chan struct{}         // of capacity 1: there is a batch
	hurry    chan struct{}         // of capacity 1: somebody waits for it, or it is full

	refs map[uint64]uint32 // how many records of the queue want a body; Run's. nil: to be counted
	work change            // Run's

	together sync.RWMutex // held by Together, and by Run while it takes a batch

	mu    sync.Mutex
	next  *batch   // being filled
	idle  *batch   // an empty one, while Run has none
	busy  bool     // Run commits, or calls functions
	after []func() // to be called when Run has committed what it is committing
	ended bool     // nothing is taken any more
}

// NewBody returns a number for a message that several sessions may get, for Enqueue. It is unique in the file.
func (s *Store) NewBody() uint64 { return s.bodies.Add(1) }

// Pending returns how many bytes, about, what was asked for and is not on disk takes in memory. A caller that is to stay within
// bounds stops reading from those who make more of it while there is too much. It is 0 when all is on disk.
func (s *Store) Pending() int { return int(s.pending.Load()) }

// After calls f once everything that was asked for before is on disk and will be there after a power cut. That is at once and
// on the caller's goroutine when nothing else is on its way there, else on Run's, which waits for it: f must be quick. Functions
// are called in the order of After, one at a time. When Run has ended before that, f is never called.
func (s *Store) After(f func()) {
	s.mu.Lock()
	switch {
	case s.ended:
	case s.next.ops > 0:
		s.next.after = append(s.next.after, f)
		signal(s.hurry)
	case s.busy:
		s.after = append(s.after, f)
	default:
		s.mu.Unlock()
		f()
		return
	}
	s.mu.Unlock()
}

// Together calls f, and has all that it asks for in one transaction: after a crash there is all of it, or nothing. f is quick, and
// does not call Together. From any goroutine.
func (s *Store) Together(f func()) {
	s.together.RLock()
	defer s.together.RUnlock()
	f()
}

// take gives Run what there is to commit. The last batch is taken when nothing may follow.
func (s *Store) take(last bool) *batch {
	s.together.Lock()
	defer s.together.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.next
	s.next, s.idle = s.idle, nil
	s.busy, s.ended = true, last
	for _, c := range []chan struct{}{s.wake, s.hurry} { // what they say is about b
		select {
		case <-c:
		default:
		}
	}
	s.after = append(s.after, b.after...)
	return b
}

// giveBack takes a batch that was committed, to be used again.
func (s *Store) giveBack(b *batch) {
	s.pending.Add(-b.bytes)
	b.reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = b
}

// confirm calls the functions that have waited for a commit, and those that come meanwhile and wait for nothing else.
func (s *Store) confirm() {
	var list []func()
	for {
		s.mu.Lock()
		clear(list)
		list, s.after = s.after, list[:0]
		if len(list) == 0 {
			s.busy = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, f := range list {
			f()
		}
	}
}
