// Command mqttlb is a TLS-terminating Layer-4 load balancer for MQTT, and the commands that steer it.
//
//	mqttlb check -c mqttlb.yaml
//	mqttlb run -c mqttlb.yaml
//	mqttlb status
//	mqttlb reload
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/lb"
)

func main() {
	if err := command().Execute(); err != nil {
		if !errors.Is(err, errSaid) {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}

// errSaid is for what was printed already.
var errSaid = errors.New("said")

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "mqttlb",
		Short:         "TLS-terminating Layer-4 load balancer for MQTT",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), checkCommand(), reloadCommand(), statusCommand(), devCertsCommand(), versionCommand())
	return root
}

// addConfig gives a command its -c and --config.
func addConfig(cmd *cobra.Command) *string {
	path := cmd.Flags().StringP("config", "c", "", "the configuration file (YAML)")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag is two lines up
	}
	return path
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Validate a configuration and every file that it names, without starting",
		Args:  cobra.NoArgs,
	}
	path := addConfig(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := lb.Check(*path); err != nil {
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
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "mqttlb %s, commit %s, %s\n", version, commit, runtime.Version())
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
