package lb_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// Mosquitto's clients reach two mosquitto brokers through TLS, in both versions and every QoS.
func TestMosquittoThroughTLS(t *testing.T) {
	leaktest.Check(t)
	a, b := peertest.StartMosquitto(t, true), peertest.StartMosquitto(t, true)
	r := newRig(t)
	r.run(config(fmt.Sprintf("    servers: [{name: a, address: %q}, {name: b, address: %q}]\n", a.Address, b.Address)))
	r.exchange(t)
}

// exchange sends a message of every QoS in both versions from mosquitto_pub to mosquitto_sub.
func (r *rig) exchange(t *testing.T) {
	t.Helper()
	sub, pub := peertest.Path(t, "mosquitto_sub", "mosquitto-clients"), peertest.Path(t, "mosquitto_pub", "mosquitto-clients")
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
	a, b := peertest.StartMosquitto(t, true), peertest.StartMosquitto(t, true)
	r := newRig(t)
	r.run(config("    check: {interval: 100ms, fall: 2, rise: 5}\n" +
		fmt.Sprintf("    servers: [{name: a, address: %q}, {name: b, address: %q}]\n", a.Address, b.Address)))
	eventually(t, "both checked", func() bool { return r.server("a").Check.Health == 6 && r.server("b").Check.Health == 6 })

	a.Kill()
	eventually(t, "the killed broker down", func() bool { return r.server("a").State == "down" })
	for i := range 8 {
		c := r.dialFrom("mqtt", fmt.Sprintf("127.0.2.%d", i+1))
		send(t, c, connectPacket)
		expect(t, c, connack)
		c.Close()
	}
	if got := r.server("b").Total; got != 8 {
		t.Errorf("%d clients found the other broker, want 8", got)
	}
	a.Start()
	eventually(t, "the broker up again", func() bool { return r.server("a").State == "up" })
}
