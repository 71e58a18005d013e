package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestDisconnect: the client is told, its session stays, its will is published [MQTT-3.1.2-8].
func TestDisconnect(t *testing.T) {
	n := start(t, nil)
	watcher := n.join(t, packet.V5, "watcher")
	watcher.subscribe(packet.Options{}, "wills")
	versions(t, func(t *testing.T, v packet.Version) {
		id := "c-" + v.String()
		p := packet.Connect{Version: v, ClientID: []byte(id), KeepAlive: 60, Will: &packet.Will{Topic: []byte("wills"), Payload: []byte(id)}}
		if v == packet.V5 {
			p.Properties.AddInt(packet.SessionExpiry, 3600)
		}
		c := n.open(t, p)
		c.subscribe(packet.Options{QoS: 1}, "a")
		if !n.Disconnect(id) {
			t.Fatal("it is not connected")
		}
		c.told(packet.AdministrativeAction)
		watcher.hears("wills", id)
		n.waitAway(t, id)
		if info, there := n.Client(id); !there || info.Connected || info.Subscriptions != 1 {
			t.Errorf("afterwards: %+v, %v", info, there)
		}
		if n.Disconnect(id) {
			t.Error("it is disconnected twice")
		}
	})
	if n.Disconnect("nobody") {
		t.Error("nobody is disconnected")
	}
	until(t, "the endings are counted", func() bool { return n.Stats().Ended["administrative"] == 3 })
}

// TestDisconnectEndsSession: one that was to end with the connection does.
func TestDisconnectEndsSession(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, packet.V5, "c")
	n.Disconnect("c")
	c.told(packet.AdministrativeAction)
	until(t, "the session is gone", func() bool { _, there := n.Client("c"); return !there })
}

func TestOperatorPublishes(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, packet.V5, "c")
	c.subscribe(packet.Options{QoS: 2, NoLocal: true, RetainAsPublished: true}, "a/+")
	r := PublishRequest{Topic: "a/b", Payload: []byte("text"), QoS: 1, Retain: true, Expiry: time.Hour}
	r.Properties.AddBytes(packet.ContentType, []byte("text/plain"))
	r.Properties.AddUser([]byte("k"), []byte("v"))
	r.Properties.AddInt(packet.TopicAlias, 3) // is not passed on
	if matched, err := n.Publish(r); !matched || err != nil {
		t.Fatalf("%v, %v", matched, err)
	}
	p := c.hears("a/b", "text")
	expiry, _ := p.Properties.Int(packet.MessageExpiry)
	if p.QoS != 1 || !p.Retain || string(p.Properties.Bytes(packet.ContentType)) != "text/plain" || expiry == 0 || expiry > 3600 ||
		!p.Properties.Has(packet.UserProperty) || p.Properties.Has(packet.AnyProperty(packet.TopicAlias)) {
		t.Errorf("%+v", p)
	}
	if matched, err := n.Publish(PublishRequest{Topic: "b"}); matched || err != nil {
		t.Errorf("without subscribers: %v, %v", matched, err)
	}
}

