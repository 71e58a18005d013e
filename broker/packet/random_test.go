package packet_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// A generator makes random packets of one version that break no rule.
type generator struct {
	*rand.Rand
	v packet.Version
	// oracle keeps to what the oracles can express: no string or binary data is present and
	// empty, at most one subscription identifier.
	oracle bool
}

func newGenerator(seed uint64, v packet.Version) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, uint64(v))), v: v}
}

func (g *generator) coin() bool { return g.IntN(2) == 0 }

// runes are what strings are made of: one to four bytes in UTF-8, control characters, separators,
// and U+FEFF, which must survive [MQTT-1.5.4-3].
var runes = []rune("abcXYZ019/ $-_.,äßπ\u0001\u007f\uFEFF\u2028世界😀")

func (g *generator) text() []byte {
	n := g.length()
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteRune(runes[g.IntN(len(runes))])
	}
	return b.Bytes()
}

// length is mostly short and sometimes over the limits of one and two bytes of a length.
func (g *generator) length() int {
	n, rare := g.IntN(12), 40
	if g.oracle {
		n, rare = max(n, 1), 400
	}
	switch g.IntN(rare) {
	case 0:
		n = 120 + g.IntN(20)
	case 1:
		n = 16_370 + g.IntN(30)
	}
	return n
}

func (g *generator) blob() []byte {
	b := make([]byte, g.length())
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g *generator) topic() []byte { return append([]byte{'t'}, g.text()...) }

func (g *generator) filter() []byte {
	f := g.topic()
	switch g.IntN(4) {
	case 0:
		f = append(f, "/+/x"...)
	case 1:
		f = append(f, "/#"...)
	}
	return f
}

func (g *generator) id() uint16 { return uint16(1 + g.IntN(0xffff)) }

