package store

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
)

// busy returns how much time of processors this process has used.
func busy(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchmark publishes messages of 128 bytes, each for fanout of the sessions, while so many wait to be confirmed. With acknowledged they are
// given an identifier at once, and done some time after they are on disk.
func benchmark(b *testing.B, sessions, fanout, open int, acknowledged bool) {
	s, _ := opened(b, b.TempDir())
	for i := range sessions {
		s.PutSession(session(uint64(i)))
	}
	stop := run(b, s)
	wait(b, s)
	payload := make([]byte, 128)
	slots := make(chan struct{}, open)
	before, cpu := time.Now(), busy(b)
	n := uint64(0)
	for b.Loop() {
		n++
		slots <- struct{}{}
		m := &delivery.Message{Topic: "devices/17/state", Payload: payload, QoS: 1, Publisher: "publisher"}
		body := s.NewBody()
		for i := range fanout {
			at := (n*uint64(fanout) + uint64(i)) % uint64(sessions)
			s.Enqueue(at, n, body, delivery.Copy{Message: m, QoS: 1})
			if acknowledged {
				s.Sent(at, n, uint16(n)|1)
			}
			if back := n - uint64(open*2); acknowledged && n > uint64(open*2) {
				s.Done((back*uint64(fanout)+uint64(i))%uint64(sessions), back)
			}
		}
		s.After(func() { <-slots })
	}
	wait(b, s)
	wall := time.Since(before)
	b.ReportMetric(float64(n)/wall.Seconds(), "msg/s")
	b.ReportMetric(float64((busy(b)-cpu).Nanoseconds())/float64(n*uint64(fanout)), "cpu-ns/copy")
	if info, err := os.Stat(s.path); err == nil {
		b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
	}
	runtime.KeepAlive(payload)
	stop()
}

// BenchmarkOneByOne is one publisher who waits for each acknowledgement: a commit for each.
func BenchmarkOneByOne(b *testing.B) { benchmark(b, 1, 1, 1, true) }

// BenchmarkOnline is 1:1 for clients that are there, with 256 messages on their way to the disk at a time.
func BenchmarkOnline(b *testing.B) { benchmark(b, 200, 1, 256, true) }

// BenchmarkOffline is 1:1 for clients that are away.
func BenchmarkOffline(b *testing.B) { benchmark(b, 10_000, 1, 256, false) }

// BenchmarkFanout is one to a thousand clients that are away.
func BenchmarkFanout(b *testing.B) { benchmark(b, 1000, 1000, 4, false) }

// BenchmarkEnqueue is what an operation costs its caller.
func BenchmarkEnqueue(b *testing.B) {
	s, _ := opened(b, b.TempDir())
	defer s.Close()
	m := message("a")
	c := delivery.Copy{Message: m, QoS: 1}
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		s.Enqueue(1, n, 1, c)
		if n%keptOps == 0 {
			s.next.queue = s.next.queue[:0]
		}
	}
}

// BenchmarkOpen reads a file with a hundred thousand messages for a thousand sessions.
func BenchmarkOpen(b *testing.B) {
	const messages = 100_000
	dir := b.TempDir()
	s, _ := opened(b, dir)
	stop := run(b, s)
	for i := range uint64(messages) {
		if i < 1000 {
			s.PutSession(session(i))
		}
		s.Enqueue(i%1000, i, 0, delivery.Copy{Message: &delivery.Message{Topic: "devices/17/state", Payload: make([]byte, 128), QoS: 1}, QoS: 1})
	}
	stop()
	for b.Loop() {
		s, st := opened(b, dir)
		if len(st.Sessions) != 1000 {
			b.Fatal(len(st.Sessions))
		}
		s.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/msg")
}
