// Command mqttbroker is one MQTT broker node.
//
//	mqttbroker run                        # MQTT on port 1883, everything else by default
//	mqttbroker check -c mqttbroker.yaml
//	mqttbroker run -c mqttbroker.yaml
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "mqttbroker",
		Short:         "An MQTT broker node: 3.1, 3.1.1 and 5",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), checkCommand(), versionCommand())
	return root
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Validate a configuration and every file that it names, without starting",
		Args:  cobra.NoArgs,
	}
	path := cmd.Flags().StringP("config", "c", "", "the configuration file (YAML)")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag is two lines up
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := config.Load(*path)
		if err != nil {
			return err
		}
		if err := broker.Check(c); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: valid\n", *path)
		return nil
	}
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			version, commit := build()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "mqttbroker %s, commit %s, %s\n", version, commit, runtime.Version())
			return err
		},
	}
}

// build says what the program was built from.
func build() (version, commit string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", "unknown"
	}
	commit = "unknown"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return info.Main.Version, commit
}
