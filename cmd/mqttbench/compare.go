//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/cmd/internal/program"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/compare"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/peer"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/run"
)

// A comparison is the flags of compare, or of brokers.
type comparison struct {
	options            compare.Options
	kinds              []peer.Kind // that can be compared
	peers              []string    // that are to be
	broker             string      // behind load balancers
	mqttlb, mqttbroker string      // paths
	mosquitto          string      // path
	out, json, picture string
	quiet              bool
	built              string // folder with programs built for the purpose; "": none
}

func compareCommand() *cobra.Command {
	c := &comparison{kinds: []peer.Kind{peer.HAProxy, peer.Nginx, peer.MQTTLB}}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Put the same load on HAProxy, nginx and mqttlb in turn, and print what it has cost each",
		Args:  cobra.NoArgs,
	}
	c.flags(cmd, "haproxy", "nginx", "mqttlb")
	f := cmd.Flags()
	f.BoolVar(&c.options.SendProxy, "send-proxy", false, "with PROXY headers to the node: version 2, of nginx 1")
	f.StringVar(&c.broker, "broker", string(peer.StandIn), "the node behind: standin, which answers at once, mosquitto or mqttbroker")
	f.StringVar(&c.mqttlb, "mqttlb", "", "the mqttlb to measure; default: beside mqttbench, or built in a checkout")
	f.StringVar(&c.mqttbroker, "mqttbroker", "", "the mqttbroker to put behind; default: as --mqttlb")
	return cmd
}

func brokersCommand() *cobra.Command {
	c := &comparison{options: compare.Options{Direct: true}, kinds: []peer.Kind{peer.Mosquitto, peer.MQTTBroker, peer.StandIn}}
	cmd := &cobra.Command{
		Use:   "brokers",
		Short: "Put the same load on mosquitto and mqttbroker in turn, without anything between, and print what it has cost each",
		Args:  cobra.NoArgs,
	}
	c.flags(cmd, "mosquitto", "mqttbroker")
	f := cmd.Flags()
	f.StringVar(&c.mosquitto, "mosquitto", "", "the mosquitto to compare with; default: the one that is installed")
	f.StringVar(&c.mqttbroker, "mqttbroker", "", "the mqttbroker to measure; default: beside mqttbench, or built in a checkout")
	return cmd
}

// flags gives a command what all comparisons have.
func (c *comparison) flags(cmd *cobra.Command, peers ...string) {
	f := cmd.Flags()
	f.IntVar(&c.options.Rounds, "rounds", 3, "how often all is repeated")
	f.StringSliceVar(&c.options.Only, "only", nil, "cases or scenarios to run, as idle,fanout; default: all")
	f.StringSliceVar(&c.peers, "peers", peers, "what to compare; the first is what ratios are to")
	f.BoolVar(&c.options.Quick, "quick", false, "one small and short round: whether it works, not what it costs")
	f.StringVar(&c.out, "out", "", "file to write the table to, in Markdown, instead of standard output")
	f.StringVar(&c.json, "json", "", "file to write all values to, as JSON; - for standard output")
	f.StringVar(&c.picture, "picture", "", "file to draw medians and curves into, as SVG")
	f.BoolVar(&c.quiet, "quiet", false, "no lines of progress")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return c.run(cmd) }
}

func (c *comparison) run(cmd *cobra.Command) (err error) {
	defer func() {
		if c.built != "" {
			err = errors.Join(err, os.RemoveAll(c.built))
		}
	}()
	if err := c.find(cmd.Context()); err != nil {
		return err
	}
	if c.options.Quick {
		c.options.Rounds = 1
	}
	if !c.quiet {
		c.options.Log = cmd.ErrOrStderr()
	}
	c.options.Load = func(ctx context.Context, p load.Plan, pid int) (report.Result, error) {
		return run.Run(ctx, run.Options{Plan: p, PIDs: []int{pid}, Progress: c.options.Log})
	}
	c.options.Command = "mqttbench " + strings.Join(os.Args[1:], " ")
	found, failed := compare.Run(cmd.Context(), c.options)
	if found == nil {
		return failed
	}
	if c.out == "" && c.json != "-" {
		c.out = "-"
	}
	stdout := cmd.OutOrStdout()
	err = errors.Join(failed,
		write(stdout, c.out, found.Markdown),
		write(stdout, c.json, func(w io.Writer) error { return report.WriteJSON(w, found) }),
		write(stdout, c.picture, func(w io.Writer) error { return report.Draw(w, found.Picture()) }),
	)
	if err == nil && len(found.Errors) > 0 {
		err = fmt.Errorf("%d runs have failed, see above", len(found.Errors))
	}
	return err
}

