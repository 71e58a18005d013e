//go:build linux

package reactor

import (
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkPingPong measures a message of 8 bytes there and back over a TCP connection, from a thread that makes raw system calls: to
// the loop, to a goroutine that blocks in unix.EpollWait, and to one that blocks in Go's netpoller. The three
// take turns, after a pause: none, one in which the loop still waits eagerly, and one after which it waits patiently.
//
// All threads share one CPU. With more, what is measured is on which of them the kernel happens to wake a thread, and how long that one
// takes to leave its sleep: 10 or 90 µs in a virtual machine, whoever is woken.
func BenchmarkPingPong(b *testing.B) {
	for _, pause := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
		b.Run("pause="+pause.String(), func(b *testing.B) { benchmarkPingPong(b, pause) })
	}
}

func benchmarkPingPong(b *testing.B, pause time.Duration) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(6)) // one for each thread that holds on to its own
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		b.Fatal(err)
	}
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Zero()
			one.Set(cpu)
		}
	}
	stayOn(b, &one)
	b.Cleanup(func() { stayOn(b, &all) })
	servers := []struct {
		name  string
		serve func(b *testing.B, fd int)
		spent time.Duration
	}{
		{name: "loop", serve: echoOfLoop},
		{name: "epollwait", serve: echoOfEpollWait},
		{name: "netpoll", serve: echoOfNetpoll},
	}
	peers := make([]int, len(servers))
	for i := range servers {
		fd, peer := openTCP(b)
		if err := unix.SetNonblock(peer, false); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Close(peer) })
		peers[i] = peer
		servers[i].serve(b, fd)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Blocks, because threads that look for work after one server's message disturb the next server's.
	const block = 20
	for b.Loop() {
		for i := range servers {
			for range block {
				rawSleep(pause)
				began := time.Now()
				ping(b, peers[i])
				servers[i].spent += time.Since(began)
			}
		}
	}
	for _, s := range servers {
		b.ReportMetric(float64(s.spent.Nanoseconds())/float64(b.N)/block/1000, s.name+"-µs")
	}
	b.ReportMetric(float64(servers[0].spent)/float64(servers[1].spent), "loop/epollwait")
	b.ReportMetric(float64(servers[0].spent)/float64(servers[2].spent), "loop/netpoll")
}

// stayOn moves all threads of the process; those to come are where the thread is that starts them.
func stayOn(b *testing.B, cpus *unix.CPUSet) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.SchedSetaffinity(tid, cpus); err != nil && err != unix.ESRCH {
			b.Fatal(err)
		}
	}
}

// openTCP returns both ends of a connection without Nagle's algorithm, non-blocking. The caller closes them.
func openTCP(b *testing.B) (int, int) {
	const kind = unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	check := func(err error) {
		if err != nil && err != unix.EINPROGRESS {
			b.Fatal(err)
		}
	}
	listener, err := unix.Socket(unix.AF_INET, kind&^unix.SOCK_NONBLOCK, 0)
	check(err)
	defer unix.Close(listener)
	check(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(unix.Listen(listener, 1))
	address, err := unix.Getsockname(listener)
	check(err)
	peer, err := unix.Socket(unix.AF_INET, kind, 0)
	check(err)
	check(unix.Connect(peer, address))
	fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	check(err)
	for _, s := range []int{fd, peer} {
		check(unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}
	return fd, peer
}

// rawSleep and ping keep Go's scheduler out of what is measured, on the client's side.
func rawSleep(d time.Duration) {
	if d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		_, _, _ = syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
}

func ping(b *testing.B, peer int) {
	var buf [8]byte
	if _, err := Write(peer, buf[:]); err != nil {
		b.Fatal(err)
	}
	if _, err := Read(peer, buf[:]); err != nil {
		b.Fatal(err)
	}
}

func echoOfLoop(b *testing.B, fd int) {
	l := open(b)
	b.Cleanup(func() { unix.Close(fd) })
	start(b, l, &script{ready: func(_ uint32, e Events) {
		if e&Readable == 0 {
			return
		}
		if n, err := Read(fd, l.Buffer()); err == nil {
			_, _ = Write(fd, l.Buffer()[:n])
		}
	}})
	do(b, l, func() { add(b, l, fd, 1) })
}

func echoOfEpollWait(b *testing.B, fd int) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP}); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var events [16]unix.EpollEvent
		buf := make([]byte, 64)
		for {
			if _, err := unix.EpollWait(epoll, events[:], -1); err != nil && err != unix.EINTR {
				return
			}
			n, err := Read(fd, buf)
			if err != nil && err != syscall.EAGAIN {
				return
			}
			_, _ = Write(fd, buf[:n])
		}
	})
	b.Cleanup(func() {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		wg.Wait()
		unix.Close(epoll)
		unix.Close(fd)
	})
}

