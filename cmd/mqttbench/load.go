//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/cmd/internal/program"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/run"
)

// settings are the flags of a command that drives load.
type settings struct {
	plan      load.Plan
	ca        string
	processes int
	pids      []int
	json      string
	picture   string
	quiet     bool
}

// loadCommand makes a command of a scenario, with the flags that all have.
func loadCommand(scenario, short string, connections int) (*cobra.Command, *settings) {
	s := &settings{plan: load.Plan{Scenario: scenario}}
	cmd := &cobra.Command{Use: scenario + " --target HOST:PORT", Short: short}
	f, p := cmd.Flags(), &s.plan
	f.StringVar(&p.Target, "target", "", "the endpoint, HOST:PORT")
	f.StringVar(&p.TLS, "tls", load.TLS13, "TLS version: 1.2, 1.3, or none")
	f.StringVar(&s.ca, "ca", "", "file with the authorities to trust (PEM); default: the system's")
	f.StringVar(&p.ServerName, "server-name", "", "name that the certificate must have; default: the target's host")
	f.BoolVar(&p.Insecure, "insecure", false, "do not check the certificate")
	f.StringVar(&p.Source, "source", "", "network to take source addresses from in turn, as 127.0.0.0/8")
	f.IntVar(&p.Connections, "connections", connections, "how many connections")
	f.IntVar(&p.Concurrency, "concurrency", 0, "connections that may be under way at once; 0: all")
	f.Uint16Var(&p.KeepAlive, "keep-alive", 600, "keep alive of each CONNECT, in seconds")
	f.DurationVar(&p.Duration, "duration", 10*time.Second, "how long to measure")
	f.IntVar(&s.processes, "processes", 1, "processes to share the load, each with its own limit of descriptors")
	f.IntSliceVar(&s.pids, "pid", nil, "process to measure, with its children; may be repeated")
	f.StringVar(&s.json, "json", "", "file to write the result to, as JSON; - for standard output")
	f.StringVar(&s.picture, "picture", "", "file to draw the result into, as SVG")
	f.BoolVar(&s.quiet, "quiet", false, "no line of progress each second")
	program.Require(cmd, &p.Target, "the endpoint", "--target HOST:PORT")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.run(cmd) }
	return cmd, s
}

// warmup gives a command its flag.
func (s *settings) warmup(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&s.plan.Warmup, "warmup", time.Second, "how long the load runs before it is measured")
}

func idleCommand() *cobra.Command {
	cmd, s := loadCommand(load.Idle, "Open connections and leave them alone: memory of each, and CPU time of all", 1000)
	f := cmd.Flags()
	f.Float64Var(&s.plan.Rate, "rate", 0, "connections to open a second; 0: all at once")
	f.DurationVar(&s.plan.Settle, "settle", 5*time.Second, "how long to wait before memory is measured")
	f.IntVar(&s.plan.Traffic, "traffic", 0, "bytes that each connection then sends and receives, once; 0: none")
	f.BoolVar(&s.plan.Subscribe, "subscribe", false, "have each connection subscribe to a topic of its own")
	f.IntVar(&s.plan.Storm, "storm", 0, "short connections to make first")
	f.IntSliceVar(&s.plan.Curve, "curve", nil, "numbers of connections to measure at on the way, as 1000,2000,4000")
	return cmd
}

func connectCommand() *cobra.Command {
	cmd, s := loadCommand(load.Connect, "Make connections over and over, from TCP's handshake to DISCONNECT", 1)
	s.warmup(cmd)
	f := cmd.Flags()
	f.BoolVar(&s.plan.Resume, "resume", false, "resume TLS sessions")
	f.Float64Var(&s.plan.Rate, "rate", 0, "connections a second, whether or not others are complete; 0: each when another has ended")
	f.Lookup("concurrency").Usage = "connections that may be under way at once; 0: 32"
	if err := f.MarkHidden("connections"); err != nil {
		panic(err) // the flag is there
	}
	return cmd
}

func echoCommand() *cobra.Command {
	cmd, s := loadCommand(load.Echo, "Send, and have it answered: PINGREQ, or PUBLISH with QoS 1", 200)
	s.warmup(cmd)
	f := cmd.Flags()
	f.IntVar(&s.plan.QoS, "qos", 0, "0: PINGREQ and PINGRESP; 1: PUBLISH and PUBACK")
	f.IntVar(&s.plan.Size, "size", 64, "bytes of payload, with --qos 1")
	f.Float64Var(&s.plan.Rate, "rate", 0, "messages a second over all connections, whether or not others were answered; 0: each when the last was")
	return cmd
}

func fanoutCommand() *cobra.Command {
	cmd, s := loadCommand(load.Fanout, "Publish to many subscribers of one topic", 1000)
	s.warmup(cmd)
	f := cmd.Flags()
	f.IntVar(&s.plan.InFlight, "in-flight", 1, "publications at a time")
	f.IntVar(&s.plan.QoS, "qos", 0, "QoS of publications and subscriptions: 0 or 1")
	f.IntVar(&s.plan.Size, "size", 64, "bytes of payload, at least 16")
	return cmd
}

func pairsCommand() *cobra.Command {
	cmd, s := loadCommand(load.Pairs, "Publish from many to one subscriber each, on a topic of its own", 200)
	s.warmup(cmd)
	f := cmd.Flags()
	f.Lookup("connections").Usage = "how many pairs, of two connections each"
	f.IntVar(&s.plan.QoS, "qos", 0, "QoS of publications and subscriptions: 0 or 1")
	f.IntVar(&s.plan.Size, "size", 64, "bytes of payload, at least 16")
	f.Float64Var(&s.plan.Rate, "rate", 0, "messages a second over all pairs, whether or not others were delivered; 0: each when the pair's last was")
	return cmd
}

func bulkCommand() *cobra.Command {
	cmd, s := loadCommand(load.Bulk, "Publish with QoS 0 as fast as it goes, to nobody", 4)
	s.warmup(cmd)
	cmd.Flags().IntVar(&s.plan.Size, "size", 64<<10, "bytes of payload")
	return cmd
}

func (s *settings) run(cmd *cobra.Command) error {
	if s.ca != "" {
		var err error
		if s.plan.CA, err = os.ReadFile(s.ca); err != nil {
			return fmt.Errorf("read the authorities to trust: %w", err)
		}
	}
	o := run.Options{Plan: s.plan, Processes: s.processes, Command: worker, PIDs: s.pids}
	if !s.quiet {
		o.Progress = cmd.ErrOrStderr()
	}
	r, err := run.Run(cmd.Context(), o)
	if err != nil {
		return err
	}
	if s.json != "-" {
		if err := report.Print(cmd.OutOrStdout(), r); err != nil {
			return err
		}
	}
	if err := write(cmd.OutOrStdout(), s.picture, func(w io.Writer) error { return report.Draw(w, r.Picture()) }); err != nil {
		return err
	}
	return write(cmd.OutOrStdout(), s.json, func(w io.Writer) error { return report.WriteJSON(w, r) })
}

// worker is a process that runs a part of the plan.
func worker(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "worker") // proc_pid_exe(5): this program, even if its file was replaced
	cmd.Args[0] = "mqttbench"
	return cmd
}

// write has something written to a file; "" is none, - is standard output.
func write(stdout io.Writer, path string, what func(io.Writer) error) error {
	switch path {
	case "":
		return nil
	case "-":
		return what(stdout)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if err := what(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("write the result: %w", err)
	}
	return f.Close()
}
