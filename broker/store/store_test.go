package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"go.etcd.io/bbolt"
)

// start is now, for tests.
var start = time.UnixMilli(1<<40 + 5000)

func opened(t testing.TB, dir string) (*Store, *State) {
	t.Helper()
	s, st, err := Open(dir, start, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s, st
}

// run runs s. What it returns ends that.
func run(t testing.TB, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// wait waits until everything is on disk.
func wait(t testing.TB, s *Store) {
	t.Helper()
	done := make(chan struct{})
	s.After(func() { close(done) })
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("nothing is written")
	}
}

// reopen ends the store, and returns what the next one finds.
func reopen(t testing.TB, dir string, stop func()) *State {
	t.Helper()
	stop()
	s, st := opened(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return st
}

// records counts what is in the file beside the format.
func records(t testing.TB, dir string) (n int) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, fileName), 0o600, options(true))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for _, name := range bucketNames[1:] {
			n += tx.Bucket([]byte(name)).Inspect().KeyN
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func message(topic string) *delivery.Message {
	return &delivery.Message{Topic: topic, Payload: []byte("payload of " + topic), QoS: 1}
}

func session(number uint64) Session {
	return Session{Number: number, ClientID: fmt.Sprint("client ", number), Expiry: time.Hour, Away: start}
}

func TestNewFolder(t *testing.T) {
	leaktest.Check(t)
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, st := opened(t, dir)
	if len(st.Sessions)+len(st.Retained)+len(st.Ended)+st.Damaged+st.Expired != 0 || st.LastSession != 0 {
		t.Errorf("a new file holds %+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, fileName): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("beside the file there is something: %v", files)
	}
}

// TestCancelOut: what is over before it is written is never written.
func TestCancelOut(t *testing.T) {
	leaktest.Check(t)
	for name, do := range map[string]func(s *Store){
		"message": func(s *Store) {
			s.Enqueue(1, 1, 0, delivery.Copy{Message: message("a"), QoS: 1})
			s.Sent(1, 1, 5)
			s.Released(1, 1)
			s.Done(1, 1)
		},
		"incoming":     func(s *Store) { s.Receive(1, 7); s.Release(1, 7) },
		"subscription": func(s *Store) { s.Subscribe(1, "a", route.Want{}); s.Unsubscribe(1, "a") },
		"retained":     func(s *Store) { s.Retain(message("a")); s.Unretain("a") },
		"session": func(s *Store) {
			s.PutSession(session(1))
			s.Subscribe(1, "a", route.Want{})
			s.Receive(1, 7)
			s.Enqueue(1, 1, 0, delivery.Copy{Message: message("a"), QoS: 1})
			s.DeleteSession(1)
		},
		"nothing there": func(s *Store) {
			s.Done(1, 1)
			s.Sent(1, 2, 3)
			s.Release(1, 1)
			s.Unsubscribe(1, "a")
			s.DeleteSession(2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := opened(t, t.TempDir())
			s.commitTx = func(tx *bbolt.Tx) error {
				t.Error("something is written")
				return tx.Commit()
			}
			do(s) // all of it in the first batch
			stop := run(t, s)
			wait(t, s)
			if s.Pending() != 0 {
				t.Errorf("%d bytes are pending when all is done", s.Pending())
			}
			stop()
		})
	}
}

// TestDeletedSession: what was asked for before is void, what comes after is not.
func TestDeletedSession(t *testing.T) {
	leaktest.Check(t)
	dir := t.TempDir()
	s, _ := opened(t, dir)
	stop := run(t, s)
	s.PutSession(session(1))
	s.PutSession(session(2))
	for i := range uint64(3000) {
		body := s.NewBody()
		s.Enqueue(1, i, body, delivery.Copy{Message: message("a"), QoS: 1})
		if i%1000 == 0 {
			s.Enqueue(2, i, body, delivery.Copy{Message: message("a"), QoS: 1})
		}
		s.Subscribe(1, fmt.Sprint("f", i), route.Want{})
	}
	wait(t, s)
	s.Enqueue(1, 4000, 0, delivery.Copy{Message: message("a"), QoS: 1})
	s.DeleteSession(1)
	s.PutSession(session(1))
	s.Subscribe(1, "new", route.Want{})
	st := reopen(t, dir, stop)
	if len(st.Sessions) != 2 || len(st.Sessions[0].Queue) != 0 || len(st.Sessions[0].Subscriptions) != 1 || len(st.Sessions[1].Queue) != 3 {
		t.Errorf("%s", said(st))
	}
	if n := records(t, dir); n != 2+1+3+3 {
		t.Errorf("%d records", n)
	}
}

// TestAfterOrder: in their order, also when they wait for nothing but each other.
func TestAfterOrder(t *testing.T) {
	leaktest.Check(t)
	s, _ := opened(t, t.TempDir())
	stop := run(t, s)
	var mu sync.Mutex
	last := map[int]int{}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				if i%3 != 2 {
					s.Enqueue(uint64(g), uint64(i), 0, delivery.Copy{Message: message("a"), QoS: 1})
				}
				s.After(func() {
					mu.Lock()
					defer mu.Unlock()
					if last[g] != i {
						t.Errorf("goroutine %d: function %d is called after %d were", g, i, last[g])
					}
					last[g]++
				})
			}
		})
	}
	wg.Wait()
	wait(t, s)
	if len(last) != 4 || last[0] != 2000 {
		t.Errorf("%v were called", last)
	}
	var now atomic.Bool
	for range 1000 { // Run may still be on its way to see that there is nothing to do
		now.Store(false)
		if s.After(func() { now.Store(true) }); now.Load() {
			break
		}
		wait(t, s)
	}
	if !now.Load() {
		t.Error("with nothing pending, functions wait")
	}
	stop()
	s.After(func() { t.Error("a function is called after the end") })
	s.Done(0, 1)
}

