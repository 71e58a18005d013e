//go:build linux

package reactor

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"golang.org/x/sys/unix"
)

// step does one round of a loop that is not run: the test is its goroutine.
func step(t testing.TB, l *Loop, h Handler) {
	t.Helper()
	n, err := l.wait()
	if err != nil {
		t.Fatal(err)
	}
	l.round(h, n)
}

// settle does rounds until nothing is left to do.
func settle(t testing.TB, l *Loop, h Handler) {
	t.Helper()
	l.Post(func() {}) // the first wait must end
	for idle := false; !idle; {
		rounds := l.rounds
		step(t, l, h)
		probe := unix.PollFd{Fd: int32(l.epoll), Events: unix.POLLIN}
		n, err := unix.Poll([]unix.PollFd{probe}, 0)
		idle = n == 0 && err == nil && l.ready.len == 0 && !l.posted.Load()
		if l.rounds > rounds+1000 {
			t.Fatal("the loop does not come to rest")
		}
	}
}

func TestEvents(t *testing.T) {
	leaktest.Check(t)
	tests := []struct {
		name string
		act  func(t *testing.T, peer int)
		want Events
	}{
		{"data", func(t *testing.T, peer int) { send(t, peer, "x") }, Readable | Writable},
		{"half-closed", func(_ *testing.T, peer int) { unix.Shutdown(peer, unix.SHUT_WR) }, Readable | Writable | HangUp},
		{"closed", func(_ *testing.T, peer int) { unix.Shutdown(peer, unix.SHUT_RDWR) }, Readable | Writable | HangUp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := open(t)
			defer l.Close()
			fd, peer := pair(t)
			var got []Events
			h := &script{ready: func(key uint32, e Events) {
				if key != 7 {
					t.Errorf("key %d", key)
				}
				got = append(got, e)
			}}
			add(t, l, fd, 7)
			settle(t, l, h)
			if !slices.Equal(got, []Events{Writable}) {
				t.Errorf("a socket without traffic is told %v, want Writable once", got)
			}
			got = nil
			tt.act(t, peer)
			settle(t, l, h)
			if !slices.Equal(got, []Events{tt.want}) {
				t.Errorf("got %v, want %v once", got, tt.want)
			}
		})
	}
}

// TestNoStaleEvent is invariant 1, in the middle of a batch: of two descriptors that are both ready the first to be served removes and closes the other,
// and registers another one, which gets the same number.
func TestNoStaleEvent(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	defer l.Close()
	fds, refs := [2]int{}, [2]Ref{}
	peers := [2]int{}
	for i := range fds {
		fds[i], peers[i] = openPair(t)
		refs[i] = add(t, l, fds[i], uint32(i))
		send(t, peers[i], "old")
	}
	var third, thirdPeer int
	var told []string
	h := &script{ready: func(key uint32, e Events) {
		told = append(told, fmt.Sprint(key, e))
		if key > 1 {
			return
		}
		other := 1 - key
		l.Remove(refs[other])
		l.Remove(refs[other]) // ignored
		l.Again(refs[other])  // ignored
		unix.Close(fds[other])
		third, thirdPeer = openPair(t)
		if third != fds[other] && thirdPeer != fds[other] {
			t.Errorf("the numbers %d, %d are new: nothing is tested", third, thirdPeer)
		}
		if thirdPeer == fds[other] {
			third, thirdPeer = thirdPeer, third
		}
		if ref := add(t, l, third, 2); ref == refs[other] {
			t.Error("two registrations have the same Ref")
		}
		fds[other] = third
	}}
	step(t, l, h)
	if len(told) != 1 {
		t.Fatalf("one batch has told %v, want one of the two only", told)
	}
	settle(t, l, h)
	if want := fmt.Sprint(2, Writable); len(told) != 2 || told[1] != want {
		t.Errorf("told %v; want %q last, for the descriptor that reuses the number", told, want)
	}
	if l.regs.Len() != 2 {
		t.Errorf("%d registrations, want 2", l.regs.Len())
	}
	for _, fd := range []int{fds[0], fds[1], peers[0], peers[1], thirdPeer} {
		unix.Close(fd)
	}
}

