package health

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// A mosquitto is a broker of another make, running for one test.
type mosquitto struct {
	address string
	log     <-chan string // its lines after it said that it runs; closed when it has ended
}

// startMosquitto starts a broker with one listener and the given setting of allow_anonymous.
func startMosquitto(t *testing.T, anonymous bool) mosquitto {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if errors.Is(err, exec.ErrNotFound) {
		program, err = exec.LookPath("/usr/sbin/mosquitto") // Debian's place, not in every PATH
	}
	if err != nil {
		lacking(t, "mosquitto is not installed")
	}
	for range 5 { // another process may take the free port first
		address := deadAddress(t)
		if log, running := tryMosquitto(t, program, address, anonymous); running {
			return mosquitto{address, log}
		}
	}
	t.Fatal("mosquitto found no port in five attempts")
	return mosquitto{}
}

func tryMosquitto(t *testing.T, program, address string, anonymous bool) (log <-chan string, running bool) {
	t.Helper()
	_, port, _ := net.SplitHostPort(address)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous %v\nlog_dest stderr\nlog_type all\n", port, anonymous)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := exec.Command(program, "-c", config)
	stderr, err := broker.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000) // more than any test makes it write
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
		broker.Wait()
	}()
	t.Cleanup(func() {
		broker.Process.Kill()
		<-ended
	})
	for line := range lines {
		if strings.Contains(line, " running") {
			return lines, true
		}
	}
	return nil, false
}

// linesUntil returns the log's lines up to the first that holds what.
func (m mosquitto) linesUntil(t *testing.T, what string) []string {
	t.Helper()
	var lines []string
	timeout := time.After(patient)
	for {
		select {
		case line, ok := <-m.log:
			if !ok {
				t.Fatalf("mosquitto ended before it wrote %q; it wrote %q", what, lines)
			}
			lines = append(lines, line)
			if strings.Contains(line, what) {
				return lines
			}
		case <-timeout:
			t.Fatalf("mosquitto did not write %q; it wrote %q", what, lines)
		}
	}
}

// lacking ends a test for which this machine has not what it needs; where that must be there, it fails.
func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MQTTLB_REQUIRE_PEERS") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// TestMosquittoRefusesMQTTChecks: the reason is the broker's own.
func TestMosquittoRefusesMQTTChecks(t *testing.T) {
	leaktest.Check(t)
	broker := startMosquitto(t, false)
	target := Target{Address: broker.address, Check: Check{Timeout: patient}}
	wantResult(t, probe(target), Passed, "")
	target.Check.Type = MQTT
	wantResult(t, probe(target), Rejected, "CONNACK code 5 (not authorized)")
}