// find finds the programs. One that is not installed is left out, and noted.
func (c *comparison) find(ctx context.Context) error {
	for _, name := range c.peers {
		kind := peer.Kind(name)
		if !slices.Contains(c.kinds, kind) {
			return fmt.Errorf("%q is none of %s", name, c.all())
		}
		p, err := c.program(ctx, kind)
		if errors.Is(err, exec.ErrNotFound) {
			c.options.Missing = append(c.options.Missing, name)
			continue
		}
		if err != nil {
			return err
		}
		c.options.Peers = append(c.options.Peers, p)
	}
	if len(c.options.Peers) == 0 {
		return fmt.Errorf("nothing to compare: none of %s is installed", strings.Join(c.peers, ", "))
	}
	if c.options.Direct {
		return nil
	}
	var err error
	c.options.Broker, err = c.program(ctx, peer.Kind(c.broker))
	return err
}

// all is what can be compared, as "a, b and c".
func (c *comparison) all() string {
	var text strings.Builder
	for i, k := range c.kinds {
		switch i {
		case 0:
		case len(c.kinds) - 1:
			text.WriteString(" and ")
		default:
			text.WriteString(", ")
		}
		text.WriteString(string(k))
	}
	return text.String()
}

// program finds one program.
func (c *comparison) program(ctx context.Context, kind peer.Kind) (peer.Peer, error) {
	switch kind {
	case peer.HAProxy, peer.Nginx:
		return peer.Find(ctx, kind, "")
	case peer.Mosquitto:
		return peer.Find(ctx, kind, c.mosquitto)
	case peer.StandIn:
		version, _ := program.Build()
		return peer.Peer{Kind: peer.StandIn, Path: "/proc/self/exe", Version: version}, nil
	case peer.MQTTLB:
		return c.ours(ctx, kind, c.mqttlb)
	case peer.MQTTBroker:
		return c.ours(ctx, kind, c.mqttbroker)
	}
	return peer.Peer{}, fmt.Errorf("there is no broker %q: take standin, mosquitto or mqttbroker", kind)
}

// ours finds a program of this project: at path, beside this one, in PATH, or built if the working directory is in a checkout.
func (c *comparison) ours(ctx context.Context, kind peer.Kind, path string) (peer.Peer, error) {
	if path != "" {
		return peer.Find(ctx, kind, path)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), string(kind))
		if _, err := os.Stat(beside); err == nil {
			return peer.Find(ctx, kind, beside)
		}
	}
	p, err := peer.Find(ctx, kind, "")
	if !errors.Is(err, exec.ErrNotFound) {
		return p, err
	}
	built, buildErr := c.build(ctx, kind)
	if buildErr != nil {
		return p, errors.Join(err, buildErr)
	}
	return peer.Find(ctx, kind, built)
}

// build builds a program of this project from the checkout that the working directory is in.
func (c *comparison) build(ctx context.Context, kind peer.Kind) (path string, err error) {
	if c.built == "" {
		if c.built, err = os.MkdirTemp("", "mqttbench-"); err != nil {
			return "", fmt.Errorf("make a folder to build in: %w", err)
		}
	}
	path = filepath.Join(c.built, string(kind))
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/mqttlb/mqttlb/cmd/"+string(kind)).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s, since it is not installed: %w: %s", kind, err, strings.TrimSpace(string(out)))
	}
	return path, nil
}
