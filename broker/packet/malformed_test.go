package packet_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// A fault is a packet that breaks one rule: its first byte, its body, and the code that says so.
type fault struct {
	rule  string
	v     packet.Version
	first byte
	body  string
	code  packet.ReasonCode
}

const (
	malformed = packet.MalformedPacket
	protocol  = packet.ProtocolError
	version   = packet.UnsupportedProtocolVersion
)

var connectFaults = []fault{
	{"MQTT-3.1.2-1 protocol name", packet.V311, 0x10, "0004'MQTX' 04 02 0000 0001'c'", malformed},
	{"MQTT-3.1.2-1 protocol name in small letters", packet.V311, 0x10, "0004'mqtt' 04 02 0000 0001'c'", malformed},
	{"MQTT-3.1.2-2 level 6", packet.V5, 0x10, "0004'MQTT' 06 02 0000 00 0001'c'", version},
	{"MQTT-3.1.2-2 level 3 with the name of 3.1.1", packet.V31, 0x10, "0004'MQTT' 03 02 0000 0001'c'", version},
	{"MQTT-3.1.2-2 level 4 with the name of 3.1", packet.V31, 0x10, "0006'MQIsdp' 04 02 0000 0001'c'", version},
	{"MQTT-3.1.2-3 reserved flag in 3.1.1", packet.V311, 0x10, "0004'MQTT' 04 03 0000 0001'c'", malformed},
	{"MQTT-3.1.2-3 reserved flag in 5", packet.V5, 0x10, "0004'MQTT' 05 03 0000 00 0001'c'", malformed},
	{"MQTT-3.1.2-11 will QoS without will", packet.V5, 0x10, "0004'MQTT' 05 0a 0000 00 0001'c'", malformed},
	{"MQTT-3.1.2-13 will retain without will", packet.V311, 0x10, "0004'MQTT' 04 22 0000 0001'c'", malformed},
	{"MQTT-3.1.2-12 will QoS 3", packet.V311, 0x10, "0004'MQTT' 04 1e 0000 0001'c' 0001't' 0000", malformed},
	{"MQTT-3.1.2-12 will QoS 3 in 3.1", packet.V31, 0x10, "0006'MQIsdp' 03 1e 0000 0001'c' 0001't' 0000", malformed},
	{"MQTT-3.1.2-22 of 3.1.1 password without user name", packet.V311, 0x10, "0004'MQTT' 04 42 0000 0001'c' 0001'p'", protocol},
	{"MQTT-3.1.2-9 will is missing", packet.V311, 0x10, "0004'MQTT' 04 06 0000 0001'c'", malformed},
	{"MQTT-3.1.2-17 user name is missing", packet.V311, 0x10, "0004'MQTT' 04 82 0000 0001'c'", malformed},
	{"MQTT-3.1.2-19 password is missing", packet.V311, 0x10, "0004'MQTT' 04 c2 0000 0001'c' 0001'u'", malformed},
	{"MQTT-3.1.2-16 user name without its flag", packet.V311, 0x10, "0004'MQTT' 04 02 0000 0001'c' 0001'u'", malformed},
	{"MQTT-3.1.3-4 client identifier is not UTF-8", packet.V311, 0x10, "0004'MQTT' 04 02 0000 0001 ff", malformed},
	{"MQTT-3.1.3-11 will topic is not UTF-8", packet.V311, 0x10, "0004'MQTT' 04 06 0000 0001'c' 0001 ff 0000", malformed},
	{"MQTT-3.1.3-12 user name is not UTF-8", packet.V311, 0x10, "0004'MQTT' 04 82 0000 0001'c' 0001 ff", malformed},
	{"MQTT-4.7.3-1 will topic is empty", packet.V311, 0x10, "0004'MQTT' 04 06 0000 0001'c' 0000 0000", malformed},
	{"MQTT-3.3.2-2 will topic with a wildcard", packet.V311, 0x10, "0004'MQTT' 04 06 0000 0001'c' 0001'#' 0000", malformed},
	{"3.1.2.11.10 authentication data without method", packet.V5, 0x10, "0004'MQTT' 05 02 0000 04 16 0001'd' 0000", protocol},
	{"2.2.2.2 will property in CONNECT", packet.V5, 0x10, "0004'MQTT' 05 02 0000 05 18 00000001 0000", malformed},
	{"2.2.2.2 CONNECT property in the will", packet.V5, 0x10, "0004'MQTT' 05 06 0000 00 0000 05 11 00000001 0001't' 0000", malformed},
	{"bytes left over", packet.V5, 0x10, "0004'MQTT' 05 02 0000 00 0000 00", malformed},
}

