//go:build linux

package run

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
)

// A message is a line from a worker process: the stage it has reached, its progress, or its end.
type message struct {
	Stage string        `json:",omitempty"`
	Pause time.Duration `json:",omitempty"`
	Open  int64         `json:",omitempty"`
	Units int64         `json:",omitempty"`
	Tally *load.Encoded `json:",omitempty"`
	Error string        `json:",omitempty"`
}

// goOn is the line to a worker process that has reached a stage. The line before all others is its plan.
const goOn = "go on\n"

// parting is how long a process has to end when it is asked to.
const parting = 10 * time.Second

// process runs a plan in another process, which ends with ctx.
func (w *worker) process(ctx context.Context, all *sync.WaitGroup, cmd *exec.Cmd, p load.Plan) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = parting
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	w.goOn = func() error {
		_, err := io.WriteString(in, goOn)
		return err
	}
	unhook := context.AfterFunc(ctx, func() { _ = in.Close() }) // it may be waiting for a line
	all.Go(func() {
		defer unhook()
		last := w.converse(json.NewEncoder(in), json.NewDecoder(out), p)
		_ = in.Close()
		if err := cmd.Wait(); err != nil && last.err == nil {
			last = event{from: w, err: fmt.Errorf("a worker has ended: %w: %s", err, strings.TrimSpace(said.String()))}
		}
		w.events <- last
	})
	return nil
}

// converse passes on what a worker process says, and returns the last of it.
func (w *worker) converse(in *json.Encoder, out *json.Decoder, p load.Plan) event {
	if err := in.Encode(p); err != nil {
		return event{from: w, err: fmt.Errorf("give a worker its plan: %w", err)}
	}
	for {
		var m message
		if err := out.Decode(&m); err != nil {
			return event{from: w, err: fmt.Errorf("listen to a worker: %w", err)}
		}
		switch {
		case m.Error != "":
			return event{from: w, err: errors.New(m.Error)}
		case m.Tally != nil:
			tally, err := m.Tally.Decode()
			return event{from: w, tally: tally, err: err}
		case m.Stage != "":
			w.events <- event{from: w, stage: m.Stage, pause: m.Pause}
		default:
			w.progress.Open.Store(m.Open)
			w.progress.Units.Store(m.Units)
		}
	}
}

// A speaker writes messages, one at a time.
type speaker struct {
	mu  sync.Mutex // guards out
	out *json.Encoder
	in  *bufio.Reader
}

func (s *speaker) say(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Encode(m)
}

// Worker runs the plan that in begins with. Its error is one of talking to whoever has started it; what goes wrong with the plan is
// told to him.
func Worker(ctx context.Context, in io.Reader, out io.Writer) error {
	s := &speaker{out: json.NewEncoder(out), in: bufio.NewReader(in)}
	line, err := s.in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	var p load.Plan
	if err := json.Unmarshal(line, &p); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	var progress load.Progress
	shown, stop := context.WithCancel(ctx)
	var showing sync.WaitGroup
	showing.Go(func() { s.show(shown, &progress) })
	tally, err := p.Run(ctx, s, &progress)
	stop()
	showing.Wait()
	if err != nil {
		return s.say(message{Error: err.Error()})
	}
	e, err := tally.Encode()
	if err != nil {
		return err
	}
	return s.say(message{Tally: &e})
}

// Reach says that a stage is reached, and waits for the answer, or the end of whoever should give it.
func (s *speaker) Reach(_ context.Context, name string, pause time.Duration) error {
	if err := s.say(message{Stage: name, Pause: pause}); err != nil {
		return err
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("wait to go on: %w", err)
	}
	if line != goOn {
		return fmt.Errorf("%q came instead of %q", line, goOn)
	}
	return nil
}

func (s *speaker) show(ctx context.Context, p *load.Progress) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			_ = s.say(message{Open: p.Open.Load(), Units: p.Units.Load()}) // Reach will see that nobody listens
		case <-ctx.Done():
			return
		}
	}
}
