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
	"strings"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/cmd/internal/program"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/compare"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/peer"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/run"
)

// A comparison is the flags of compare.
type comparison struct {
	options            compare.Options
	peers              []string
	broker             string
	mqttlb, mqttbroker string // paths
	out, json, picture string
	quiet              bool
	built              string // folder with programs built for the purpose; "": none
}

func compareCommand() *cobra.Command {
	c := &comparison{}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Put the same load on HAProxy, nginx and mqttlb in turn, and print what it has cost each",
		Args:  cobra.NoArgs,
	}
	f := cmd.Flags()
	f.IntVar(&c.options.Rounds, "rounds", 3, "how often all is repeated")
	f.StringSliceVar(&c.options.Only, "only", nil, "cases or scenarios to run, as idle,echo; default: all")
	f.StringSliceVar(&c.peers, "peers", []string{"haproxy", "nginx", "mqttlb"}, "what to compare; the first is what ratios are to")
	f.BoolVar(&c.options.SendProxy, "send-proxy", false, "with PROXY headers to the node: version 2, of nginx 1")
	f.BoolVar(&c.options.Quick, "quick", false, "one small and short round: whether it works, not what it costs")
	f.StringVar(&c.broker, "broker", string(peer.StandIn), "the node behind: standin, which answers at once, mosquitto or mqttbroker")
	f.StringVar(&c.mqttlb, "mqttlb", "", "the mqttlb to measure; default: beside mqttbench, or built in a checkout")
	f.StringVar(&c.mqttbroker, "mqttbroker", "", "the mqttbroker to put behind; default: as --mqttlb")
	f.StringVar(&c.out, "out", "", "file to write the table to, in Markdown, instead of standard output")
	f.StringVar(&c.json, "json", "", "file to write all values to, as JSON; - for standard output")
	f.StringVar(&c.picture, "picture", "", "file to draw medians and curves into, as SVG")
	f.BoolVar(&c.quiet, "quiet", false, "no lines of progress")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return c.run(cmd) }
	return cmd
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
		if kind != peer.HAProxy && kind != peer.Nginx && kind != peer.MQTTLB {
			return fmt.Errorf("%q is none of haproxy, nginx and mqttlb", name)
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
	var err error
	c.options.Broker, err = c.program(ctx, peer.Kind(c.broker))
	return err
}

// program finds one program.
func (c *comparison) program(ctx context.Context, kind peer.Kind) (peer.Peer, error) {
	switch kind {
	case peer.HAProxy, peer.Nginx, peer.Mosquitto:
		return peer.Find(ctx, kind, "")
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