// TestLastBatch: what has come by the end of Run is written.
func TestLastBatch(t *testing.T) {
	leaktest.Check(t)
	dir := t.TempDir()
	s, _ := opened(t, dir)
	confirmed := false
	s.PutSession(session(1))
	s.After(func() { confirmed = true })
	if s.Pending() == 0 || confirmed {
		t.Error("it is confirmed before Run")
	}
	st := reopen(t, dir, run(t, s))
	if !confirmed || len(st.Sessions) != 1 {
		t.Errorf("confirmed: %v, found: %s", confirmed, said(st))
	}
}

// TestFullDisk: nothing is confirmed while commits fail, everything when they go again, and what the file holds is right
// also where a commit has taken place and was said to have failed.
func TestFullDisk(t *testing.T) {
	for _, took := range []bool{false, true} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			s, _ := opened(t, dir)
			body := s.NewBody()
			s.PutSession(session(1))
			s.PutSession(session(2))
			s.Enqueue(1, 1, body, delivery.Copy{Message: message("a"), QoS: 1})
			failures := 0
			stop := run(t, s)
			wait(t, s)
			s.commitTx = func(tx *bbolt.Tx) error {
				if failures++; failures > 5 {
					return tx.Commit()
				}
				if took {
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
				}
				return errors.New("no space left, say")
			}
			var confirmed atomic.Bool
			s.Done(1, 1)
			s.Enqueue(1, 2, body, delivery.Copy{Message: message("b"), QoS: 1})
			s.After(func() { confirmed.Store(true) })
			time.Sleep(time.Second)
			synctest.Wait()
			if confirmed.Load() || s.Pending() == 0 {
				t.Error("it is confirmed and not written")
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if !confirmed.Load() || s.Pending() != 0 {
				t.Error("it is not confirmed when commits go again")
			}
			s.Enqueue(2, 1, body, delivery.Copy{Message: message("b"), QoS: 1}) // a body comes back
			s.Done(1, 2)
			wait(t, s)
			s.Done(2, 1)
			stop()
		})
		if n := records(t, dir); n != 2 {
			t.Errorf("took %v: %d records, want those of the two sessions", took, n)
		}
	}
}

// TestGivesUp: Run ends with an error when nothing helps, and what is in the file stays.
func TestGivesUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, _ := opened(t, dir)
		s.db.MaxSize = 20 << 20
		s.PutSession(session(1))
		done := make(chan error, 1)
		go func() { done <- s.Run(context.Background()) }()
		wait(t, s)
		big := message("big")
		big.Payload = make([]byte, 17<<20)
		began := time.Now()
		s.Enqueue(1, 1, 0, delivery.Copy{Message: big, QoS: 1})
		s.After(func() { t.Error("it is confirmed and not written") })
		err := <-done
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("Run: %v", err)
		}
		if d := time.Since(began); d > patience || d < patience/2 {
			t.Errorf("it has given up after %v", d)
		}
	})
	s, st := opened(t, dir)
	if len(st.Sessions) != 1 || len(st.Sessions[0].Queue) != 0 {
		t.Error(said(st))
	}
	s.Close()
}

