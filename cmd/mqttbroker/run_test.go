package main

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// file is a node on free ports.
const file = `
listeners: [{name: mqtt, listen: "127.0.0.1:0"}]
api: {listen: "127.0.0.1:0"}
dashboard: {listen: "127.0.0.1:0"}
`

// write makes a configuration and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	return filepath.Join(folder(t, "mqttbroker.yaml", text), "mqttbroker.yaml")
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
		p.line(t, `msg="configuration applied" trigger=signal`)
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

// TestTakenPorts: the default ports of the API and of the dashboard are done without, those that were asked for are not.
func TestTakenPorts(t *testing.T) {
	for _, address := range []string{"127.0.0.1:8080", "127.0.0.1:18083"} {
		taken, err := net.Listen("tcp", address)
		if err == nil {
			defer taken.Close() // else somebody else has it, which is as good
		}
	}
	p := launch(t, "run", "-c", write(t, `listeners: [{name: mqtt, listen: "127.0.0.1:0"}]`))
	p.line(t, "running without API and metrics: the default port is taken; set api.listen")
	p.line(t, "running without dashboard: the default port is taken; set dashboard.listen")
	p.line(t, "listener=mqtt")
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, tt := range []struct{ sections, problem string }{
		{`api: {listen: "127.0.0.1:8080"}`, "open the API: .*address already in use"},
		{`api: {listen: ""}, dashboard: {listen: "127.0.0.1:18083"}`, "open the dashboard: .*address already in use"},
	} {
		p = launch(t, "run", "-c", write(t, `{listeners: [{name: mqtt, listen: "127.0.0.1:0"}], `+tt.sections+`}`))
		p.line(t, tt.problem)
		if code := p.exit(t); code != 1 {
			t.Errorf("exit code %d", code)
		}
	}
}