// TestNoStaleRef: what is done to a registration that was removed does not reach the one that has its place, with the same descriptor.
func TestNoStaleRef(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	defer l.Close()
	fd, peer := pair(t)
	var told []string
	h := &script{ready: func(key uint32, e Events) { told = append(told, fmt.Sprint(key, e)) }}
	old := add(t, l, fd, 1)
	l.Remove(old)
	settle(t, l, h)
	if ref := add(t, l, fd, 2); uint32(ref) != uint32(old) {
		t.Fatalf("the new registration has place %d, the old one had %d: nothing is tested", uint32(ref), uint32(old))
	}
	l.Remove(old)
	l.Again(old)
	send(t, peer, "x")
	l.dispatch(h, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(uint32(old)), Pad: int32(old >> 32)})
	settle(t, l, h)
	if want := fmt.Sprint(2, Readable|Writable); len(told) != 1 || told[0] != want {
		t.Errorf("told %q, want %q only", told, want)
	}
}

// A crowd has descriptors that come and go; each registration has a key of its own.
type crowd struct {
	t    *testing.T
	l    *Loop
	live map[uint32]member
	last uint32 // key
}

type member struct {
	fd, peer int
	ref      Ref
}

func (c *crowd) birth() {
	c.last++
	fd, peer := openPair(c.t)
	c.live[c.last] = member{fd, peer, add(c.t, c.l, fd, c.last)}
}

func (c *crowd) death(key uint32) {
	m := c.live[key]
	c.l.Remove(m.ref)
	unix.Close(m.fd)
	unix.Close(m.peer)
	delete(c.live, key)
}

// TestNoStaleEventHammer registers, removes, closes and opens at random within batches: a key that was removed must not be told of any more.
func TestNoStaleEventHammer(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	defer l.Close()
	r := rand.New(rand.NewPCG(1, 2))
	c := &crowd{t: t, l: l, live: make(map[uint32]member)}
	calls := 0
	h := &script{ready: func(key uint32, e Events) {
		calls++
		if _, ok := c.live[key]; !ok {
			t.Errorf("told of %d, which was removed", key)
		}
		for victim, m := range c.live { // in random order
			switch r.IntN(6) {
			case 0:
				c.death(victim)
				c.birth()
			case 1:
				l.Again(m.ref)
			default:
				send(t, m.peer, "x")
			}
			if r.IntN(3) == 0 {
				return
			}
		}
	}}
	for range 200 {
		c.birth()
	}
	for range 300 {
		l.Post(func() {})
		step(t, l, h)
	}
	if c.last < 1000 || calls < 5000 {
		t.Errorf("%d registrations and %d calls: too few to prove anything", c.last, calls)
	}
	for key := range c.live {
		c.death(key)
	}
	settle(t, l, h)
	if l.regs.Len() != 0 || l.ready.len != 0 {
		t.Errorf("%d registrations and %d in the queue are left of none", l.regs.Len(), l.ready.len)
	}
}

// TestRemoveOfDuplicate: a descriptor that lives on under another number is out of the epoll instance all the same.
func TestRemoveOfDuplicate(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	defer l.Close()
	fd, peer := openPair(t)
	defer unix.Close(peer)
	ref := add(t, l, fd, 1)
	other, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	l.Remove(ref)
	unix.Close(fd)
	send(t, peer, "x")
	probe := []unix.PollFd{{Fd: int32(l.epoll), Events: unix.POLLIN}}
	if n, err := unix.Poll(probe, 0); n != 0 || err != nil {
		t.Errorf("the epoll instance has %d events, %v", n, err)
	}
}

// TestOneTurn is invariant 2: with one descriptor that always asks to come again, others, timers and posted functions all have their turn in
// the next round, and what is reported meanwhile comes with Resumed, in one turn.
func TestOneTurn(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	defer l.Close()
	busy, busyPeer := pair(t)
	quiet, quietPeer := pair(t)
	busyRef := add(t, l, busy, 1)
	add(t, l, quiet, 2)
	var told []string
	h := &script{
		ready: func(key uint32, e Events) {
			told = append(told, fmt.Sprint(key, e))
			if key == 1 {
				l.Again(busyRef)
				l.Again(busyRef)
			}
		},
		expired: func(uint32) { told = append(told, "timer") },
	}
	step(t, l, h)
	timer, err := l.NewTimer(3)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprint(2, Readable|Writable), fmt.Sprint(1, Resumed|Readable|Writable), "timer", "post"}
	for range 5 {
		told = nil
		send(t, busyPeer, "x")
		send(t, quietPeer, "x")
		l.Post(func() { told = append(told, "post") })
		l.Arm(timer, 0)
		for time.Since(l.start) < l.Now()+2*tick { // the clock alone can make the timer due
		}
		step(t, l, h)
		if !slices.Equal(told, want) {
			t.Errorf("a round has told %v, want %v", told, want)
		}
	}
	told = nil
	l.Remove(busyRef)
	settle(t, l, h)
	if len(told) != 0 || l.regs.Len() != 1 {
		t.Errorf("after Remove: told %v, %d registrations", told, l.regs.Len())
	}
}

