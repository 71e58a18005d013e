package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/peertest"
)

// Lines of a users file. The passwords are old-secret and new-secret.
const (
	oldUser = "old:$2a$04$Utjefl0yhrNBqe59VBP4V.atRMXS0PPiQ1mkDYsoTrISHIZqEsR6G\n"
	newUser = "new:$2a$04$Z.k.hCJDV3pGEMmbk5UFwuZlivnIn147DMbjHtxnlQj2wRtrkYUyK\n"
)

// guarded is file with everything that a reload applies, and tokens.
const guarded = `
listeners: [{name: mqtt, listen: "127.0.0.1:0"}]
api: {listen: "127.0.0.1:0", token_file: token}
dashboard: {listen: "127.0.0.1:0", token_file: token}
auth: {allow_anonymous: false, users_file: users}
acl_file: acl
`

const token = "0123456789abcdef0123456789abcdef"

// A guest is a node that runs with guarded, in a folder of its own.
type guest struct {
	*process
	t              *testing.T
	dir            string
	api, web, mqtt string // addresses
}

func launchGuarded(t *testing.T) *guest {
	t.Helper()
	g := &guest{t: t, dir: folder(t, "mqttbroker.yaml", guarded, "token", token+"\n", "users", oldUser, "acl", "pattern readwrite #\n")}
	g.process = launch(t, "run", "-c", filepath.Join(g.dir, "mqttbroker.yaml"))
	g.api = g.line(t, `listener=api address=(\S+)`)
	g.web = g.line(t, `listener=dashboard address=(\S+)`)
	g.mqtt = g.line(t, `listener=mqtt address=(\S+)`)
	return g
}

// place replaces one of the node's files.
func (g *guest) place(name, text string) { place(g.t, filepath.Join(g.dir, name), text) }

func (g *guest) signal(sig syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(sig); err != nil {
		g.t.Fatal(err)
	}
}

// publish is what mosquitto_pub says of a message of QoS 1, with MQTT 5; its last line when the node does not let the user in.
func (g *guest) publish(user, topic string) string {
	g.t.Helper()
	host, port, err := net.SplitHostPort(g.mqtt)
	if err != nil {
		g.t.Fatal(err)
	}
	args := []string{"-V", "mqttv5", "-h", host, "-p", port, "-q", "1", "-t", topic, "-m", "x"}
	if user != "" {
		args = append(args, "-u", user, "-P", user+"-secret")
	}
	cmd := exec.CommandContext(g.t.Context(), peertest.Path(g.t, "mosquitto_pub", "mosquitto-clients"), args...)
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		g.t.Fatal(err)
	}
	return strings.TrimSpace(string(said))
}

// want publishes, and compares what mosquitto_pub says.
func (g *guest) want(user, topic, said string) {
	g.t.Helper()
	if got := g.publish(user, topic); !strings.Contains(got, said) || said == "" && got != "" {
		g.t.Errorf("user %q publishes to %s: %q, want %q", user, topic, got, said)
	}
}

// What mosquitto_pub says.
const (
	done     = ""
	stranger = "Connection error: Not authorized" // 0x87: gives no name
	unknown  = "Bad User Name or Password"        // 0x86: gives a wrong one
	denied   = "Publish 1 failed: Not authorized"
)

// metrics asks the node until its metrics have a line.
func (g *guest) metrics(line string) {
	g.t.Helper()
	var text string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		req, err := http.NewRequest("GET", "http://"+g.api+"/metrics", nil)
		if err != nil {
			g.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if text = body(g.t, http.DefaultClient, req); strings.Contains(text, "\n"+line+"\n") {
			return
		}
	}
	g.t.Fatalf("no line %s in\n%s", line, text)
}

func body(t *testing.T, c *http.Client, req *http.Request) string {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Status + "\n" + string(text)
}

// connect connects an MQTT 5 client and returns what ends when the node lets go of it.
func (g *guest) connect(user string) <-chan string {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.mqtt)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	var b bytes.Buffer
	text := func(s string) { b.Write([]byte{byte(len(s) >> 8), byte(len(s))}); b.WriteString(s) }
	text("MQTT")
	flags, rest := byte(0x02), []string{"client-" + user}
	if user != "" {
		flags, rest = 0xC2, append(rest, user, user+"-secret")
	}
	b.Write([]byte{5, flags, 0, 60, 0}) // MQTT 5 section 3.1.2
	for _, s := range rest {
		text(s)
	}
	if _, err := conn.Write(append([]byte{0x10, byte(b.Len())}, b.Bytes()...)); err != nil {
		g.t.Fatal(err)
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil || head[0] != 0x20 || head[3] != 0 {
		g.t.Fatalf("CONNACK of %q: %x, %v", user, head, err)
	}
	over := make(chan string, 1)
	go func() {
		text, err := io.ReadAll(conn)
		conn.Close()
		switch {
		case err != nil:
			over <- err.Error()
		case bytes.Contains(text, []byte{0xE0, 0x01, 0x87}) || bytes.Contains(text, []byte{0xE0, 0x02, 0x87, 0x00}):
			over <- "not authorized"
		default:
			over <- "nothing said"
		}
	}()
	return over
}

