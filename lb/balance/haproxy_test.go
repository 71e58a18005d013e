package balance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// record is the environment variable that, when it is 1, has goldenFile written from this run.
const record = "MQTTLB_RECORD_HAPROXY_ANSWERS"

// peerDeadline bounds every wait for HAProxy: its start, an answer, its end.
const peerDeadline = 30 * time.Second

// maxPeers is how many servers the test has behind HAProxy.
const maxPeers = 5

// peerCases are the backends that HAProxy and we are asked about, and the servers that go down.
var peerCases = []struct {
	members string // as in goldenFile
	downs   []string
}{
	{"s1:1 s2:1", []string{"", "s1", "s2"}},
	{"s1:1 s2:1 s3:1", []string{"", "s2", "s1 s3"}},
	{"s1:1 s2:2 s3:3", []string{"", "s1", "s2", "s3"}},
	{"s1:5 s2:1 s3:1", []string{"", "s1", "s3"}},
	{"s1:1 s2:1 s3:5", []string{"", "s2"}},
	{"s1:10 s2:20 s3:30 s4:20", []string{"", "s1", "s2 s3"}},
	{"s1:3 s2:7 s3:2 s4:9 s5:4", []string{"", "s4", "s1 s5", "s2 s3 s4"}},
	{"s1:256 s2:100 s3:1", []string{"", "s3", "s2"}},
	{"s1:2 s2:0 s3:1", []string{"", "s1", "s3"}},
	{"s1:1:backup s2:3 s3:1:backup s4:2", []string{"", "s2", "s2 s4", "s1 s2 s4"}},
}

// peerAddresses are the clients that are told to HAProxy in a PROXY header; the others connect from
// addresses in 127.0.0.0/8.
var peerAddresses = []string{
	"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.0", "10.1.2.3", "172.16.0.9", "192.168.1.77", "192.168.255.254",
	"100.64.3.2", "203.0.113.5", "223.255.255.255", "8.8.4.4", "::1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1",
	"2001:db8:1:2:3:4:5:6", "fd00::aaaa:bbbb", "fe80::1234:56ff:fe78:9abc", "2a00:1450:4001:81b::200e",
}