// one returns one of them.
func one[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// int gives the property a value in its range, often at one of its ends.
func (g *generator) int(p *packet.Properties, id packet.IntProperty) {
	top := uint32(0xffffffff)
	switch id {
	case packet.PayloadFormat, packet.RequestProblemInfo, packet.RequestResponseInfo,
		packet.MaximumQoS, packet.RetainAvailable, packet.WildcardSubs, packet.SubIDs, packet.SharedSubs:
		top = 1
	case packet.ServerKeepAlive, packet.ReceiveMaximum, packet.TopicAliasMaximum, packet.TopicAlias:
		top = 0xffff
	}
	p.AddInt(id, one[uint32](g, 1, top, 1+g.Uint32N(top)))
}

// properties adds each of the candidates by chance and in random order.
func (g *generator) properties(ints []packet.IntProperty, texts []packet.BytesProperty) (p packet.Properties) {
	if g.v < packet.V5 || g.IntN(4) == 0 {
		return p
	}
	for _, i := range g.Perm(len(ints) + len(texts) + 1) {
		switch j := i - len(ints); {
		case g.coin():
		case j < 0:
			g.int(&p, ints[i])
		case j == len(texts):
			for range 1 + g.IntN(3) {
				p.AddUser(g.text(), g.text())
			}
		case texts[j] == packet.CorrelationData || texts[j] == packet.AuthData:
			p.AddBytes(texts[j], g.blob())
		default:
			p.AddBytes(texts[j], g.text())
		}
	}
	return p
}

// withAuth adds an authentication method where there is only data.
func (g *generator) withAuth(p packet.Properties, always bool) packet.Properties {
	data := p.Has(packet.AnyProperty(packet.AuthData))
	if (always || data) && !p.Has(packet.AnyProperty(packet.AuthMethod)) {
		p.AddBytes(packet.AuthMethod, g.topic())
	}
	return p
}

func (g *generator) reason() packet.Properties {
	return g.properties(nil, []packet.BytesProperty{packet.ReasonString})
}

// subID adds up to most subscription identifiers.
func (g *generator) subID(p packet.Properties, most int) packet.Properties {
	if g.v < packet.V5 {
		return p
	}
	for range g.IntN(most + 1) {
		p.AddSubscriptionID(one[uint32](g, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, packet.MaxRemaining))
	}
	return p
}

// packet returns a random packet of type t that the version has.
func (g *generator) packet(t packet.Type) codec {
	switch t {
	case packet.CONNECT:
		return g.connect()
	case packet.CONNACK:
		return g.connack()
	case packet.PUBLISH:
		return g.publish()
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		return g.ack(t)
	case packet.SUBSCRIBE:
		return g.subscribe()
	case packet.SUBACK:
		return g.suback()
	case packet.UNSUBSCRIBE:
		p := &packet.Unsubscribe{PacketID: g.id(), Properties: g.properties(nil, nil)}
		for range 1 + g.IntN(4) {
			p.Filters.Add(g.filter())
		}
		return p
	case packet.UNSUBACK:
		p := &packet.Unsuback{PacketID: g.id()}
		if g.v == packet.V5 {
			p.Properties = g.reason()
			p.Codes = g.codes(packet.Success, packet.NoSubscriptionExisted, packet.NotAuthorized)
		}
		return p
	case packet.DISCONNECT:
		return g.disconnect()
	case packet.AUTH:
		return g.auth()
	}
	return &ping{t}
}

func (g *generator) connect() *connect {
	c := &connect{packet.Connect{
		Version:    g.v,
		CleanStart: g.coin(),
		KeepAlive:  uint16(g.Uint32()),
		ClientID:   g.text(),
		Properties: g.withAuth(g.properties([]packet.IntProperty{packet.SessionExpiry, packet.ReceiveMaximum,
			packet.MaximumPacketSize, packet.TopicAliasMaximum, packet.RequestResponseInfo,
			packet.RequestProblemInfo}, []packet.BytesProperty{packet.AuthMethod, packet.AuthData}), false),
	}}
	if g.coin() {
		c.Will = &packet.Will{Retain: g.coin(), QoS: byte(g.IntN(3)), Topic: g.topic(), Payload: g.blob(),
			Properties: g.properties([]packet.IntProperty{packet.WillDelay, packet.PayloadFormat, packet.MessageExpiry},
				[]packet.BytesProperty{packet.ContentType, packet.ResponseTopic, packet.CorrelationData})}
	}
	if g.coin() {
		c.Username = append([]byte{}, g.text()...)
	}
	if g.coin() && (c.Username != nil || g.v == packet.V5) {
		c.Password = append([]byte{}, g.blob()...)
	}
	return c
}

func (g *generator) connack() *packet.Connack {
	c := &packet.Connack{Code: one(g, packet.Success, packet.UnsupportedProtocolVersion, packet.ClientIDNotValid,
		packet.ServerUnavailable, packet.BadUsernameOrPassword, packet.NotAuthorized)}
	if g.v == packet.V5 {
		c.Code = one(g, c.Code, packet.Success, packet.Banned, packet.ConnectionRateExceeded)
	}
	c.SessionPresent = c.Code == packet.Success && g.coin() && g.v != packet.V31
	c.Properties = g.withAuth(g.properties([]packet.IntProperty{packet.SessionExpiry, packet.ReceiveMaximum,
		packet.MaximumQoS, packet.RetainAvailable, packet.MaximumPacketSize, packet.TopicAliasMaximum,
		packet.WildcardSubs, packet.SubIDs, packet.SharedSubs, packet.ServerKeepAlive},
		[]packet.BytesProperty{packet.AssignedClientID, packet.ReasonString, packet.ResponseInfo,
			packet.ServerReference, packet.AuthMethod, packet.AuthData}), false)
	return c
}

func (g *generator) publish() *packet.Publish {
	p := &packet.Publish{Retain: g.coin(), QoS: byte(g.IntN(3)), Topic: g.topic(), Payload: g.blob()}
	if p.QoS > 0 {
		p.Dup, p.PacketID = g.coin(), g.id()
	}
	p.Properties = g.properties([]packet.IntProperty{packet.PayloadFormat, packet.MessageExpiry, packet.TopicAlias},
		[]packet.BytesProperty{packet.ContentType, packet.ResponseTopic, packet.CorrelationData})
	most := 3
	if g.oracle {
		most = 1
	}
	p.Properties = g.subID(p.Properties, most)
	if _, ok := p.Properties.Int(packet.TopicAlias); ok && g.coin() {
		p.Topic = nil
	}
	return p
}

func (g *generator) ack(t packet.Type) *packet.Ack {
	p := &packet.Ack{Type: t, PacketID: g.id()}
	if g.v < packet.V5 {
		return p
	}
	p.Properties = g.reason()
	p.Code = one(g, packet.Success, packet.PacketIDNotFound)
	if t == packet.PUBACK || t == packet.PUBREC {
		p.Code = one(g, packet.Success, packet.NoMatchingSubscribers, packet.QuotaExceeded)
	}
	return p
}

func (g *generator) subscribe() *packet.Subscribe {
	p := &packet.Subscribe{PacketID: g.id(), Properties: g.subID(g.properties(nil, nil), 1)}
	for range 1 + g.IntN(4) {
		o := packet.Options{QoS: byte(g.IntN(3))}
		if g.v == packet.V5 {
			o.NoLocal, o.RetainAsPublished, o.RetainHandling = g.coin(), g.coin(), byte(g.IntN(3))
		}
		p.Subscriptions.Add(g.filter(), o)
	}
	return p
}

func (g *generator) codes(of ...packet.ReasonCode) []byte {
	var codes []byte
	for range 1 + g.IntN(5) {
		codes = append(codes, byte(one(g, of...)))
	}
	return codes
}

func (g *generator) suback() *packet.Suback {
	p := &packet.Suback{PacketID: g.id()}
	p.Codes = g.codes(packet.GrantedQoS0, packet.GrantedQoS1, packet.GrantedQoS2)
	if g.v != packet.V31 { // which has no failure
		p.Codes = append(p.Codes, g.codes(packet.GrantedQoS0, packet.UnspecifiedError)...)
	}
	if g.v == packet.V5 {
		p.Codes = append(p.Codes, byte(packet.TopicFilterInvalid))
		p.Properties = g.reason()
	}
	return p
}

func (g *generator) disconnect() *packet.Disconnect {
	p := &packet.Disconnect{}
	if g.v == packet.V5 {
		p.Code = one(g, packet.NormalDisconnection, packet.DisconnectWithWill, packet.SessionTakenOver)
		p.Properties = g.properties([]packet.IntProperty{packet.SessionExpiry},
			[]packet.BytesProperty{packet.ReasonString, packet.ServerReference})
	}
	return p
}

func (g *generator) auth() *packet.Auth {
	p := &packet.Auth{Code: one(g, packet.Success, packet.ContinueAuthentication, packet.ReAuthenticate)}
	p.Properties = g.properties(nil, []packet.BytesProperty{packet.AuthMethod, packet.AuthData, packet.ReasonString})
	p.Properties = g.withAuth(p.Properties, !p.Properties.Empty() || p.Code != packet.Success)
	return p
}

// types returns the packets that a version has.
func types(v packet.Version) []packet.Type {
	var all []packet.Type
	for t := packet.CONNECT; t < packet.AUTH || v == packet.V5 && t == packet.AUTH; t++ {
		all = append(all, t)
	}
	return all
}

// TestRandomRoundTrip writes random packets and reads them again.
func TestRandomRoundTrip(t *testing.T) {
	for _, v := range versions {
		for _, typ := range types(v) {
			t.Run(fmt.Sprintf("%v/%v", v, typ), func(t *testing.T) {
				g := newGenerator(uint64(typ), v)
				for range 250 {
					p := g.packet(typ)
					raw := p.Append(nil, v)
					got := mustDecode(t, v, raw)
					if a, b := describe(p), describe(got); a != b {
						t.Fatalf("wrote %.500s\nread  %.500s", a, b)
					}
					if again := got.Append(nil, v); !bytes.Equal(again, raw) {
						t.Fatalf("wrote % .200x\nagain % .200x", raw, again)
					}
				}
			})
		}
	}
}
