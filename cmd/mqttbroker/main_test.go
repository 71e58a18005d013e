package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mqttbroker": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

const patience = 60 * time.Second

// process is the program, running.
type process struct {
	cmd *exec.Cmd
	err *bufio.Reader
}

// launch runs the test binary as mqttbroker, which testscript.Main makes possible.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := exec.LookPath("mqttbroker")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	p := &process{cmd: exec.CommandContext(ctx, path, args...)}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.err = bufio.NewReader(stderr)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	return p
}

// line returns the first submatch of the next line of the log that matches.
func (p *process) line(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var seen strings.Builder
	for {
		line, err := p.err.ReadString('\n')
		seen.WriteString(line)
		if m := re.FindStringSubmatch(line); m != nil {
			return m[len(m)-1]
		}
		if err != nil {
			t.Fatalf("no line with %s in\n%s", pattern, seen.String())
		}
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	io.Copy(io.Discard, p.err)
	if err := p.cmd.Wait(); err != nil && p.cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

const file = `
listeners: [{name: mqtt, listen: "127.0.0.1:0"}]
api: {listen: "127.0.0.1:0"}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/mqttbroker.yaml"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSignals: the first SIGTERM or SIGINT ends the program with 0.
func TestSignals(t *testing.T) {
	path := write(t, file)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := launch(t, "run", "--config", path)
		p.line(t, `listener=api address=(\S+)`)
		address := p.line(t, `listener=mqtt address=(\S+)`)
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil { // is not the end
			t.Fatal(err)
		}
		p.line(t, "reloading is not built into this version")
		if err := p.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if code := p.exit(t); code != 0 {
			t.Errorf("exit code %d after %v", code, sig)
		}
	}
}

// TestSecondSignal ends the program at once: a client that stays connected cannot hold it up.
func TestSecondSignal(t *testing.T) {
	p := launch(t, "run", "-c", write(t, file))
	address := p.line(t, `listener=mqtt address=(\S+)`)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// CONNECT of MQTT 5; the node will wait for this client to close.
	if _, err := conn.Write([]byte("\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a")); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"msg=stopping", "msg=\"stopped at once"} {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		p.line(t, pattern)
	}
	if code := p.exit(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// TestTakenPorts: the default port of the API is done without, one that was asked for is not.
func TestTakenPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		defer taken.Close() // else somebody else has it, which is as good
	}
	p := launch(t, "run", "-c", write(t, `listeners: [{name: mqtt, listen: "127.0.0.1:0"}]`))
	p.line(t, "running without API")
	p.line(t, "listener=mqtt")
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}

	p = launch(t, "run", "-c", write(t, `{listeners: [{name: mqtt, listen: "127.0.0.1:0"}], api: {listen: "127.0.0.1:8080"}}`))
	p.line(t, "open the API: .*address already in use")
	if code := p.exit(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
}