// TestReloadUsers: after a signal a new user may connect, and an old one may not and is sent away.
func TestReloadUsers(t *testing.T) {
	g := launchGuarded(t)
	g.want("old", "a", done)
	g.want("new", "a", unknown)
	g.want("", "a", stranger)
	over := g.connect("old")
	g.place("users", newUser)
	g.signal(syscall.SIGHUP)
	g.line(t, `msg="configuration applied"`)
	if said := <-over; said != "not authorized" {
		t.Errorf("the old user's connection: %s", said)
	}
	g.want("new", "a", done)
	g.want("old", "a", unknown)
	g.signal(syscall.SIGTERM)
	if code := g.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestReloadRefused: a bad ACL file changes nothing, and is told by line; the next good one is taken as it is saved.
func TestReloadRefused(t *testing.T) {
	g := launchGuarded(t)
	g.metrics("mqttbroker_config_last_reload_successful 1")
	g.place("users", oldUser+newUser)
	g.line(t, `msg="configuration applied" trigger=file`)
	g.place("users", oldUser) // goes with what is refused
	g.line(t, `msg="configuration applied" trigger=file`)
	g.place("acl", "pattern readwrite #\npattern wrote a/#\n")
	g.line(t, `level=ERROR msg="configuration refused: the old one goes on" trigger=file`)
	g.line(t, `level=ERROR msg="configuration refused" trigger=file problem=".*acl:2: `)
	g.metrics("mqttbroker_config_last_reload_successful 0")
	g.want("old", "a", done)
	g.place("acl", "user old\ntopic write b\n")
	g.line(t, `msg="configuration applied" trigger=file`)
	g.metrics("mqttbroker_config_last_reload_successful 1")
	g.want("old", "a", denied)
	g.want("old", "b", done)
}

// TestReloadOtherFiles: files that the configuration names anew are watched, also while they keep it from being applied.
func TestReloadOtherFiles(t *testing.T) {
	g := launchGuarded(t)
	g.place("mqttbroker.yaml", strings.Replace(guarded, "users_file: users", "users_file: others", 1))
	g.line(t, `configuration refused" trigger=file problem=".*others: cannot be read: no such file`)
	g.want("old", "a", done)
	g.place("others", newUser)
	g.line(t, `msg="configuration applied" trigger=file`)
	g.want("new", "a", done)
	g.want("old", "a", unknown)
	g.place("others", oldUser)
	g.line(t, `msg="configuration applied" trigger=file`)
	g.want("old", "a", done)
	g.place("mqttbroker.yaml", "nonsense: true\n")
	g.line(t, `configuration refused" trigger=file problem=".*mqttbroker.yaml:1: nonsense: unknown key`)
	g.want("old", "a", done)
}

// TestReloadAnonymous: who is connected without a name goes when names are wanted.
func TestReloadAnonymous(t *testing.T) {
	g := launchGuarded(t)
	g.place("mqttbroker.yaml", strings.Replace(guarded, "allow_anonymous: false", "allow_anonymous: true", 1))
	g.line(t, `msg="configuration applied" trigger=file`)
	over := g.connect("")
	g.place("mqttbroker.yaml", guarded)
	g.line(t, `msg="configuration applied" trigger=file`)
	if said := <-over; said != "not authorized" {
		t.Errorf("the connection without a name: %s", said)
	}
}

// TestReloadWaits: what a reload does not apply is named.
func TestReloadWaits(t *testing.T) {
	g := launchGuarded(t)
	g.place("token", "another-token-of-some-length\n")
	g.place("mqttbroker.yaml", guarded+"limits: {max_queued: 7}\n")
	g.line(t, `msg="a change waits for a restart" .*key=limits`)
	g.line(t, `msg="a change waits for a restart" .*key=api.token_file`)
	g.line(t, `msg="a change waits for a restart" .*key=dashboard.token_file`)
	g.metrics("mqttbroker_config_last_reload_successful 1") // asked with the old token
	g.place("token", "\n")
	g.place("mqttbroker.yaml", guarded)
	g.line(t, `configuration refused" trigger=file problem=".*mqttbroker.yaml:3: api.token_file: the file is empty`)
}

// TestReloadWithoutFile: a node without a configuration says so, and goes on.
func TestReloadWithoutFile(t *testing.T) {
	r, _, err := newReloader("", testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	r.reload(bySignal)
	if ok, _ := r.last(); !ok {
		t.Error("a reload of nothing counts as refused")
	}
}

// TestDashboard: the page answers on its port, to who has signed in.
func TestDashboard(t *testing.T) {
	g := launchGuarded(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: patience}
	get := func() string {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+g.web+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		return body(t, c, req)
	}
	if page := get(); !strings.Contains(page, "Sign in") || strings.Contains(page, "Sign out") {
		t.Errorf("without a session:\n%s", page)
	}
	form := url.Values{"token": {token}}
	req, err := http.NewRequest("POST", "http://"+g.web+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	body(t, c, req)
	if page := get(); !strings.HasPrefix(page, "200 OK") || !strings.Contains(page, "Sign out") {
		t.Errorf("signed in:\n%s", page)
	}
	req, err = http.NewRequest("GET", "http://"+g.api+"/api/v1/clients", nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer := body(t, c, req); !strings.HasPrefix(answer, "401") {
		t.Errorf("the API without its token: %s", answer)
	}
}

// TestNotify: what systemd is told (sd_notify(3)).
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	socket.SetReadDeadline(time.Now().Add(patience))
	told := func() string {
		t.Helper()
		text := make([]byte, 200)
		n, err := socket.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
	p := launchWith(t, []string{"NOTIFY_SOCKET=" + path}, "run", "-c", write(t, file))
	for _, step := range []struct {
		sig  syscall.Signal
		want []string
	}{{0, []string{"READY=1"}}, {syscall.SIGHUP, []string{"RELOADING=1\nMONOTONIC_USEC=", "READY=1"}}, {syscall.SIGTERM, []string{"STOPPING=1"}}} {
		if step.sig != 0 {
			if err := p.cmd.Process.Signal(step.sig); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range step.want {
			if got := told(); !strings.HasPrefix(got, want) {
				t.Errorf("after %v systemd is told %q, want %q", step.sig, got, want)
			}
		}
	}
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
