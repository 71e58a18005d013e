//go:build linux

package reactor

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"golang.org/x/sys/unix"
)

// TestPostsInOrder is invariant 3: many goroutines post while the loop goes to sleep and wakes, and while it ends. What was promised has run, each
// goroutine's in its order, and nothing else.
func TestPostsInOrder(t *testing.T) {
	leaktest.Check(t)
	const posters, each = 8, 5000
	l := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var ran [posters][]int // the loop's; read when it has ended
	var promised [posters]int
	var wg sync.WaitGroup
	for p := range posters {
		wg.Go(func() {
			for i := range each {
				if !l.Post(func() { ran[p] = append(ran[p], i) }) {
					return
				}
				promised[p]++
				if p == 0 && i == each/2 {
					cancel()
				}
				if i%97 == p {
					runtime.Gosched()
				}
			}
		})
	}
	go func() { ended <- l.Run(ctx, &script{}) }()
	if err := await(t, ended); err != nil {
		t.Errorf("Run: %v", err)
	}
	wg.Wait()
	cancel()
	for p := range posters {
		if len(ran[p]) != promised[p] {
			t.Errorf("poster %d: %d functions have run, %d were promised", p, len(ran[p]), promised[p])
		}
		for i, v := range ran[p] {
			if v != i {
				t.Fatalf("poster %d: function %d has run in place of %d", p, v, i)
			}
		}
	}
	if l.Post(func() { t.Error("a function has run after the end") }) {
		t.Error("Post after the end is true")
	}
}

// TestPostsAtTheEnd: a function that is posted when the loop is about to end, and was promised, runs.
func TestPostsAtTheEnd(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	ran := false
	l.Post(func() {
		l.stopped = true // as when ctx is done
		if !l.Post(func() { ran = true }) {
			t.Error("Post before the end is false")
		}
	})
	if err := l.Run(t.Context(), &script{}); err != nil || !ran {
		t.Errorf("Run: %v; the last function has run: %t", err, ran)
	}
}

// TestCloseAwaitsWriters: the eventfd is not closed while somebody may still write to it.
func TestCloseAwaitsWriters(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	l.state.Store(asleep)
	if !l.state.CompareAndSwap(asleep, woken) { // Post, up to here
		t.Fatal("not asleep")
	}
	l.notices++ // the loop has seen it, and ends
	closed := make(chan struct{})
	go func() { defer close(closed); l.Close() }()
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case <-closed:
		t.Error("closed before the write")
	default:
	}
	l.wake()
	await(t, closed)
}

// TestPostWakes has the loop woken from both waits, many times: a wake-up that is lost would end the test by its deadline.
func TestPostWakes(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	start(t, l, &script{})
	for i := range 2000 {
		do(t, l, func() {
			if i%100 == 0 {
				l.eager = false
			}
		})
	}
}

// TestOneWakeUp is invariant 4, counted where the loop counts: what is posted from within costs no write, and what is posted by
// many to a loop that sleeps costs one.
func TestOneWakeUp(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	defer l.Close()
	h := &script{}
	for range 100 {
		l.Post(func() {})
	}
	step(t, l, h)
	if n := l.woke.Load(); n != 0 || l.notices != 0 {
		t.Errorf("%d writes, %d seen, to a loop that was awake", n, l.notices)
	}
	l.state.Store(asleep)
	for range 100 {
		l.Post(func() {})
	}
	if n := l.woke.Load(); n != 1 || l.state.Load() != woken {
		t.Errorf("%d writes to a loop that was asleep, state %d", n, l.state.Load())
	}
	l.notices++
	step(t, l, h)
}

// TestNeverEarly is invariant 5 with the real clock: timers of random length, armed again and disarmed at random.
func TestNeverEarly(t *testing.T) {
	leaktest.Check(t)
	const many = 500
	l := open(t)
	timers := make([]Timer, many)
	due := make([]time.Duration, many) // by Now; 0: not armed
	fired, gone := 0, make(chan struct{})
	h := &script{}
	left := many
	h.expired = func(key uint32) {
		fired++
		if due[key] == 0 || l.Now() < due[key] {
			t.Errorf("timer %d fired at %v; it was due at %v", key, l.Now(), due[key])
		}
		due[key] = 0
		// A neighbour, perhaps due in this very round, is disarmed, freed or armed anew.
		if other := (key + 1) % many; due[other] != 0 {
			switch fired % 3 {
			case 0:
				l.Disarm(timers[other])
				due[other] = 0
				left--
			case 1:
				l.FreeTimer(timers[other])
				l.FreeTimer(timers[other]) // ignored
				l.Arm(timers[other], 0)    // ignored
				due[other] = 0
				left--
			default:
				l.Arm(timers[other], 20*time.Millisecond)
				due[other] = l.Now() + 20*time.Millisecond
			}
		}
		if left--; left == 0 {
			close(gone)
		}
	}
	start(t, l, h)
	do(t, l, func() {
		for i := range timers {
			timers[i], _ = l.NewTimer(uint32(i))
			d := time.Duration(rand.IntN(int(300 * time.Millisecond)))
			l.Arm(timers[i], d)
			due[i] = l.Now() + d
		}
	})
	await(t, gone)
	do(t, l, func() {
		for i := range timers {
			if l.FreeTimer(timers[i]); due[i] != 0 {
				t.Errorf("timer %d did not fire", i)
			}
		}
		if n := l.wheel.timers.Len(); n != 0 {
			t.Errorf("%d timers are left", n)
		}
	})
}

