package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// TestRun runs the whole story and looks at what came of it.
func TestRun(t *testing.T) {
	tests := []struct {
		name       string
		oneAddress bool
	}{
		{"an address for each device", false},
		{"one address for all", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.oneAddress && !manyAddresses() {
				t.Skip("this system lets programs use 127.0.0.1 only")
			}
			leaktest.Check(t)
			dir := emptyTemp(t)
			var text bytes.Buffer
			out, err := run(t.Context(), options{out: &text, oneAddress: tt.oneAddress})
			if err != nil {
				t.Fatalf("%v\n\nwhat it printed:\n%s", err, text.String())
			}
			checkOutcome(t, out)
			if !tt.oneAddress {
				checkHomes(t, out)
			}
			checkPage(t, text.String())
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// emptyTemp makes the folder that temporary ones are made in a fresh one.
func emptyTemp(t *testing.T) string {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // Windows
	return dir
}

func checkOutcome(t *testing.T, out outcome) {
	t.Helper()
	if len(out.Home) != len(deviceNames) || len(countByNode(out.Home)) != 2 {
		t.Errorf("%d devices should share two nodes: %v", len(deviceNames), out.Home)
	}
	if want := countByNode(out.Home)[out.Stopped]; want == 0 || len(out.Moved) != want || len(out.Returned) != want {
		t.Errorf("%d devices were on %s; moved: %v, returned: %v", want, out.Stopped, out.Moved, out.Returned)
	}
	if countByNode(out.Moved)[out.Stopped] > 0 {
		t.Errorf("%s is stopped and has visitors: %v", out.Stopped, out.Moved)
	}
	if countByNode(out.Returned)[out.Stopped] == 0 {
		t.Errorf("nobody has returned to %s: %v", out.Stopped, out.Returned)
	}
	if len(out.Newcomers) != newcomers || countByNode(out.Newcomers)[out.Added] == 0 {
		t.Errorf("nobody has come to %s: %v", out.Added, out.Newcomers)
	}
	if out.Dropped != 0 || out.Messages < len(deviceNames) {
		t.Errorf("%d connections dropped, %d messages", out.Dropped, out.Messages)
	}
	for _, list := range [][]visit{out.Home, out.Moved, out.Returned, out.Newcomers} {
		for _, v := range list {
			if v.From != v.Saw || !v.From.Addr().IsLoopback() {
				t.Errorf("the node's idea of an address is wrong: %+v", v)
			}
		}
	}
}

// checkHomes checks that everybody comes from an address of his own, and that it leads to the same node again.
func checkHomes(t *testing.T, out outcome) {
	t.Helper()
	home := make(map[string]string)
	for _, v := range out.Home {
		home[v.From.Addr().String()] = v.Node
	}
	if len(home) != len(deviceNames) {
		t.Errorf("%d devices come from %d addresses", len(deviceNames), len(home))
	}
	for _, v := range out.Returned {
		if want := home[v.From.Addr().String()]; v.Node != want {
			t.Errorf("%+v: the address belonged to %s", v, want)
		}
	}
}

// checkPage checks that the text fits a terminal, but for what has to be in one piece, such as paths.
func checkPage(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if len(strings.TrimRight(line, "\n")) > 88 && !strings.Contains(line, os.TempDir()) {
			t.Errorf("long line: %q", line)
		}
	}
	for _, want := range []string{"1. Certificates", "7. A third node", "send_proxy: v2", "Connections dropped: 0."} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the text:\n%s", want, text)
		}
	}
}

// A listener to the story calls react with all that was told so far.
type audience struct {
	text  strings.Builder
	react func(text string)
}

func (a *audience) Write(p []byte) (int, error) {
	a.text.Write(p)
	a.react(a.text.String())
	return len(p), nil
}

func TestStay(t *testing.T) {
	leaktest.Check(t)
	emptyTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looked := false
	listener := &audience{react: func(text string) {
		if !looked && strings.Contains(text, "Edit its configuration") && strings.HasSuffix(text, "mqttlb.yaml\n\n") {
			looked = true
			lookAround(t, text)
			cancel()
		}
	}}
	if _, err := run(ctx, options{out: listener, stay: true, oneAddress: !manyAddresses()}); err != nil || !looked {
		t.Fatalf("%v; everything was up: %v\n%s", err, looked, listener.text.String())
	}
}

