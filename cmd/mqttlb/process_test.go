package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A process is mqttlb in the background.
type process struct {
	cmd   *exec.Cmd
	log   string        // file
	ended chan struct{} // closed when it has; cmd.ProcessState is known then
}

// passedOn names the variables of the script that a process in the background gets, beside what a command
// in the foreground needs to run at all.
var passedOn = []string{"PATH", "HOME", "TMPDIR", "NOTIFY_SOCKET", "GOCOVERDIR", "GORACE"}

func start(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, len(args), "start NAME ARG")
	p := &process{cmd: exec.Command("mqttlb", args[1:]...), log: args[0] + ".log", ended: make(chan struct{})}
	log, err := os.Create(ts.MkAbs(p.log))
	ts.Check(err)
	defer log.Close() // the process has its own
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = []string{}
	for _, name := range passedOn {
		if value := ts.Getenv(name); value != "" {
			p.cmd.Env = append(p.cmd.Env, name+"="+value)
		}
	}
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.ended)
		p.cmd.Wait() // its error is in ProcessState
	}()
	stageOf(ts).processes[args[0]] = p
	ts.Defer(func() {
		p.cmd.Process.Kill() // it may have ended
		<-p.ended
		ts.Logf("[%s]\n%s", p.log, ts.ReadFile(p.log))
	})
}

// over reports whether file is what a process printed that has ended.
func (s *stage) over(file string) bool {
	for _, p := range s.processes {
		if p.log == file {
			return p.hasEnded()
		}
	}
	return false
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (s *stage) process(ts *testscript.TestScript, name string) *process {
	p := s.processes[name]
	if p == nil {
		ts.Fatalf("no process %q was started", name)
	}
	return p
}

// signalNames are the signals that a script can send.
var signalNames = map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "signal NAME HUP|TERM|INT|KILL")
	sig, known := signalNames[args[1]]
	if !known {
		ts.Fatalf("signal %s: HUP, TERM, INT and KILL are possible", args[1])
	}
	ts.Check(stageOf(ts).process(ts, args[0]).cmd.Process.Signal(sig))
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "exits NAME CODE")
	p := stageOf(ts).process(ts, args[0])
	select {
	case <-p.ended:
	case <-time.After(patience):
		ts.Fatalf("%s has not ended after %s", args[0], patience)
	}
	if got := strconv.Itoa(p.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s ended with %s, want exit code %s", args[0], p.cmd.ProcessState, args[1])
	}
}

func alive(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "[!] alive NAME")
	switch p := stageOf(ts).process(ts, args[0]); {
	case neg && !p.hasEnded():
		ts.Fatalf("%s has not ended", args[0])
	case !neg && p.hasEnded():
		ts.Fatalf("%s has ended: %s", args[0], p.cmd.ProcessState)
	}
}

// notifySocket takes what sd_notify(3) sends: datagrams of lines. The one line whose value is different
// each time, the clock, is written as MONOTONIC_USEC=….
func notifySocket(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "notify-socket")
	path := ts.MkAbs("notify.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	ts.Check(err)
	log, err := os.Create(ts.MkAbs("notify.log"))
	ts.Check(err)
	read := make(chan error, 1)
	go func() { read <- writeDown(socket, log) }()
	ts.Setenv("NOTIFY_SOCKET", path)
	ts.Defer(func() {
		socket.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			ts.Fatalf("read notifications: %v", err)
		}
		log.Close()
	})
}

func writeDown(socket *net.UnixConn, log *os.File) error {
	buffer := make([]byte, 4096)
	for {
		n, err := socket.Read(buffer)
		if err != nil {
			return err
		}
		lines := strings.Split(string(buffer[:n]), "\n")
		for i, l := range lines {
			if name, value, _ := strings.Cut(l, "="); name == "MONOTONIC_USEC" && !slices.Contains([]string{"", "0"}, value) {
				lines[i] = name + "=…"
			}
		}
		if _, err := fmt.Fprintln(log, strings.Join(lines, " ")); err != nil {
			return err
		}
	}
}
