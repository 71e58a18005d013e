package program

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestSignals: each row is a series of signals and what comes of it.
func TestSignals(t *testing.T) {
	hup, term, intr := syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT
	tests := []struct {
		name    string
		arrived []os.Signal
		want    []string
	}{
		{"reloads", []os.Signal{hup, hup}, []string{"reload", "reload"}},
		{"a request", []os.Signal{term}, []string{"stop terminated"}},
		{"a request, and a reload too late", []os.Signal{intr, hup}, []string{"stop interrupt", "reload"}},
		{"an order", []os.Signal{hup, term, intr, hup}, []string{"reload", "stop terminated", "at once interrupt"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			arrived := make(chan os.Signal, len(tt.arrived))
			for _, sig := range tt.arrived {
				arrived <- sig
			}
			close(arrived)
			var got []string
			var log bytes.Buffer
			Signals(arrived, Handlers{
				Log:    slog.New(slog.NewJSONHandler(&log, nil)),
				Stop:   func(sig os.Signal) { got = append(got, "stop "+sig.String()) },
				Reload: func() { got = append(got, "reload") },
			})
			if _, sig, second := strings.Cut(log.String(), `"msg":"stopped at once by a second signal","signal":"`); second {
				got = append(got, "at once "+sig[:strings.IndexByte(sig, '"')])
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	bad := errors.New("f.yaml:1: bad")
	check := func(path string) error {
		if path == "bad" {
			return bad
		}
		return nil
	}
	tests := []struct {
		args  string
		wants string // what is printed begins so
		fails string
	}{
		{"version", "some ", ""},
		{"check -c good", "good: valid\n", ""},
		{"check --config good", "good: valid\n", ""},
		{"check -c bad", "", bad.Error()},
		{"--version", "some ", ""},
		{"check", "", "name the configuration: some check -c FILE"},
		{"check nope.yaml", "", "write -c nope.yaml"},
		{"check one two", "", "name the configuration: some check -c FILE"},
		{"check -c good more", "", `unknown command "more" for "some check"`},
	}
	for _, tt := range tests {
		root := Root("some", "Some program")
		root.AddCommand(CheckCommand(check))
		root.SetArgs(strings.Fields(tt.args))
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		err := root.Execute()
		if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || err.Error() != tt.fails) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.fails)
		}
		if !strings.HasPrefix(out.String(), tt.wants) || tt.wants == "" && out.Len() > 0 {
			t.Errorf("%s printed %q, want %q", tt.args, out.String(), tt.wants)
		}
	}
}

func TestNotify(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	path := filepath.Join(t.TempDir(), "notify.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	Notify(logger, Ready)
	got := make([]byte, 100)
	n, err := socket.Read(got)
	if err != nil || string(got[:n]) != "READY=1" || log.Len() > 0 {
		t.Errorf("read %q, %v, logged %q", got[:n], err, log.String())
	}
	socket.Close()
	Notify(logger, Stopping)
	if !strings.Contains(log.String(), "cannot tell the service manager") {
		t.Errorf("logged %q", log.String())
	}
}
