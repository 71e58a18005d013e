package lb_test

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb"
)

// oneBackend has a listener and a backend, of the given names, with servers in flow style.
func oneBackend(listener, backend, servers string) string {
	return fmt.Sprintf(`
admin: {listen: ""}
shutdown_timeout: 200ms
listeners:
  - {%s, backend: %s}
backends:
  - {name: %s, balance: roundrobin, on_marked_down: close, check: {type: none}, servers: [%s]}
`, listener, backend, backend, servers)
}

// A client that takes its time before it completes CONNECT gets a server of now, not one that left meanwhile.
func TestSlowClientsMeetTheNewServers(t *testing.T) {
	const listener = `name: mqtt, listen: "127.0.0.1:0"`
	for name, servers := range map[string]string{
		"removed":          "{name: s2, address: %[2]q}",
		"drained":          "{name: s1, address: %[1]q, state: drain}, {name: s2, address: %[2]q}",
		"at a new address": "{name: s1, address: %[2]q}",
	} {
		t.Run(name, func(t *testing.T) {
			leaktest.Check(t)
			before, now := newNode(t, "", false), newNode(t, "", false)
			r := newRig(t)
			r.run(oneBackend(listener, "nodes", fmt.Sprintf("{name: s1, address: %q}", before.addr())))
			c := r.dial("mqtt")
			send(t, c, connectPacket[:5])
			eventually(t, "the client accepted", func() bool { return r.listener("mqtt").Connections == 1 })
			r.write(oneBackend(listener, "nodes", strings.NewReplacer("%[1]q", quoted(before), "%[2]q", quoted(now)).Replace(servers)))
			if _, err := r.Reload(t.Context(), lb.API); err != nil {
				t.Fatal(err)
			}
			send(t, c, connectPacket[5:])
			expect(t, c, connack)
			if len(before.seen()) != 0 {
				t.Error("the client reached the server that had left")
			}
			var active int64
			for _, s := range r.Status().Backends[0].Servers {
				active += s.Active
			}
			if active != 1 {
				t.Errorf("%d sessions counted, want 1", active)
			}
		})
	}
}

func quoted(n *node) string { return fmt.Sprintf("%q", n.addr()) }

// Sessions of a backend that is gone are still somebody's.
func TestRemovedBackendIsStillCounted(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	const listener = `name: mqtt, listen: "127.0.0.1:0"`
	servers := fmt.Sprintf("{name: s1, address: %q}", n.addr())
	keep := func(text string) string {
		return strings.Replace(text, "on_marked_down: close", "on_marked_down: keep", 1)
	}
	r.run(keep(oneBackend(listener, "old", servers)))
	c := r.dial("mqtt")
	send(t, c, connectPacket)
	expect(t, c, connack)
	r.write(keep(oneBackend(listener, "new", servers)))
	if _, err := r.Reload(t.Context(), lb.API); err != nil {
		t.Fatal(err)
	}
	backends := r.Status().Backends
	if len(backends) != 2 || backends[1].Name != "old" || len(backends[1].Removed) != 1 || backends[1].Removed[0].Active != 1 {
		t.Errorf("backends %+v, want what is left of the old one at the end", backends)
	}
	if why := r.Unready(); len(why) != 0 {
		t.Errorf("unready because of %q", why)
	}
}

// A listener that is renamed while it is full has the room of its new name at once.
func TestRenamedListenerIsNotStuck(t *testing.T) {
	leaktest.Check(t)
	n, free := newNode(t, "", false), newNode(t, "", false)
	address := free.addr()
	free.stop()
	r := newRig(t)
	text := func(name string, most int) string {
		return oneBackend(fmt.Sprintf("name: %s, listen: %q, max_connections: %d", name, address, most), "nodes", fmt.Sprintf("{name: s1, address: %q}", n.addr()))
	}
	r.run(text("before", 1))
	c := r.dial("before")
	send(t, c, connectPacket)
	expect(t, c, connack)
	r.write(text("after", 10))
	if _, err := r.Reload(t.Context(), lb.API); err != nil {
		t.Fatal(err)
	}
	d := r.dial("after")
	send(t, d, connectPacket)
	expect(t, d, connack)
}

// Whoever is on the way to a server that goes down meanwhile gets the next one.
func TestEvictedWhileDialling(t *testing.T) {
	leaktest.Check(t)
	hole := blackhole(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(config("    balance: roundrobin\n    on_marked_down: close\n    connect_timeout: 1m\n    check: {interval: 100ms, timeout: 300ms, fall: 1, rise: 1}\n" +
		fmt.Sprintf("    servers: [{name: hole, address: %q, weight: 200}, {name: good, address: %q}]\n", hole, n.addr())))
	var conns []net.Conn
	for range 4 {
		c := r.dial("mqtt")
		send(t, c, connectPacket)
		conns = append(conns, c)
	}
	for _, c := range conns {
		expect(t, c, connack)
	}
	if got := r.ended("mqtt", lb.MarkedDown); got != 0 {
		t.Errorf("%d newcomers were closed instead of going to the other server", got)
	}
}

// blackhole returns an address whose queue is full: connecting there takes for ever.
func blackhole(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shrink(t, ln.(*net.TCPListener))
	t.Cleanup(func() { ln.Close() })
	for range 3 { // a queue of 0 holds one; the next hangs
		d := net.Dialer{Timeout: patience / 300}
		c, err := d.Dial("tcp", ln.Addr().String())
		if err != nil {
			return ln.Addr().String()
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue did not fill")
	return ""
}

// shrink makes the queue of a listening socket as short as it gets.
func shrink(t *testing.T, ln *net.TCPListener) {
	t.Helper()
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}