func echoOfNetpoll(b *testing.B, fd int) {
	file := os.NewFile(uintptr(fd), "echo") // non-blocking, and so watched by the netpoller
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 64)
		for {
			n, err := file.Read(buf)
			if err != nil {
				return
			}
			_, _ = file.Write(buf[:n])
		}
	})
	b.Cleanup(func() {
		file.Close()
		wg.Wait()
	})
}

// BenchmarkPost measures functions posted from another goroutine, as fast as it can while no more than 1,000 are waiting.
func BenchmarkPost(b *testing.B) {
	l := open(b)
	start(b, l, &script{})
	b.ReportAllocs()
	room := make(chan struct{}, 1000)
	f := func() { <-room }
	for b.Loop() {
		room <- struct{}{}
		l.Post(f)
	}
	do(b, l, func() {})
	b.ReportMetric(float64(l.woke.Load())/float64(b.N), "wake-ups/op")
}

// BenchmarkPostAwake measures Post alone, to a loop that is awake, and the running of what was posted.
func BenchmarkPostAwake(b *testing.B) {
	l := open(b)
	defer l.Close()
	h := &script{}
	f := func() {}
	b.ReportAllocs()
	for b.Loop() {
		for range 100 {
			l.Post(f)
		}
		l.round(h, 0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/post")
}

// BenchmarkArm arms one of a million timers anew, for keep alive times of one to five minutes.
func BenchmarkArm(b *testing.B) {
	l := open(b)
	defer l.Close()
	timers := make([]Timer, 1_000_000)
	for i := range timers {
		var err error
		if timers[i], err = l.NewTimer(uint32(i)); err != nil {
			b.Fatal(err)
		}
		l.Arm(timers[i], time.Minute)
	}
	r := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		l.Arm(timers[r.IntN(len(timers))], time.Duration(60+r.IntN(240))*time.Second)
	}
}

// BenchmarkExpire fires timers and arms them again, a million of them spread over a minute.
func BenchmarkExpire(b *testing.B) {
	l := open(b)
	defer l.Close()
	timers := make([]Timer, 1_000_000)
	fired := 0
	h := &script{expired: func(key uint32) { fired++; l.Arm(timers[key], time.Minute) }}
	for i := range timers {
		var err error
		if timers[i], err = l.NewTimer(uint32(i)); err != nil {
			b.Fatal(err)
		}
		l.Arm(timers[i], time.Duration(i%60)*time.Second)
	}
	b.ReportAllocs()
	for b.Loop() {
		for before := fired; fired-before < 1000; {
			l.expire(h)
			if !l.behind {
				l.now += time.Second
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(fired), "ns/timer")
}

// BenchmarkRound measures what the loop itself adds to one event: a descriptor that asks to come again, with the poll between.
func BenchmarkRound(b *testing.B) {
	l := open(b)
	defer l.Close()
	fd, _ := pair(b)
	ref := add(b, l, fd, 1)
	h := &script{ready: func(uint32, Events) { l.Again(ref) }}
	step(b, l, h)
	b.ReportAllocs()
	for b.Loop() {
		step(b, l, h)
	}
}

// BenchmarkAddRemove measures what a connection costs the loop once in its life, for each of its descriptors.
func BenchmarkAddRemove(b *testing.B) {
	l := open(b)
	defer l.Close()
	fd, _ := pair(b)
	b.ReportAllocs()
	for b.Loop() {
		l.Remove(add(b, l, fd, 1))
		l.giveBack()
	}
}
