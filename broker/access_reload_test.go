package broker

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestReloadRules: they hold for what is subscribed to and connected already.
func TestReloadRules(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a", "boss": "b"}, "user boss\ntopic #\nuser anna\ntopic x/#\n", nil)
	boss := g.enter(t, packet.V5, "boss", "boss", "b")
	c := g.enter(t, packet.V5, "c", "anna", "a")
	c.subscribe(packet.Options{QoS: 1}, "x/#")
	p := as(packet.V5, "away", "anna", "a")
	p.Properties.AddInt(packet.SessionExpiry, 3600)
	away := g.open(t, p)
	away.subscribe(packet.Options{QoS: 1}, "x/1", "x/2")
	away.drop(g.node, "away")

	g.reload(t, "user boss\ntopic #\nuser anna\ntopic x/2\n", nil)
	boss.say("x/1", "no", 1)
	boss.say("x/2", "yes", 1)
	c.hears("x/2", "yes")
	c.silent()
	if got := c.publish(packet.Publish{Topic: []byte("x/1"), QoS: 1}); got != packet.NotAuthorized {
		t.Errorf("PUBACK: %v", got)
	}
	if got := c.subscribe(packet.Options{}, "x/1", "x/2"); got[0] != 0x87 || got[1] != 0 {
		t.Errorf("SUBACK: % x", got)
	}
	p.CleanStart = false
	back := g.open(t, p)
	back.hears("x/2", "yes")
	back.silent()

	g.reload(t, "user boss\ntopic #\nuser anna\ntopic x/#\n", nil)
	boss.say("x/1", "again", 1)
	c.hears("x/1", "again")
	back.hears("x/1", "again")

	g.reload(t, "", func(c *config.Config) { c.ACLFile = "" })
	if got := c.subscribe(packet.Options{}, "anything/#"); got[0] != 0 {
		t.Errorf("SUBACK without rules: % x", got)
	}
}

// TestReloadUsers: who is not known any more is disconnected, and nobody else.
func TestReloadUsers(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a", "otto": "o"}, "", func(o *Options) { o.Config.Auth.AllowAnonymous = true })
	versions(t, func(t *testing.T, v packet.Version) {
		g.setUsers(t, map[string]string{"anna": "a", "otto": "o"})
		g.reload(t, "", nil)
		anna, otto, nobody := g.enter(t, v, "anna", "anna", "a"), g.enter(t, v, "otto", "otto", "o"), g.join(t, v, "nobody")
		g.setUsers(t, map[string]string{"otto": "new"})
		g.reload(t, "", nil)
		anna.told(packet.NotAuthorized)
		otto.silent()
		nobody.silent()
		if got := g.answer(t, as(v, "anna", "anna", "a")); got == 0 {
			t.Error("a user that was removed comes back")
		}
		if got := g.answer(t, as(v, "other", "otto", "o")); got == 0 {
			t.Error("an old password is good")
		}
		g.reload(t, "", func(c *config.Config) { c.Auth.AllowAnonymous = false })
		nobody.told(packet.NotAuthorized)
		otto.silent()
		g.enter(t, v, "other", "otto", "new").silent()
	})
}

// TestReloadMeanwhile: a user who is removed while the password waits does not stay.
func TestReloadMeanwhile(t *testing.T) {
	g := guard(t, map[string]string{"anna": "a", "otto": "o"}, "", nil)
	release := g.occupy(t)
	c := talk(t, g.dial(t), packet.V5)
	p := as(c.v, "c", "anna", "a")
	c.write(p.Append(nil))
	other := talk(t, g.dial(t), packet.V5)
	q := as(c.v, "d", "otto", "o")
	other.write(q.Append(nil))
	until(t, "both wait", func() bool { return g.waitingLogins() == 2 })
	g.setUsers(t, map[string]string{"otto": "o"})
	g.reload(t, "", nil)
	release()
	if ack := c.connack(); ack.Code != packet.BadUsernameOrPassword {
		t.Errorf("CONNACK: %v", ack.Code)
	}
	c.gone()
	if ack := other.connack(); ack.Code != packet.Success {
		t.Errorf("CONNACK of the other: %v", ack.Code)
	}
	other.silent()
}

// TestReloadOfNothing: files that cannot be read, or are wrong, change nothing.
func TestReloadOfNothing(t *testing.T) {
	rules := "user anna\ntopic x\n"
	g := guard(t, map[string]string{"anna": "a"}, rules, nil)
	anna := g.enter(t, packet.V5, "c", "anna", "a")
	anna.subscribe(packet.Options{QoS: 1}, "x")
	publisher := g.enter(t, packet.V5, "p", "anna", "a")
	bad := g.config
	bad.Limits.MaxPacketSize = -1
	for name, try := range map[string]func() config.Config{
		"an ACL file that is wrong":  func() config.Config { g.write(t, g.acl, "topic nothing of this\n"); return g.config },
		"a users file that is wrong": func() config.Config { g.write(t, g.users, "otto:hunter2\n"); return g.config },
		"files that are not there":   func() config.Config { os.Remove(g.acl); os.Remove(g.users); return g.config },
		"a value that is wrong":      func() config.Config { return bad },
	} {
		_, err := g.Reload(try())
		var problems config.Problems
		if !errors.As(err, &problems) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		publisher.say("x", name, 1)
		anna.hears("x", name)
		if got := anna.publish(packet.Publish{Topic: []byte("y"), QoS: 1}); got != packet.NotAuthorized {
			t.Errorf("%s: PUBACK: %v", name, got)
		}
		g.enter(t, packet.V5, "d", "anna", "a").bye()
		g.setUsers(t, map[string]string{"anna": "a"})
		g.write(t, g.acl, rules)
	}
	differs := g.config
	differs.Limits.MaxInflight++
	if waiting, err := g.Reload(differs); err != nil || !slices.Equal(waiting, []string{"limits"}) {
		t.Errorf("%v, %v", waiting, err)
	}
}

// TestReloadLeavesCertificates: a name that a certificate has proved needs no line in the users file; the same name with a
// password does, where certificates are not asked for.
func TestReloadLeavesCertificates(t *testing.T) {
	for _, asked := range []string{config.CommonName, ""} {
		g := guard(t, map[string]string{"device-7": "d", "anna": "a"}, "", func(o *Options) {
			o.Config.Listeners[0].ProxyProtocol = config.ProxyRequire
			o.Config.Listeners[0].PeerCertAsUsername = asked
		})
		c := talk(t, g.dial(t), packet.V5)
		p := as(c.v, "c", "device-7", "d")
		c.write(p.Append(vouched(t, tlvparse.PP2SSL{Client: 3}, "device-7")))
		c.connack()
		g.setUsers(t, map[string]string{"anna": "a"})
		g.reload(t, "", nil)
		if asked == config.CommonName {
			c.silent()
		} else {
			c.told(packet.NotAuthorized)
		}
		c.conn.Close()
		g.stop()
	}
}