// lookAround uses what the text offers.
func lookAround(t *testing.T, text string) {
	words := strings.Fields(text)
	seen := 0
	for i, w := range words {
		switch {
		case strings.HasPrefix(w, "http://") && words[i-1] == "curl":
			seen++
			answer, err := get(w)
			if err != nil || !strings.Contains(answer, "node-3") {
				t.Errorf("curl %s: %v\n%s", w, err, answer)
			}
		case w == "--cafile" || w == "-f" || i == len(words)-1:
			seen++
			if i < len(words)-1 {
				w = words[i+1]
			}
			if info, err := os.Stat(w); err != nil || info.Size() == 0 {
				t.Errorf("%s: %v", w, err)
			}
		case w == "-p":
			seen++
			conn, err := net.Dial("tcp", net.JoinHostPort(words[i-1], words[i+1]))
			if err != nil {
				t.Error(err)
				continue
			}
			conn.Close()
		}
	}
	if seen != 8 {
		t.Errorf("there are %d things to try, not 8:\n%s", seen, text)
	}
}

func get(url string) (string, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// TestInterrupted stops the story at each step: nothing may be left. A step that has nothing to wait for is done to its
// end, so the next one may be where it stops.
func TestInterrupted(t *testing.T) {
	for _, title := range []string{"1. Certificates", "2. Two broker nodes", "3. The load balancer", "4. Six devices",
		"stops\n", "returns\n", "7. A third node"} {
		t.Run(strings.TrimSpace(title), func(t *testing.T) {
			leaktest.Check(t)
			dir := emptyTemp(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			listener := &audience{react: func(text string) {
				if strings.Contains(text, title) {
					cancel()
				}
			}}
			_, err := run(ctx, options{out: listener, oneAddress: !manyAddresses()})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v\n%s", err, listener.text.String())
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestPortIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := ln.Addr().(*net.TCPAddr).Port
	if taken > 65000 {
		t.Skip("no ports left above the one that the system chose")
	}
	l, err := newLab(options{out: io.Discard, mqttPort: taken})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var text bytes.Buffer
	l.tell.w = &text
	for _, step := range []func(context.Context) error{l.makeCertificates, l.startNodes, l.startBalancer} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := text.String(); !strings.Contains(got, "is taken by another program, so ") || strings.Contains(l.lb.mqtt(), ln.Addr().String()) {
		t.Errorf("listens on %s\n%s", l.lb.mqtt(), got)
	}
}

func TestNowhereToWrite(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	t.Setenv("TMP", filepath.Join(t.TempDir(), "missing"))
	if _, err := run(t.Context(), options{out: io.Discard}); err == nil || !strings.HasPrefix(err.Error(), "make a folder") {
		t.Errorf("got %v", err)
	}
}

// TestFailure breaks a step for good: the configuration vanishes before the third node is added to it.
func TestFailure(t *testing.T) {
	leaktest.Check(t)
	dir := emptyTemp(t)
	listener := &audience{react: func(text string) {
		if !strings.Contains(text, "7. A third node") {
			return
		}
		found, err := filepath.Glob(filepath.Join(dir, "*", "mqttlb.yaml"))
		if err == nil && len(found) == 1 {
			os.Remove(found[0])
		}
	}}
	_, err := run(t.Context(), options{out: listener, oneAddress: !manyAddresses()})
	if err == nil {
		t.Fatal("it has succeeded")
	}
	for _, want := range []string{"step 7 (A third node, with everybody connected) failed: add node-3: open ", "The end of the log:", "program=mqttlb"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestNodeWantsProxy connects to a node as if there were no load balancer.
func TestNodeWantsProxy(t *testing.T) {
	leaktest.Check(t)
	n := newNode("node-1", slog.New(slog.DiscardHandler))
	if err := n.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	connect := "\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02me" // MQTT 5, clean start, keep alive 60 s
	if _, err := conn.Write([]byte(connect)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); len(answer) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the node answers %q, %v", answer, err)
	}
	if err := n.stop(); err != nil {
		t.Error(err)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := wait(t.Context(), func() bool { return time.Since(began) >= time.Second }); err != nil || time.Since(began) > time.Second+lookAgain {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		began = time.Now()
		if err := wait(t.Context(), func() bool { return false }); err == nil || time.Since(began) != patience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(io.EOF)
		if err := wait(ctx, func() bool { return false }); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

func TestSay(t *testing.T) {
	var text strings.Builder
	tell := teller{w: &text}
	tell.say("%s %s", strings.Repeat("words ", 15), strings.Repeat("é", 100))
	want := "   " + strings.TrimSpace(strings.Repeat("words ", 12)) + "\n   words words words\n   " + strings.Repeat("é", 100) + "\n"
	if text.String() != want {
		t.Errorf("got\n%swant\n%s", text.String(), want)
	}
}
