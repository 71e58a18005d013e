package record

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Every cipher suite of crypto/tls is one of ours, or is said not to be.
func TestSuites(t *testing.T) {
	for _, c := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			got := suiteOf(version, c.ID)
			var want suite
			for _, v := range c.SupportedVersions {
				switch {
				case v != version || v < tls.VersionTLS12:
				case strings.Contains(c.Name, "AES_128_GCM"):
					want = aes128gcm
				case strings.Contains(c.Name, "AES_256_GCM"):
					want = aes256gcm
				case strings.Contains(c.Name, "CHACHA20"):
					want = chacha20
				}
			}
			if got != want {
				t.Errorf("%s in %s: %d, want %d", c.Name, tls.VersionName(version), got, want)
			}
			var log KeyLog
			if _, err := log.State(Handshake{Version: version, Suite: c.ID}); errors.Is(err, ErrUnsupported) != (want == 0) || err == nil {
				t.Errorf("%s in %s without a key log: %v", c.Name, tls.VersionName(version), err)
			}
		}
	}
}

var (
	randomA  = strings.Repeat("0a", 32)
	randomB  = strings.Repeat("0b", 32)
	secret32 = strings.Repeat("5e", 32)
	secret48 = strings.Repeat("5e", 48)
)

func TestKeyLogLines(t *testing.T) {
	for what, c := range map[string]struct {
		lines string
		good  bool
	}{
		"TLS 1.3":           {"CLIENT_TRAFFIC_SECRET_0 " + randomA + " " + secret32 + "\nSERVER_TRAFFIC_SECRET_0 " + randomA + " " + secret32, true},
		"TLS 1.2":           {"CLIENT_RANDOM " + randomA + " " + secret48, true},
		"others":            {"CLIENT_HANDSHAKE_TRAFFIC_SECRET x y\nEXPORTER_SECRET\n\nwhatever it is", true},
		"two connections":   {"CLIENT_TRAFFIC_SECRET_0 " + randomA + " " + secret32 + "\nSERVER_TRAFFIC_SECRET_0 " + randomB + " " + secret32, false},
		"two of TLS 1.2":    {"CLIENT_RANDOM " + randomA + " " + secret48 + "\nCLIENT_RANDOM " + randomB + " " + secret48, false},
		"twice":             {"CLIENT_RANDOM " + randomA + " " + secret48 + "\nCLIENT_RANDOM " + randomA + " " + secret48, false},
		"short random":      {"CLIENT_RANDOM 0a " + secret48, false},
		"no secret":         {"CLIENT_RANDOM", false},
		"long secret":       {"CLIENT_RANDOM " + randomA + " " + secret48 + "00", false},
		"odd secret":        {"CLIENT_RANDOM " + randomA + " " + secret48[1:], false},
		"random of letters": {"CLIENT_RANDOM " + strings.Repeat("zz", 32) + " " + secret48, false},
		"secret of letters": {"CLIENT_RANDOM " + randomA + " " + strings.Repeat("zz", 48), false},
	} {
		var log KeyLog
		var err error
		for line := range strings.Lines(c.lines) {
			if n, e := log.Write([]byte(line)); e == nil && n != len(line) {
				t.Errorf("%s: %d of %d bytes written", what, n, len(line))
			} else if e != nil {
				err = e
			}
		}
		if (err == nil) != c.good {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && (strings.Contains(err.Error(), "5e5e") || strings.Contains(err.Error(), "zzzz")) {
			t.Errorf("%s: a secret in the error: %v", what, err)
		}
		if log.Wipe(); log != (KeyLog{}) {
			t.Errorf("%s: something is left after Wipe", what)
		}
	}
}

// Secrets of one version or suite are none of another.
func TestStateNeedsItsSecrets(t *testing.T) {
	line13 := "CLIENT_TRAFFIC_SECRET_0 " + randomA + " " + secret32 + "\n"
	for what, c := range map[string]struct {
		lines string
		f     flavor
	}{
		"nothing":            {"", flavors[0]},
		"nothing, TLS 1.2":   {"", flavors[3]},
		"one way":            {line13, flavors[0]},
		"master in TLS 1.3":  {"CLIENT_RANDOM " + randomA + " " + secret48, flavors[1]},
		"short for SHA-384":  {line13 + strings.Replace(line13, "CLIENT", "SERVER", 1), flavors[1]},
		"traffic in TLS 1.2": {line13 + strings.Replace(line13, "CLIENT", "SERVER", 1), flavors[3]},
		"short master":       {"CLIENT_RANDOM " + randomA + " " + secret32, flavors[3]},
	} {
		var log KeyLog
		for line := range strings.Lines(c.lines) {
			if _, err := fmt.Fprint(&log, line); err != nil {
				t.Fatal(err)
			}
		}
		s, err := log.State(Handshake{Version: c.f.version, Suite: c.f.suite})
		if err == nil || errors.Is(err, ErrUnsupported) || s != (State{}) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
