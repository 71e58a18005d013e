package packet_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// A codec is any packet of the package.
type codec interface {
	Decode(v packet.Version, h packet.Header, body []byte) error
	Append(dst []byte, v packet.Version) []byte
}

// A connect is a Connect that looks like the others; it brings its own version.
type connect struct{ packet.Connect }

func (c *connect) Decode(_ packet.Version, h packet.Header, body []byte) error {
	return c.Connect.Decode(h, body)
}

func (c *connect) Append(dst []byte, _ packet.Version) []byte { return c.Connect.Append(dst) }

// A ping is a PINGREQ or PINGRESP, of which ParseHeader has checked all.
type ping struct{ t packet.Type }

func (p *ping) Decode(_ packet.Version, h packet.Header, _ []byte) error {
	p.t = h.Type
	return nil
}

func (p *ping) Append(dst []byte, _ packet.Version) []byte {
	if p.t == packet.PINGREQ {
		return packet.AppendPingreq(dst)
	}
	return packet.AppendPingresp(dst)
}

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

// blank returns an empty packet of type t.
func blank(t packet.Type) codec {
	switch t {
	case packet.CONNECT:
		return &connect{}
	case packet.CONNACK:
		return &packet.Connack{}
	case packet.PUBLISH:
		return &packet.Publish{}
	case packet.SUBSCRIBE:
		return &packet.Subscribe{}
	case packet.SUBACK:
		return &packet.Suback{}
	case packet.UNSUBSCRIBE:
		return &packet.Unsubscribe{}
	case packet.UNSUBACK:
		return &packet.Unsuback{}
	case packet.PINGREQ, packet.PINGRESP:
		return &ping{}
	case packet.DISCONNECT:
		return &packet.Disconnect{}
	case packet.AUTH:
		return &packet.Auth{}
	}
	return &packet.Ack{}
}

// decode reads the one packet that raw holds; need tells that it is not whole.
func decode(v packet.Version, raw []byte) (p codec, need bool, err error) {
	h, n, err := packet.ParseHeader(raw)
	if err != nil {
		return nil, false, err
	}
	if n == 0 || len(raw) != n+h.Remaining {
		return nil, true, nil
	}
	p = blank(h.Type)
	return p, false, p.Decode(v, h, raw[n:])
}

func mustDecode(t *testing.T, v packet.Version, raw []byte) codec {
	t.Helper()
	p, need, err := decode(v, raw)
	if err != nil || need {
		t.Fatalf("decode % x as %v: not whole %v, error %v", raw, v, need, err)
	}
	return p
}

var (
	intProperties = []packet.IntProperty{
		packet.PayloadFormat, packet.MessageExpiry, packet.SessionExpiry, packet.ServerKeepAlive,
		packet.RequestProblemInfo, packet.WillDelay, packet.RequestResponseInfo,
		packet.ReceiveMaximum, packet.TopicAliasMaximum, packet.TopicAlias, packet.MaximumQoS,
		packet.RetainAvailable, packet.MaximumPacketSize, packet.WildcardSubs, packet.SubIDs,
		packet.SharedSubs,
	}
	bytesProperties = []packet.BytesProperty{
		packet.ContentType, packet.ResponseTopic, packet.CorrelationData, packet.AssignedClientID,
		packet.AuthMethod, packet.AuthData, packet.ResponseInfo, packet.ServerReference,
		packet.ReasonString,
	}
)

// describe writes what a packet means, so that two can be compared and a difference read.
func describe(p codec) string {
	switch p := p.(type) {
	case *connect:
		s := fmt.Sprintf("CONNECT %v clean=%v keepalive=%d id=%q user=%s password=%s%s", p.Version, p.CleanStart,
			p.KeepAlive, p.ClientID, optional(p.Username), optional(p.Password), properties(p.Properties))
		if w := p.Will; w != nil {
			s += fmt.Sprintf(" will{%q retain=%v qos=%d %q%s}", w.Topic, w.Retain, w.QoS, w.Payload, properties(w.Properties))
		}
		return s
	case *packet.Connack:
		return fmt.Sprintf("CONNACK %v present=%v%s", p.Code, p.SessionPresent, properties(p.Properties))
	case *packet.Publish:
		return fmt.Sprintf("PUBLISH %q dup=%v retain=%v qos=%d id=%d %q%s", p.Topic, p.Dup, p.Retain, p.QoS,
			p.PacketID, p.Payload, properties(p.Properties))
	case *packet.Ack:
		return fmt.Sprintf("%v id=%d %v%s", p.Type, p.PacketID, p.Code, properties(p.Properties))
	case *packet.Subscribe:
		s := fmt.Sprintf("SUBSCRIBE id=%d n=%d%s", p.PacketID, p.Subscriptions.Len(), properties(p.Properties))
		for filter, o := range p.Subscriptions.All() {
			s += fmt.Sprintf(" %q%+v", filter, o)
		}
		return s
	case *packet.Suback:
		return fmt.Sprintf("SUBACK id=%d %v%s", p.PacketID, p.Codes, properties(p.Properties))
	case *packet.Unsubscribe:
		s := fmt.Sprintf("UNSUBSCRIBE id=%d n=%d%s", p.PacketID, p.Filters.Len(), properties(p.Properties))
		for filter := range p.Filters.All() {
			s += fmt.Sprintf(" %q", filter)
		}
		return s
	case *packet.Unsuback:
		return fmt.Sprintf("UNSUBACK id=%d %v%s", p.PacketID, p.Codes, properties(p.Properties))
	case *packet.Disconnect:
		return fmt.Sprintf("DISCONNECT %v%s", p.Code, properties(p.Properties))
	case *packet.Auth:
		return fmt.Sprintf("AUTH %v%s", p.Code, properties(p.Properties))
	case *ping:
		return p.t.String()
	}
	return "nothing"
}

func optional(b []byte) string {
	if b == nil {
		return "none"
	}
	return fmt.Sprintf("%q", b)
}

func properties(p packet.Properties) string {
	var b strings.Builder
	for _, id := range intProperties {
		if v, ok := p.Int(id); ok {
			fmt.Fprintf(&b, " %#02x=%d", byte(id), v)
		}
	}
	for _, id := range bytesProperties {
		if v := p.Bytes(id); v != nil {
			fmt.Fprintf(&b, " %#02x=%q", byte(id), v)
		}
	}
	for id := range p.SubscriptionIDs() {
		fmt.Fprintf(&b, " sub=%d", id)
	}
	for name, value := range p.User() {
		fmt.Fprintf(&b, " %q:%q", name, value)
	}
	return b.String()
}