// TestMapAgainstHAProxy asks a real HAProxy where clients go under "balance source", also after servers have been
// taken down, and compares.
func TestMapAgainstHAProxy(t *testing.T) {
	path := peertest.Path(t, "haproxy", "haproxy") // without it we are compared with its recorded answers only
	leaktest.Check(t)
	h := startHAProxy(t, path)
	golden := &strings.Builder{}
	version, err := exec.Command(path, "-v").Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(version))
	fmt.Fprintf(golden, "# Answers of HAProxy %s under \"balance source\" without \"hash-type\".\n", words[min(2, len(words)-1)])
	fmt.Fprintf(golden, "# Written by: %s=1 go test -run TestMapAgainstHAProxy\n", record)
	for i, c := range peerCases {
		members := parseMembers(t, strings.Fields(c.members))
		p := picker(Options{Policy: Source, Hash: Map}, members)
		fmt.Fprintf(golden, "members %s\n", c.members)
		for _, down := range c.downs {
			fmt.Fprintf(golden, "down %s\n", down)
			for _, name := range strings.Fields(down) {
				h.command(t, fmt.Sprintf("disable server case%d/%s", i, name))
			}
			usable := func(i int) bool { return !slices.Contains(strings.Fields(down), members[i].Name) }
			for _, client := range peerClients() {
				want := h.ask(t, i, client)
				fmt.Fprintf(golden, "%v %s\n", client, want)
				if got := pickBySource(t, p, members, client, usable); got != want {
					t.Errorf("%v on %s without %q: %s, HAProxy says %s", client, c.members, down, got, want)
				}
			}
			for _, name := range strings.Fields(down) {
				h.command(t, fmt.Sprintf("enable server case%d/%s", i, name))
			}
		}
	}
	if os.Getenv(record) == "1" {
		if err := os.WriteFile(goldenFile, []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// peerClients are all addresses that HAProxy is asked about.
func peerClients() []netip.Addr {
	var clients []netip.Addr
	for k := range 12 {
		clients = append(clients, netip.AddrFrom4([4]byte{127, 0, byte(k / 4), byte(2 + k)}))
	}
	for _, a := range peerAddresses {
		clients = append(clients, netip.MustParseAddr(a))
	}
	return clients
}

// haproxy is a running HAProxy in front of servers that answer with their name.
type haproxy struct {
	control string   // path of its stats socket
	direct  []string // by case: where clients connect from 127.0.0.0/8
	proxied []string // by case: where they send a PROXY header
}

func startHAProxy(t *testing.T, path string) *haproxy {
	dir := t.TempDir()
	h := &haproxy{control: filepath.Join(dir, "stats.sock")}
	var servers []string
	for k := range maxPeers {
		servers = append(servers, namedServer(t, fmt.Sprintf("s%d\n", k+1)))
	}
	conf := &strings.Builder{}
	fmt.Fprintf(conf, "global\n stats socket %s level admin\n", h.control)
	fmt.Fprintf(conf, "defaults\n mode tcp\n timeout connect 10s\n timeout client 10s\n timeout server 10s\n")
	var ports []*os.File // HAProxy inherits them as descriptors 3, 4, …: no port can be taken meanwhile
	for i, c := range peerCases {
		fmt.Fprintf(conf, "listen case%d\n balance source\n", i)
		h.direct = append(h.direct, inherited(t, &ports))
		fmt.Fprintf(conf, " bind fd@%d\n", 2+len(ports))
		h.proxied = append(h.proxied, inherited(t, &ports))
		fmt.Fprintf(conf, " bind fd@%d accept-proxy\n", 2+len(ports))
		for _, m := range parseMembers(t, strings.Fields(c.members)) {
			address := servers[int(m.Name[1]-'1')]
			fmt.Fprintf(conf, " server %s %s weight %d%s\n", m.Name, address, m.Weight, map[bool]string{true: " backup"}[m.Backup])
		}
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command(path, "-db", "-f", file), ports)
	return h
}

// run starts cmd with the files as descriptors 3, 4, …, and ends it with the test.
func run(t *testing.T, cmd *exec.Cmd, files []*os.File) {
	out := &strings.Builder{}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, files
	cmd.WaitDelay = peerDeadline
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		f.Close()
	}
	t.Cleanup(func() {
		kill := time.AfterFunc(peerDeadline, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, out)
		}
	})
}

// namedServer sends its name to each client and closes. It returns its address.
func namedServer(t *testing.T, name string) string {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(peerDeadline))
			io.WriteString(conn, name)
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// inherited opens a listener for another process, appends its descriptor to files and returns its address.
func inherited(t *testing.T, files *[]*os.File) string {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	*files = append(*files, f)
	return ln.Addr().String()
}

// ask returns the name of the server that HAProxy gives to the client in this case.
func (h *haproxy) ask(t *testing.T, testCase int, client netip.Addr) string {
	t.Helper()
	dialer, address, header := net.Dialer{Timeout: peerDeadline}, h.proxied[testCase], ""
	switch {
	case client.IsLoopback() && client.Is4():
		address = h.direct[testCase]
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0))
	case client.Is4():
		header = fmt.Sprintf("PROXY TCP4 %v 127.0.0.1 40000 1883\r\n", client)
	default:
		header = fmt.Sprintf("PROXY TCP6 %v ::1 40000 1883\r\n", client)
	}
	answer, err := exchange(&dialer, "tcp", address, header)
	if err != nil {
		t.Fatalf("ask HAProxy about %v: %v", client, err)
	}
	return answer
}

// command has HAProxy do something; it answers with an empty line.
func (h *haproxy) command(t *testing.T, line string) {
	t.Helper()
	answer, err := exchange(&net.Dialer{Timeout: peerDeadline}, "unix", h.control, line+"\n")
	if err != nil || answer != "" {
		t.Fatalf("%s: %q, %v", line, answer, err)
	}
}

// exchange sends text and returns the first line of the answer.
func exchange(d *net.Dialer, network, address, text string) (string, error) {
	conn, err := d.DialContext(context.Background(), network, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(peerDeadline))
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return "", errors.New("closed without an answer")
	}
	return strings.TrimSpace(line), err
}
