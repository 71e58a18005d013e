package health

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
	"golang.org/x/sys/unix"
)

// heldBack is less than the time for which Linux holds back the ACK that a quiet probe must not send (200 ms): a
// probe that took longer than this was stopped in the middle by the machine, and may have been seen.
const heldBack = 150 * time.Millisecond

// A gate accepts connections and counts them.
type gate struct {
	net.Listener
	accepted chan struct{} // one for each connection, in their order
}

func newGate(t *testing.T, host string, probes int) gate {
	t.Helper()
	g := gate{listen(t, host), make(chan struct{}, probes+1)}
	serve(t, g.Listener, func(net.Conn) { g.accepted <- struct{}{} })
	return g
}

// count returns how many connections were accepted so far: it makes one itself, and as they are
// accepted in their order, those of before have been by then.
func (g gate) count(t *testing.T) int {
	t.Helper()
	conn, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 1)
	conn.Read(buf) // until the gate closes it
	return len(g.accepted) - 1
}

// knock probes address n times. It returns how many probes took so long that they may have been seen.
func knock(t *testing.T, address string, n int) (slow int) {
	t.Helper()
	for range n {
		got := probe(Target{Address: address, Check: Check{Timeout: patient}})
		wantResult(t, got, Passed, "")
		if got.Latency > heldBack {
			slow++
		}
	}
	return slow
}

// TestQuietProbeIsNeverAccepted: SYN, SYN/ACK, RST, and accept never returns.
func TestQuietProbeIsNeverAccepted(t *testing.T) {
	leaktest.Check(t)
	const probes = 200
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			g := newGate(t, host, probes)
			slow := knock(t, g.Addr().String(), probes)
			if seen := g.count(t); seen > slow {
				t.Errorf("%d of %d probes were accepted; %d were slow", seen, probes, slow)
			}
		})
	}
}

// TestQuietProbeLeavesTheQueueEmpty: with nobody accepting, the kernel's queue holds none of them either.
func TestQuietProbeLeavesTheQueueEmpty(t *testing.T) {
	leaktest.Check(t)
	l := listen(t, "127.0.0.1")
	slow := knock(t, l.Addr().String(), 20)
	seen := 0
	l.(*net.TCPListener).SetDeadline(time.Now().Add(2 * heldBack))
	for {
		conn, err := l.Accept()
		if err != nil {
			break // the deadline
		}
		conn.Close()
		seen++
	}
	if seen > slow {
		t.Errorf("%d connections were in the queue; %d probes were slow", seen, slow)
	}
}

// TestQuietProbeOnABusyMachine: with more goroutines computing than the scheduler can get round to in 200 ms,
// most probes must still get away unseen. Without the look in quiet all are seen. There are several rounds, because
// other processes may stop this one in the middle of its probes.
func TestQuietProbeOnABusyMachine(t *testing.T) {
	leaktest.Check(t)
	const rounds, probes = 5, 10
	g := newGate(t, "127.0.0.1", rounds*(probes+2))
	var seen int
	for range rounds {
		before := g.count(t)
		whileBusy(func() { knock(t, g.Addr().String(), probes) })
		if seen = g.count(t) - before - 1; seen <= probes/2 { // one is the count itself
			return
		}
	}
	t.Errorf("in each of %d rounds most probes were accepted, %d of %d in the last", rounds, seen, probes)
}

// whileBusy calls f while twenty goroutines for each processor compute.
func whileBusy(f func()) {
	var (
		done    atomic.Bool
		started sync.WaitGroup
		busy    sync.WaitGroup
	)
	for range 20 * runtime.GOMAXPROCS(0) {
		started.Add(1)
		busy.Go(func() {
			started.Done()
			for !done.Load() {
			}
		})
	}
	started.Wait() // each has a place in the queue from now on
	f()
	done.Store(true)
	busy.Wait()
}

// TestMosquittoHearsNothingOfTCPChecks: 30 of them leave no line in its log, where one real client leaves some.
func TestMosquittoHearsNothingOfTCPChecks(t *testing.T) {
	leaktest.Check(t)
	broker := peertest.StartMosquitto(t, true)
	slow := 0
	for range 30 {
		got := probe(Target{Address: broker.Address, Check: Check{Timeout: patient}})
		wantResult(t, got, Passed, "")
		if got.Latency > heldBack {
			slow++
		}
	}
	got := probe(Target{Key: "b/s", Address: broker.Address, Check: Check{Type: MQTT, Timeout: patient}})
	wantResult(t, got, Passed, "")
	lines := broker.LinesUntil("New client connected from 127.0.0.1")
	connections := 0
	for _, line := range lines {
		if strings.Contains(line, "New connection") {
			connections++
		}
	}
	if connections > 1+slow || slow == 0 && !strings.Contains(lines[0], "New connection") {
		t.Errorf("mosquitto has heard of the checks (%d were slow): %q", slow, lines)
	}
}

// TestProbeOfAFullBacklog: the kernel drops the SYN, so nobody answers.
func TestProbeOfAFullBacklog(t *testing.T) {
	leaktest.Check(t)
	address := fullBacklog(t)
	for _, kind := range []Type{TCP, MQTT} {
		got := probe(Target{Address: address, Check: Check{Type: kind, Timeout: 200 * ms}})
		wantResult(t, got, Timeout, "timeout after 200ms connecting")
	}
}

// fullBacklog returns the address of a listener that has no room for another connection.
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	const most = 10 // a queue of length 0 holds one
	for range most {
		conn, err := net.DialTimeout("tcp", address, 200*ms)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatalf("the queue took %d connections", most)
	return ""
}

// TestQuietProbeWithoutDescriptors: the machine's trouble is not the server's.
func TestQuietProbeWithoutDescriptors(t *testing.T) {
	leaktest.Check(t)
	l := listen(t, "127.0.0.1")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	got := []Result{probe(Target{Address: l.Addr().String()}), probe(Target{Address: l.Addr().String(), Check: Check{Type: MQTT}})}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	for _, r := range got {
		wantResult(t, r, Hampered, "too many open files")
	}
}
