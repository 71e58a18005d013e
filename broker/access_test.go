package broker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"golang.org/x/crypto/bcrypt"

	"github.com/mqttlb/mqttlb/broker/access"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// guarded is a node with a users file and an ACL file.
type guarded struct {
	*node
	users, acl string // paths
}

// guard runs a node where anonymous clients are refused, with passwords by user, and an ACL file unless rules is "".
func guard(t *testing.T, passwords map[string]string, rules string, change func(*Options)) *guarded {
	t.Helper()
	dir := t.TempDir()
	g := &guarded{users: filepath.Join(dir, "users"), acl: filepath.Join(dir, "acl")}
	g.setUsers(t, passwords)
	g.write(t, g.acl, rules)
	g.node = start(t, func(o *Options) {
		o.Config.Auth = config.Auth{UsersFile: g.users}
		if rules != "" {
			o.Config.ACLFile = g.acl
		}
		if change != nil {
			change(o)
		}
	})
	return g
}

func (g *guarded) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *guarded) setUsers(t *testing.T, passwords map[string]string) {
	t.Helper()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(passwords)) {
		hash, err := bcrypt.GenerateFromPassword([]byte(passwords[name]), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s:%s\n", name, hash)
	}
	g.write(t, g.users, text.String())
}

// reload changes the rules, and applies the configuration as change makes it.
func (g *guarded) reload(t *testing.T, rules string, change func(*config.Config)) {
	t.Helper()
	g.write(t, g.acl, rules)
	c := g.config
	if change != nil {
		change(&c)
	}
	if waiting, err := g.Reload(c); err != nil || len(waiting) > 0 {
		t.Fatalf("Reload: %v, %v", waiting, err)
	}
}

// as is a CONNECT of a user, with a clean session.
func as(v packet.Version, id, name, password string) packet.Connect {
	return packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true, KeepAlive: 60, Username: []byte(name), Password: []byte(password)}
}

// enter connects as a user and is accepted.
func (g *guarded) enter(t *testing.T, v packet.Version, id, name, password string) *client {
	t.Helper()
	return g.open(t, as(v, id, name, password))
}

// answer sends a CONNECT and returns the code of the CONNACK as it is on the wire.
func (n *node) answer(t *testing.T, p packet.Connect) byte {
	t.Helper()
	c := talk(t, n.dial(t), p.Version)
	c.write(p.Append(nil))
	_, body := c.want(packet.CONNACK)
	if body[1] != 0 {
		c.gone() // [MQTT-3.2.2-7]
	}
	return body[1]
}

// TestLogin: who is let in, and what the others are told: 4 and 5 before MQTT 5, 0x86 and 0x87 there.
func TestLogin(t *testing.T) {
	const no, bad = 5, 4
	long := strings.Repeat("x", 73)
	for _, anonymous := range []bool{false, true} {
		g := guard(t, map[string]string{"anna": "secret", "nopw": "", "long": long[:72]}, "", func(o *Options) {
			o.Config.Auth.AllowAnonymous = anonymous
		})
		tests := []struct {
			name           string
			user, password []byte // nil = not given
			code           byte
		}{
			{"right", []byte("anna"), []byte("secret"), 0},
			{"right, once more", []byte("anna"), []byte("secret"), 0},
			{"wrong password", []byte("anna"), []byte("Secret"), bad},
			{"password of somebody else", []byte("anna"), []byte(""), bad},
			{"unknown user", []byte("otto"), []byte("secret"), bad},
			{"a name of nothing", []byte(""), []byte("secret"), bad},
			{"no password", []byte("anna"), nil, bad},
			{"an empty password that is right", []byte("nopw"), []byte(""), 0},
			{"as long as bcrypt looks", []byte("long"), []byte(long[:72]), 0},
			{"longer", []byte("long"), []byte(long), bad},
			{"neither", nil, nil, map[bool]byte{true: 0, false: no}[anonymous]},
		}
		versions(t, func(t *testing.T, v packet.Version) {
			for _, tt := range tests {
				want := tt.code
				if v == packet.V5 && want != 0 {
					want += byte(packet.BadUsernameOrPassword) - bad
				}
				p := packet.Connect{Version: v, ClientID: []byte("c"), CleanStart: true, Username: tt.user, Password: tt.password}
				if got := g.answer(t, p); got != want {
					t.Errorf("anonymous %v, %s: 0x%02x, want 0x%02x", anonymous, tt.name, got, want)
				}
			}
			if v < packet.V5 { // which has no form for it [MQTT-3.1.2-22 of 3.1.1]
				return
			}
			if got := g.answer(t, packet.Connect{Version: v, ClientID: []byte("c"), CleanStart: true, Password: []byte("secret")}); got != 0x86 {
				t.Errorf("a password alone: 0x%02x", got)
			}
		})
		g.stop()
	}
}

