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

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/cmd/internal/program"
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
	root := program.Root("mqttlb", "TLS-terminating Layer-4 load balancer for MQTT")
	root.AddCommand(runCommand(), program.CheckCommand(lb.Check), reloadCommand(), statusCommand(), devCertsCommand())
	return root
}
