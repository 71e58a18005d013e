package packet_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// wire reads hexadecimal digits with blanks between them; 'text' stands for its bytes.
func wire(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("wire %q: %v", s, err)
		}
		b = append(b, raw...)
	}
	return b
}

// set builds properties in a table.
func set(add func(p *packet.Properties)) packet.Properties {
	var p packet.Properties
	add(&p)
	return p
}

func subscriptions(filter string, o packet.Options, more ...string) (s packet.Subscriptions) {
	s.Add([]byte(filter), o)
	for _, m := range more {
		s.Add([]byte(m), packet.Options{})
	}
	return s
}

func filters(of ...string) (f packet.Filters) {
	for _, s := range of {
		f.Add([]byte(s))
	}
	return f
}

// A row is one packet: the bytes on the wire and what they mean.
type row struct {
	name string
	v    packet.Version
	wire string
	p    codec
}

func connectRows() []row {
	return []row{
		{"3.1", packet.V31, "10 14 0006'MQIsdp' 03 02 000a 0006'device'", &connect{packet.Connect{
			Version: packet.V31, CleanStart: true, KeepAlive: 10, ClientID: []byte("device")}}},
		{"3.1.1 with everything", packet.V311, "10 1d 0004'MQTT' 04 f6 ffff 0002'id' 0001't' 0002'xy' 0001'u' 0003'pwd'", &connect{packet.Connect{
			Version: packet.V311, CleanStart: true, KeepAlive: 65535, ClientID: []byte("id"),
			Will:     &packet.Will{Retain: true, QoS: 2, Topic: []byte("t"), Payload: []byte("xy")},
			Username: []byte("u"), Password: []byte("pwd")}}},
		{"3.1.1 with an empty user name and will", packet.V311, "10 15 0004'MQTT' 04 84 0000 0002'id' 0001't' 0000 0000",
			&connect{packet.Connect{Version: packet.V311, ClientID: []byte("id"),
				Will: &packet.Will{Topic: []byte("t")}, Username: []byte{}}}},
		{"5 without properties", packet.V5, "10 0d 0004'MQTT' 05 02 003c 00 0000", &connect{packet.Connect{
			Version: packet.V5, CleanStart: true, KeepAlive: 60}}},
		{"5 with properties, will and a lone password", packet.V5,
			"10 2a 0004'MQTT' 05 4c 0000 08 11 00000e10 21 0014 0001'c' 0a 18 00000005 02 00000009 0001'w' 0001'm' 0001'p'",
			&connect{packet.Connect{Version: packet.V5, ClientID: []byte("c"), Password: []byte("p"),
				Properties: set(func(p *packet.Properties) {
					p.AddInt(packet.SessionExpiry, 3600)
					p.AddInt(packet.ReceiveMaximum, 20)
				}),
				Will: &packet.Will{QoS: 1, Topic: []byte("w"), Payload: []byte("m"),
					Properties: set(func(p *packet.Properties) {
						p.AddInt(packet.WillDelay, 5)
						p.AddInt(packet.MessageExpiry, 9)
					})}}}},
	}
}

func connackRows() []row {
	return []row{
		{"3.1 accepted", packet.V31, "20 02 00 00", &packet.Connack{}},
		{"3.1.1 accepted, session present", packet.V311, "20 02 01 00", &packet.Connack{SessionPresent: true}},
		{"3.1.1 unacceptable version", packet.V311, "20 02 00 01", &packet.Connack{Code: packet.UnsupportedProtocolVersion}},
		{"3.1.1 identifier rejected", packet.V311, "20 02 00 02", &packet.Connack{Code: packet.ClientIDNotValid}},
		{"3.1.1 unavailable", packet.V311, "20 02 00 03", &packet.Connack{Code: packet.ServerUnavailable}},
		{"3.1.1 bad user name or password", packet.V311, "20 02 00 04", &packet.Connack{Code: packet.BadUsernameOrPassword}},
		{"3.1.1 not authorized", packet.V311, "20 02 00 05", &packet.Connack{Code: packet.NotAuthorized}},
		{"5 accepted", packet.V5, "20 03 00 00 00", &packet.Connack{}},
		{"5 with a keep alive", packet.V5, "20 09 01 00 06 13 001e 22 0010", &packet.Connack{SessionPresent: true,
			Properties: set(func(p *packet.Properties) {
				p.AddInt(packet.ServerKeepAlive, 30)
				p.AddInt(packet.TopicAliasMaximum, 16)
			})}},
		{"5 banned", packet.V5, "20 03 00 8a 00", &packet.Connack{Code: packet.Banned}},
	}
}