// TestNoUsersFile: names and passwords are not looked at, and nobody is believed to be who they say.
func TestNoUsersFile(t *testing.T) {
	n := start(t, nil)
	n.open(t, as(packet.V5, "c", "anna", "whatever"))
	if info, _ := n.Client("c"); info.Username != "" {
		t.Errorf("it is %q", info.Username)
	}
}

// occupy makes every worker that verifies passwords wait, until the function that it returns is called.
func (n *node) occupy(t *testing.T) (release func()) {
	t.Helper()
	held := make(chan struct{})
	snapshot := n.access.Load()
	for range runtime.GOMAXPROCS(0) + 1 { // more than workers; what comes later waits behind
		if !n.verifier.Submit(context.Background(), snapshot, "anna", nil, func(access.Outcome) { <-held }) {
			t.Fatal("the queue is full")
		}
	}
	release = sync.OnceFunc(func() { close(held) })
	t.Cleanup(release) // before the node is stopped
	return release
}

// waitingLogins returns how many clients wait for their passwords to be verified.
func (n *node) waitingLogins() (count int) {
	n.mu.Lock()
	var conns []*conn
	for e := n.silent.Front(); e != nil; e = e.Next() {
		conns = append(conns, e.Value.(*conn))
	}
	n.mu.Unlock()
	for _, c := range conns {
		found := make(chan bool, 1)
		if c.arriving.Load() == nil && c.Post(func() { found <- c.fresh != nil && c.fresh.login != nil }) && <-found {
			count++
		}
	}
	return count
}

// TestLoginsAtOnce: passwords wait for their turn, and nobody else for them.
func TestLoginsAtOnce(t *testing.T) {
	g := guard(t, map[string]string{"anna": "secret", "otto": "other"}, "", nil)
	other := g.enter(t, packet.V5, "other", "otto", "other")
	release := g.occupy(t)
	clients := make([]*client, 200)
	for i := range clients {
		c := talk(t, g.dial(t), packet.V5)
		p := as(c.v, fmt.Sprint("c", i), "anna", "secret")
		c.write(p.Append(nil))
		clients[i] = c
	}
	other.silent()
	g.enter(t, packet.V5, "known", "otto", "other").silent() // who was right before does not wait
	if got := g.Stats().Clients; got != 2 {
		t.Errorf("%d clients are connected, want 2", got)
	}
	release()
	for _, c := range clients {
		if ack := c.connack(); ack.Code != packet.Success {
			t.Fatalf("CONNACK: %v", ack.Code)
		}
	}
	if got := g.Stats().Clients; got != len(clients)+2 {
		t.Errorf("%d clients are connected", got)
	}
}

