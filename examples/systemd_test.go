package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// readUnit returns the values of a unit by section and key, as "Service.Type". A key may be there several times.
func readUnit(t *testing.T, path string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unit := make(map[string][]string)
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		name, isSection := strings.CutPrefix(line, "[")
		key, value, isKey := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case isSection:
			section = strings.TrimSuffix(name, "]")
		case !isKey || section == "":
			t.Errorf("%s: %q is no setting", path, line)
		default:
			unit[section+"."+key] = append(unit[section+"."+key], value)
		}
	}
	return unit
}

func TestUnits(t *testing.T) {
	tests := []struct {
		program  string
		reload   []string
		stopping time.Duration // that the program may take
	}{
		{"mqttlb", []string{"/usr/local/bin/mqttlb reload"}, 30 * time.Second},
		{"mqttbroker", []string{"/bin/kill -HUP $MAINPID"}, 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.program, func(t *testing.T) {
			unit := readUnit(t, filepath.Join("systemd", tt.program+".service"))
			want := map[string]string{
				// Debian 12 has systemd 252, which does not know notify-reload.
				"Service.Type":                  "notify",
				"Service.ExecStart":             "/usr/local/bin/" + tt.program + " run -c /etc/" + tt.program + "/" + tt.program + ".yaml",
				"Service.User":                  tt.program,
				"Service.Group":                 tt.program,
				"Service.Restart":               "always",
				"Service.CapabilityBoundingSet": "",
				"Service.NoNewPrivileges":       "yes",
				"Service.ProtectSystem":         "strict",
				"Install.WantedBy":              "multi-user.target",
			}
			for key, value := range want {
				if got := unit[key]; len(got) != 1 || got[0] != value {
					t.Errorf("%s is %q, want %q", key, got, value)
				}
			}
			if got := unit["Service.ExecReload"]; !slices.Equal(got, tt.reload) {
				t.Errorf("ExecReload is %q", got)
			}
			if n, err := strconv.Atoi(strings.Join(unit["Service.LimitNOFILE"], "")); err != nil || n < 1<<20 {
				t.Errorf("LimitNOFILE is %q", unit["Service.LimitNOFILE"])
			}
			if d, err := time.ParseDuration(strings.Join(unit["Service.TimeoutStopSec"], "")); err != nil || d <= tt.stopping {
				t.Errorf("TimeoutStopSec is %q, and the program may need %v", unit["Service.TimeoutStopSec"], tt.stopping)
			}
			verify(t, tt.program)
		})
	}
}

// oldest is the version of systemd that is asked: Debian 12's. Older ones warn about keys that they do not know.
const oldest = 252

// verify asks systemd itself where it is installed.
func verify(t *testing.T, program string) {
	t.Helper()
	const analyze = "systemd-analyze"
	about, err := exec.CommandContext(t.Context(), analyze, "--version").Output() // "systemd 252 (252.38-1~deb12u1)"
	if words := strings.Fields(string(about)); err != nil || len(words) < 2 || number(words[1]) < oldest {
		t.Logf("not verified by systemd %d or newer: %q, %v", oldest, about, err)
		return
	}
	text, err := os.ReadFile(filepath.Join("systemd", program+".service"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, program) // the program has to be there
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, program+".service")
	write(t, unit, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/"+program, binary)))
	// What it says of other units of this machine, and its exit status, are not about this one.
	said, _ := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput()
	if strings.Contains(string(said), program+".service") {
		t.Errorf("systemd-analyze verify:\n%s", said)
	}
}

// number is the number that s begins with.
func number(s string) int {
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}