func publishRows() []row {
	return []row{
		{"QoS 0", packet.V311, "30 05 0001't' 'hi'", &packet.Publish{Topic: []byte("t"), Payload: []byte("hi")}},
		{"QoS 0, retain, no payload", packet.V31, "31 03 0001't'", &packet.Publish{Retain: true, Topic: []byte("t")}},
		{"QoS 2, DUP, retain", packet.V311, "3d 06 0001't' 000a 'x'", &packet.Publish{Dup: true, Retain: true, QoS: 2,
			PacketID: 10, Topic: []byte("t"), Payload: []byte("x")}},
		{"5 QoS 1", packet.V5, "32 07 0001't' ffff 00 'x'", &packet.Publish{QoS: 1, PacketID: 65535, Topic: []byte("t"), Payload: []byte("x")}},
		{"5 with an alias instead of a topic", packet.V5, "30 06 0000 03 23 0007", &packet.Publish{
			Properties: set(func(p *packet.Properties) { p.AddInt(packet.TopicAlias, 7) })}},
		{"5 with all properties", packet.V5, "30 2a 0001't' 26 01 01 02 0000003c 08 0001'r' 09 0002 0001 0b 80 01 26 0001'a' 0001'b' " +
			"26 0001'a' 0000 0b 07 03 0001'j'", &packet.Publish{Topic: []byte("t"), Properties: set(func(p *packet.Properties) {
			p.AddInt(packet.PayloadFormat, 1)
			p.AddInt(packet.MessageExpiry, 60)
			p.AddBytes(packet.ResponseTopic, []byte("r"))
			p.AddBytes(packet.CorrelationData, []byte{0, 1})
			p.AddSubscriptionID(128)
			p.AddUser([]byte("a"), []byte("b"))
			p.AddUser([]byte("a"), nil)
			p.AddSubscriptionID(7)
			p.AddBytes(packet.ContentType, []byte("j"))
		})}},
	}
}

func ackRows() []row {
	reason := set(func(p *packet.Properties) { p.AddBytes(packet.ReasonString, []byte("no")) })
	return []row{
		{"PUBACK 3.1.1", packet.V311, "40 02 0007", &packet.Ack{Type: packet.PUBACK, PacketID: 7}},
		{"PUBREC 3.1.1", packet.V311, "50 02 0007", &packet.Ack{Type: packet.PUBREC, PacketID: 7}},
		{"PUBREL 3.1.1", packet.V311, "62 02 0007", &packet.Ack{Type: packet.PUBREL, PacketID: 7}},
		{"PUBCOMP 3.1", packet.V31, "70 02 0007", &packet.Ack{Type: packet.PUBCOMP, PacketID: 7}},
		{"PUBACK 5", packet.V5, "40 02 0007", &packet.Ack{Type: packet.PUBACK, PacketID: 7}},
		{"PUBACK 5 with a code", packet.V5, "40 03 0007 10", &packet.Ack{Type: packet.PUBACK, PacketID: 7, Code: packet.NoMatchingSubscribers}},
		{"PUBREC 5 with a reason", packet.V5, "50 09 0007 97 05 1f 0002'no'", &packet.Ack{Type: packet.PUBREC,
			PacketID: 7, Code: packet.QuotaExceeded, Properties: reason}},
		{"PUBREL 5 not found", packet.V5, "62 03 0007 92", &packet.Ack{Type: packet.PUBREL, PacketID: 7, Code: packet.PacketIDNotFound}},
		{"PUBCOMP 5 success with a reason", packet.V5, "70 09 0007 00 05 1f 0002'no'", &packet.Ack{Type: packet.PUBCOMP,
			PacketID: 7, Properties: reason}},
		{"PINGREQ", packet.V311, "c0 00", &ping{packet.PINGREQ}},
		{"PINGRESP", packet.V5, "d0 00", &ping{packet.PINGRESP}},
	}
}

func subscribeRows() []row {
	return []row{
		{"SUBSCRIBE 3.1.1", packet.V311, "82 0a 0001 0001'a' 02 0001'#' 00", &packet.Subscribe{PacketID: 1,
			Subscriptions: subscriptions("a", packet.Options{QoS: 2}, "#")}},
		{"SUBSCRIBE 5 with options", packet.V5, "82 0b 0001 02 0b 05 0003'a/+' 2d", &packet.Subscribe{PacketID: 1,
			Properties: set(func(p *packet.Properties) { p.AddSubscriptionID(5) }),
			Subscriptions: subscriptions("a/+", packet.Options{QoS: 1, NoLocal: true, RetainAsPublished: true,
				RetainHandling: 2})}},
		{"SUBACK 3.1.1", packet.V311, "90 06 0001 00 01 02 80", &packet.Suback{PacketID: 1, Codes: []byte{0, 1, 2, 0x80}}},
		{"SUBACK 5", packet.V5, "90 05 0001 00 02 8f", &packet.Suback{PacketID: 1, Codes: []byte{2, 0x8f}}},
		{"UNSUBSCRIBE 3.1.1", packet.V311, "a2 08 0001 0001'a' 0001'b'", &packet.Unsubscribe{PacketID: 1, Filters: filters("a", "b")}},
		{"UNSUBSCRIBE 5", packet.V5, "a2 06 0001 00 0001'a'", &packet.Unsubscribe{PacketID: 1, Filters: filters("a")}},
		{"UNSUBACK 3.1.1", packet.V311, "b0 02 0001", &packet.Unsuback{PacketID: 1}},
		{"UNSUBACK 5", packet.V5, "b0 05 0001 00 00 11", &packet.Unsuback{PacketID: 1, Codes: []byte{0, 0x11}}},
	}
}

