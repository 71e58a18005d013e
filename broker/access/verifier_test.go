package access

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// waiting bounds what the tests wait for; nothing takes so long unless it is broken.
const waiting = 30 * time.Second

// quick has two users whose passwords cost the least that bcrypt allows: htpasswd -C 4 has written it.
const quick = `alice:$2y$04$NuBUZ2S83db49UW2vfvuR.DdvVWTOtND8LwXsOIq3NEz08QwLCfpi
back end:$2y$04$Tas.DpZZwA8s6HAlBa358erwmdLKVjNFmXZLXeiFIoxKgwtzRBLX2
`

// started runs a Verifier until the test ends.
func started(t testing.TB, l Limits) *Verifier {
	t.Helper()
	v := NewVerifier(l)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return v
}

// verified submits a login and waits for what becomes of it.
func verified(t *testing.T, v *Verifier, s *Snapshot, name, password string) Outcome {
	t.Helper()
	answer := make(chan Outcome, 1)
	given := []byte(password)
	if !v.Submit(t.Context(), s, name, given, func(o Outcome) { answer <- o }) {
		t.Fatal("not taken")
	}
	clear(given) // it was copied
	select {
	case o := <-answer:
		return o
	case <-time.After(waiting):
		t.Fatal("no answer")
		return 0
	}
}

func TestVerify(t *testing.T) {
	leaktest.Check(t)
	v, s := started(t, Limits{}), loaded(t, quick, "-", false)
	tests := []struct {
		what, name, password string
		want                 Outcome
	}{
		{"right", "alice", "not-a-real-password", Allowed},
		{"right, with blanks", "back end", "correct horse", Allowed},
		{"wrong", "alice", "not-a-real-passwore", BadCredentials},
		{"empty", "alice", "", BadCredentials},
		{"of somebody else", "alice", "correct horse", BadCredentials},
		{"unknown", "zoe", "not-a-real-password", BadCredentials},
		{"nobody", "", "", BadCredentials},
		{"too long", "alice", strings.Repeat("x", 73), BadCredentials},
	}
	for range 2 { // the second time out of the memory
		for _, test := range tests {
			if got := verified(t, v, s, test.name, test.password); got != test.want {
				t.Errorf("%s: %v, want %v", test.what, got, test.want)
			}
			if got := v.Check(s, test.name, []byte(test.password)); got != (test.want == Allowed) {
				t.Errorf("%s: Check says %v afterwards", test.what, got)
			}
		}
	}
}

// Twice the longest password is no password, even where its beginning is one.
func TestVerifyLong(t *testing.T) {
	leaktest.Check(t)
	v, s := started(t, Limits{}), loaded(t, fromHtpasswd, "-", false)
	if got := verified(t, v, s, "longest", strings.Repeat("x", 72)); got != Allowed {
		t.Errorf("72 bytes: %v", got)
	}
	if got := verified(t, v, s, "longest", strings.Repeat("x", 73)); got != BadCredentials {
		t.Errorf("73 bytes: %v", got)
	}
	if v.Check(s, "longest", []byte(strings.Repeat("x", 144))) {
		t.Error("144 bytes are known")
	}
}

// A password that was changed, or whose user was taken out, is not right any more, whatever is remembered.
func TestVerifyChanged(t *testing.T) {
	leaktest.Check(t)
	v, before := started(t, Limits{}), loaded(t, quick, "-", false)
	verified(t, v, before, "alice", "not-a-real-password")
	changed := loaded(t, "alice:$2y$04$Tas.DpZZwA8s6HAlBa358erwmdLKVjNFmXZLXeiFIoxKgwtzRBLX2\n", "-", false)
	gone := loaded(t, "", "-", false)
	for what, after := range map[string]*Snapshot{"changed": changed, "gone": gone} {
		if v.Check(after, "alice", []byte("not-a-real-password")) {
			t.Errorf("%s: still known", what)
		}
		if got := verified(t, v, after, "alice", "not-a-real-password"); got != BadCredentials {
			t.Errorf("%s: %v", what, got)
		}
	}
	if !v.Check(before, "alice", []byte("not-a-real-password")) {
		t.Error("not known by the file that it was verified with")
	}
}