// TestOneTurnBounded is invariant 2 for crowds: a round serves a bounded number of those that come again and of timers, in turn, and functions that post
// themselves do not keep a round from ending.
func TestOneTurnBounded(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	defer l.Close()
	const many = 3 * turns
	refs := make([]Ref, many)
	served := make([]int, many)
	total, expired, reposted := 0, 0, 0
	h := &script{
		ready: func(key uint32, e Events) {
			if e&Resumed != 0 {
				served[key]++
				total++
			}
			l.Again(refs[key])
		},
		expired: func(uint32) { expired++ },
	}
	for i := range refs {
		fd, _ := pair(t)
		refs[i] = add(t, l, fd, uint32(i))
	}
	for range 3 {
		step(t, l, h)
	}
	var repost func()
	repost = func() { reposted++; l.Post(repost) }
	l.Post(repost)
	for range 2 * wheelSteps {
		timer, err := l.NewTimer(0)
		if err != nil {
			t.Fatal(err)
		}
		l.Arm(timer, time.Millisecond)
	}
	for time.Since(l.start) < l.Now()+2*tick { // as above
	}
	for round := 1; round <= 12; round++ {
		before, beforeExpired := total, expired
		step(t, l, h)
		if total-before != turns || expired-beforeExpired > wheelSteps || reposted != round {
			t.Errorf("round %d: %d came again, %d timers, %d posted", round, total-before, expired-beforeExpired, reposted)
		}
	}
	if least, most := slices.Min(served), slices.Max(served); most-least > 1 {
		t.Errorf("some were served %d times, some %d", least, most)
	}
	if expired != 2*wheelSteps {
		t.Errorf("%d of %d timers have fired", expired, 2*wheelSteps)
	}
}

func TestAddRefused(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	defer l.Close()
	fd, _ := pair(t)
	add(t, l, fd, 1)
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, tt := range []struct {
		name string
		fd   int
		want error
	}{
		{"twice", fd, syscall.EEXIST},
		{"closed", 1 << 20, syscall.EBADF},
		{"file", int(file.Fd()), syscall.EPERM},
	} {
		if ref, err := l.Add(tt.fd, 2); ref != 0 || !errors.Is(err, tt.want) {
			t.Errorf("%s: ref %d, error %v; want %v", tt.name, ref, err, tt.want)
		}
	}
	if l.regs.Len() != 1 {
		t.Errorf("%d registrations, want 1", l.regs.Len())
	}
	for _, errno := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC} {
		if hint(fmt.Errorf("wrapped: %w", errno)) == "" {
			t.Errorf("no hint for %v", errno)
		}
	}
}

func TestReadWrite(t *testing.T) {
	leaktest.Check(t)
	a, b := openPair(t)
	buf := make([]byte, 16)
	check := func(what string, n int, err error, wantN int, want error) {
		t.Helper()
		if n != wantN || err != want { // never wrapped
			t.Errorf("%s: %d, %v; want %d, %v", what, n, err, wantN, want)
		}
	}
	n, err := Read(a, buf)
	check("read of nothing", n, err, 0, syscall.EAGAIN)
	n, err = Read(a, nil)
	check("read into nothing", n, err, 0, nil)
	n, err = Write(b, []byte("abcdefg"))
	check("write", n, err, 7, nil)
	n, err = Read(a, buf)
	if check("read", n, err, 7, nil); string(buf[:7]) != "abcdefg" {
		t.Errorf("read %q", buf)
	}
	for err == nil {
		n, err = Write(b, make([]byte, BufferSize))
	}
	check("write to a full socket", n, err, 0, syscall.EAGAIN)
	unix.Close(a)
	n, err = Write(b, buf)
	check("write to a closed one", n, err, 0, syscall.EPIPE)
	n, err = Read(b, buf)
	check("read after unread data", n, err, 0, syscall.ECONNRESET)
	n, err = Read(b, buf)
	check("read of the end", n, err, 0, io.EOF)
	unix.Close(b)
	n, err = Read(1<<20, buf)
	check("read of what is closed", n, err, 0, syscall.EBADF)
}

func TestReadWriteDoNotAllocate(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 16)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = Write(b, buf)
		_, _ = Read(a, buf)
		_, _ = Read(a, buf)     // EAGAIN
		_, _ = Read(1<<20, buf) // EBADF
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
