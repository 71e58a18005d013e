package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/cmd/internal/program"
)

func main() {
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := program.Root("mqttbroker", "An MQTT broker node: 3.1, 3.1.1 and 5")
	root.AddCommand(runCommand(), program.CheckCommand(check))
	return root
}

// check says what is wrong with the file at path, and with every file that it names.
func check(path string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	_, err = readTokens(&c)
	return errors.Join(broker.Check(c), err)
}