// Logins with the same bytes, divided in another way, are not one.
func TestSums(t *testing.T) {
	v := NewVerifier(Limits{})
	sums := make(map[sum]string)
	for _, login := range [][3]string{{"h", "ab", "c"}, {"h", "a", "bc"}, {"h", "abc", ""}, {"h", "", "abc"}, {"i", "ab", "c"}} {
		s := v.sum(login[0], login[1], []byte(login[2]))
		if before, ok := sums[s]; ok {
			t.Errorf("%q has the sum of %s", login, before)
		}
		sums[s] = fmt.Sprint(login)
	}
	if _, ok := sums[NewVerifier(Limits{}).sum("h", "ab", []byte("c"))]; ok {
		t.Error("another process has the same sums")
	}
}

// One worker is held up: so many wait, the next is refused, and who has given up is not computed.
func TestVerifyBusy(t *testing.T) {
	leaktest.Check(t)
	v, s := started(t, Limits{Workers: 1, Queue: 2}), loaded(t, quick, "-", false)
	held, release := make(chan struct{}), make(chan struct{})
	submit := func(ctx context.Context, done func(Outcome)) bool {
		return v.Submit(ctx, s, "alice", []byte("not-a-real-password"), done)
	}
	submit(t.Context(), func(Outcome) { close(held); <-release })
	<-held
	over, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := make(chan Outcome, 2)
	for _, ctx := range []context.Context{over, t.Context()} {
		if !submit(ctx, func(o Outcome) { answers <- o }) {
			t.Fatal("not taken although there is room")
		}
	}
	if submit(t.Context(), func(Outcome) { t.Error("called for a login that was not taken") }) {
		t.Error("taken although the queue is full")
	}
	cancel()
	close(release)
	if o := <-answers; o != Busy {
		t.Errorf("after the deadline: %v", o)
	}
	if o := <-answers; o != Allowed {
		t.Errorf("after the wait: %v", o)
	}
}

// Run tells everybody who waits, and lets nobody in when it is over.
func TestVerifierStops(t *testing.T) {
	leaktest.Check(t)
	v, s := NewVerifier(Limits{Workers: 1, Queue: 10}), loaded(t, quick, "-", false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := make(chan Outcome, 10)
	for range 10 {
		v.Submit(t.Context(), s, "alice", []byte("wrong"), func(o Outcome) { cancel(); answers <- o })
	}
	if err := v.Run(ctx); err != nil {
		t.Error(err)
	}
	if len(answers) != 10 {
		t.Errorf("%d of 10 were told", len(answers))
	}
	if v.Submit(t.Context(), s, "alice", []byte("wrong"), func(Outcome) {}) {
		t.Error("taken although Run is over")
	}
}

// What is remembered is forgotten when its time is over.
func TestVerifierLifetime(t *testing.T) {
	s := loaded(t, quick, "-", false)
	synctest.Test(t, func(t *testing.T) {
		v := NewVerifier(Limits{Workers: 1, Lifetime: time.Hour})
		hash, _ := s.users.lookup("alice")
		v.remember(v.sum(hash, "alice", []byte("x")))
		time.Sleep(time.Hour - time.Nanosecond)
		if !v.Check(s, "alice", []byte("x")) {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Nanosecond)
		if v.Check(s, "alice", []byte("x")) {
			t.Error("known for too long")
		}
	})
}

// Many at once, from everywhere, with a memory that is too small.
func TestVerifierConcurrent(t *testing.T) {
	leaktest.Check(t)
	v, s := started(t, Limits{Workers: 2, Queue: 64, Entries: 1}), loaded(t, quick, "-", false)
	right := map[string]string{"alice": "not-a-real-password", "back end": "correct horse"}
	var told, taken atomic.Int64
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 10 {
				name, password, want := "alice", right["alice"], Allowed
				switch (g + i) % 3 {
				case 1:
					name, password = "back end", right["back end"]
				case 2:
					password, want = "wrong", BadCredentials
				}
				if v.Check(s, name, []byte(password)) {
					if want != Allowed {
						t.Errorf("%s with a wrong password is known", name)
					}
					continue
				}
				all.Add(1)
				if v.Submit(t.Context(), s, name, []byte(password), func(o Outcome) {
					defer all.Done()
					told.Add(1)
					if o != want {
						t.Errorf("%s: %v, want %v", name, o, want)
					}
				}) {
					taken.Add(1)
				} else {
					all.Done()
				}
			}
		})
	}
	all.Wait()
	if told.Load() != taken.Load() {
		t.Errorf("%d were taken, %d told", taken.Load(), told.Load())
	}
}
