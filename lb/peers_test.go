package lb_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// requirePeers is set where the programs of others must be there, as in CI: then a missing one fails.
const requirePeers = "MQTTLB_REQUIRE_PEERS"

// peer returns the path of somebody else's program.
func peer(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} { // not in everybody's PATH
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil && os.Getenv(requirePeers) != "" {
		t.Fatalf("%s is set, and %s is not installed: apt-get install mosquitto mosquitto-clients", requirePeers, name)
	}
	if err != nil {
		t.Skipf("%s is not installed: apt-get install mosquitto mosquitto-clients", name)
	}
	return path
}

// A mosquitto is a real broker.
type mosquitto struct {
	t       *testing.T
	program string
	conf    string
	address string
	cmd     *exec.Cmd
	log     *lockedBuffer
}

func newMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, program: peer(t, "mosquitto"), log: &lockedBuffer{}}
	n := newNode(t, "", false) // for a free port
	m.address = n.addr()
	n.stop()
	host, port, _ := net.SplitHostPort(m.address)
	m.conf = filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(m.conf, fmt.Appendf(nil, "listener %s %s\nallow_anonymous true\n", port, host), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command(m.program, "-v", "-c", m.conf)
	m.cmd.Stderr = m.log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	eventually(m.t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", m.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// kill ends the broker without a word, as a crash does.
func (m *mosquitto) kill() {
	if m.cmd == nil {
		return
	}
	m.cmd.Process.Kill()
	m.cmd.Wait()
	m.cmd = nil
}

// Mosquitto's clients reach two mosquitto brokers through TLS, in both versions and every QoS.
func TestMosquittoThroughTLS(t *testing.T) {
	leaktest.Check(t)
	a, b := newMosquitto(t), newMosquitto(t)
	r := newRig(t)
	r.run(config(fmt.Sprintf("    servers: [{name: a, address: %q}, {name: b, address: %q}]\n", a.address, b.address)))
	r.exchange(t)
}

// exchange sends a message of every QoS in both versions from mosquitto_pub to mosquitto_sub.
func (r *rig) exchange(t *testing.T) {
	t.Helper()
	sub, pub := peer(t, "mosquitto_sub"), peer(t, "mosquitto_pub")
	host, port, _ := net.SplitHostPort(r.Addr("mqtts"))
	for _, version := range []string{"mqttv311", "mqttv5"} {
		for qos := range 3 {
			t.Run(fmt.Sprintf("%s qos %d", version, qos), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				common := []string{"-h", host, "-p", port, "--cafile", filepath.Join(r.dir, "certs/ca.pem"), "-V", version,
					"-q", fmt.Sprint(qos), "-t", fmt.Sprintf("test/%s/%d", version, qos)}
				text := fmt.Sprintf("hello with %s at %d", version, qos)
				// Retained, so that it does not matter which of the two is there first.
				if output, err := exec.CommandContext(ctx, pub, append(common, "-r", "-m", text)...).CombinedOutput(); err != nil {
					t.Fatalf("mosquitto_pub: %v\n%s", err, output)
				}
				output, err := exec.CommandContext(ctx, sub, append(common, "-C", "1")...).CombinedOutput()
				if err != nil || strings.TrimSpace(string(output)) != text {
					t.Errorf("mosquitto_sub: %v, printed %q, want %q", err, output, text)
				}
			})
		}
	}
}

// A killed broker goes down after fall checks and comes back after rise; its clients find the other meanwhile. How
// soon, to the check, is tested in package health, whose clock does not depend on the machine.
func TestKilledBroker(t *testing.T) {
	leaktest.Check(t)
	a, b := newMosquitto(t), newMosquitto(t)
	r := newRig(t)
	r.run(config("    check: {interval: 100ms, fall: 2, rise: 5}\n" +
		fmt.Sprintf("    servers: [{name: a, address: %q}, {name: b, address: %q}]\n", a.address, b.address)))
	eventually(t, "both checked", func() bool { return r.server("a").Check.Health == 6 && r.server("b").Check.Health == 6 })

	killed := time.Now()
	a.kill()
	eventually(t, "the killed broker down", func() bool { return r.server("a").State == "down" })
	if took := time.Since(killed); took < 100*time.Millisecond {
		t.Errorf("down after %v: one failed check was enough", took)
	}
	for i := range 8 {
		c := r.dialFrom("mqtt", fmt.Sprintf("127.0.2.%d", i+1))
		send(t, c, connectPacket)
		expect(t, c, connack)
		c.Close()
	}
	if got := r.server("b").Total; got != 8 {
		t.Errorf("%d clients found the other broker, want 8", got)
	}
	returned := time.Now()
	a.start()
	eventually(t, "the broker up again", func() bool { return r.server("a").State == "up" })
	if took := time.Since(returned); took < 300*time.Millisecond {
		t.Errorf("up after %v: fewer than 5 good checks were enough", took)
	}
}
