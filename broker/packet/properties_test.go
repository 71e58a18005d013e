package packet_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestAbsentNumbers: what the absence of a number means.
func TestAbsentNumbers(t *testing.T) {
	want := map[packet.IntProperty]uint32{
		packet.ReceiveMaximum:     65_535,
		packet.MaximumQoS:         2,
		packet.RequestProblemInfo: 1,
		packet.RetainAvailable:    1,
		packet.WildcardSubs:       1,
		packet.SubIDs:             1,
		packet.SharedSubs:         1,
		packet.MaximumPacketSize:  268_435_460,
	}
	var none packet.Properties
	for _, id := range intProperties {
		if v, present := none.Int(id); present || v != want[id] {
			t.Errorf("%#02x: %d, present %v; want %d", byte(id), v, present, want[id])
		}
	}
	for _, id := range bytesProperties {
		if v := none.Bytes(id); v != nil || none.Has(packet.AnyProperty(id)) {
			t.Errorf("%#02x: %q", byte(id), v)
		}
	}
	if !none.Empty() || none.Has(packet.UserProperty) {
		t.Error("the zero value has something")
	}
}

// TestPresentButEmpty: an empty string is not an absent one.
func TestPresentButEmpty(t *testing.T) {
	for _, id := range bytesProperties {
		var p packet.Properties
		p.AddBytes(id, nil)
		if v := p.Bytes(id); v == nil || len(v) != 0 || !p.Has(packet.AnyProperty(id)) || p.Empty() {
			t.Errorf("%#02x: %v", byte(id), v)
		}
	}
}

// TestProperties reads every property back from between others.
func TestProperties(t *testing.T) {
	var p packet.Properties
	p.AddUser([]byte("first"), nil)
	for i, id := range intProperties {
		p.AddInt(id, min(uint32(i)+1, 1))
	}
	p.AddSubscriptionID(1)
	for i, id := range bytesProperties {
		p.AddBytes(id, bytes.Repeat([]byte{'a'}, i))
	}
	p.AddSubscriptionID(packet.MaxRemaining)
	p.AddUser(nil, []byte("last"))
	for _, q := range []packet.Properties{p, p.Clone()} {
		for _, id := range intProperties {
			if v, present := q.Int(id); v != 1 || !present {
				t.Errorf("%#02x: %d, %v", byte(id), v, present)
			}
		}
		for i, id := range bytesProperties {
			if v := q.Bytes(id); len(v) != i {
				t.Errorf("%#02x: %q", byte(id), v)
			}
		}
		if ids := slices.Collect(q.SubscriptionIDs()); !slices.Equal(ids, []uint32{1, packet.MaxRemaining}) {
			t.Errorf("subscription identifiers %v", ids)
		}
		var user []string
		for name, value := range q.User() {
			user = append(user, string(name)+"="+string(value))
		}
		if !slices.Equal(user, []string{"first=", "=last"}) {
			t.Errorf("user properties %q", user)
		}
	}
	for range p.User() {
		break // a loop that ends early
	}
	for range p.SubscriptionIDs() {
		break
	}
	if p.Reset(); !p.Empty() || p.Bytes(packet.ContentType) != nil {
		t.Error("not empty after Reset")
	}
}

// TestCloneIsACopy: a stored message outlives the buffer that it came in.
func TestCloneIsACopy(t *testing.T) {
	raw := rich().Append(nil, packet.V5)
	p := mustDecode(t, packet.V5, raw).(*packet.Publish)
	clone, want := p.Properties.Clone(), properties(p.Properties)
	var forwarded packet.Properties
	forwarded.AddForwarded(p.Properties)
	clear(raw)
	if got := properties(clone); got != want {
		t.Errorf("clone %s, want %s", got, want)
	}
	if got := forwarded.Bytes(packet.ResponseTopic); string(got) != "site/7/reply/000042" {
		t.Errorf("forwarded response topic %q", got)
	}
}

// TestAddedToADecodedSet: it must not write over what follows in the body.
func TestAddedToADecodedSet(t *testing.T) {
	raw := rich().Append(nil, packet.V5)
	before := bytes.Clone(raw)
	p := mustDecode(t, packet.V5, raw).(*packet.Publish)
	_ = append(p.Topic, "overwritten"...)
	_ = append(p.Payload, "overwritten"...)
	p.Properties.AddInt(packet.TopicAlias, 9)
	p.Properties.AddSubscriptionID(9)
	if !bytes.Equal(raw, before) {
		t.Errorf("body changed:\n% x\n% x", before, raw)
	}
	if v, _ := p.Properties.Int(packet.TopicAlias); v != 9 {
		t.Errorf("alias %d", v)
	}
}

