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
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	brokerconfig "github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/proc"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
	"github.com/mqttlb/mqttlb/lb"
)

func setup(t *testing.T, proxy bool) Setup {
	t.Helper()
	ca, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Issue(devca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := server.PEM()
	if err != nil {
		t.Fatal(err)
	}
	s := Setup{Dir: t.TempDir(), Listen: freePort(t), Node: freePort(t), Admin: freePort(t), CPUs: 2, SendProxy: proxy}
	s.Certificate = filepath.Join(s.Dir, "server.pem")
	if err := os.WriteFile(s.Certificate, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestOurConfigurations: our own programs accept what is written for them.
func TestOurConfigurations(t *testing.T) {
	checks := map[Kind]func(path string) error{
		MQTTLB: lb.Check,
		MQTTBroker: func(path string) error {
			c, err := brokerconfig.Load(path)
			if err != nil {
				return err
			}
			return broker.Check(c)
		},
	}
	for kind, check := range checks {
		for _, proxy := range []bool{false, true} {
			s := setup(t, proxy)
			text, err := Config(kind, s)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(s.Dir, "x.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := check(path); err != nil {
				t.Errorf("%s: %v in\n%s", kind, err, text)
			}
		}
	}
}

// TestPrograms starts and stops the others' programs, twice on the same ports.
func TestPrograms(t *testing.T) {
	for kind, debian := range map[Kind]string{HAProxy: "haproxy", Nginx: "libnginx-mod-stream", Mosquitto: "mosquitto"} {
		t.Run(string(kind), func(t *testing.T) {
			path := peertest.Path(t, string(kind), debian)
			leaktest.Check(t)
			p, err := Find(t.Context(), kind, path)
			if err != nil {
				t.Fatal(err)
			}
			if p.Version == "" || !strings.Contains("0123456789", p.Version[:1]) {
				t.Errorf("its version is %q", p.Version)
			}
			s := setup(t, kind != Mosquitto)
			for range 2 {
				r, err := p.Start(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				tree, err := proc.Tree(r.PID())
				if err != nil || kind == Nginx && len(tree) != 3 {
					t.Errorf("its processes are %v, %v", tree, err)
				}
				if kind == Mosquitto {
					roomy(t, r.PID())
				}
				if err := r.Stop(); err != nil {
					t.Error(err)
				}
				for _, pid := range tree {
					if _, err := proc.Read([]int{pid}); err == nil {
						t.Errorf("process %d is still there", pid)
					}
				}
			}
		})
	}
}

// roomy: the process may have as many descriptors as the administrator lets it have.
func roomy(t *testing.T, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	limits := regexp.MustCompile(`(?m)^Max open files\s+(\S+)\s+(\S+)`).FindSubmatch(text)
	if limits == nil || string(limits[1]) != string(limits[2]) {
		t.Errorf("its limits are %q", limits)
	}
}

// script makes a program of a shell script, which is called as kind would be.
func script(t *testing.T, kind Kind, text string) Peer {
	t.Helper()
	path := filepath.Join(t.TempDir(), string(kind))
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return Peer{Kind: kind, Path: path}
}

func TestBadPrograms(t *testing.T) {
	leaktest.Check(t)
	s := setup(t, false)
	_, err := script(t, HAProxy, "echo no such option >&2; exit 3").Start(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "no such option") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("one that ends: %v", err)
	}
	gone := errors.New("enough")
	ctx, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { stop(gone) })
	if _, err = script(t, HAProxy, "exec sleep 600").Start(ctx, s); !errors.Is(err, gone) {
		t.Errorf("one that does not listen: %v", err)
	}
	if _, err := Find(t.Context(), "no-such-program", ""); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	for _, kind := range []Kind{HAProxy, Mosquitto} {
		if _, err := Find(t.Context(), kind, filepath.Join(s.Dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s at a path where there is none: %v", kind, err)
		}
	}
	if _, err := Config(Mosquitto, setup(t, true)); err == nil {
		t.Error("mosquitto is sent PROXY headers")
	}
}

// TestStubborn: one that does not care for SIGTERM is killed, its child too.
func TestStubborn(t *testing.T) {
	leaktest.Check(t)
	s := setup(t, false)
	ln, err := net.Listen("tcp", s.Listen) // in its place
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r, err := script(t, HAProxy, "trap '' TERM; sleep 600 & wait; sleep 600").Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var tree []int
	for deadline := time.Now().Add(time.Minute); len(tree) < 2 && time.Now().Before(deadline); {
		if tree, err = proc.Tree(r.PID()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	for _, pid := range tree {
		if _, err := proc.Read([]int{pid}); err == nil {
			t.Errorf("process %d of %v is still there", pid, tree)
		}
	}
}

func TestParseVersion(t *testing.T) {
	tests := map[string]string{
		"HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus": "2.6.12-1+deb12u4",
		"nginx version: nginx/1.22.1\n":                                              "1.22.1",
		"mosquitto version 2.0.11\n\nmosquitto is":                                   "2.0.11",
		"mqttlb v1.2.3, commit abc, go1.26.8\n":                                      "1.2.3",
		"mqttlb (devel), commit abc, go1.26.8\n":                                     "(devel), commit abc, go1.26.8",
		"some":                                                                       "some",
	}
	for text, want := range tests {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestTail(t *testing.T) {
	var k tail
	for range 3 * said {
		k.Write([]byte("x"))
	}
	k.Write([]byte("end\n"))
	if got := k.String(); len(got) > said || !strings.HasSuffix(got, "xend") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