// TestManyAtOnce: of more timers than a round has steps for, all due at once, all fire without a wait between the rounds.
func TestManyAtOnce(t *testing.T) {
	leaktest.Check(t)
	const many = 3*wheelSteps + 7
	l := open(t)
	defer l.Close()
	fired := 0
	h := &script{expired: func(uint32) { fired++ }}
	for range many {
		timer, err := l.NewTimer(1)
		if err != nil {
			t.Fatal(err)
		}
		l.Arm(timer, 0)
	}
	for l.now = tick; fired < many; {
		before := fired
		l.expire(h)
		if fired == before || fired-before > wheelSteps {
			t.Fatalf("%d timers have fired in one round, %d of %d in all", fired-before, fired, many)
		}
		if fired < many && l.patience() != 0 {
			t.Fatalf("the loop would wait for %d ms with %d timers due", l.patience(), many-fired)
		}
	}
}

// TestRounding: deadlines of 8 s and more are whole seconds, never earlier than asked for, and the longest do not overflow.
func TestRounding(t *testing.T) {
	l := open(t)
	defer l.Close()
	timer, err := l.NewTimer(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []time.Duration{0, 1, time.Second - 1, time.Second, 12345678910111} {
		l.now = now
		for _, d := range []time.Duration{-1 << 63, 0, 1, tick, roundFrom - 1, roundFrom, roundFrom + 1, time.Hour, 1<<63 - 1} {
			l.Arm(timer, d)
			deadline := l.wheel.timers.At(uint32(timer)).deadline
			late := time.Duration(deadline)*tick - (now + max(0, d))
			switch {
			case d > 1<<62:
				if deadline < 1<<62/int64(tick) {
					t.Errorf("now %v, for %v: deadline %d", now, d, deadline)
				}
			case late < 0, late > time.Second, d < roundFrom && late > tick:
				t.Errorf("now %v, for %v: late by %v", now, d, late)
			case d >= roundFrom && deadline%ticksPerSecond != 0:
				t.Errorf("now %v, for %v: tick %d is no whole second", now, d, deadline)
			}
		}
	}
}

// TestIdleCostsNothing is invariant 6: a loop with descriptors, and many timers that are not due, does a few rounds in a second and a half
// and its thread gives up its CPU a few times.
func TestIdleCostsNothing(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	done := make(chan struct{})
	start(t, l, &script{expired: func(uint32) { close(done) }})
	fd, peer := pair(t)
	var rounds uint64
	var before, after unix.Rusage
	do(t, l, func() {
		add(t, l, fd, 1)
		send(t, peer, "x")
		for range 10_000 {
			timer, _ := l.NewTimer(1)
			l.Arm(timer, time.Hour)
		}
		last, _ := l.NewTimer(1)
		l.Arm(last, 1500*time.Millisecond)
		rounds = l.rounds
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
			t.Error(err)
		}
	})
	await(t, done)
	do(t, l, func() {
		rounds = l.rounds - rounds
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
			t.Error(err)
		}
	})
	// One round for the descriptor, one eager wait in vain, one patient wait that the timer ends, this call; some more for signals.
	if switches := after.Nvcsw - before.Nvcsw; rounds > 20 || switches > 40 {
		t.Errorf("%d rounds and %d voluntary switches in 1.5 s without events", rounds, switches)
	}
}

// TestInterrupted is invariant 7: the loop echoes while its thread is showered with signals and the collector stops the world.
func TestInterrupted(t *testing.T) {
	leaktest.Check(t)
	l := open(t)
	fd, peer := pair(t)
	h := &script{ready: func(_ uint32, e Events) {
		if e&Readable != 0 {
			if n, err := Read(fd, l.Buffer()); err == nil {
				_, _ = Write(fd, l.Buffer()[:n])
			}
		}
	}}
	start(t, l, h)
	var tid int
	do(t, l, func() { tid = unix.Gettid(); add(t, l, fd, 1) })

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			// SIGURG is what the runtime itself interrupts threads with (runtime/signal_unix.go, sigPreempt).
			if err := unix.Tgkill(os.Getpid(), tid, unix.SIGURG); err != nil {
				t.Error(err)
				return
			}
			runtime.Gosched()
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			runtime.GC()
		}
	})
	defer wg.Wait()
	defer cancel()
	if err := unix.SetNonblock(peer, false); err != nil {
		t.Fatal(err)
	}
	deadline := unix.NsecToTimeval(int64(patienceOfTests))
	if err := unix.SetsockoptTimeval(peer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &deadline); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	for i := range 2000 {
		message := fmt.Sprintf("%08d", i)
		if _, err := unix.Write(peer, []byte(message)); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(buf); {
			k, err := unix.Read(peer, buf[n:])
			if err != nil && err != syscall.EINTR {
				t.Fatal(err)
			}
			n += max(0, k)
		}
		if string(buf) != message {
			t.Fatalf("echo %q, want %q", buf, message)
		}
	}
}