var connackFaults = []fault{
	{"MQTT-3.2.2-1 reserved flags", packet.V311, 0x20, "02 00", malformed},
	{"MQTT-3.2.2-4 of 3.1.1 session with a refusal", packet.V311, 0x20, "01 05", protocol},
	{"MQTT-3.2.2-6 session with a refusal", packet.V5, 0x20, "01 87 00", protocol},
	{"MQTT-3.2.2-8 code of another packet", packet.V5, 0x20, "00 10 00", protocol},
	{"3.2.2.3 of 3.1.1 return code 6", packet.V311, 0x20, "00 06", protocol},
	{"3.2.2.3.3 receive maximum 0", packet.V5, 0x20, "00 00 03 21 0000", protocol},
	{"3.2.2.3.6 maximum packet size 0", packet.V5, 0x20, "00 00 05 27 00000000", protocol},
	{"3.2.2.3.4 maximum QoS 2", packet.V5, 0x20, "00 00 02 24 02", protocol},
	{"3.2.2.3.5 retain available 2", packet.V5, 0x20, "00 00 02 25 02", protocol},
	{"3.2.2.3.2 session expiry twice", packet.V5, 0x20, "00 00 0a 11 00000001 11 00000001", protocol},
	{"properties in 3.1.1", packet.V311, 0x20, "00 00 00", malformed},
}

var publishFaults = []fault{
	{"MQTT-3.3.1-4 QoS 3", packet.V311, 0x36, "0001't' 0001", malformed},
	{"MQTT-3.3.1-2 DUP with QoS 0", packet.V311, 0x38, "0001't'", malformed},
	{"MQTT-3.3.2-1 topic is not UTF-8", packet.V311, 0x30, "0002 c3 28", malformed},
	{"MQTT-1.5.4-1 surrogate", packet.V5, 0x30, "0003 eda080 00", malformed},
	{"MQTT-1.5.4-1 overlong", packet.V5, 0x30, "0002 c080 00", malformed},
	{"MQTT-1.5.4-1 beyond U+10FFFF", packet.V5, 0x30, "0004 f4908080 00", malformed},
	{"MQTT-1.5.4-2 U+0000", packet.V311, 0x30, "0003'a' 00 'b'", malformed},
	{"MQTT-3.3.2-2 topic with #", packet.V311, 0x30, "0003'a/#'", malformed},
	{"MQTT-3.3.2-2 topic with +", packet.V5, 0x30, "0003'+/a' 00", malformed},
	{"MQTT-4.7.3-1 topic is empty", packet.V311, 0x30, "0000", protocol},
	{"3.3.2.1 topic is empty without an alias", packet.V5, 0x30, "0000 00", protocol},
	{"MQTT-2.2.1-4 packet identifier 0", packet.V311, 0x32, "0001't' 0000", protocol},
	{"MQTT-3.3.2-8 topic alias 0", packet.V5, 0x30, "0001't' 03 23 0000", packet.TopicAliasInvalid},
	{"3.3.2.3.2 payload format 2", packet.V5, 0x30, "0001't' 02 01 02", protocol},
	{"3.3.2.3.8 subscription identifier 0", packet.V5, 0x30, "0001't' 02 0b 00", protocol},
	{"MQTT-1.5.5-1 subscription identifier too long", packet.V5, 0x30, "0001't' 03 0b 81 00", malformed},
	{"1.5.5 subscription identifier of five bytes", packet.V5, 0x30, "0001't' 06 0b 80 80 80 80 01", malformed},
	{"MQTT-1.5.5-1 property length too long", packet.V5, 0x30, "0001't' 80 00", malformed},
	{"3.3.2.3.4 topic alias twice", packet.V5, 0x30, "0001't' 06 23 0001 23 0001", protocol},
	{"3.3.2.3.9 content type twice", packet.V5, 0x30, "0001't' 08 03 0001'a' 03 0001'a'", protocol},
	{"MQTT-3.3.2-13 response topic is not UTF-8", packet.V5, 0x30, "0001't' 04 08 0001 ff", malformed},
	{"MQTT-3.3.2-14 response topic with a wildcard", packet.V5, 0x30, "0001't' 04 08 0001'#'", protocol},
	{"MQTT-3.3.2-19 content type with U+0000", packet.V5, 0x30, "0001't' 04 03 0001 00", malformed},
	{"MQTT-1.5.7-1 user property is not UTF-8", packet.V5, 0x30, "0001't' 06 26 0000 0001 ff", malformed},
	{"2.2.2.2 property of another packet", packet.V5, 0x30, "0001't' 03 13 0001", malformed},
	{"2.2.2.2 unknown property 0", packet.V5, 0x30, "0001't' 01 00", malformed},
	{"2.2.2.2 unknown property 0x2b", packet.V5, 0x30, "0001't' 02 2b 00", malformed},
	{"2.2.2.2 property identifier of two bytes", packet.V5, 0x30, "0001't' 03 81 00 01", malformed},
	{"property beyond the property length", packet.V5, 0x30, "0001't' 03 02 00000001", malformed},
	{"property length beyond the packet", packet.V5, 0x30, "0001't' 05 01 00", malformed},
}