// TestTooManyLogins: those beyond the queue are told to come again, those that wait too long are let go.
func TestTooManyLogins(t *testing.T) {
	g := guard(t, map[string]string{"anna": "secret"}, "", func(o *Options) { o.ConnectTimeout = 2 * time.Second })
	release := g.occupy(t)
	c := talk(t, g.dial(t), packet.V5)
	p := as(c.v, "c", "anna", "secret")
	c.write(p.Append(nil))
	c.gone() // after the timeout, whatever becomes of its password
	if got := g.Stats().Ended["connect_timeout"]; got != 1 {
		t.Errorf("%d endings counted", got)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for g.verifier.Submit(ended, g.access.Load(), "anna", nil, func(access.Outcome) {}) {
		continue
	}
	for v, want := range map[packet.Version]byte{packet.V311: 3, packet.V5: 0x89} {
		if got := g.answer(t, as(v, "c", "anna", "secret")); got != want {
			t.Errorf("MQTT %v: 0x%02x, want 0x%02x", v, got, want)
		}
	}
	release()
	until(t, "there is room again", func() bool { return g.answer(t, as(packet.V5, "c", "anna", "secret")) == 0 })
}

// TestGoneWhileWaiting: a client that closes, or breaks, while its password waits, leaves nothing behind.
func TestGoneWhileWaiting(t *testing.T) {
	g := guard(t, map[string]string{"anna": "secret"}, "", nil)
	release := g.occupy(t)
	var clients []net.Conn
	for i := range 20 {
		c := talk(t, g.dial(t), packet.V5)
		p := as(c.v, fmt.Sprint("c", i), "anna", []string{"secret", "wrong"}[i/2%2])
		c.write(p.Append(nil))
		until(t, "its password waits", func() bool { return g.waitingLogins() == i+1 })
		clients = append(clients, c.conn)
	}
	for i, c := range clients {
		if i%2 == 0 {
			c.(*net.TCPConn).SetLinger(0) // RST
		}
		c.Close()
	}
	release()
	until(t, "they have gone", func() bool { s := g.Stats(); return s.Connections == 0 && s.Sessions == 0 })
	g.enter(t, packet.V5, "c", "anna", "secret").silent()
}

// TestWordsBeforeCONNACK: packets that come while the password waits are handled after it, or never [MQTT-3.1.4-6].
func TestWordsBeforeCONNACK(t *testing.T) {
	passwords := map[string]string{"watcher": "w"}
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		passwords[v.String()] = "secret"
	}
	g := guard(t, passwords, "", nil)
	watcher := g.enter(t, packet.V5, "watcher", "watcher", "w")
	watcher.subscribe(packet.Options{}, "#")
	versions(t, func(t *testing.T, v packet.Version) {
		for _, password := range []string{"wrong", "secret"} {
			release := g.occupy(t)
			c := talk(t, g.dial(t), v)
			p := as(v, "c", v.String(), password)
			publish := packet.Publish{Topic: []byte("a"), Payload: []byte("early"), QoS: 1, PacketID: 5}
			bytes := publish.Append(p.Append(nil), v)
			c.write(bytes[:len(bytes)-3])
			until(t, "its password waits", func() bool { return g.waitingLogins() == 1 })
			c.write(append(bytes[len(bytes)-3:], packet.AppendPingreq(nil)...))
			watcher.silent()
			release()
			if password == "wrong" {
				if ack := c.connack(); ack.Code != packet.BadUsernameOrPassword {
					t.Errorf("CONNACK: %v", ack.Code)
				}
				c.gone()
				watcher.silent()
				continue
			}
			c.connack()
			c.ack(packet.PUBACK, 5)
			c.want(packet.PINGRESP)
			watcher.hears("a", "early")
			c.bye()
		}
	})
}

// TestMayPublish: what is not allowed goes nowhere: MQTT 5 is told so, others get an acknowledgement [MQTT-3.3.5-2 of 3.1.1].
func TestMayPublish(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a", "watcher": "w"}, "user anna\ntopic write yes\ntopic read no\nuser watcher\ntopic read #\n", nil)
	watcher := g.enter(t, packet.V5, "watcher", "watcher", "w")
	watcher.subscribe(packet.Options{QoS: 2}, "#")
	versions(t, func(t *testing.T, v packet.Version) {
		c := g.enter(t, v, "c", "anna", "a")
		want := packet.Success
		if v == packet.V5 {
			want = packet.NotAuthorized
		}
		for qos := range byte(3) {
			for _, retain := range []bool{false, true} {
				p := packet.Publish{Topic: []byte("no"), Payload: []byte("x"), QoS: qos, Retain: retain}
				if code := c.publish(p); qos > 0 && code != want {
					t.Errorf("QoS %d: %v, want %v", qos, code, want)
				}
				c.silent()
				c.say("yes", "x", qos)
				watcher.hears("yes", "x") // and nothing before
			}
		}
	})
	if got := g.Stats().Retained; got != 0 {
		t.Errorf("%d messages are retained", got)
	}
}

// TestWillRefused: a will is a message like others.
func TestWillRefused(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a"}, "user anna\ntopic write yes\ntopic read no\n", nil)
	for v, want := range map[packet.Version]byte{packet.V31: 5, packet.V311: 5, packet.V5: 0x87} {
		p := as(v, "c", "anna", "a")
		p.Will = &packet.Will{Topic: []byte("no")}
		if got := g.answer(t, p); got != want {
			t.Errorf("MQTT %v: 0x%02x, want 0x%02x", v, got, want)
		}
		p.Will.Topic = []byte("yes")
		if got := g.answer(t, p); got != 0 {
			t.Errorf("MQTT %v: 0x%02x for a will that is allowed", v, got)
		}
	}
}

// patterns are rules for what a device and its user have of their own.
const patterns = `
user boss
topic read #
topic write #
user anna
topic read news/#
topic deny news/secret
topic deny news/+/secret
user plain
topic read news/#
`

const variables = "pattern readwrite users/%u/#\npattern read clients/%c/+\n"