func TestOperatorPublishesWrongly(t *testing.T) {
	n := start(t, func(o *Options) {
		o.Config.Limits.MaxQoS = 1
		o.Config.Limits.MaxPacketSize = 70_000
	})
	property := func(add func(*packet.Properties)) (p packet.Properties) { add(&p); return p }
	tests := []struct {
		r   PublishRequest
		why string
	}{
		{PublishRequest{}, "topic is empty"},
		{PublishRequest{Topic: "a/+"}, "wildcard"},
		{PublishRequest{Topic: "a\x00"}, "U+0000"},
		{PublishRequest{Topic: "a\xff"}, "UTF-8"},
		{PublishRequest{Topic: strings.Repeat("a/", 200)}, "levels"},
		{PublishRequest{Topic: strings.Repeat("a", 65_536)}, "65,535 bytes"},
		{PublishRequest{Topic: "$SYS/broker/x"}, "the node's own"},
		{PublishRequest{Topic: "a", QoS: 2}, "above max_qos, which is 1"},
		{PublishRequest{Topic: "a", QoS: 3}, "above max_qos"},
		{PublishRequest{Topic: "a", Expiry: -time.Second}, "negative"},
		{PublishRequest{Topic: "a", Payload: make([]byte, 70_000)}, "max_packet_size, 70000 bytes"},
		{PublishRequest{Topic: "a", Payload: make([]byte, 60_000), Properties: property(func(p *packet.Properties) {
			p.AddBytes(packet.ContentType, make([]byte, 20_000))
		})}, "max_packet_size"},
		{PublishRequest{Topic: "a", Properties: property(func(p *packet.Properties) { p.AddBytes(packet.ResponseTopic, []byte("b/#")) })}, "response topic"},
		{PublishRequest{Topic: "a", Properties: property(func(p *packet.Properties) { p.AddBytes(packet.ContentType, make([]byte, 70_000)) })}, "no form"},
		{PublishRequest{Topic: "a", Properties: property(func(p *packet.Properties) { p.AddInt(packet.PayloadFormat, 2) })}, "payload format is 0 or 1"},
	}
	for i, tt := range tests {
		if _, err := n.Publish(tt.r); err == nil || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("row %d: %v, want %q", i, err, tt.why)
		}
	}
	n.stop()
	if _, err := n.Publish(PublishRequest{Topic: "a"}); !errors.Is(err, ErrStopping) {
		t.Errorf("on a node that has stopped: %v", err)
	}
}

func TestRetainedIsListed(t *testing.T) {
	n := start(t, nil)
	c := n.join(t, packet.V5, "c")
	for i := range 5 {
		c.retain(fmt.Sprint("a/", i), fmt.Sprint("text ", i), 1)
	}
	expiring := packet.Publish{Topic: []byte("b"), Payload: []byte("soon"), QoS: 1, Retain: true}
	expiring.Properties.AddInt(packet.MessageExpiry, 3600)
	expiring.Properties.AddBytes(packet.ContentType, []byte("x"))
	c.publish(expiring)
	gone := packet.Publish{Topic: []byte("gone"), Payload: []byte("x"), QoS: 1, Retain: true}
	gone.Properties.AddInt(packet.MessageExpiry, 0)
	c.publish(gone)

	page, more, err := n.Retained("", 0)
	if len(page) != 6 || more || err != nil {
		t.Fatalf("%d, %v, %v", len(page), more, err)
	}
	if r := page[0]; r.Topic != "a/0" || string(r.Payload) != "text 0" || r.QoS != 1 || r.Publisher != "c" || !r.Expires.IsZero() || !r.Properties.Empty() {
		t.Errorf("%+v", r)
	}
	if r := page[5]; r.Topic != "b" || time.Until(r.Expires) > time.Hour || time.Until(r.Expires) < time.Minute || string(r.Properties.Bytes(packet.ContentType)) != "x" {
		t.Errorf("%+v", r)
	}
	for _, tt := range []struct {
		filter string
		limit  int
		want   int
		more   bool
	}{{"a/+", 5, 5, false}, {"a/+", 4, 4, true}, {"#", 1, 1, true}, {"b", 1, 1, false}, {"c", 1, 0, false}, {"gone", 1, 0, false}, {"$share/g/#", 1, 0, false}} {
		if page, more, err := n.Retained(tt.filter, tt.limit); len(page) != tt.want || more != tt.more || err != nil {
			t.Errorf("%s, %d: %d, %v, %v", tt.filter, tt.limit, len(page), more, err)
		}
	}
	if _, _, err := n.Retained("a+", 1); err == nil {
		t.Error("a broken filter is taken")
	}
	if !n.DeleteRetained("b") || n.DeleteRetained("b") || n.DeleteRetained("a") {
		t.Error("DeleteRetained does not tell whether there was one")
	}
	if got := n.Stats().Retained; got != 6 { // one of them has expired
		t.Errorf("%d are left, want 6", got)
	}
	d := n.join(t, packet.V5, "d")
	d.subscribe(packet.Options{}, "b", "a/0")
	d.hears("a/0", "text 0")
	d.silent()
}
