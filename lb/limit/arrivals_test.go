package limit

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestArrivalsWaitForRoomOrPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := Arrivals{Limit: 2, Patience: 100 * time.Millisecond}
		enter := func() (*Newcomer, time.Duration) {
			start := time.Now()
			n, err := a.Enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return n, time.Since(start)
		}
		first, _ := enter()
		time.Sleep(10 * time.Millisecond)
		second, waited := enter()
		if waited != 0 {
			t.Errorf("the second has waited %v where two have room", waited)
		}
		if _, waited = enter(); waited != 90*time.Millisecond {
			t.Errorf("the third has waited %v: the first counts for 90ms more", waited)
		}
		first.Leave() // its time has passed: that makes no room again
		time.AfterFunc(3*time.Millisecond, second.Leave)
		time.AfterFunc(4*time.Millisecond, second.Leave)
		if _, waited = enter(); waited != 3*time.Millisecond {
			t.Errorf("the fourth has waited %v: the second left after 3ms", waited)
		}
		if _, waited = enter(); waited != 97*time.Millisecond {
			t.Errorf("the fifth has waited %v: of the third's 100ms, 97 were left", waited)
		}
		new(Newcomer).Leave()
	})
}

func TestArrivalsGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		a := Arrivals{Limit: 1, Patience: time.Hour}
		in, _ := a.Enter(t.Context())
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if n, err := a.Enter(ctx); err == nil {
				n.Leave() // it was let in, and told to give up, at once
			} else if !errors.Is(err, cause) {
				t.Errorf("it gave up because of %v", err)
			}
		})
		all.Go(func() {
			if _, err := a.Enter(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		in.Leave() // wakes one of the two,
		cancel(cause)
		all.Wait() // and if that is the one that gives up, the other one must not wait for an hour
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("somebody waited for %v though there was room", waited)
		}
	})
}

// Who has come and gone is forgotten, though somebody before them stays.
func TestArrivalsForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := Arrivals{Limit: 8, Patience: 100 * time.Millisecond}
		if _, err := a.Enter(t.Context()); err != nil { // and never leaves
			t.Fatal(err)
		}
		most := 0
		for range 10_000 {
			n, err := a.Enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n.Leave()
			most = max(most, len(a.queue))
			time.Sleep(time.Millisecond)
		}
		if most > 101 {
			t.Errorf("%d were known at once, of 1,000 a second for 100 ms", most)
		}
	})
}

// Who waits is not passed by who comes when there is room again.
func TestArrivalsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := Arrivals{Limit: 1, Patience: time.Hour}
		in, _ := a.Enter(t.Context())
		var order []int
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				n, err := a.Enter(t.Context())
				if err != nil {
					t.Error(err)
				}
				order = append(order, i)
				n.Leave()
			})
			synctest.Wait()
		}
		in.Leave()
		n, err := a.Enter(t.Context()) // before any of them has run
		if err != nil {
			t.Fatal(err)
		}
		n.Leave()
		all.Wait()
		inTurn(t, order, 20)
	})
}

// Whatever comes, waits, lapses and goes: never more count than may, and nothing is kept of those who are gone.
func TestArrivalsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := Arrivals{Limit: 8, Patience: 20 * time.Millisecond}
		var doors sync.WaitGroup
		var visits sync.WaitGroup
		for seed := range uint64(3) {
			random := rand.New(rand.NewPCG(seed, 1))
			doors.Go(func() {
				for range 2000 {
					n, err := a.Enter(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					a.mu.Lock()
					if a.count > a.Limit || a.count < 0 || len(a.queue) < a.count {
						t.Errorf("%d count, %d are known, of at most %d", a.count, len(a.queue), a.Limit)
					}
					a.mu.Unlock()
					stay := time.Duration(random.IntN(40)) * time.Millisecond
					visits.Go(func() {
						time.Sleep(stay)
						n.Leave()
					})
				}
			})
		}
		doors.Wait()
		visits.Wait()
		if a.count != 0 || a.queue != nil {
			t.Errorf("at the end %d count, %d are known", a.count, len(a.queue))
		}
	})
}