// TestMaySubscribe: each filter of a SUBSCRIBE has an answer of its own: 0x80 in 3.1.1, 0x87 in MQTT 5.
func TestMaySubscribe(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a"}, patterns+variables, nil)
	tests := []struct {
		filter  string
		granted bool
	}{
		{"news/today", true}, {"news/#", true}, {"other", false}, {"#", false}, {"+/today", false}, {"news/secret", false},
		{"$share/g/news/#", true}, {"$share/g/other", false}, {"$share/news/other", false},
		{"users/anna/x", true}, {"users/+/x", false}, {"users/otto/x", false}, {"users/anna/#", true},
		{"clients/c/x", true}, {"clients/c/x/y", false}, {"clients/d/x", false}, {"clients/anna/x", false},
	}
	versions(t, func(t *testing.T, v packet.Version) {
		c := g.enter(t, v, "c", "anna", "a")
		filters := make([]string, len(tests))
		for i, tt := range tests {
			filters[i] = tt.filter
		}
		refused := map[packet.Version]byte{packet.V311: 0x80, packet.V5: 0x87}[v] // 3.1 has no code for it
		for i, code := range c.subscribe(packet.Options{QoS: 1}, filters...) {
			want := refused
			if tests[i].granted {
				want = 1
			}
			if code != want {
				t.Errorf("%s: 0x%02x, want 0x%02x", filters[i], code, want)
			}
		}
		if info, _ := g.Client("c"); info.Subscriptions != 6 {
			t.Errorf("it has %d subscriptions, want 6", info.Subscriptions)
		}
	})
}

// TestDeniedInPart: of a subscription that is granted, what is denied does not come: live, retained, or for one member of a group.
func TestDeniedInPart(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a", "boss": "b", "plain": "p"}, patterns, nil)
	boss := g.enter(t, packet.V5, "boss", "boss", "b")
	for _, topic := range []string{"news/secret", "news/a", "news/a/secret"} {
		boss.retain(topic, "kept", 1)
	}
	c := g.enter(t, packet.V5, "c", "anna", "a")
	c.subscribe(packet.Options{QoS: 2}, "news/#")
	c.hears("news/a", "kept")
	p := g.enter(t, packet.V311, "p", "plain", "p")
	p.subscribe(packet.Options{}, "news/secret")
	p.hears("news/secret", "kept")
	for qos := range byte(3) {
		for _, topic := range []string{"news/secret", "news/a/secret"} {
			boss.say(topic, "live", qos)
		}
		boss.say("news/a/b", "live", qos)
		c.hears("news/a/b", "live")
		p.hears("news/secret", "live")
	}
	c.silent()
	d := g.enter(t, packet.V5, "d", "anna", "a")
	d.subscribe(packet.Options{QoS: 1}, "$share/g/news/#")
	boss.say("news/secret", "shared", 1)
	boss.say("news/b", "shared", 1)
	d.hears("news/b", "shared")
	d.silent()
}

// TestVariables: %u and %c are who the client is, not who it says.
func TestVariables(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a", "otto": "o", "+": "plus"}, variables, nil)
	anna := g.enter(t, packet.V5, "c1", "anna", "a")
	anna.subscribe(packet.Options{}, "users/anna/#", "clients/c1/+")
	otto := g.enter(t, packet.V5, "anna", "otto", "o")
	for topic, want := range map[string]packet.ReasonCode{
		"users/anna/x": packet.NotAuthorized, "users/c1/x": packet.NotAuthorized, "users/otto/x": packet.NoMatchingSubscribers, "clients/anna/x": packet.NotAuthorized,
	} {
		if got := otto.publish(packet.Publish{Topic: []byte(topic), QoS: 1}); got != want {
			t.Errorf("%s: %v, want %v", topic, got, want)
		}
	}
	plus := g.enter(t, packet.V5, "#", "+", "plus")
	if got := plus.subscribe(packet.Options{}, "users/+/#", "clients/#"); got[0] != 0x87 || got[1] != 0x87 {
		t.Errorf("a user called + subscribes: % x", got)
	}
	anna.say("users/anna/x", "hello", 0)
	anna.hears("users/anna/x", "hello")
}

