package lb_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb"
	lbconfig "github.com/mqttlb/mqttlb/lb/config"
)

// crowd is how many clients stay connected through the reloads.
const crowd = 2000

// Through 50 reloads, of which every second is refused and the others add and remove servers,
// nobody is dropped.
func TestReloadsDropNobody(t *testing.T) {
	leaktest.Check(t)
	a, b, extra := newNode(t, "", false), newNode(t, "", false), newNode(t, "", false)
	r := newRig(t)
	// Nobody speaks while the crowd gathers: with "auto" the first would be cut off after 100 s, as the keep alive is 60 s.
	text := strings.NewReplacer("connections: all", "connections: none", "backend: nodes", "backend: nodes, client_timeout: 1h").
		Replace(config(quickChecks + servers(a, b)))
	r.run(text)
	clients := r.gather(crowd)

	for i := range 50 {
		next := text
		switch {
		case i%2 == 1:
			next = strings.Replace(text, "backend: nodes", "backend: nowhere", 1)
		case i%4 == 0:
			next = text + fmt.Sprintf("      - {name: extra%d, address: %q}\n", i, extra.addr())
		}
		r.write(next)
		_, err := r.Reload(t.Context(), lb.API)
		var problems lbconfig.Problems
		if refused := errors.As(err, &problems); refused != (i%2 == 1) {
			t.Fatalf("reload %d: %v", i, err)
		}
		if got := r.Status().LastReload.Successful; got != (i%2 == 0) {
			t.Errorf("reload %d: reported as successful: %v", i, got)
		}
	}
	if got := r.listener("mqtts").Connections; got != crowd {
		t.Errorf("%d connections are left of %d", got, crowd)
	}
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			c.SetDeadline(time.Now().Add(patience))
			word := fmt.Sprintf("word %d", i)
			got := make([]byte, len(word))
			if _, err := c.Write([]byte(word)); err != nil {
				t.Errorf("client %d was dropped: %v", i, err)
			} else if _, err := io.ReadFull(c, got); err != nil || string(got) != word {
				t.Errorf("client %d read %q, %v", i, got, err)
			}
		})
	}
	all.Wait()
}

// gather connects n TLS clients, some at a time, and completes CONNECT on each.
func (r *rig) gather(n int) []*tls.Conn {
	r.t.Helper()
	clients := make([]*tls.Conn, n)
	cache := tls.NewLRUClientSessionCache(1)
	var all sync.WaitGroup
	turns := make(chan struct{}, 16)
	for i := range n {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			raw, err := net.DialTimeout("tcp", r.Addr("mqtts"), patience)
			if err != nil {
				r.t.Error(err)
				return
			}
			c := tls.Client(raw, &tls.Config{RootCAs: r.ca.Pool(), ServerName: "localhost", ClientSessionCache: cache})
			c.SetDeadline(time.Now().Add(patience))
			answer := make([]byte, len(connack))
			if _, err := c.Write([]byte(connectPacket)); err != nil {
				r.t.Error(err)
			} else if _, err := io.ReadFull(c, answer); err != nil || string(answer) != connack {
				r.t.Errorf("client %d: %q, %v", i, answer, err)
			}
			clients[i] = c
		})
	}
	all.Wait()
	r.t.Cleanup(func() {
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
	})
	if r.t.Failed() {
		r.t.FailNow()
	}
	return clients
}

func TestReloadByFileChange(t *testing.T) {
	leaktest.Check(t)
	a, b := newNode(t, "", false), newNode(t, "", false)
	r := newRig(t)
	r.run(config(servers(a)))
	c := r.dialTLS("mqtts", nil)
	send(t, c, connectPacket)
	expect(t, c, connack)

	r.write(config(servers(b)))
	eventually(t, "the new server in use", func() bool { return r.server("n1").Address == b.addr() })
	d := r.dialTLS("mqtts", nil)
	send(t, d, connectPacket)
	expect(t, d, connack)
	b.wait(t, 0)
	if got := r.server("n1").Total; got != 2 {
		t.Errorf("counters of the server are at %d sessions, want both: they follow its name", got)
	}
	send(t, c, "still here")
	expect(t, c, "still here")

	r.write("listeners: nonsense\n")
	eventually(t, "a refused reload", func() bool { return !r.Status().LastReload.Successful })
	r.write(config(servers(b)))
	eventually(t, "a good reload", func() bool { return r.Status().LastReload.Successful })
}

