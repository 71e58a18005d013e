package lb_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb"
	lbconfig "github.com/mqttlb/mqttlb/lb/config"
)

// A full listener says so: otherwise newcomers hang, and everything looks well.
func TestFullListenerIsLogged(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(strings.Replace(config(servers(n)), "listen: \"127.0.0.1:0\", backend: nodes}", "listen: \"127.0.0.1:0\", backend: nodes, max_connections: 1}", 1))
	if strings.Contains(r.log.String(), "listener is full") {
		t.Error("an empty listener was called full")
	}
	c := r.dial("mqtt")
	send(t, c, connectPacket)
	expect(t, c, connack)
	eventually(t, "the line", func() bool { return strings.Contains(r.log.String(), `"listener is full`) })
}

// A pipe in the place of the file would be read for ever, and hold up the stop.
func TestReloadRefusesAPipe(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(config(servers(n)))
	pipe := filepath.Join(r.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(pipe, r.path); err != nil {
		t.Fatal(err)
	}
	_, err := r.Reload(t.Context(), lb.API)
	var problems lbconfig.Problems
	if !errors.As(err, &problems) || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("error %v, want a problem that says it is no regular file", err)
	}
	r.stop()
}

// Programs that read the status find a list, also where an orchestrator has scaled to nothing.
func TestStatusOfAnEmptyBackend(t *testing.T) {
	leaktest.Check(t)
	r := newRig(t)
	r.writeFile("servers.yaml", "[]\n")
	r.run(config("    servers_file: servers.yaml\n"))
	if got := r.Status().Backends[0].Servers; got == nil || len(got) != 0 {
		t.Errorf("servers %#v, want an empty list", got)
	}
}

func TestCertificateThatExpiresSoonIsLogged(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.certify(devca.Options{NotAfter: time.Now().Add(72 * time.Hour)})
	r.run(config(servers(n)))
	eventually(t, "the line", func() bool { return strings.Contains(r.log.String(), `"certificate expires soon"`) })
}