// TestSessionIsTheUsers: the client identifier of another user gives nobody that user's messages.
func TestSessionIsTheUsers(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a", "otto": "o"}, "", nil)
	versions(t, func(t *testing.T, v packet.Version) {
		stay := func(name, password string) packet.Connect {
			p := as(v, "c", name, password)
			p.CleanStart = false
			if v == packet.V5 {
				p.Properties.AddInt(packet.SessionExpiry, 3600)
			}
			return p
		}
		anna := g.open(t, stay("anna", "a"))
		anna.subscribe(packet.Options{QoS: 1}, "a")
		if _, ack := g.connect(t, stay("anna", "wrong")); ack.Code == packet.Success {
			t.Fatal("a wrong password is taken")
		}
		anna.silent() // and does not displace her
		otto, ack := g.connect(t, stay("otto", "o"))
		if ack.Code != packet.Success || ack.SessionPresent {
			t.Fatalf("%+v", ack)
		}
		anna.told(packet.SessionTakenOver)
		otto.say("a", "for nobody", 1)
		otto.silent()
		otto.drop(g.node, "c")
		if again, ack := g.connect(t, stay("otto", "o")); !ack.SessionPresent && v != packet.V31 {
			t.Error("his own session is not his")
		} else {
			again.drop(g.node, "c")
		}
		if _, ack := g.connect(t, stay("anna", "a")); ack.SessionPresent {
			t.Error("his session is hers")
		}
	})
}

// vouched is a header of version 2 in which a load balancer tells of a client's certificate.
func vouched(t *testing.T, ssl tlvparse.PP2SSL, cn string) []byte {
	t.Helper()
	ssl.TLV = []proxyproto.TLV{{Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte("TLSv1.3")}}
	if cn != "" {
		ssl.TLV = append(ssl.TLV, proxyproto.TLV{Type: proxyproto.PP2_SUBTYPE_SSL_CN, Value: []byte(cn)})
	}
	tlv, err := ssl.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	peer := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.7:4711"))
	h := proxyproto.HeaderProxyFromAddrs(2, peer, peer)
	if err := h.SetTLVs([]proxyproto.TLV{tlv}); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCertificateName: the name that the load balancer has verified is the user, where that is asked for (PROXY protocol, section 2.2.6).
func TestCertificateName(t *testing.T) {
	const ssl, conn, sess = tlvparse.PP2_BITFIELD_CLIENT_SSL, tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN, tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS
	tests := []struct {
		name           string
		said           tlvparse.PP2SSL
		cn             string
		user, password string
		want           string // user; "" = refused
	}{
		{"verified", tlvparse.PP2SSL{Client: ssl | conn}, "device-7", "", "", "device-7"},
		{"verified earlier in the session", tlvparse.PP2SSL{Client: ssl | sess}, "device-7", "", "", "device-7"},
		{"beside another name and a wrong password", tlvparse.PP2SSL{Client: ssl | conn}, "device-7", "anna", "x", "device-7"},
		{"not verified", tlvparse.PP2SSL{Client: ssl | conn, Verify: 1}, "device-7", "", "", ""},
		{"not verified, with a password", tlvparse.PP2SSL{Client: ssl | conn, Verify: 1}, "device-7", "anna", "a", "anna"},
		{"no certificate", tlvparse.PP2SSL{Client: ssl}, "device-7", "", "", ""},
		{"no name", tlvparse.PP2SSL{Client: ssl | conn}, "", "", "", ""},
	}
	for _, asked := range []string{config.CommonName, ""} {
		g := guard(t, map[string]string{"anna": "a", "device-7": "d"}, variables, func(o *Options) {
			o.Config.Listeners[0].ProxyProtocol = config.ProxyRequire
			o.Config.Listeners[0].PeerCertAsUsername = asked
		})
		for _, tt := range tests {
			t.Run(cmp.Or(asked, "not asked for")+", "+tt.name, func(t *testing.T) {
				p := packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}
				if tt.user != "" {
					p = as(packet.V5, "c", tt.user, tt.password)
				}
				want := tt.want
				if asked == "" && want != "anna" {
					want = ""
				}
				c := talk(t, g.dial(t), packet.V5)
				c.write(p.Append(vouched(t, tt.said, tt.cn)))
				if ack := c.connack(); (ack.Code == packet.Success) != (want != "") {
					t.Fatalf("CONNACK: %v, want %q", ack.Code, want)
				}
				if info, _ := g.Client("c"); info.Username != want {
					t.Fatalf("it is %q, want %q", info.Username, want)
				}
				if want == "" {
					return
				}
				if got := c.subscribe(packet.Options{}, "users/"+want+"/x", "users/other/x"); got[0] != 0 || got[1] != 0x87 {
					t.Errorf("its rules are not its own: % x", got)
				}
				c.bye()
				g.waitAway(t, "c")
			})
		}
		g.stop()
	}
}
