package packet

// Identifiers of MQTT 5 properties (section 2.2.2.2, table 2-4). They are of different types by
// the kind of value that they have, so that the compiler finds a property of the wrong kind.
type (
	// An IntProperty has a number: a byte, two or four bytes, or a variable byte integer.
	IntProperty byte
	// A BytesProperty has a UTF-8 string or binary data.
	BytesProperty byte
	// An AnyProperty is any of them, for Has: AnyProperty(TopicAlias).
	AnyProperty byte
)

// Properties with a number. Intervals are in seconds.
const (
	PayloadFormat       IntProperty = 0x01 // 1: the payload is UTF-8
	MessageExpiry       IntProperty = 0x02
	SessionExpiry       IntProperty = 0x11 // 0xFFFFFFFF: never
	ServerKeepAlive     IntProperty = 0x13
	RequestProblemInfo  IntProperty = 0x17 // 0: no reason strings and user properties, please
	WillDelay           IntProperty = 0x18
	RequestResponseInfo IntProperty = 0x19
	ReceiveMaximum      IntProperty = 0x21
	TopicAliasMaximum   IntProperty = 0x22
	TopicAlias          IntProperty = 0x23
	MaximumQoS          IntProperty = 0x24
	RetainAvailable     IntProperty = 0x25
	MaximumPacketSize   IntProperty = 0x27 // bytes, the fixed header included
	WildcardSubs        IntProperty = 0x28 // Wildcard Subscription Available
	SubIDs              IntProperty = 0x29 // Subscription Identifier Available
	SharedSubs          IntProperty = 0x2A // Shared Subscription Available
)

// Properties with a string or with binary data.
const (
	ContentType      BytesProperty = 0x03
	ResponseTopic    BytesProperty = 0x08
	CorrelationData  BytesProperty = 0x09 // binary
	AssignedClientID BytesProperty = 0x12
	AuthMethod       BytesProperty = 0x15
	AuthData         BytesProperty = 0x16 // binary
	ResponseInfo     BytesProperty = 0x1A
	ServerReference  BytesProperty = 0x1C
	ReasonString     BytesProperty = 0x1F
)

// The two properties that may occur more than once.
const (
	SubscriptionID AnyProperty = 0x0B // variable byte integer, 1 … 268,435,455
	UserProperty   AnyProperty = 0x26 // pair of UTF-8 strings
)

// A kind is how a property's value is written.
type kind byte

const (
	unknown kind = iota
	int8bit
	int16bit
	int32bit
	varint
	text
	binaryData
	textPair
)

// kinds is table 2-4; its length is one more than the highest identifier.
var kinds = [...]kind{
	PayloadFormat: int8bit, MessageExpiry: int32bit, ContentType: text, ResponseTopic: text,
	CorrelationData: binaryData, SubscriptionID: varint, SessionExpiry: int32bit,
	AssignedClientID: text, ServerKeepAlive: int16bit, AuthMethod: text, AuthData: binaryData,
	RequestProblemInfo: int8bit, WillDelay: int32bit, RequestResponseInfo: int8bit,
	ResponseInfo: text, ServerReference: text, ReasonString: text, ReceiveMaximum: int16bit,
	TopicAliasMaximum: int16bit, TopicAlias: int16bit, MaximumQoS: int8bit,
	RetainAvailable: int8bit, UserProperty: textPair, MaximumPacketSize: int32bit,
	WildcardSubs: int8bit, SubIDs: int8bit, SharedSubs: int8bit,
}

// A set has one bit for each identifier; the highest is 0x2A.
type set uint64

func (s set) has(id byte) bool { return s&(1<<id) != 0 }

const (
	reasonAndUser set = 1<<ReasonString | 1<<UserProperty
	authFields    set = 1<<AuthMethod | 1<<AuthData

	// forwarded is what a server passes on with a message, unaltered [MQTT-3.3.2-4]
	// [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-20].
	forwarded set = 1<<PayloadFormat | 1<<ContentType | 1<<ResponseTopic | 1<<CorrelationData |
		1<<UserProperty

	// unwritable marks a set to which something was added that has no form on the wire.
	unwritable set = 1 << 63
)

// will stands for the will properties of a CONNECT where a Type is asked for: type 0 is no packet.
const will Type = 0

// allowed is table 2-4 by packet.
var allowed = [16]set{
	will: forwarded | 1<<WillDelay | 1<<MessageExpiry,
	CONNECT: authFields | 1<<SessionExpiry | 1<<ReceiveMaximum | 1<<MaximumPacketSize |
		1<<TopicAliasMaximum | 1<<RequestResponseInfo | 1<<RequestProblemInfo | 1<<UserProperty,
	CONNACK: authFields | reasonAndUser | 1<<SessionExpiry | 1<<ReceiveMaximum | 1<<MaximumQoS |
		1<<RetainAvailable | 1<<MaximumPacketSize | 1<<AssignedClientID | 1<<TopicAliasMaximum |
		1<<WildcardSubs | 1<<SubIDs | 1<<SharedSubs | 1<<ServerKeepAlive | 1<<ResponseInfo |
		1<<ServerReference,
	PUBLISH: forwarded | 1<<MessageExpiry | 1<<TopicAlias | 1<<SubscriptionID,
	PUBACK:  reasonAndUser, PUBREC: reasonAndUser, PUBREL: reasonAndUser, PUBCOMP: reasonAndUser,
	SUBSCRIBE: 1<<SubscriptionID | 1<<UserProperty,
	SUBACK:    reasonAndUser, UNSUBSCRIBE: 1 << UserProperty, UNSUBACK: reasonAndUser,
	DISCONNECT: reasonAndUser | 1<<SessionExpiry | 1<<ServerReference,
	AUTH:       authFields | reasonAndUser,
}

// repeatable tells which properties a packet may carry more than once.
func repeatable(t Type, id byte) bool {
	return id == byte(UserProperty) || id == byte(SubscriptionID) && t == PUBLISH
}

// unset is what an absent number stands for, where that is not 0: section 3.1.2.11 for the
// client's, 3.2.2.3 for the server's.
func unset(id IntProperty) uint32 {
	switch id {
	case ReceiveMaximum:
		return 0xffff
	case MaximumQoS:
		return 2
	case RequestProblemInfo, RetainAvailable, WildcardSubs, SubIDs, SharedSubs:
		return 1
	case MaximumPacketSize:
		return MaxRemaining + MaxHeader // no limit but the protocol's own
	}
	return 0
}

// checkInt returns the code and the rule that the value of a number breaks, or 0.
func checkInt(id IntProperty, v uint32) (ReasonCode, string) {
	switch id {
	case PayloadFormat, RequestProblemInfo, RequestResponseInfo, MaximumQoS, RetainAvailable,
		WildcardSubs, SubIDs, SharedSubs:
		if v > 1 { // sections 3.1.2.11.6 and .7, 3.2.2.3.4, .5, .11, .12, .13, 3.3.2.3.2
			return ProtocolError, "a property that is 0 or 1 has another value"
		}
	case ReceiveMaximum, MaximumPacketSize:
		if v == 0 { // sections 3.1.2.11.3 and .4, 3.2.2.3.3 and .6
			return ProtocolError, "receive maximum or maximum packet size is 0"
		}
	case TopicAlias:
		if v == 0 { // [MQTT-3.3.2-8]
			return TopicAliasInvalid, "topic alias is 0"
		}
	case IntProperty(SubscriptionID):
		if v == 0 { // sections 3.3.2.3.8 and 3.8.2.1.2
			return ProtocolError, "subscription identifier is 0"
		}
	}
	return 0, ""
}