var ackFaults = []fault{
	{"MQTT-2.1.3-1 PUBACK flags", packet.V311, 0x41, "0001", malformed},
	{"MQTT-3.6.1-1 PUBREL flags", packet.V311, 0x60, "0001", malformed},
	{"MQTT-3.6.1-1 PUBREL with DUP", packet.V311, 0x6a, "0001", malformed},
	{"MQTT-2.2.1-5 identifier 0", packet.V311, 0x40, "0000", protocol},
	{"code in 3.1.1", packet.V311, 0x40, "0001 00", malformed},
	{"MQTT-3.4.2-1 code", packet.V5, 0x40, "0001 92", protocol},
	{"MQTT-3.5.2-1 code", packet.V5, 0x50, "0001 01", protocol},
	{"MQTT-3.6.2-1 code", packet.V5, 0x62, "0001 80", protocol},
	{"MQTT-3.7.2-1 code", packet.V5, 0x70, "0001 10", protocol},
	{"3.4.2.2.2 reason string twice", packet.V5, 0x40, "0001 00 06 1f 0000 1f 0000", protocol},
	{"2.2.2.2 property of another packet", packet.V5, 0x40, "0001 00 02 01 00", malformed},
	{"bytes behind the properties", packet.V5, 0x40, "0001 00 00 00", malformed},
}

var subscribeFaults = []fault{
	{"MQTT-3.8.1-1 flags", packet.V311, 0x80, "0001 0001'a' 00", malformed},
	{"MQTT-3.8.1-1 DUP", packet.V5, 0x8a, "0001 00 0001'a' 00", malformed},
	{"MQTT-2.2.1-3 identifier 0", packet.V311, 0x82, "0000 0001'a' 00", protocol},
	{"MQTT-3.8.3-2 no filter", packet.V311, 0x82, "0001", protocol},
	{"MQTT-3.8.3-2 no filter in 5", packet.V5, 0x82, "0001 00", protocol},
	{"MQTT-3.8.3-1 filter is not UTF-8", packet.V311, 0x82, "0001 0001 ff 00", malformed},
	{"MQTT-4.7.3-1 filter is empty", packet.V311, 0x82, "0001 0000 00", protocol},
	{"MQTT-4.7.3-2 filter with U+0000", packet.V311, 0x82, "0001 0001 00 00", malformed},
	{"MQTT-3-8.3-4 of 3.1.1 QoS 3", packet.V311, 0x82, "0001 0001'a' 03", malformed},
	{"MQTT-3-8.3-4 of 3.1.1 reserved bits", packet.V311, 0x82, "0001 0001'a' 04", malformed},
	{"3.8.3.1 QoS 3", packet.V5, 0x82, "0001 00 0001'a' 03", protocol},
	{"3.8.3.1 retain handling 3", packet.V5, 0x82, "0001 00 0001'a' 30", protocol},
	{"MQTT-3.8.3-5 reserved bits", packet.V5, 0x82, "0001 00 0001'a' 40", malformed},
	{"MQTT-3.8.3-4 no local and shared", packet.V5, 0x82, "0001 00 000a'$share/g/a' 04", protocol},
	{"3.8.2.1.2 subscription identifier twice", packet.V5, 0x82, "0001 04 0b 01 0b 01 0001'a' 00", protocol},
	{"the second filter is wrong", packet.V311, 0x82, "0001 0001'a' 00 0001 ff 00", malformed},
	{"MQTT-3.9.3-2 code", packet.V5, 0x90, "0001 00 04", protocol},
	{"MQTT-3.9.3-2 of 3.1.1 code", packet.V311, 0x90, "0001 87", protocol},
	{"3.9.3 no code", packet.V311, 0x90, "0001", protocol},
	{"MQTT-3.10.1-1 flags", packet.V311, 0xa0, "0001 0001'a'", malformed},
	{"MQTT-3.10.3-2 no filter", packet.V311, 0xa2, "0001", protocol},
	{"MQTT-3.10.3-1 filter is not UTF-8", packet.V5, 0xa2, "0001 00 0001 ff", malformed},
	{"MQTT-3.11.3-2 code", packet.V5, 0xb0, "0001 00 01", protocol},
	{"3.11.3 no code", packet.V5, 0xb0, "0001 00", protocol},
	{"codes in 3.1.1", packet.V311, 0xb0, "0001 00", malformed},
}