// TestGivesUpSooner: at the end there is less time.
func TestGivesUpSooner(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, _ := opened(t, dir)
		s.commitTx = func(*bbolt.Tx) error { return errors.New("no space left, say") }
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		began := time.Now()
		s.PutSession(session(1))
		if err := s.Run(ctx); err == nil || time.Since(began) > farewell {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestExpired: what is over when the file is opened is out of it.
func TestExpired(t *testing.T) {
	leaktest.Check(t)
	dir := t.TempDir()
	s, _ := opened(t, dir)
	gone, over, alive, connected := session(1), session(2), session(3), session(4)
	gone.Expiry, gone.Away = time.Second, start.Add(-time.Second)
	over.Expiry, over.Away = 0, time.Time{}
	over.Will = &Will{Message: message("will"), Expires: true}
	alive.Expiry, alive.Away = time.Second, start
	connected.Expiry, connected.Away = time.Second, time.Time{}
	late := message("late")
	late.Expires = start
	for _, v := range []Session{gone, over, alive, connected} {
		s.PutSession(v)
		s.Subscribe(v.Number, "f", route.Want{})
		s.Receive(v.Number, 9)
		s.Enqueue(v.Number, 1, 100, delivery.Copy{Message: message("a"), QoS: 1})
		s.Enqueue(v.Number, 2, 101, delivery.Copy{Message: late, QoS: 1})
		s.Enqueue(v.Number, 3, 102, delivery.Copy{Message: late, QoS: 1})
		s.Sent(v.Number, 2, 44)
	}
	s.Enqueue(gone.Number, 4, 103, delivery.Copy{Message: message("of nobody else"), QoS: 1})
	s.Subscribe(99, "of nobody", route.Want{})
	s.Retain(late)
	s.Retain(message("kept"))
	st := reopen(t, dir, run(t, s))
	if len(st.Sessions) != 2 || len(st.Retained) != 1 || st.Expired != 3 || st.LastSession != 4 || st.Damaged != 0 {
		t.Errorf("%s; %d expired, last %d, damage %v", said(st), st.Expired, st.LastSession, st.Damage)
	}
	if len(st.Ended) != 1 || st.Ended[0].ClientID != "client 2" || st.Ended[0].Will.Message.Topic != "will" || !st.Ended[0].Will.Expires {
		t.Errorf("ended: %+v", st.Ended)
	}
	for _, k := range st.Sessions {
		if len(k.Queue) != 2 || k.Queue[1].ID != 44 || k.LastPosition != 3 { // sent before it expired: it goes on
			t.Errorf("queue: %+v", k.Queue)
		}
	}
	if n := records(t, dir); n != 3+2+2+4+2+1 {
		t.Errorf("%d records are left", n)
	}
}

// TestPending: what waits is counted, a message for many once.
func TestPending(t *testing.T) {
	s, _ := opened(t, t.TempDir())
	defer s.Close()
	m := message("a")
	m.Payload = make([]byte, 1<<20)
	body := s.NewBody()
	for i := range uint64(100) {
		s.Enqueue(i, 1, body, delivery.Copy{Message: m, QoS: 1})
	}
	if n := s.Pending(); n < 1<<20 || n > 2<<20 {
		t.Errorf("%d bytes are pending", n)
	}
	s.PutSession(Session{ClientID: "a", Will: &Will{Message: m}})
	if n := s.Pending(); n < 2<<20 || n > 3<<20 {
		t.Errorf("%d bytes are pending", n)
	}
}

// TestNoForm: a message that no packet can hold does not keep others from being stored.
func TestNoForm(t *testing.T) {
	dir := t.TempDir()
	s, _ := opened(t, dir)
	bad := message(strings.Repeat("x", 1<<16))
	twice := message("twice")
	for range 2 {
		twice.Forwarded.AddInt(packet.PayloadFormat, 1)
	}
	v := session(1)
	v.Will = &Will{Message: bad}
	s.PutSession(v)
	s.Enqueue(1, 1, 0, delivery.Copy{Message: bad, QoS: 1})
	s.Enqueue(1, 2, 0, delivery.Copy{Message: twice, QoS: 1})
	s.Enqueue(1, 3, 0, delivery.Copy{Message: message("good"), QoS: 1})
	s.Retain(bad)
	st := reopen(t, dir, run(t, s))
	if len(st.Sessions) != 1 || len(st.Sessions[0].Queue) != 1 || st.Damaged != 0 || st.Sessions[0].Will != nil {
		t.Error(said(st), st.Damage)
	}
}
