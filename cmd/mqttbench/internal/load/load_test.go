//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/node"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// startNode runs a stand-in node until the test ends.
func startNode(t *testing.T) string {
	t.Helper()
	n, err := node.Listen("127.0.0.1:0", node.None)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n.Addr().String()
}

// terminate ends TLS in front of a node until the test ends.
func terminate(t *testing.T, to string, server tls.Certificate) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{server}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { splice(c, to) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func splice(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var wg sync.WaitGroup
	wg.Go(func() { leaktest.Copy(client, server); client.Close() })
	leaktest.Copy(server, client)
	server.Close()
	wg.Wait()
}

// A list notes the stages that were reached.
type list struct{ names []string }

func (l *list) Reach(_ context.Context, name string, _ time.Duration) error {
	l.names = append(l.names, name)
	return nil
}

// aWhile has room for some handshakes on a machine that is slow, and busy with something else.
const aWhile = time.Second

// TestScenarios runs each scenario with few connections, over all kinds of transport.
func TestScenarios(t *testing.T) {
	leaktest.Check(t)
	ca, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Issue(devca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	base := Plan{CA: ca.CertPEM(), Connections: 9, Duration: 100 * time.Millisecond, Warmup: 10 * time.Millisecond, Source: "127.0.0.0/8", KeepAlive: 600}
	tests := []struct {
		name   string
		plan   func(*Plan)
		stages string
	}{
		{"idle", func(p *Plan) { p.Scenario = Idle }, "start connected begin end"},
		{"idle, all of it", func(p *Plan) {
			p.Scenario, p.Storm, p.Traffic, p.Curve, p.Rate, p.Concurrency = Idle, 20, 1024, []int{3, 6}, 1000, 4
		}, "start point 1 point 2 connected traffic begin end"},
		{"idle, subscribed", func(p *Plan) { p.Scenario, p.Subscribe, p.Curve = Idle, true, []int{4} }, "start point 1 connected begin end"},
		{"idle, subscribed, with traffic", func(p *Plan) { p.Scenario, p.Subscribe, p.Traffic = Idle, true, 100 }, "start connected traffic begin end"},
		{"connect", func(p *Plan) { p.Scenario, p.Concurrency, p.Duration = Connect, 3, aWhile }, "start begin end"},
		{"connect, paced", func(p *Plan) { p.Scenario, p.Rate, p.Duration = Connect, 100, aWhile }, "start begin end"},
		{"resume", func(p *Plan) { p.Scenario, p.Concurrency, p.Resume, p.Duration = Connect, 3, p.TLS != Plain, aWhile }, "start begin end"},
		{"ping", func(p *Plan) { p.Scenario = Echo }, "start begin end"},
		{"ping, paced", func(p *Plan) { p.Scenario, p.Rate = Echo, 1000 }, "start begin end"},
		{"publish", func(p *Plan) { p.Scenario, p.QoS, p.Size = Echo, 1, 128 }, "start begin end"},
		{"publish, paced", func(p *Plan) { p.Scenario, p.QoS, p.Rate = Echo, 1, 20000 }, "start begin end"},
		{"fanout", func(p *Plan) { p.Scenario, p.Size = Fanout, 128 }, "start begin end"},
		{"fanout, four in flight", func(p *Plan) { p.Scenario, p.InFlight = Fanout, 4 }, "start begin end"},
		{"fanout, QoS 1", func(p *Plan) { p.Scenario, p.QoS, p.Size = Fanout, 1, 128 }, "start begin end"},
		{"fanout, QoS 1, four in flight", func(p *Plan) { p.Scenario, p.QoS, p.InFlight = Fanout, 1, 4 }, "start begin end"},
		{"pairs", func(p *Plan) { p.Scenario, p.Size = Pairs, 128 }, "start begin end"},
		{"pairs, paced", func(p *Plan) { p.Scenario, p.Rate = Pairs, 1000 }, "start begin end"},
		{"pairs, QoS 1", func(p *Plan) { p.Scenario, p.QoS = Pairs, 1 }, "start begin end"},
		{"pairs, QoS 1, paced", func(p *Plan) { p.Scenario, p.QoS, p.Rate = Pairs, 1, 1000 }, "start begin end"},
		{"bulk 64 KiB", func(p *Plan) { p.Scenario, p.Size = Bulk, 64<<10 }, "start begin end"},
		{"bulk 1 KiB", func(p *Plan) { p.Scenario, p.Size = Bulk, 1<<10 }, "start begin end"},
	}
	plain := startNode(t)
	secured := terminate(t, plain, server.TLS())
	for _, version := range []string{TLS13, TLS12, Plain} {
		for _, tt := range tests {
			t.Run(version+" "+tt.name, func(t *testing.T) {
				p := base
				p.TLS, p.Target = version, secured
				if version == Plain {
					p.Target = plain
				}
				tt.plan(&p)
				scenario(t, p, tt.stages)
			})
		}
	}
}

func scenario(t *testing.T, p Plan, stages string) {
	t.Helper()
	var reached list
	var progress Progress
	tally, err := p.Run(t.Context(), &reached, &progress)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(reached.names, " "); got != stages {
		t.Errorf("stages %q, want %q", got, stages)
	}
	if tally.Units == 0 {
		t.Error("nothing was counted")
	}
	latencies := tally.Latency.TotalCount()
	switch p.Scenario {
	case Idle:
		if tally.Units != 9 || latencies > 0 {
			t.Errorf("%d connections, %d latencies", tally.Units, latencies)
		}
	case Bulk:
		if least := tally.Units * uint64(p.Size); tally.Bytes <= least || latencies > 0 {
			t.Errorf("%d bytes in %d messages, %d latencies", tally.Bytes, tally.Units, latencies)
		}
	default:
		if uint64(latencies) != tally.Units || tally.Latency.Max() == 0 {
			t.Errorf("%d latencies of %d units, at most %d ns", latencies, tally.Units, tally.Latency.Max())
		}
	}
}

// TestFailures: what goes wrong is said, and leaves nothing behind.
func TestFailures(t *testing.T) {
	leaktest.Check(t)
	closed := peertest.Nobody(t)
	base := Plan{TLS: Plain, Connections: 20, Duration: time.Minute}
	for _, scenario := range []string{Idle, Connect, Echo, Fanout, Pairs, Bulk} {
		p := base
		p.Scenario, p.Target = scenario, closed
		if _, err := p.Run(t.Context(), &list{}, &Progress{}); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%s: nobody listens: %v", scenario, err)
		}
		p.Target = startNode(t)
		p.TLS = TLS13
		if _, err := p.Run(t.Context(), &list{}, &Progress{}); err == nil || !strings.Contains(err.Error(), "TLS handshake") {
			t.Errorf("%s: TLS where there is none: %v", scenario, err)
		}
	}
}

// A breaker ends its context at a stage.
type breaker struct {
	at  string
	end func()
}

func (b *breaker) Reach(_ context.Context, name string, _ time.Duration) error {
	if name == b.at {
		b.end()
	}
	return nil
}

// TestStopped ends runs in the middle: they return why, and leave nothing behind.
func TestStopped(t *testing.T) {
	leaktest.Check(t)
	target := startNode(t)
	stopped := errors.New("stopped")
	for _, scenario := range []string{Idle, Connect, Echo, Fanout, Pairs, Bulk} {
		for _, at := range []string{StageStart, StageBegin} {
			ctx, stop := context.WithCancelCause(t.Context())
			p := Plan{TLS: Plain, Scenario: scenario, Target: target, Connections: 20, Duration: time.Hour}
			_, err := p.Run(ctx, &breaker{at, func() { stop(stopped) }}, &Progress{})
			if !errors.Is(err, stopped) && !(scenario == Connect && err != nil) {
				t.Errorf("%s at %s: %v", scenario, at, err)
			}
		}
	}
}

// TestLost has the node leave in the middle of everything.
func TestLost(t *testing.T) {
	leaktest.Check(t)
	for _, scenario := range []string{Idle, Echo, Fanout, Pairs, Bulk} {
		n, err := node.Listen("127.0.0.1:0", node.None)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		p := Plan{TLS: Plain, Scenario: scenario, Target: n.Addr().String(), Connections: 20, Duration: time.Hour}
		_, err = p.Run(t.Context(), &breaker{StageBegin, stop}, &Progress{})
		if err == nil || !strings.Contains(err.Error(), "before its time") {
			t.Errorf("%s: %v", scenario, err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestShare(t *testing.T) {
	p := Plan{Connections: 1000, Storm: 7, Rate: 90, Concurrency: 2, Curve: []int{100, 1000}}
	var connections, storm, curve int
	var rate float64
	for i := range 3 {
		s := p.Share(i, 3)
		if s.First != connections {
			t.Errorf("share %d begins with connection %d, want %d", i, s.First, connections)
		}
		if s.Curve[1] != s.Connections || s.Concurrency != max(1, 2*(i+1)/3-2*i/3) {
			t.Errorf("share %d: %+v", i, s)
		}
		connections += s.Connections
		storm += s.Storm
		curve += s.Curve[0]
		rate += s.Rate
	}
	if connections != 1000 || storm != 7 || curve != 100 || rate != 90 {
		t.Errorf("the shares are %d, %d, %d, %g", connections, storm, curve, rate)
	}
	if !slices.Equal(p.Curve, []int{100, 1000}) {
		t.Errorf("the plan has changed: %v", p.Curve)
	}
}

func TestCheck(t *testing.T) {
	good := Plan{Scenario: Idle, Target: "a:1", TLS: Plain, Connections: 1, Duration: 1}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	tests := map[string]func(*Plan){
		`scenario "x"`:      func(p *Plan) { p.Scenario = "x" },
		`TLS "1.1"`:         func(p *Plan) { p.TLS = "1.1" },
		`target "a"`:        func(p *Plan) { p.Target = "a" },
		`source "b"`:        func(p *Plan) { p.Source = "b" },
		"0 connections":     func(p *Plan) { p.Connections = 0 },
		"size -1":           func(p *Plan) { p.Size = -1 },
		"traffic -1":        func(p *Plan) { p.Traffic = -1 },
		"QoS 2":             func(p *Plan) { p.QoS = 2 },
		"-1 publications":   func(p *Plan) { p.InFlight = -1 },
		"but subscribe":     func(p *Plan) { p.Scenario, p.Subscribe = Fanout, true },
		"rate -1":           func(p *Plan) { p.Rate = -1 },
		"duration 0s":       func(p *Plan) { p.Duration = 0 },
		"curve [2 1]":       func(p *Plan) { p.Curve = []int{2, 1} },
		"to 1 conn":         func(p *Plan) { p.Curve = []int{2} },
		"resumed":           func(p *Plan) { p.Resume = true },
		"no certificate in": func(p *Plan) { p.TLS, p.CA = TLS13, []byte("x") },
	}
	for want, change := range tests {
		p := good
		change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}

func TestSourceAddress(t *testing.T) {
	tests := []struct {
		network string
		i       int
		want    string
	}{
		{"127.0.0.0/8", 0, "127.0.0.1"},
		{"127.0.0.0/8", 255, "127.0.1.0"},
		{"127.0.0.0/8", 1<<24 - 1, "127.0.0.0"},
		{"10.1.2.8/30", 0, "10.1.2.9"},
		{"10.1.2.8/30", 4, "10.1.2.9"},
		{"10.1.2.8/32", 4, "10.1.2.8"},
		{"fd00::/64", 65535, "fd00::1:0"},
	}
	for _, tt := range tests {
		if got := sourceAddress(netip.MustParsePrefix(tt.network), tt.i).String(); got != tt.want {
			t.Errorf("address %d of %s is %s, want %s", tt.i, tt.network, got, tt.want)
		}
	}
}

func TestEncodeAndMerge(t *testing.T) {
	a, b := NewTally(), NewTally()
	for i := range 1000 {
		a.record(time.Duration(i) * time.Millisecond)
		b.record(time.Duration(i) * time.Second) // most are longer than it knows
	}
	a.Units, b.Units, a.Bytes, b.Bytes = 1, 2, 3, 4
	e, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if b, err = e.Decode(); err != nil {
		t.Fatal(err)
	}
	if err := a.Merge(b); err != nil {
		t.Fatal(err)
	}
	if a.Units != 3 || a.Bytes != 7 || a.Latency.TotalCount() != 2000 {
		t.Errorf("%d units, %d bytes, %d latencies", a.Units, a.Bytes, a.Latency.TotalCount())
	}
	if got := time.Duration(a.Latency.ValueAtQuantile(25)); got < 490*time.Millisecond || got > 510*time.Millisecond {
		t.Errorf("a quarter takes %v", got)
	}
	if _, err := (Encoded{Latency: []byte("x")}).Decode(); err == nil {
		t.Error("nonsense is decoded")
	}
}