var endFaults = []fault{
	{"MQTT-2.1.3-1 type 0", packet.V311, 0x00, "", malformed},
	{"MQTT-2.1.3-1 PINGREQ flags", packet.V311, 0xc1, "", malformed},
	{"3.12 PINGREQ with a body", packet.V311, 0xc0, "00", malformed},
	{"3.13 PINGRESP with a body", packet.V5, 0xd0, "00", malformed},
	{"MQTT-3.14.1-1 flags", packet.V5, 0xe1, "", malformed},
	{"3.14 of 3.1.1 body", packet.V311, 0xe0, "00", malformed},
	{"MQTT-3.14.2-1 code", packet.V5, 0xe0, "10", protocol},
	{"MQTT-3.15.1-1 flags", packet.V5, 0xf1, "", malformed},
	{"type 15 before MQTT 5", packet.V311, 0xf0, "", malformed},
	{"MQTT-3.15.2-1 code", packet.V5, 0xf0, "80 04 15 0001'm'", protocol},
	{"3.15.2.2.2 no method", packet.V5, 0xf0, "18 00", protocol},
	{"3.15.2.2.2 no method, no properties", packet.V5, 0xf0, "18", protocol},
}

var faults = [][]fault{connectFaults, connackFaults, publishFaults, ackFaults, subscribeFaults, endFaults}

// TestRefused holds one packet for each rule against the code that must answer it.
func TestRefused(t *testing.T) {
	for _, part := range faults {
		for _, f := range part {
			t.Run(f.rule, func(t *testing.T) {
				body := wire(t, f.body)
				p, need, err := decode(f.v, append([]byte{f.first, byte(len(body))}, body...))
				var e *packet.Error
				if !errors.As(err, &e) {
					t.Fatalf("decoded %v, not whole %v, error %v", p, need, err)
				}
				if e.Code != f.code || e.Type != packet.Type(f.first>>4) {
					t.Errorf("error %v: want %v of %v", e, f.code, packet.Type(f.first>>4))
				}
				if !strings.HasSuffix(err.Error(), e.What) {
					t.Errorf("error %q does not end with %q", err, e.What)
				}
			})
		}
	}
}

// TestUnsupportedVersion: the error leaves the level that was asked for, to answer in its form.
func TestUnsupportedVersion(t *testing.T) {
	for body, want := range map[string]packet.Version{
		"0004'MQTT' 06 02 0000 00 0001'c'":   6,
		"0004'MQTT' 84 02 0000 0001'c'":      0x84,
		"0006'MQIsdp' 02 02 0000 0001'c'":    2,
		"0004'AMQP' 00 00 09 01 0000":        0,
		"0004'MQTT'":                         0,
		"0003'MQT' 04 02 0000 00 0001'c' 00": 0,
	} {
		var c packet.Connect
		raw := wire(t, body)
		if err := c.Decode(packet.Header{Type: packet.CONNECT, Remaining: len(raw)}, raw); err == nil || c.Version != want {
			t.Errorf("%s: version %v, error %v; want version %v", body, c.Version, err, want)
		}
	}
}

// TestOldClients holds what 3.1 allows, and what its clients do, though later versions do not.
func TestOldClients(t *testing.T) {
	for name, c := range map[string]struct {
		first      byte
		body, want string
	}{
		"reserved connect flag": {0x10, "0006'MQIsdp' 03 03 0000 0001'c'",
			`CONNECT 3.1 clean=true keepalive=0 id="c" user=none password=none`},
		"will retain without a will": {0x10, "0006'MQIsdp' 03 22 0000 0001'c'",
			`CONNECT 3.1 clean=true keepalive=0 id="c" user=none password=none`},
		"flags promise user name and password": {0x10, "0006'MQIsdp' 03 c2 0000 0001'c'",
			`CONNECT 3.1 clean=true keepalive=0 id="c" user=none password=none`},
		"flags promise a password": {0x10, "0006'MQIsdp' 03 c2 0000 0001'c' 0001'u'",
			`CONNECT 3.1 clean=true keepalive=0 id="c" user="u" password=none`},
		"identifier of 24 characters": {0x10, "0006'MQIsdp' 03 02 0000 0018'123456789012345678901234'",
			`CONNECT 3.1 clean=true keepalive=0 id="123456789012345678901234" user=none password=none`},
		"CONNACK whose first byte is not used": {0x20, "ff 00", "CONNACK success present=false"},
		"PUBREL sent again":                    {0x6a, "0001", "PUBREL id=1 success"},
		"SUBSCRIBE sent again": {0x8a, "0001 0001'a' 01",
			`SUBSCRIBE id=1 n=1 "a"{QoS:1 NoLocal:false RetainAsPublished:false RetainHandling:0}`},
		"UNSUBSCRIBE sent again": {0xaa, "0001 0001'a'", `UNSUBSCRIBE id=1 n=1 "a"`},
	} {
		body := wire(t, c.body)
		if got := describe(mustDecode(t, packet.V31, append([]byte{c.first, byte(len(body))}, body...))); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}
