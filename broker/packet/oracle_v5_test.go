package packet_test

import (
	"bytes"
	"io"
	"testing"

	paho "github.com/eclipse/paho.golang/packets"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestOracleV5 compares with the packets of the Eclipse Paho client for MQTT 5.
func TestOracleV5(t *testing.T) {
	oracle{
		versions: []packet.Version{packet.V5},
		read: func(_ packet.Version, raw []byte) (any, error) {
			cp, err := paho.ReadPacket(bytes.NewReader(raw))
			if err != nil {
				return nil, err
			}
			return cp.Content, nil
		},
		theirs: func(p codec, _ packet.Header) any { return toPaho5(p) },
		write: func(p codec, _ packet.Header) []byte {
			var b bytes.Buffer
			if _, err := toPaho5(p).WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		},
		lossy: func(p codec) codec {
			if c, ok := p.(*connect); ok && c.Will != nil {
				c.Will.Properties.Reset() // it writes only two of them
			}
			return p
		},
		lenient: lenientPaho5,
		strict: map[string]func(codec, int) bool{
			"DISCONNECT without a reason code (section 3.14.2.1)": func(p codec, length int) bool {
				_, ok := p.(*packet.Disconnect)
				return ok && length == 0
			},
		},
	}.differential(t)
}

// lenientPaho5 lists what Paho accepts and we refuse. It takes a client's view: what it has read, a
// broker has checked before.
var lenientPaho5 = []string{
	// Strings are any bytes, numbers any value, names and flags anything.
	"a string is not UTF-8", "a string holds U+0000", "a topic name holds a wildcard",
	"response topic holds a wildcard", "topic name is empty", "topic filter is empty",
	"protocol name is not MQTT", "protocol level is none of 3.1, 3.1.1 and 5",
	"reserved flags are wrong", "reserved connect flag is set", "reserved connack flags are set",
	"reserved subscription options are set", "QoS is 3", "DUP is set with QoS 0", "maximum QoS is 3",
	"retain handling is 3", "will QoS or will retain without a will", "packet identifier is 0",
	"reason code does not belong here", "a refusal says that there is a session",
	"a property that is 0 or 1 has another value", "receive maximum or maximum packet size is 0",
	"topic alias is 0", "subscription identifier is 0", "no local is set on a shared subscription",
	// Lists may be empty, parts may be missing.
	"there is no topic filter", "there is no reason code", "authentication data without a method",
	"authentication method is missing",
	// The last of several is kept. Properties of the will and of CONNECT are one set.
	"a property occurs twice", "a property does not belong here",
	// A property length beyond the packet is what there is of it; a filter of UNSUBSCRIBE that is cut
	// short is dropped; whatever follows is ignored; a number may have any length.
	"a field reaches beyond the end", "bytes are left over",
	"remaining length is not 0", "a variable byte integer is longer than it needs to be",
	"a variable byte integer takes more than four bytes",
}

type writerTo interface {
	WriteTo(io.Writer) (int64, error)
}

func toPaho5(p codec) writerTo {
	switch p := p.(type) {
	case *connect:
		return connectToPaho5(p)
	case *packet.Connack:
		return &paho.Connack{Properties: propertiesToPaho5(p.Properties), ReasonCode: byte(p.Code), SessionPresent: p.SessionPresent}
	case *packet.Publish:
		return &paho.Publish{Payload: p.Payload, Topic: string(p.Topic), Properties: propertiesToPaho5(p.Properties),
			PacketID: p.PacketID, QoS: p.QoS, Duplicate: p.Dup, Retain: p.Retain}
	case *packet.Ack:
		return ackToPaho5(p)
	case *packet.Subscribe:
		s := &paho.Subscribe{Properties: propertiesToPaho5(p.Properties), PacketID: p.PacketID}
		for filter, o := range p.Subscriptions.All() {
			s.Subscriptions = append(s.Subscriptions, paho.SubOptions{Topic: string(filter), QoS: o.QoS,
				RetainHandling: o.RetainHandling, NoLocal: o.NoLocal, RetainAsPublished: o.RetainAsPublished})
		}
		return s
	case *packet.Suback:
		return &paho.Suback{Properties: propertiesToPaho5(p.Properties), Reasons: p.Codes, PacketID: p.PacketID}
	case *packet.Unsubscribe:
		u := &paho.Unsubscribe{Properties: propertiesToPaho5(p.Properties), PacketID: p.PacketID}
		for filter := range p.Filters.All() {
			u.Topics = append(u.Topics, string(filter))
		}
		return u
	case *packet.Unsuback:
		return &paho.Unsuback{Properties: propertiesToPaho5(p.Properties), Reasons: p.Codes, PacketID: p.PacketID}
	case *packet.Disconnect:
		return &paho.Disconnect{Properties: propertiesToPaho5(p.Properties), ReasonCode: byte(p.Code)}
	case *packet.Auth:
		return &paho.Auth{Properties: propertiesToPaho5(p.Properties), ReasonCode: byte(p.Code)}
	case *ping:
		if p.t == packet.PINGREQ {
			return &paho.Pingreq{}
		}
	}
	return &paho.Pingresp{}
}

func connectToPaho5(p *connect) *paho.Connect {
	c := &paho.Connect{ProtocolName: "MQTT", ProtocolVersion: byte(p.Version), ClientID: string(p.ClientID),
		CleanStart: p.CleanStart, KeepAlive: p.KeepAlive, Properties: propertiesToPaho5(p.Properties),
		UsernameFlag: p.Username != nil, Username: string(p.Username),
		PasswordFlag: p.Password != nil, Password: p.Password}
	if w := p.Will; w != nil {
		c.WillFlag, c.WillRetain, c.WillQOS = true, w.Retain, w.QoS
		c.WillTopic, c.WillMessage = string(w.Topic), w.Payload
		c.WillProperties = propertiesToPaho5(w.Properties)
	}
	return c
}

func ackToPaho5(p *packet.Ack) writerTo {
	props := propertiesToPaho5(p.Properties)
	switch p.Type {
	case packet.PUBACK:
		return &paho.Puback{Properties: props, PacketID: p.PacketID, ReasonCode: byte(p.Code)}
	case packet.PUBREC:
		return &paho.Pubrec{Properties: props, PacketID: p.PacketID, ReasonCode: byte(p.Code)}
	case packet.PUBREL:
		return &paho.Pubrel{Properties: props, PacketID: p.PacketID, ReasonCode: byte(p.Code)}
	}
	return &paho.Pubcomp{Properties: props, PacketID: p.PacketID, ReasonCode: byte(p.Code)}
}

// propertiesToPaho5 keeps the last subscription identifier, as Paho does when there are several.
func propertiesToPaho5(p packet.Properties) *paho.Properties {
	q := &paho.Properties{
		PayloadFormat:         small(p, packet.PayloadFormat),
		MessageExpiry:         number(p, packet.MessageExpiry),
		ContentType:           string(p.Bytes(packet.ContentType)),
		ResponseTopic:         string(p.Bytes(packet.ResponseTopic)),
		CorrelationData:       p.Bytes(packet.CorrelationData),
		SessionExpiryInterval: number(p, packet.SessionExpiry),
		AssignedClientID:      string(p.Bytes(packet.AssignedClientID)),
		ServerKeepAlive:       medium(p, packet.ServerKeepAlive),
		AuthMethod:            string(p.Bytes(packet.AuthMethod)),
		AuthData:              p.Bytes(packet.AuthData),
		RequestProblemInfo:    small(p, packet.RequestProblemInfo),
		WillDelayInterval:     number(p, packet.WillDelay),
		RequestResponseInfo:   small(p, packet.RequestResponseInfo),
		ResponseInfo:          string(p.Bytes(packet.ResponseInfo)),
		ServerReference:       string(p.Bytes(packet.ServerReference)),
		ReasonString:          string(p.Bytes(packet.ReasonString)),
		ReceiveMaximum:        medium(p, packet.ReceiveMaximum),
		TopicAliasMaximum:     medium(p, packet.TopicAliasMaximum),
		TopicAlias:            medium(p, packet.TopicAlias),
		MaximumQOS:            small(p, packet.MaximumQoS),
		RetainAvailable:       small(p, packet.RetainAvailable),
		MaximumPacketSize:     number(p, packet.MaximumPacketSize),
		WildcardSubAvailable:  small(p, packet.WildcardSubs),
		SubIDAvailable:        small(p, packet.SubIDs),
		SharedSubAvailable:    small(p, packet.SharedSubs),
	}
	for id := range p.SubscriptionIDs() {
		last := int(id)
		q.SubscriptionIdentifier = &last
	}
	for name, value := range p.User() {
		q.User = append(q.User, paho.User{Key: string(name), Value: string(value)})
	}
	return q
}

func number(p packet.Properties, id packet.IntProperty) *uint32 {
	if v, present := p.Int(id); present {
		return &v
	}
	return nil
}

func medium(p packet.Properties, id packet.IntProperty) *uint16 {
	if v := number(p, id); v != nil {
		m := uint16(*v)
		return &m
	}
	return nil
}

func small(p packet.Properties, id packet.IntProperty) *byte {
	if v := number(p, id); v != nil {
		s := byte(*v)
		return &s
	}
	return nil
}
