//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mqttbench": main, "mqttbroker": mqttbroker})
}

// mqttbroker is the node of this project, as far as mqttbench calls it: mqttbroker version, and mqttbroker run -c FILE.
func mqttbroker() {
	if len(os.Args) < 4 {
		fmt.Println("mqttbroker v1.2.3, commit abc")
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := config.Load(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.New(broker.Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	if err := b.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

const patience = 2 * time.Minute

// mqttbench is the test's binary as mqttbench, which testscript.Main makes possible.
func mqttbench(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("mqttbench")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, args...)
}

// startBroker starts the stand-in as a process, and returns where it listens.
func startBroker(t *testing.T) (address string, stop func()) {
	t.Helper()
	cmd := mqttbench(t, "broker", "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "listening on ")), func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestCommands runs the commands against the stand-in, all as processes of their own.
func TestCommands(t *testing.T) {
	address, stop := startBroker(t)
	for _, args := range []string{
		"idle --connections 20 --curve 5,10 --traffic 1024 --storm 5 --settle 10ms",
		"connect --concurrency 2 --source 127.0.0.0/8",
		"echo --connections 10",
		"echo --connections 10 --qos 1 --rate 1000 --processes 2",
		"fanout --connections 10 --in-flight 4",
		"fanout --connections 10 --qos 1 --size 128",
		"pairs --connections 10",
		"pairs --connections 10 --qos 1 --rate 1000 --processes 2",
		"idle --connections 20 --subscribe --settle 10ms",
		"bulk --connections 2 --size 1024",
	} {
		t.Run(args, func(t *testing.T) {
			name, rest, _ := strings.Cut(args, " ")
			all := append([]string{name, "--target", address, "--tls", "none", "--duration", "500ms", "--quiet", "--json", "-"}, strings.Fields(rest)...)
			if name != "idle" {
				all = append(all, "--warmup", "10ms")
			}
			out, err := mqttbench(t, all...).Output()
			if err != nil {
				t.Fatal(err)
			}
			var r report.Result
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if m, there := r.Metric(report.Units); !there || m.Value == 0 || r.Scenario != name {
				t.Errorf("%s", out)
			}
		})
	}
	stop()
}

// TestInterrupted: a signal ends a run of an hour, with its processes.
func TestInterrupted(t *testing.T) {
	address, stop := startBroker(t)
	cmd := mqttbench(t, "echo", "--target", address, "--tls", "none", "--connections", "10", "--duration", "1h", "--processes", "2")
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(progress)
	if !lines.Scan() {
		t.Fatal("no line of progress")
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 || last != "stopped by a signal" {
		t.Errorf("it ends with %v, and %q", err, last)
	}
	stop()
}
