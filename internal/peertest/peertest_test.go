package peertest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

func TestPath(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "some-program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if got := Path(t, "some-program", "some-package"); got != program {
		t.Errorf("got %s, want %s", got, program)
	}
}

// TestLacking looks at how tests end for which something is missing.
func TestLacking(t *testing.T) {
	for value, wantFailure := range map[string]bool{"": false, "0": false, "true": false, "1": true} {
		t.Run("with "+value, func(t *testing.T) {
			t.Setenv(require, value)
			r := &recorder{TB: t}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				Path(r, "no-program-has-this-name", "no-package")
			}()
			<-ended
			if r.failed != wantFailure || r.skipped == wantFailure {
				t.Errorf("failed: %v, skipped: %v", r.failed, r.skipped)
			}
		})
	}
}

// A recorder is a test that notes how it ends.
type recorder struct {
	testing.TB
	failed, skipped bool
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(string, ...any) {
	r.failed = true
	runtime.Goexit()
}

func (r *recorder) Skipf(string, ...any) {
	r.skipped = true
	runtime.Goexit()
}

func TestMosquitto(t *testing.T) {
	leaktest.Check(t)
	m := StartMosquitto(t, true)
	for range 2 {
		c, err := net.Dial("tcp", m.Address)
		if err != nil {
			t.Fatal(err)
		}
		m.LinesUntil("New connection from 127.0.0.1")
		m.Kill()
		c.Close()
		if c, err := net.Dial("tcp", m.Address); err == nil {
			c.Close()
			t.Fatal("it answers after its end")
		}
		m.Start()
	}
}

func TestNobody(t *testing.T) {
	leaktest.Check(t)
	address := Nobody(t)
	if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connected to nobody: %v, %v", c, err)
	}
	if ln, err := net.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("somebody listens: %v, %v", ln, err)
	}
}
