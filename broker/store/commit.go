package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// linger is how long operations that nobody waits for may wait for others: acknowledgements of subscribers, nearly all of them. They
	// cost next to nothing with the next message, and much of what they undo is then never written.
	linger = 50 * time.Millisecond

	// patience is for how long a commit that fails is tried again. Disks that are full get emptied; one that is not by then
	// is a reason to let the node's clients go elsewhere.
	patience = time.Minute

	// farewell is the patience for what is left when Run is asked to end.
	farewell = 5 * time.Second

	// The time between two tries doubles from one to the other.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// errBroken marks a file that cannot be what was written: trying again does not help.
var errBroken = errors.New("the file is damaged, or its disk has gone: see to the disk, then put a copy in its place or move it away")

// Run writes what is asked for to the file, until ctx is done: everything that has come by then is written, what comes later
// is not. It is called once, and closes the file.
//
// A commit that fails is logged and tried again, for a minute at most, while what is asked for meanwhile waits in memory, and
// nothing is confirmed: see Pending. The error says that Run has given up, or that the file is broken; what was
// not on disk by then has not been confirmed to anybody by After, and is lost.
func (s *Store) Run(ctx context.Context) (err error) {
	defer func() {
		s.stop()
		if e := s.db.Close(); err == nil && e != nil {
			err = fmt.Errorf("close %s: %w", s.path, e)
		}
	}()
	for last := false; !last; {
		last = s.await(ctx)
		b := s.take(last)
		if err := s.commit(ctx, b); err != nil {
			return err
		}
		s.giveBack(b)
		s.confirm()
	}
	return nil
}

// await waits until there is a batch and it is time to write it. last says that it is because ctx is done.
func (s *Store) await(ctx context.Context) (last bool) {
	select {
	case <-s.wake:
	case <-ctx.Done():
		return true
	}
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-s.hurry:
	case <-t.C:
	case <-ctx.Done():
		return true
	}
	return false
}

// Close closes the file when Run is not to be called.
func (s *Store) Close() error {
	s.stop()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// stop takes nothing any more.
func (s *Store) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.after = true, nil
}

// commit writes a batch, however often it takes.
func (s *Store) commit(ctx context.Context, b *batch) error {
	if b.ops == 0 {
		return nil
	}
	b.net()
	start := time.Now()
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := s.try(b)
		if err == nil {
			if wait > firstRetry {
				s.log.Info("the store writes again", "file", s.path, "after", time.Since(start))
			}
			return nil
		}
		s.refs = nil // it is not certain what is there
		limit := patience
		if ctx.Err() != nil {
			limit = farewell
		}
		if errors.Is(err, errBroken) || time.Since(start)+wait > limit {
			return fmt.Errorf("write %d operations to %s: %w", b.ops, s.path, err)
		}
		s.log.Error("the store cannot write: is its disk full?", "file", s.path, "error", err, "again", wait)
		pause(ctx, wait)
	}
}

// pause waits, and not to its end when ctx is done meanwhile.
func pause(ctx context.Context, d time.Duration) {
	if ctx.Err() != nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// try writes a batch in one transaction, unless nothing in the file would change. bbolt panics at what it cannot
// explain, and so does the runtime at a page that the disk no longer yields; either is an error here.
func (s *Store) try(b *batch) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errBroken, p)
		}
		if err != nil {
			_ = tx.Rollback() // done already if it was the commit that failed
		}
	}()
	w := open(tx)
	if w == nil {
		return errBroken
	}
	again := s.refs == nil
	if again {
		if s.refs, err = countRefs(w.queue); err != nil {
			return err
		}
	}
	s.work.reset()
	s.work.buckets, s.work.batch, s.work.refs, s.work.again = w, b, s.refs, again
	return s.write(tx)
}

// write does the work.
func (s *Store) write(tx *bbolt.Tx) error {
	if err := s.work.apply(); err != nil {
		return err
	}
	if n := s.work.unstorable; n > 0 {
		s.log.Error("messages that have no form as a packet are not stored", "messages", n)
	}
	if !s.work.changed {
		return tx.Rollback()
	}
	if err := s.commitTx(tx); err != nil {
		return err
	}
	s.work.settle()
	return nil
}

// countRefs counts how many records of the queue want each body.
func countRefs(queue *bbolt.Bucket) (map[uint64]uint32, error) {
	refs := make(map[uint64]uint32)
	err := queue.ForEach(func(_, v []byte) error {
		if e, err := decodeEntry(v); err == nil && e.body != 0 {
			refs[e.body]++
		}
		return nil
	})
	return refs, err
}
