//go:build linux

package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/proc"
)

const (
	readyWithin = 30 * time.Second // from the start of a program to its first accepted connection
	stopWithin  = 5 * time.Second  // from SIGTERM to SIGKILL: a load balancer may drain, but nothing is connected any more
	askWithin   = 10 * time.Second // for its version
)

// A Peer is an installed program.
type Peer struct {
	Kind    Kind
	Path    string
	Version string // "2.6.12-1+deb12u4"
}

// String is name and version.
func (p Peer) String() string { return strings.TrimSpace(string(p.Kind) + " " + p.Version) }

// Find finds a program, at path or where programs are, and asks for its version. The error wraps exec.ErrNotFound if it is not there.
func Find(ctx context.Context, k Kind, path string) (Peer, error) {
	if path == "" {
		var err error
		if path, err = lookPath(string(k)); err != nil {
			return Peer{}, fmt.Errorf("look for %s: %w", k, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	args := map[Kind]string{HAProxy: "-v", Nginx: "-v", Mosquitto: "-h"}
	arg := args[k]
	if arg == "" {
		arg = "version"
	}
	out, err := exec.CommandContext(ctx, path, arg).CombinedOutput()
	var status *exec.ExitError
	if err != nil && !(k == Mosquitto && errors.As(err, &status)) { // whose help ends with 3
		return Peer{}, fmt.Errorf("ask %s for its version: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return Peer{Kind: k, Path: path, Version: parseVersion(string(out))}, nil
}

// lookPath looks in PATH, and where Debian has programs for administrators.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if inner, again := exec.LookPath("/usr/sbin/" + name); again == nil {
			return inner, nil
		}
	}
	return path, err
}

// parseVersion finds the first number of a version, and what belongs to it; otherwise the first line.
func parseVersion(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if v := regexp.MustCompile(`[0-9]+\.[0-9][^\s,]*`).FindString(text); v != "" && !strings.Contains(text, "(devel)") {
		return v
	}
	return strings.TrimSpace(text[strings.Index(text, " ")+1:])
}

// A Running is a program that has been started.
type Running struct {
	kind Kind
	cmd  *exec.Cmd
	said *tail
	done chan struct{} // closed when it has ended
	err  error         // set before
}

// Start writes the configuration, starts the program and waits until it accepts connections, or ctx is done. It runs until Stop, which must be called.
func (p Peer) Start(ctx context.Context, s Setup) (*Running, error) {
	text, err := Config(p.Kind, s)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.Dir, string(p.Kind)+".conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the configuration of %s: %w", p.Kind, err)
	}
	r := &Running{kind: p.Kind, said: &tail{}, done: make(chan struct{})}
	r.cmd = p.command(arguments(p.Kind, s, file))
	r.cmd.Stdout, r.cmd.Stderr = r.said, r.said
	r.cmd.WaitDelay = stopWithin
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Kind, err)
	}
	go func() { // until the program ends, which Stop waits for
		r.err = r.cmd.Wait()
		close(r.done)
	}()
	if err := r.ready(ctx, s.Listen); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", p.Kind, err), r.Stop())
	}
	return r, nil
}

// command makes the call of the program.
func (p Peer) command(args []string) *exec.Cmd {
	if p.Kind == Mosquitto {
		// It takes the limit of descriptors that it finds, and Go gives its children the one that this process was started with. The shell
		// becomes mosquitto, and so has its process.
		raise := `ulimit -S -n "$(ulimit -H -n)" && exec "$0" "$@"`
		return exec.Command("/bin/sh", append([]string{"-c", raise, p.Path}, args...)...)
	}
	cmd := exec.Command(p.Path, args...)
	cmd.Args[0] = filepath.Base(p.Path)
	if p.Kind == StandIn {
		cmd.Args[0] = "mqttbench"
	}
	return cmd
}

// PID is the program's process.
func (r *Running) PID() int { return r.cmd.Process.Pid }

// ready waits until the program accepts connections.
func (r *Running) ready(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.done:
			return fmt.Errorf("it has ended: %w: %s", r.ended(), r.said)
		case <-ctx.Done():
			return fmt.Errorf("it does not listen on %s: %w: %s", address, context.Cause(ctx), r.said)
		}
	}
}

// ended is why a program has ended that should not have.
func (r *Running) ended() error {
	if r.err != nil {
		return r.err
	}
	return errors.New("exit status 0")
}

// Stop asks the program to end, and kills it and its children when it does not. It is an error if the program had ended before.
func (r *Running) Stop() error {
	select {
	case <-r.done:
		return fmt.Errorf("%s has ended by itself: %w: %s", r.kind, r.ended(), r.said)
	default:
	}
	tree, err := proc.Tree(r.PID())
	if err != nil {
		tree = []int{r.PID()}
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // if it ends at this moment, all the better
	select {
	case <-r.done:
		return nil
	case <-time.After(stopWithin):
	}
	for _, pid := range tree {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	<-r.done
	return nil
}

// said is how much a tail keeps, in bytes.
const said = 4 << 10

// A tail keeps the end of what is written to it. Anyone may use it.
type tail struct {
	mu   sync.Mutex // guards text
	text []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - said; over > 0 {
		t.text = slices.Delete(t.text, 0, over)
	}
	return len(p), nil
}

// String is what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