func TestReloadMovesListeners(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(config(servers(n)))
	c := r.dial("mqtt")
	send(t, c, connectPacket)
	expect(t, c, connack)
	address, kept := r.Addr("mqtt"), r.Addr("mqtts")

	r.write(strings.Replace(config(servers(n)), "{name: mqtt, listen: \"127.0.0.1:0\"", "{name: mqtt, listen: \"127.0.0.2:0\"", 1))
	change, err := r.Reload(t.Context(), lb.API)
	if err != nil || len(change.Listeners.Rebound) != 1 {
		t.Fatalf("change %v, %v", change, err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the old address still accepts")
	}
	d := r.dial("mqtt")
	send(t, d, connectPacket)
	expect(t, d, connack)
	send(t, c, "still here")
	expect(t, c, "still here")
	if r.Addr("mqtts") != kept {
		t.Error("the other listener moved as well")
	}
	if got := r.listener("mqtt").Connections; got != 2 {
		t.Errorf("%d open connections, want both: they follow the listener's name", got)
	}
}

// A port that is taken refuses the reload, and nothing of it is done.
func TestReloadIsAllOrNothing(t *testing.T) {
	leaktest.Check(t)
	n, other := newNode(t, "", false), newNode(t, "", false)
	r := newRig(t)
	text := config(servers(n))
	r.run(text)
	text = strings.Replace(text, "{name: mqtt, listen: \"127.0.0.1:0\"", fmt.Sprintf("{name: mqtt, listen: %q", other.addr()), 1)
	r.write(text + "      - {name: n2, address: \"127.0.0.1:9\"}\n")
	_, err := r.Reload(t.Context(), lb.API)
	if err == nil || !strings.Contains(err.Error(), "mqttlb.yaml:7: listeners[1].listen: listen on "+other.addr()) {
		t.Errorf("error %v, want the line of the listener and the address", err)
	}
	if got := len(r.Status().Backends[0].Servers); got != 1 {
		t.Errorf("%d servers, want the old one alone", got)
	}
	c := r.dial("mqtt")
	send(t, c, connectPacket)
	expect(t, c, connack)
}

func TestRemovedServer(t *testing.T) {
	for _, mode := range []string{"keep", "close"} {
		t.Run(mode, func(t *testing.T) {
			leaktest.Check(t)
			a, b := newNode(t, "", false), newNode(t, "", false)
			r := newRig(t)
			text := config("    on_marked_down: " + mode + "\n    check: {type: none}\n" + servers(a))
			r.run(text)
			c := r.dialTLS("mqtts", nil)
			send(t, c, connectPacket)
			expect(t, c, connack)
			moved := strings.Replace(strings.Replace(text, "name: n1", "name: n9", 1), a.addr(), b.addr(), 1)
			r.write(moved)
			if _, err := r.Reload(t.Context(), lb.API); err != nil {
				t.Fatal(err)
			}
			if mode == "close" {
				expectEnd(t, c)
				eventually(t, "the end counted", func() bool { return r.ended("mqtts", lb.ServerRemoved) == 1 })
				return
			}
			send(t, c, "still here")
			expect(t, c, "still here")
			removed := r.Status().Backends[0].Removed
			if len(removed) != 1 || removed[0].Name != "n1" || removed[0].Active != 1 {
				t.Errorf("removed servers: %+v", removed)
			}
			r.write(text) // the name comes back and finds its own
			if _, err := r.Reload(t.Context(), lb.API); err != nil {
				t.Fatal(err)
			}
			if s := r.server("n1"); s.Active != 1 || s.Total != 1 {
				t.Errorf("the server that came back: %+v", s)
			}
		})
	}
}

func TestCertificateRotation(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(config(servers(n)))
	c := r.dialTLS("mqtts", nil)
	send(t, c, connectPacket)
	expect(t, c, connack)
	serial := func() string {
		return r.dialTLS("mqtts", nil).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()

	r.writeFile("certs/server.pem", "not a certificate\n")
	eventually(t, "a refused certificate", func() bool { return !r.Status().LastReload.Successful })
	if got := serial(); got != before {
		t.Error("the certificate changed with a bad file")
	}
	if !strings.Contains(r.log.String(), "listeners[0].tls.certificates[0].cert") {
		t.Error("the log does not name the field")
	}
	issued := r.certify(devca.Options{CommonName: "renewed"})
	eventually(t, "the new certificate", func() bool { return serial() == issued.Cert.SerialNumber.String() })
	send(t, c, "still here")
	expect(t, c, "still here")
}

// A certificate that expires while it is served must not stand in the way of whatever else has to be changed.
func TestExpiredCertificateDoesNotBlockReloads(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	short := r.certify(devca.Options{NotAfter: time.Now().Add(3 * time.Second)})
	r.run(config(servers(n)))
	eventually(t, "the certificate expired", func() bool { return time.Now().After(short.Cert.NotAfter) })
	if err := lb.Check(r.path); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("check says %v, want that it has expired", err)
	}
	r.write(config(servers(n) + "      - {name: n2, address: \"127.0.0.1:9\"}\n"))
	if _, err := r.Reload(t.Context(), lb.API); err != nil {
		t.Fatalf("an unchanged certificate that has expired refused a reload: %v", err)
	}
	if got := len(r.Status().Backends[0].Servers); got != 2 {
		t.Errorf("%d servers, want 2", got)
	}
	r.write(strings.Replace(config(servers(n)), "tls: {", "tls: {min_version: \"1.3\", ", 1))
	if _, err := r.Reload(t.Context(), lb.API); err == nil {
		t.Error("a TLS section that was changed was applied with an expired certificate")
	}
}

func TestResumptionSurvivesReloads(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(config(servers(n)))
	cache := tls.NewLRUClientSessionCache(1)
	visit := func() bool {
		c := r.dialTLS("mqtts", func(cfg *tls.Config) { cfg.ClientSessionCache = cache })
		send(t, c, connectPacket)
		expect(t, c, connack) // and with it the ticket of TLS 1.3
		return c.ConnectionState().DidResume
	}
	visit()
	r.write(config("    retries: 1\n" + servers(n)))
	if _, err := r.Reload(t.Context(), lb.API); err != nil {
		t.Fatal(err)
	}
	if !visit() {
		t.Error("a reload that changed nothing of TLS ended resumption")
	}
}

func TestServersFile(t *testing.T) {
	leaktest.Check(t)
	a, b := newNode(t, "", false), newNode(t, "", false)
	r := newRig(t)
	list := func(n *node) string { return fmt.Sprintf("- {name: n1, address: %q}\n", n.addr()) }
	r.writeFile("servers.yaml", list(a))
	r.run(config("    servers_file: servers.yaml\n"))
	r.writeFile("servers.yaml", list(b))
	eventually(t, "the new list", func() bool { return r.server("n1").Address == b.addr() })
}

func TestCheckNamesEveryProblem(t *testing.T) {
	r := newRig(t)
	r.writeFile("certs/server.pem", "nonsense\n")
	r.write(strings.Replace(config("    check: {type: none}\n    servers: [{name: a, address: \"127.0.0.1:1\"}]\n"), "certificates: [{cert: certs/server.pem}]",
		"client_auth: require, client_ca: certs/server.pem, certificates: [{cert: certs/server.pem}]", 1))
	err := lb.Check(r.path)
	var problems lbconfig.Problems
	if !errors.As(err, &problems) || len(problems) < 2 {
		t.Fatalf("error %v, want the certificate's and the authority's problems", err)
	}
	for _, p := range problems {
		if p.File != r.path || p.Line != 6 {
			t.Errorf("problem %v, want line 6 of %s", p, filepath.Base(r.path))
		}
	}
}
