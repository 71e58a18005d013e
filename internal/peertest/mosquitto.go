package peertest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds each wait for mosquitto. A test that passes never waits so long.
const patience = time.Minute

// maxLines is how many lines of mosquitto's log are kept until somebody waits for one; later ones are dropped.
const maxLines = 10_000

// A Mosquitto is a broker of another make, on a loopback address, running until it is killed or the test ends. Only
// the test's own goroutine may call its methods.
type Mosquitto struct {
	Address string // host:port, the same for as long as the test runs

	t       testing.TB
	program string
	config  string        // path of its configuration
	kill    func()        // nil when it does not run
	log     <-chan string // its lines after it said that it runs; closed when it has ended
}

// StartMosquitto starts a broker, which lets clients in without a name and a password or refuses them, and
// returns when it listens.
func StartMosquitto(t testing.TB, anonymous bool) *Mosquitto {
	t.Helper()
	m := &Mosquitto{t: t, program: Path(t, "mosquitto", "mosquitto"), config: filepath.Join(t.TempDir(), "mosquitto.conf")}
	t.Cleanup(m.Kill)
	for range 5 { // another process may take the free port first
		m.Address = freeAddress(t)
		host, port, err := net.SplitHostPort(m.Address)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("listener %s %s\nallow_anonymous %v\nlog_dest stderr\nlog_type all\n", port, host, anonymous)
		if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m.start() {
			return m
		}
	}
	t.Fatal("mosquitto found no port in five attempts")
	return nil
}

// freeAddress returns an address at which nobody listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Start starts a broker that was killed once more, at the same address, and returns when it listens.
func (m *Mosquitto) Start() {
	m.t.Helper()
	if m.kill == nil && !m.start() {
		m.t.Fatalf("mosquitto does not start again at %s", m.Address)
	}
}

// start says whether the broker listens; otherwise it has ended.
func (m *Mosquitto) start() bool {
	m.t.Helper()
	cmd := exec.Command(m.program, "-c", m.config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	lines, ended := make(chan string, maxLines), make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			select {
			case lines <- s.Text():
			default: // a full pipe would stop the broker
			}
		}
		close(lines)
		cmd.Wait() // it was killed: that it says so is no news
	}()
	m.log = lines
	m.kill = func() {
		cmd.Process.Kill()
		<-ended
	}
	if _, running := m.until(" running"); !running {
		m.Kill()
		return false
	}
	return true
}

// Kill ends the broker without a word, as a crash does, if it runs.
func (m *Mosquitto) Kill() {
	if m.kill != nil {
		m.kill()
		m.kill = nil
	}
}

// LinesUntil returns the lines of the log from where the last call ended up to the first that holds what, and waits for it.
func (m *Mosquitto) LinesUntil(what string) []string {
	m.t.Helper()
	lines, found := m.until(what)
	if !found {
		m.t.Fatalf("mosquitto did not write %q; it wrote %q", what, lines)
	}
	return lines
}

// until is LinesUntil for a line that may never come.
func (m *Mosquitto) until(what string) (lines []string, found bool) {
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-m.log:
			if !ok {
				return lines, false
			}
			lines = append(lines, line)
			if strings.Contains(line, what) {
				return lines, true
			}
		case <-timeout:
			return lines, false
		}
	}
}
