package program

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// Root returns the command that a program is called by, with its subcommand version and the flag --version. Errors are the caller's to print.
func Root(name, short string) *cobra.Command {
	root := &cobra.Command{
		Use:           name,
		Short:         short,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       versionLine(name),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(versionCommand())
	return root
}

// AddConfig gives a command its -c and --config, and lets it take nothing else. The path is there when the command
// runs; "" when it was not given.
func AddConfig(cmd *cobra.Command) (path *string) {
	path = cmd.Flags().StringP("config", "c", "", "the configuration file (YAML)")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if *path == "" && len(args) == 1 {
			return fmt.Errorf("write -c %s", args[0])
		}
		return cobra.NoArgs(cmd, args)
	}
	return path
}

// RequireConfig is AddConfig for a command that does nothing without a file.
func RequireConfig(cmd *cobra.Command) (path *string) {
	path = AddConfig(cmd)
	Require(cmd, path, "the configuration", "-c FILE")
	return path
}

// Require lets a command run only with a flag that is not empty, and nothing beside its flags. Who leaves the flag out,
// or only its letter, is told what to write: cobra's own words are about flags and not about what they are for.
// The synopsis is the flag as it is typed, "-c FILE"; what says what it names.
func Require(cmd *cobra.Command, flag *string, what, synopsis string) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		letter, _, _ := strings.Cut(synopsis, " ")
		switch {
		case *flag != "":
			return cobra.NoArgs(cmd, args)
		case len(args) == 1:
			return fmt.Errorf("write %s %s", letter, args[0])
		default:
			return fmt.Errorf("name %s: %s %s", what, cmd.CommandPath(), synopsis)
		}
	}
}

// CheckCommand returns the subcommand check. The given function says what is wrong with the file at a path, and with
// every file that it names.
func CheckCommand(check func(path string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Validate a configuration and every file that it names, without starting",
	}
	path := RequireConfig(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := check(*path); err != nil {
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
			_, err := fmt.Fprintln(cmd.OutOrStdout(), cmd.Root().Version)
			return err
		},
	}
}

func versionLine(program string) string {
	version, commit := Build()
	return fmt.Sprintf("%s %s, commit %s, %s", program, version, commit, runtime.Version())
}

// Build says what the program was built from: the version of its module and the commit, each "unknown" where the
// build has not recorded it.
func Build() (version, commit string) {
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
