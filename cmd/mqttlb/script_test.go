package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mqttlb": main})
}

// patience is how long a script waits for anything: a slow and loaded machine under the race detector needs
// seconds for what takes milliseconds otherwise. Only what never comes is waited for so long.
const patience = time.Minute

// TestScripts runs each file of testdata/scripts like a session at a terminal, with the real program. Its
// commands beside those of testscript:
//
//	expand FROM TO              write TO in one step: FROM, with each $NAME replaced
//	free-ports NAME…            set each variable to a port of 127.0.0.1 that is free
//	start NAME ARG…             run mqttlb ARG… in the background; what it prints goes to NAME.log
//	signal NAME HUP|TERM|INT    send it a signal
//	exits NAME CODE             wait for its end
//	[!] alive NAME              it has not ended
//	wait-for file F REGEXP      wait until a line of F matches
//	wait-for stdout REGEXP ARG… wait until mqttlb ARG… succeeds and prints a line that matches
//	reload-between A B FILE     replace FILE by A and B in turn until mqttlb reload is quicker than the watcher
//	echo-server NAME            send back what is received, on a port of 127.0.0.1 that NAME is set to
//	[!] dial NAME PORT [CA]     connect to 127.0.0.1, with TLS when there is a CA, and send something there and back
//	echoed NAME                 send something there and back on that connection
//	hang-up NAME                close it
//	cut NAME                    wait until the other side closes it
//	notify-socket               be systemd: set NOTIFY_SOCKET, and write what comes to notify.log
func TestScripts(t *testing.T) {
	ports := newPorts()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "scripts"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// The race detector lets a process wait a second at its end; a script has dozens.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Values[stageKey{}] = &stage{processes: make(map[string]*process), clients: make(map[string]*device)}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"expand":         expand,
			"free-ports":     ports.free,
			"start":          start,
			"signal":         sendSignal,
			"exits":          exits,
			"alive":          alive,
			"wait-for":       waitFor,
			"reload-between": reloadBetween,
			"echo-server":    echoServer,
			"dial":           dial,
			"echoed":         echoed,
			"hang-up":        hangUp,
			"cut":            cut,
			"notify-socket":  notifySocket,
		},
	})
}

// A stage holds what a script has set up. It belongs to the script's goroutine.
type stage struct {
	processes map[string]*process
	clients   map[string]*device
}

type stageKey struct{}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// usage ends the script unless there are as many arguments as the usage names, at most `most`
// when that is greater, and unless a negation is allowed.
func usage(ts *testscript.TestScript, neg bool, args []string, most int, synopsis string) {
	words := strings.Fields(synopsis)
	least, mayNegate := len(words)-1, words[0] == "[!]"
	if mayNegate {
		least--
	}
	if len(args) < least || len(args) > max(least, most) || neg && !mayNegate {
		ts.Fatalf("usage: %s", synopsis)
	}
}

// atOnce replaces a file as a careful editor does, so that nobody reads half of it.
func atOnce(ts *testscript.TestScript, file, text string) {
	file = ts.MkAbs(file)
	ts.Check(os.WriteFile(file+".new", []byte(text), 0o600))
	ts.Check(os.Rename(file+".new", file))
}

func expand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "expand FROM TO")
	atOnce(ts, args[1], os.Expand(ts.ReadFile(args[0]), ts.Getenv))
}

// reloadBetween is for the answer of `mqttlb reload` to a change. The running process sees the change by
// itself as well, and may do so first; then the answer is that there is nothing to do, and it is tried again.
func reloadBetween(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 0, "reload-between A B FILE")
	texts := []string{ts.ReadFile(args[0]), ts.ReadFile(args[1])}
	const tries = 50
	for i := range tries {
		atOnce(ts, args[2], texts[i%2])
		ts.Check(ts.Exec("mqttlb", "reload"))
		if ts.ReadFile("stdout") != "nothing to do\n" {
			return
		}
	}
	ts.Fatalf("the file's watcher was quicker than mqttlb reload %d times", tries)
}

func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	const synopsis = "wait-for file|stdout FILE|REGEXP REGEXP|ARG..."
	usage(ts, neg, args, len(args), synopsis)
	switch args[0] {
	case "file":
		want := line(ts, args[2])
		found, over := false, false
		within(patience, func() bool {
			over = stageOf(ts).over(args[1])            // before reading: then the file is complete
			text, err := os.ReadFile(ts.MkAbs(args[1])) // not there yet is as good as empty
			found = err == nil && want.Match(text)
			return found || over
		})
		if !found {
			ts.Fatalf("no line of %s matches %q; its process has ended: %t", args[1], args[2], over)
		}
	case "stdout":
		want := line(ts, args[1])
		ok := within(patience, func() bool {
			return ts.Exec("mqttlb", args[2:]...) == nil && want.MatchString(ts.ReadFile("stdout"))
		})
		if !ok {
			ts.Fatalf("mqttlb %s prints nothing that matches %q within %s", strings.Join(args[2:], " "), args[1], patience)
		}
	default:
		ts.Fatalf("usage: %s", synopsis)
	}
}

// line compiles a regular expression in which ^ and $ are the ends of a line.
func line(ts *testscript.TestScript, expression string) *regexp.Regexp {
	re, err := regexp.Compile("(?m:" + expression + ")")
	ts.Check(err)
	return re
}

// within asks until the answer is yes, and reports whether it was before d has passed.
func within(d time.Duration, yes func() bool) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !yes() {
		select {
		case <-again.C:
		case <-deadline.C:
			return yes()
		}
	}
	return true
}
