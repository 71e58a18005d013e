//go:build linux

package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/node"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// asWorker makes the test's binary a worker process.
const asWorker = "MQTTBENCH_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) == "" {
		os.Exit(m.Run())
	}
	if err := Worker(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func anotherProcess(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), asWorker+"=1")
	return cmd
}

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

// TestRun runs every scenario in one process and in three, and looks at what is measured of a process: this one.
func TestRun(t *testing.T) {
	leaktest.Check(t)
	target := startNode(t)
	tests := []struct {
		plan load.Plan
		want []string
	}{
		{load.Plan{Scenario: load.Idle, Traffic: 100, Connections: 10}, []string{report.Memory, report.MemoryTraffic, report.MemoryUser, report.CPUEstablished, report.Rate, report.Units, report.CPUIdle}},
		{load.Plan{Scenario: load.Idle, Connections: 10, Curve: []int{3, 10}}, []string{report.Memory, report.CPUIdle}},
		{load.Plan{Scenario: load.Connect, Connections: 3, Concurrency: 3}, []string{report.CPU, report.Rate, report.P50, report.P99, report.P999, report.Longest}},
		{load.Plan{Scenario: load.Echo, Connections: 10}, []string{report.CPU, report.Rate, report.P50}},
		{load.Plan{Scenario: load.Fanout, Connections: 10}, []string{report.CPU, report.Rate, report.P50}},
		{load.Plan{Scenario: load.Fanout, Connections: 10, QoS: 1}, []string{report.CPU, report.Rate, report.P50}},
		{load.Plan{Scenario: load.Pairs, Connections: 10}, []string{report.CPU, report.Rate, report.P50, report.P99}},
		{load.Plan{Scenario: load.Bulk, Connections: 3, Size: 1000}, []string{report.CPU, report.CPUByte, report.Throughput}},
	}
	for _, tt := range tests {
		for _, processes := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d", tt.plan.Scenario, processes), func(t *testing.T) {
				p := tt.plan
				p.Target, p.TLS, p.Duration = target, load.Plain, 500*time.Millisecond
				r, err := Run(t.Context(), Options{Plan: p, Processes: processes, Command: anotherProcess, PIDs: []int{os.Getpid()}})
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range tt.want {
					if _, there := r.Metric(name); !there {
						t.Errorf("%s is missing in %+v", name, r.Metrics)
					}
				}
				units, _ := r.Metric(report.Units)
				if p.Scenario == load.Idle && units.Value != 10 || units.Value == 0 {
					t.Errorf("%v units", units)
				}
				if len(r.Curve) != len(p.Curve) || len(p.Curve) > 0 && (r.Curve[1].Connections != 10 || r.Curve[1].Rate <= 0) {
					t.Errorf("curve %+v", r.Curve)
				}
			})
		}
	}
}

func TestFailures(t *testing.T) {
	leaktest.Check(t)
	target := startNode(t)
	closed := peertest.Nobody(t)
	good := load.Plan{Scenario: load.Echo, Target: target, TLS: load.Plain, Connections: 6, Duration: time.Second}
	refused := good
	refused.Target = closed
	tests := []struct {
		name    string
		options Options
		want    string
	}{
		{"a bad plan", Options{}, "does not exist"},
		{"nobody listens", Options{Plan: refused}, "connection refused"},
		{"nobody listens to processes", Options{Plan: refused, Processes: 3, Command: anotherProcess}, "connection refused"},
		{"no such program", Options{Plan: good, Processes: 3, Command: func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, "/nonexistent") }}, "start a worker"},
		{"a program that ends", Options{Plan: good, Processes: 3, Command: func(ctx context.Context) *exec.Cmd { return exec.CommandContext(ctx, "false") }}, "worker"},
		{"no process to measure", Options{Plan: good, PIDs: []int{1 << 30}}, "there is no process"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Run(t.Context(), tt.options); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// TestStopped ends runs of an hour once their progress says that they run, in one process and in two.
func TestStopped(t *testing.T) {
	leaktest.Check(t)
	target := startNode(t)
	stopped := errors.New("stopped")
	for _, processes := range []int{1, 2} {
		ctx, stop := context.WithCancelCause(t.Context())
		p := load.Plan{Scenario: load.Echo, Target: target, TLS: load.Plain, Connections: 6, Duration: time.Hour}
		watch := func(line string) {
			if strings.Contains(line, "echo: 6 connections open") && !strings.Contains(line, " 0 units") {
				stop(stopped)
			}
		}
		_, err := Run(ctx, Options{Plan: p, Processes: processes, Command: anotherProcess, Progress: writer(watch)})
		if !errors.Is(err, stopped) {
			t.Errorf("%d processes: %v", processes, err)
		}
	}
}

type writer func(line string)

func (w writer) Write(p []byte) (int, error) { w(string(p)); return len(p), nil }