func endRows() []row {
	return []row{
		{"DISCONNECT 3.1.1", packet.V311, "e0 00", &packet.Disconnect{}},
		{"DISCONNECT 5", packet.V5, "e0 00", &packet.Disconnect{}},
		{"DISCONNECT 5 with a code", packet.V5, "e0 01 8e", &packet.Disconnect{Code: packet.SessionTakenOver}},
		{"DISCONNECT 5 with a server", packet.V5, "e0 07 9d 05 1c 0002'b2'", &packet.Disconnect{Code: packet.ServerMoved,
			Properties: set(func(p *packet.Properties) { p.AddBytes(packet.ServerReference, []byte("b2")) })}},
		{"AUTH success", packet.V5, "f0 00", &packet.Auth{}},
		{"AUTH continue", packet.V5, "f0 0a 18 08 15 0001'm' 16 0001 ff", &packet.Auth{Code: packet.ContinueAuthentication,
			Properties: set(func(p *packet.Properties) {
				p.AddBytes(packet.AuthMethod, []byte("m"))
				p.AddBytes(packet.AuthData, []byte{0xff})
			})}},
	}
}

func rows() []row {
	var all []row
	for _, part := range [][]row{connectRows(), connackRows(), publishRows(), ackRows(), subscribeRows(), endRows()} {
		all = append(all, part...)
	}
	return all
}

// TestBothWays holds bytes written by hand against what they mean, in both directions.
func TestBothWays(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			raw := wire(t, r.wire)
			if got, want := describe(mustDecode(t, r.v, raw)), describe(r.p); got != want {
				t.Errorf("decoded %s\nwant    %s", got, want)
			}
			if got := r.p.Append([]byte("before"), r.v); !bytes.Equal(got, append([]byte("before"), raw...)) {
				t.Errorf("appended % x\nwant     % x", got[len("before"):], raw)
			}
		})
	}
}

// TestTruncated cuts every packet of the table short, inside the length that its header has.
func TestTruncated(t *testing.T) {
	for _, r := range rows() {
		h, n, err := packet.ParseHeader(wire(t, r.wire))
		if err != nil {
			t.Fatal(err)
		}
		body := wire(t, r.wire)[n:]
		if err := blank(h.Type).Decode(r.v, h, append(bytes.Clone(body), 0)); err == nil && extendable(h.Type) {
			t.Errorf("%s: accepted with a byte left over", r.name)
		}
		for i := range body {
			p := blank(h.Type)
			if err := p.Decode(r.v, h, body[:i:i]); err == nil && !cuttable(r.v, h.Type, i) {
				t.Errorf("%s: accepted % x of % x as %s", r.name, body[:i], body, describe(p))
			}
		}
	}
}

// extendable tells which packets cannot take one more 0 byte: in the others it is payload, or a code.
func extendable(t packet.Type) bool {
	switch t {
	case packet.PUBLISH, packet.SUBACK, packet.UNSUBACK, packet.PUBACK, packet.PUBREC, packet.PUBREL,
		packet.PUBCOMP, packet.DISCONNECT, packet.AUTH, packet.PINGREQ, packet.PINGRESP:
		return false
	}
	return true
}

// cuttable tells which packets are still whole after i bytes: those with a payload or a list, and
// those that may leave out code and properties.
func cuttable(v packet.Version, t packet.Type, i int) bool {
	switch t {
	case packet.PUBLISH, packet.SUBSCRIBE, packet.UNSUBSCRIBE, packet.SUBACK, packet.UNSUBACK:
		return i >= 3
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		return v == packet.V5 && (i == 2 || i == 3)
	case packet.DISCONNECT, packet.AUTH:
		return i <= 1
	}
	return false
}

// TestLoopsThatEndEarly stops at the first filter.
func TestLoopsThatEndEarly(t *testing.T) {
	var got []string
	for filter := range subscriptions("a", packet.Options{}, "b").All() {
		got = append(got, string(filter))
		break
	}
	for filter := range filters("a", "b").All() {
		got = append(got, string(filter))
		break
	}
	if strings.Join(got, ",") != "a,a" {
		t.Error(got)
	}
}
