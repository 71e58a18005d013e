package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/cmd/internal/program"
)

func devCertsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev-certs -d DIR [--host NAME ...]",
		Short: "Write a throw-away CA and a server certificate, for trying things out",
	}
	dir := cmd.Flags().StringP("dir", "d", "", "the folder to write to")
	hosts := cmd.Flags().StringSlice("host", nil, "a further name or address of the server; localhost, 127.0.0.1 and ::1 are always there")
	program.Require(cmd, dir, "the folder to write to", "-d DIR")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		files, err := devca.Write(*dir, *hosts, time.Now())
		if err != nil {
			return err
		}
		return printFiles(cmd.OutOrStdout(), files)
	}
	return cmd
}

func printFiles(w io.Writer, files devca.Files) error {
	ca := "new: clients trust this one"
	if files.ReusedCA {
		ca = "as it was: clients that trust it trust the new certificate"
	}
	_, err := fmt.Fprintf(w, `%s  the authority, %s
%s  its key
%s  the server's chain and key: certificates: [{cert: …}]
%s  the key by itself
For trying things out: the keys lie here unprotected.
`, files.CA, ca, files.CAKey, files.Server, files.ServerKey)
	return err
}
