package health

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// patient is a timeout that no test waits for.
const patient = time.Minute

// listen returns a listener on a free port of host; nobody accepts yet.
func listen(t *testing.T, host string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil && host == "::1" {
		peertest.Lacking(t, "no IPv6 here")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve gives each connection to l to script, and closes it after; it ends with the test.
func serve(t *testing.T, l net.Listener, script func(net.Conn)) {
	t.Helper()
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(patient))
				script(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Wait()
	})
}

// probe runs one check of target with the Monitor's own probe, under its timeout.
func probe(target Target) Result {
	m := New(Options{})
	target = target.withDefaults()
	ctx, cancel := context.WithTimeout(context.Background(), target.Check.Timeout)
	defer cancel()
	start := time.Now()
	err := m.probeServer(ctx, target)
	return result(err, start, time.Now())
}

func wantResult(t *testing.T, got Result, outcome Outcome, reason string) {
	t.Helper()
	if got.Outcome != outcome || got.Reason != reason || got.OK != (outcome == Passed) {
		t.Errorf("result is %s %q, OK %v; want %s %q", got.Outcome, got.Reason, got.OK, outcome, reason)
	}
}

func TestProbeTCP(t *testing.T) {
	leaktest.Check(t)
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		t.Run(host, func(t *testing.T) {
			l := listen(t, host)
			_, port, _ := net.SplitHostPort(l.Addr().String())
			target := Target{Address: net.JoinHostPort(host, port), Check: Check{Timeout: patient}}
			wantResult(t, probe(target), Passed, "")
			l.Close()
			wantResult(t, probe(target), Refused, "connection refused")
		})
	}
}

func TestProbeTCPAddressThatIsNone(t *testing.T) {
	leaktest.Check(t)
	got := probe(Target{Address: "127.0.0.1:nonsense"})
	if got.Outcome != Unresolved || got.Reason == "" {
		t.Errorf("result is %+v, want unresolved with a reason", got)
	}
}

// TestMonitorOnSockets: a server is killed and comes back, with the real probes of both kinds.
func TestMonitorOnSockets(t *testing.T) {
	for _, kind := range []Type{TCP, MQTT} {
		t.Run(kind.String(), func(t *testing.T) {
			leaktest.Check(t)
			changes := make(chan Change, 10)
			m := New(Options{OnChange: func(c Change) { changes <- c }})
			l := listen(t, "127.0.0.1")
			address := l.Addr().String()
			serve(t, l, acceptClients)
			m.Set([]Target{{Key: "b/s", Address: address, Check: Check{Type: kind, Interval: 5 * time.Millisecond, Timeout: patient, Rise: 3, Fall: 2}}})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- m.Run(ctx) }()

			l.Close()
			if c := <-changes; c.Up || c.Key != "b/s" || c.Reason == "" {
				t.Errorf("after the kill the change is %+v", c)
			}
			again, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			serve(t, again, acceptClients)
			if c := <-changes; !c.Up || c.Checks != 3 {
				t.Errorf("after the return the change is %+v", c)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// acceptClients is a broker that accepts every client and hears nothing else.
func acceptClients(conn net.Conn) {
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
		return
	}
	conn.Write([]byte{0x20, 2, 0, 0})
	io.Copy(io.Discard, conn)
}

func TestClassify(t *testing.T) {
	cause := errors.New("something else")
	got := classify(cause)
	if got.outcome != Failed || !errors.Is(got, cause) || got.Error() != cause.Error() {
		t.Errorf("an unknown error became %+v", got)
	}
	if NotChecked.String() != "not_checked" || Hampered.String() != "hampered" || Outcome(200).String() != "unknown" {
		t.Error("an outcome has the wrong name")
	}
}