// TestNothingRemains is invariant 8; leaktest counts the descriptors.
func TestNothingRemains(t *testing.T) {
	leaktest.Check(t)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for range 50 {
		l := open(t)
		ran := false
		l.Post(func() { ran = true })
		fd, _ := pair(t)
		ref := add(t, l, fd, 1)
		timer, _ := l.NewTimer(1)
		l.Arm(timer, time.Hour)
		if err := l.Run(cancelled, &script{}); err != nil || !ran {
			t.Errorf("Run: %v; what was posted before has run: %t", err, ran)
		}
		if l.regs.Len() != 0 || l.wheel.timers.Len() != 0 {
			t.Error("memory is left")
		}
		// All of these do nothing now.
		l.Again(ref)
		l.Remove(ref)
		l.Arm(timer, 0)
		l.Disarm(timer)
		l.FreeTimer(timer)
		l.Close()
		if l.Post(func() {}) {
			t.Error("Post after the end is true")
		}
		if err := l.Run(context.Background(), &script{}); err == nil {
			t.Error("a loop has run twice")
		}
	}
	l := open(t)
	l.Close()
	if err := l.Run(context.Background(), &script{}); err == nil {
		t.Error("a loop has run after Close")
	}
}

// TestNothingRemainsAtTheLimit: a loop that cannot be had leaves nothing open.
func TestNothingRemainsAtTheLimit(t *testing.T) {
	leaktest.Check(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	probe, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(probe)
	for room := range 2 { // for none, and for the first of two descriptors
		low := unix.Rlimit{Cur: uint64(probe + room), Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		l, err := New()
		if restored := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); restored != nil {
			t.Fatal(restored)
		}
		if err == nil {
			l.Close()
			t.Error("New has succeeded")
		} else if !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
			t.Errorf("error without advice: %v", err)
		}
	}
}

// oneProcessor in the environment makes TestOthersRun the child that it starts.
const oneProcessor = "REACTOR_TEST_PROCESSORS"

// TestOthersRun is invariant 9, in a process of its own with as many Ps as there are loops, or fewer.
func TestOthersRun(t *testing.T) {
	if os.Getenv(oneProcessor) != "" {
		othersRun(t)
		return
	}
	for _, processors := range []string{"1", "2"} {
		child := exec.Command(os.Args[0], "-test.run=^TestOthersRun$", "-test.timeout=120s", "-test.v")
		child.Env = append(os.Environ(), oneProcessor+"=1", "GOMAXPROCS="+processors)
		out, err := child.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestOthersRun")) {
			t.Errorf("with GOMAXPROCS=%s: %v\n%s", processors, err, out)
		}
	}
}

// othersRun has two loops, idle at first and then with more work than they can do, beside goroutines that compute, wait for timers and collect.
func othersRun(t *testing.T) {
	leaktest.Check(t)
	var stop atomic.Bool
	var loops [2]*Loop
	var busy [2]Ref
	for i := range loops {
		l := open(t)
		loops[i] = l
		start(t, l, &script{ready: func(uint32, Events) {
			if !stop.Load() {
				l.Again(busy[i])
			}
		}})
	}
	progress := func(phase string) {
		t.Helper()
		var computed atomic.Uint64
		var wg sync.WaitGroup
		wg.Go(func() {
			for !stop.Load() {
				computed.Add(1)
			}
		})
		before := computed.Load()
		for range 5 {
			await(t, time.After(time.Millisecond))
			for _, l := range loops {
				do(t, l, func() {})
			}
			runtime.GC()
		}
		deadline := time.Now().Add(patienceOfTests)
		for computed.Load() == before {
			if time.Now().After(deadline) {
				t.Fatalf("%s: nothing was computed", phase)
			}
			runtime.Gosched()
		}
		stop.Store(true)
		wg.Wait()
	}
	progress("idle")
	stop.Store(false)
	for i, l := range loops {
		fd, _ := pair(t)
		do(t, l, func() { busy[i] = add(t, l, fd, 1) })
	}
	progress("busy")
}
