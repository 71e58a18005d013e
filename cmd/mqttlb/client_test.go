package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/lb"
)

// TestAdminAddress: what people have at hand will do.
func TestAdminAddress(t *testing.T) {
	for given, want := range map[string]string{
		"127.0.0.1:9000":         "127.0.0.1:9000",
		"localhost":              "localhost:8404",
		"::1":                    "[::1]:8404",
		"[::1]":                  "[::1]:8404",
		"http://127.0.0.1:8404/": "127.0.0.1:8404",
		"http://localhost":       "localhost:8404",
		"unix:/run/a.sock":       "localhost",
		"/run/a.sock":            "localhost",
	} {
		if got, _ := (client{admin: &given}).address(); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
}

func TestReadToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]string{"secret": "secret", " secret\n": "secret", "two\nlines": "", "\n": ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readToken(file); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestState: rise 5 and fall 2 count from 0 to 6.
func TestState(t *testing.T) {
	for _, test := range []struct {
		state   string
		health  int
		checked bool
		want    string
	}{
		{"up", 6, true, "up"},
		{"up", 5, true, "up 1/2"},
		{"up", 5, false, "up"}, // where every server begins
		{"down", 0, true, "down"},
		{"down", 2, true, "down 2/5"},
		{"maint", 2, true, "maint"},
	} {
		s := lb.ServerStatus{State: test.state, Check: lb.CheckStatus{Health: test.health, Rise: 5, Fall: 2}}
		if test.checked {
			s.Check.At = time.Unix(1, 0)
		}
		if got := state(s); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
}

func TestExpires(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	later := lb.CertStatus{NotAfter: now.AddDate(1, 0, 0)}
	for first, want := range map[time.Duration]string{
		39*24*time.Hour + 3*time.Hour: "2027-01-02 (39 days)",
		30 * time.Hour:                "2026-11-25 (1 day)",
		time.Hour:                     "2026-11-24 (0 days)",
		0:                             "2026-11-24 (expired)",
	} {
		if got := expires([]lb.CertStatus{later, {NotAfter: now.Add(first)}}, now); got != want {
			t.Errorf("%s: got %s, want %s", first, got, want)
		}
	}
	if got := expires(nil, now); got != "" {
		t.Errorf("without certificates: %s", got)
	}
}
