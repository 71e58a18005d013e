package packet_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		wire string
		want packet.Header
		n    int
	}{
		{"", packet.Header{}, 0},
		{"10", packet.Header{}, 0},
		{"10 80", packet.Header{}, 0},
		{"10 ff ff ff", packet.Header{}, 0},
		{"10 00", packet.Header{Type: packet.CONNECT}, 2},
		{"10 7f 'body'", packet.Header{Type: packet.CONNECT, Remaining: 127}, 2},
		{"3d 80 01", packet.Header{Type: packet.PUBLISH, Flags: 13, Remaining: 128}, 3},
		{"82 ff 7f", packet.Header{Type: packet.SUBSCRIBE, Flags: 2, Remaining: 16_383}, 3},
		{"82 80 80 01", packet.Header{Type: packet.SUBSCRIBE, Flags: 2, Remaining: 16_384}, 4},
		{"82 ff ff 7f", packet.Header{Type: packet.SUBSCRIBE, Flags: 2, Remaining: 2_097_151}, 4},
		{"82 80 80 80 01", packet.Header{Type: packet.SUBSCRIBE, Flags: 2, Remaining: 2_097_152}, 5},
		{"f0 ff ff ff 7f", packet.Header{Type: packet.AUTH, Remaining: packet.MaxRemaining}, 5},
		{"c0 80 80 80 00", packet.Header{Type: packet.PINGREQ}, 5}, // longer than need be
	} {
		if h, n, err := packet.ParseHeader(wire(t, c.wire)); err != nil || h != c.want || n != c.n {
			t.Errorf("%s: %+v of %d bytes, error %v; want %+v of %d", c.wire, h, n, err, c.want, c.n)
		}
	}
}

// TestParseHeaderRefuses: at the first byte that cannot be, not when the header is whole.
func TestParseHeaderRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"TLS":                     "16",
		"HTTP GET":                "'G'",
		"PROXY v2":                "0d",
		"length of five bytes":    "10 80 80 80 80",
		"MQTT-3.3.1-4 QoS 3":      "36",
		"MQTT-3.3.1-2 DUP, QoS 0": "38",
		"PUBREL flags":            "60",
		"SUBSCRIBE flags":         "81",
		"UNSUBSCRIBE flags":       "a6",
		"ping with a body":        "c0 01",
	} {
		var e *packet.Error
		if h, n, err := packet.ParseHeader(wire(t, s)); !errors.As(err, &e) || n != 0 || e.Code != packet.MalformedPacket {
			t.Errorf("%s: %+v of %d bytes, error %v", name, h, n, err)
		}
	}
}

// TestEveryFirstByte tries all types and flags against table 2-2 of MQTT 5 [MQTT-2.1.3-1].
func TestEveryFirstByte(t *testing.T) {
	for b := range 256 {
		h := packet.Header{Type: packet.Type(b >> 4), Flags: byte(b & 15)}
		valid := h.Flags == 0 && h.Type != 0
		switch h.Type {
		case packet.PUBLISH:
			qos := h.Flags >> 1 & 3
			valid = qos != 3 && (qos != 0 || h.Flags&8 == 0)
		case packet.PUBREL, packet.SUBSCRIBE, packet.UNSUBSCRIBE:
			valid = h.Flags == 2 || h.Flags == 10 // with DUP in 3.1
		}
		got, n, err := packet.ParseHeader([]byte{byte(b), 0})
		if valid != (err == nil) || valid && (n != 2 || got != h) {
			t.Errorf("%#02x: %+v of %d bytes, error %v; valid %v", b, got, n, err, valid)
		}
	}
}

// TestWrongType: a struct refuses the body of another packet instead of making sense of it.
func TestWrongType(t *testing.T) {
	for _, r := range rows() {
		raw := wire(t, r.wire)
		h, n, err := packet.ParseHeader(raw)
		if err != nil {
			t.Fatal(err)
		}
		for typ := packet.CONNECT; typ <= packet.AUTH; typ++ {
			p := blank(typ)
			if fmt.Sprintf("%T", p) == fmt.Sprintf("%T", blank(h.Type)) || typ == packet.PINGREQ || typ == packet.PINGRESP {
				continue
			}
			if err := p.Decode(r.v, h, raw[n:]); err == nil {
				t.Errorf("%T decoded %s", p, r.name)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		got  fmt.Stringer
		want string
	}{
		{packet.V31, "3.1"}, {packet.V311, "3.1.1"}, {packet.V5, "5"}, {packet.Version(6), "level 6"},
		{packet.CONNECT, "CONNECT"}, {packet.AUTH, "AUTH"}, {packet.Type(0), "type 0"}, {packet.Type(16), "type 16"},
		{packet.Success, "success"}, {packet.ReasonCode(0x81), "malformed packet"},
		{packet.WildcardSubsNotSupported, "wildcard subscriptions not supported"},
		{packet.ReasonCode(0x03), "reason 0x03"}, {packet.ReasonCode(0xa3), "reason 0xa3"},
	} {
		if got := c.got.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	err := &packet.Error{Type: packet.PUBLISH, Code: packet.MalformedPacket, What: "QoS is 3"}
	if got := err.Error(); got != "PUBLISH: malformed packet: QoS is 3" {
		t.Error(got)
	}
}
