//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/cmd/internal/program"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/node"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/run"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second one ends the process at once
	err := command().ExecuteContext(ctx)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("stopped by a signal")
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := program.Root("mqttbench", "MQTT load, what it costs the program under test, and comparisons of load balancers and of brokers")
	root.AddCommand(idleCommand(), connectCommand(), echoCommand(), fanoutCommand(), pairsCommand(), bulkCommand())
	root.AddCommand(brokerCommand(), compareCommand(), brokersCommand(), workerCommand())
	return root
}

func brokerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "broker --listen ADDRESS",
		Short: "Be a stand-in for a broker that answers at once, so that the balancer in front of it is what is measured",
	}
	listen := cmd.Flags().String("listen", "", "where to listen, HOST:PORT")
	proxy := cmd.Flags().String("proxy-protocol", string(node.Optional), "whether connections begin with a PROXY header: none, optional or require")
	program.Require(cmd, listen, "an address", "--listen HOST:PORT")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		n, err := node.Listen(*listen, node.ProxyProtocol(*proxy))
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "listening on %s\n", n.Addr())
		return n.Run(cmd.Context())
	}
	return cmd
}

// workerCommand is what --processes starts.
func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Run the part of a plan that is read from standard input, for another mqttbench",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run.Worker(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