// TestForwarded: payload format, content type, response topic, correlation data and user
// properties go on in their order; what belongs to a connection does not [MQTT-3.3.2-4]
// [MQTT-3.3.2-15] to [MQTT-3.3.2-18] [MQTT-3.3.2-20].
func TestForwarded(t *testing.T) {
	in := set(func(p *packet.Properties) {
		p.AddUser([]byte("k"), []byte("1"))
		p.AddInt(packet.MessageExpiry, 60)
		p.AddBytes(packet.ContentType, []byte("json"))
		p.AddInt(packet.TopicAlias, 3)
		p.AddUser([]byte("a"), []byte("2"))
		p.AddSubscriptionID(5)
		p.AddBytes(packet.CorrelationData, []byte{0})
		p.AddInt(packet.PayloadFormat, 1)
		p.AddUser([]byte("k"), []byte("0"))
		p.AddBytes(packet.ResponseTopic, []byte("r"))
	})
	var first, again packet.Properties
	first.AddForwarded(in)
	want := ` 0x01=1 0x03="json" 0x08="r" 0x09="\x00" "k":"1" "a":"2" "k":"0"`
	if got := properties(first); got != want {
		t.Errorf("forwarded %s\nwant     %s", got, want)
	}
	again.AddInt(packet.MessageExpiry, 59)
	again.AddSubscriptionID(7)
	again.AddForwarded(first)
	out := (&packet.Publish{Topic: []byte("t"), Properties: again}).Append(nil, packet.V5)
	got := properties(mustDecode(t, packet.V5, out).(*packet.Publish).Properties)
	if want := ` 0x01=1 0x02=59 0x03="json" 0x08="r" 0x09="\x00" sub=7 "k":"1" "a":"2" "k":"0"`; got != want {
		t.Errorf("sent on %s\nwant    %s", got, want)
	}
}

// TestWithoutForm: what the wire cannot carry makes the packet one that is not written.
func TestWithoutForm(t *testing.T) {
	long := make([]byte, 65_536)
	for name, add := range map[string]func(*packet.Properties){
		"string too long":                func(p *packet.Properties) { p.AddBytes(packet.ContentType, long) },
		"user name too long":             func(p *packet.Properties) { p.AddUser(long, nil) },
		"user value too long":            func(p *packet.Properties) { p.AddUser(nil, long) },
		"alias over two bytes":           func(p *packet.Properties) { p.AddInt(packet.TopicAlias, 65_536) },
		"alias 0":                        func(p *packet.Properties) { p.AddInt(packet.TopicAlias, 0) },
		"format over one byte":           func(p *packet.Properties) { p.AddInt(packet.PayloadFormat, 256) },
		"format 2":                       func(p *packet.Properties) { p.AddInt(packet.PayloadFormat, 2) },
		"subscription identifier 0":      func(p *packet.Properties) { p.AddSubscriptionID(0) },
		"subscription identifier 2^28":   func(p *packet.Properties) { p.AddSubscriptionID(1 << 28) },
		"property of another packet":     func(p *packet.Properties) { p.AddInt(packet.WillDelay, 1) },
		"string twice":                   func(p *packet.Properties) { p.AddBytes(packet.ContentType, nil); p.AddBytes(packet.ContentType, nil) },
		"number twice":                   func(p *packet.Properties) { p.AddInt(packet.TopicAlias, 1); p.AddInt(packet.TopicAlias, 1) },
		"a wrong set forwarded":          func(p *packet.Properties) { var q packet.Properties; q.AddSubscriptionID(0); p.AddForwarded(q) },
		"a property forwarded twice":     func(p *packet.Properties) { p.AddForwarded(rich().Properties); p.AddForwarded(rich().Properties) },
		"wrong and then something right": func(p *packet.Properties) { p.AddSubscriptionID(0); p.AddInt(packet.TopicAlias, 1) },
	} {
		p := device(0)
		add(&p.Properties)
		if p.Size(packet.V5) != 0 || len(p.Append(nil, packet.V5)) != 0 || p.Encode(nil, packet.V5).Len() != 0 {
			t.Errorf("%s: written", name)
		}
		if p.Size(packet.V311) == 0 {
			t.Errorf("%s: not written for 3.1.1, which has no properties", name)
		}
		if p.Properties.Reset(); p.Size(packet.V5) == 0 {
			t.Errorf("%s: still so after Reset", name)
		}
	}
}
