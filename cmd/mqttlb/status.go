package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mqttlb/mqttlb/lb"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print the listeners and servers of the running process",
		Args:  cobra.NoArgs,
	}
	c := addClient(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print what GET /api/v1/status answers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var raw json.RawMessage
		if _, err := c.call(cmd.Context(), http.MethodGet, "/api/v1/status", &raw); err != nil {
			return err
		}
		if *asJSON {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", raw)
			return err
		}
		var st lb.Status
		if err := json.Unmarshal(raw, &st); err != nil {
			return fmt.Errorf("read the status: %w", err)
		}
		return printStatus(cmd.OutOrStdout(), st)
	}
	return cmd
}

func printStatus(w io.Writer, st lb.Status) error {
	fmt.Fprintf(w, "mqttlb %s, up %s, configuration %s\n", st.Version, time.Duration(st.UptimeSeconds)*time.Second, st.Config)
	if !st.LastReload.Successful {
		fmt.Fprintln(w, "the last reload was refused: what runs is older than the file; `mqttlb reload` says why")
	}
	if st.Stopping {
		fmt.Fprintln(w, "stopping")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nLISTENER\tADDRESS\tBACKEND\tTLS\tOPEN\tENDED\tIN\tOUT\tCERTIFICATE EXPIRES")
	for _, l := range st.Listeners {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", l.Name, l.Address, l.Backend, yes(l.TLS), open(l), total(l.Ended), size(l.BytesIn), size(l.BytesOut), expires(l.Certificates, time.Now()))
	}
	fmt.Fprintln(t, "\nSERVER\tADDRESS\tSTATE\tWEIGHT\tACTIVE\tTOTAL\tERRORS\tCHECK\tSINCE")
	for _, b := range st.Backends {
		for _, s := range b.Servers {
			fmt.Fprintf(t, "%s/%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", b.Name, s.Name, s.Address, state(s), s.Weight, s.Active, s.Total, s.ConnectErrors, check(s.Check), since(s.Since))
		}
		for _, s := range b.Removed {
			fmt.Fprintf(t, "%s/%s\t\tremoved\t\t%d\t%d\t%d\t\t\n", b.Name, s.Name, s.Active, s.Total, s.ConnectErrors)
		}
	}
	return t.Flush()
}

// open says how many connections are open, and of how many that may be.
func open(l lb.ListenerStatus) string {
	if l.MaxConnections == 0 {
		return fmt.Sprint(l.Connections)
	}
	return fmt.Sprintf("%d/%d", l.Connections, l.MaxConnections)
}

// expires says when the first of the certificates does.
func expires(list []lb.CertStatus, now time.Time) string {
	if len(list) == 0 {
		return ""
	}
	first := slices.MinFunc(list, func(a, b lb.CertStatus) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
	day, left := first.UTC().Format(time.DateOnly), int(first.Sub(now)/(24*time.Hour))
	switch {
	case !now.Before(first):
		return day + " (expired)"
	case left == 1:
		return day + " (1 day)"
	}
	return fmt.Sprintf("%s (%d days)", day, left)
}

// state is a server's, and while checks are about to change it how far they have come: of a server that is up the
// failures so far of fall, of one that is down the passes so far of rise. HAProxy's page shows the like. Before
// the first check there is nothing to count, though a server does not begin with all its lives.
func state(s lb.ServerStatus) string {
	c := s.Check
	switch top := c.Rise + c.Fall - 1; {
	case c.At.IsZero():
	case s.State == "up" && c.Health < top:
		return fmt.Sprintf("up %d/%d", top-c.Health, c.Fall)
	case s.State == "down" && 0 < c.Health && c.Health < c.Rise:
		return fmt.Sprintf("down %d/%d", c.Health, c.Rise)
	}
	return s.State
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func total(ended map[string]uint64) (n uint64) {
	for _, v := range ended {
		n += v
	}
	return n
}

// size prints bytes as people read them.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, prefix := float64(n)/unit, 0
	for v >= unit && prefix < len("KMGTPE")-1 {
		v, prefix = v/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[prefix])
}

func check(c lb.CheckStatus) string {
	if c.At.IsZero() {
		return "none yet"
	}
	return fmt.Sprintf("%s (%.1f ms)", c.Last, c.LatencyMS)
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return time.Since(t).Round(time.Second).String()
}
