package packet_test

import (
	"bytes"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestOracleV311 compares with the packets of the Eclipse Paho client for MQTT 3.1 and 3.1.1.
func TestOracleV311(t *testing.T) {
	oracle{
		versions: []packet.Version{packet.V31, packet.V311},
		read: func(v packet.Version, raw []byte) (any, error) {
			cp, err := paho.ReadPacket(bytes.NewReader(raw))
			if err != nil {
				return nil, err
			}
			if v == packet.V31 {
				forget(cp)
			}
			return cp, nil
		},
		theirs: func(p codec, h packet.Header) any { return toPaho311(p, h) },
		write: func(p codec, h packet.Header) []byte {
			var b bytes.Buffer
			if err := toPaho311(p, h).Write(&b); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		},
		lossy:   func(p codec) codec { return p },
		lenient: lenientPaho311,
		strict: map[string]func(codec, int) bool{
			"3.1 CONNECT that ends before the user name or password its flags promise": func(p codec, _ int) bool {
				c, ok := p.(*connect)
				return ok && c.Version == packet.V31 && (c.Username == nil || c.Password == nil)
			},
		},
	}.differential(t)
}

// lenientPaho311 lists what Paho accepts and we refuse.
var lenientPaho311 = []string{
	// Strings are any bytes, numbers any value, names and flags anything; some of it is looked at
	// later, by a function that a server would call.
	"a string is not UTF-8", "a string holds U+0000", "a topic name holds a wildcard",
	"topic name is empty", "topic filter is empty", "will topic is empty", "protocol name is not MQTT",
	"protocol level is none of 3.1, 3.1.1 and 5", "reserved flags are wrong",
	"reserved connect flag is set", "reserved connack flags are set", "QoS is 3",
	"DUP is set with QoS 0", "requested QoS is not 0, 1 or 2", "will QoS is 3",
	"will QoS or will retain without a will", "password without a user name",
	"packet identifier is 0", "return code is reserved", "reason code does not belong here",
	"a refusal says that there is a session",
	// Lists may be empty.
	"there is no topic filter", "there is no reason code",
	// A string that is cut short is filled up with zeros; whatever follows is ignored.
	"a field reaches beyond the end", "bytes are left over", "remaining length is not 0",
}

func toPaho311(p codec, h packet.Header) paho.ControlPacket {
	fh := paho.FixedHeader{MessageType: byte(h.Type), Dup: h.Flags&8 != 0, Qos: h.Flags >> 1 & 3,
		Retain: h.Flags&1 != 0, RemainingLength: h.Remaining}
	switch p := p.(type) {
	case *connect:
		return connectToPaho311(p, fh)
	case *packet.Connack:
		code, _ := p.Code.ReturnCode()
		return &paho.ConnackPacket{FixedHeader: fh, SessionPresent: p.SessionPresent, ReturnCode: byte(code)}
	case *packet.Publish:
		return &paho.PublishPacket{FixedHeader: fh, TopicName: string(p.Topic), MessageID: p.PacketID, Payload: p.Payload}
	case *packet.Ack:
		switch p.Type {
		case packet.PUBACK:
			return &paho.PubackPacket{FixedHeader: fh, MessageID: p.PacketID}
		case packet.PUBREC:
			return &paho.PubrecPacket{FixedHeader: fh, MessageID: p.PacketID}
		case packet.PUBREL:
			return &paho.PubrelPacket{FixedHeader: fh, MessageID: p.PacketID}
		}
		return &paho.PubcompPacket{FixedHeader: fh, MessageID: p.PacketID}
	case *packet.Subscribe:
		s := &paho.SubscribePacket{FixedHeader: fh, MessageID: p.PacketID}
		for filter, o := range p.Subscriptions.All() {
			s.Topics, s.Qoss = append(s.Topics, string(filter)), append(s.Qoss, o.QoS)
		}
		return s
	case *packet.Suback:
		return &paho.SubackPacket{FixedHeader: fh, MessageID: p.PacketID, ReturnCodes: p.Codes}
	case *packet.Unsubscribe:
		u := &paho.UnsubscribePacket{FixedHeader: fh, MessageID: p.PacketID}
		for filter := range p.Filters.All() {
			u.Topics = append(u.Topics, string(filter))
		}
		return u
	case *packet.Unsuback:
		return &paho.UnsubackPacket{FixedHeader: fh, MessageID: p.PacketID}
	case *packet.Disconnect:
		return &paho.DisconnectPacket{FixedHeader: fh}
	case *ping:
		if p.t == packet.PINGREQ {
			return &paho.PingreqPacket{FixedHeader: fh}
		}
	}
	return &paho.PingrespPacket{FixedHeader: fh}
}

func connectToPaho311(p *connect, fh paho.FixedHeader) *paho.ConnectPacket {
	c := &paho.ConnectPacket{FixedHeader: fh, ProtocolName: "MQTT", ProtocolVersion: byte(p.Version),
		CleanSession: p.CleanStart, Keepalive: p.KeepAlive, ClientIdentifier: string(p.ClientID),
		UsernameFlag: p.Username != nil, Username: string(p.Username),
		PasswordFlag: p.Password != nil, Password: p.Password}
	if p.Version == packet.V31 {
		c.ProtocolName = "MQIsdp"
	}
	if w := p.Will; w != nil {
		c.WillFlag, c.WillRetain, c.WillQos = true, w.Retain, w.QoS
		c.WillTopic, c.WillMessage = string(w.Topic), w.Payload
	}
	return c
}

// forget drops flags that have no meaning in 3.1: Paho keeps them, we do not.
func forget(cp paho.ControlPacket) {
	switch p := cp.(type) {
	case *paho.ConnackPacket:
		p.SessionPresent = false
	case *paho.ConnectPacket:
		p.ReservedBit = 0
		if !p.WillFlag {
			p.WillRetain, p.WillQos = false, 0
		}
	}
}
