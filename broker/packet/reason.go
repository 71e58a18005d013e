package packet

import (
	"fmt"
	"slices"
)

// A ReasonCode is the result of an operation (MQTT 5 section 2.4). Codes from 0x80 on are
// failures. The 3.x versions have other, fewer numbers; Connack and Suback translate.
type ReasonCode byte

// The reason codes of MQTT 5 section 2.4, table 2-6.
const (
	Success                    ReasonCode = 0x00
	NormalDisconnection        ReasonCode = 0x00
	GrantedQoS0                ReasonCode = 0x00
	GrantedQoS1                ReasonCode = 0x01
	GrantedQoS2                ReasonCode = 0x02
	DisconnectWithWill         ReasonCode = 0x04
	NoMatchingSubscribers      ReasonCode = 0x10
	NoSubscriptionExisted      ReasonCode = 0x11
	ContinueAuthentication     ReasonCode = 0x18
	ReAuthenticate             ReasonCode = 0x19
	UnspecifiedError           ReasonCode = 0x80
	MalformedPacket            ReasonCode = 0x81
	ProtocolError              ReasonCode = 0x82
	ImplementationError        ReasonCode = 0x83
	UnsupportedProtocolVersion ReasonCode = 0x84
	ClientIDNotValid           ReasonCode = 0x85
	BadUsernameOrPassword      ReasonCode = 0x86
	NotAuthorized              ReasonCode = 0x87
	ServerUnavailable          ReasonCode = 0x88
	ServerBusy                 ReasonCode = 0x89
	Banned                     ReasonCode = 0x8A
	ServerShuttingDown         ReasonCode = 0x8B
	BadAuthenticationMethod    ReasonCode = 0x8C
	KeepAliveTimeout           ReasonCode = 0x8D
	SessionTakenOver           ReasonCode = 0x8E
	TopicFilterInvalid         ReasonCode = 0x8F
	TopicNameInvalid           ReasonCode = 0x90
	PacketIDInUse              ReasonCode = 0x91
	PacketIDNotFound           ReasonCode = 0x92
	ReceiveMaximumExceeded     ReasonCode = 0x93
	TopicAliasInvalid          ReasonCode = 0x94
	PacketTooLarge             ReasonCode = 0x95
	MessageRateTooHigh         ReasonCode = 0x96
	QuotaExceeded              ReasonCode = 0x97
	AdministrativeAction       ReasonCode = 0x98
	PayloadFormatInvalid       ReasonCode = 0x99
	RetainNotSupported         ReasonCode = 0x9A
	QoSNotSupported            ReasonCode = 0x9B
	UseAnotherServer           ReasonCode = 0x9C
	ServerMoved                ReasonCode = 0x9D
	SharedSubsNotSupported     ReasonCode = 0x9E
	ConnectionRateExceeded     ReasonCode = 0x9F
	MaximumConnectTime         ReasonCode = 0xA0
	SubIDsNotSupported         ReasonCode = 0xA1
	WildcardSubsNotSupported   ReasonCode = 0xA2
)

var reasonNames = [...]string{
	Success: "success", GrantedQoS1: "granted QoS 1", GrantedQoS2: "granted QoS 2",
	DisconnectWithWill:     "disconnect with will message",
	NoMatchingSubscribers:  "no matching subscribers",
	NoSubscriptionExisted:  "no subscription existed",
	ContinueAuthentication: "continue authentication", ReAuthenticate: "re-authenticate",
	UnspecifiedError: "unspecified error", MalformedPacket: "malformed packet",
	ProtocolError: "protocol error", ImplementationError: "implementation specific error",
	UnsupportedProtocolVersion: "unsupported protocol version",
	ClientIDNotValid:           "client identifier not valid",
	BadUsernameOrPassword:      "bad user name or password", NotAuthorized: "not authorized",
	ServerUnavailable: "server unavailable", ServerBusy: "server busy", Banned: "banned",
	ServerShuttingDown:      "server shutting down",
	BadAuthenticationMethod: "bad authentication method",
	KeepAliveTimeout:        "keep alive timeout", SessionTakenOver: "session taken over",
	TopicFilterInvalid: "topic filter invalid", TopicNameInvalid: "topic name invalid",
	PacketIDInUse: "packet identifier in use", PacketIDNotFound: "packet identifier not found",
	ReceiveMaximumExceeded: "receive maximum exceeded", TopicAliasInvalid: "topic alias invalid",
	PacketTooLarge: "packet too large", MessageRateTooHigh: "message rate too high",
	QuotaExceeded: "quota exceeded", AdministrativeAction: "administrative action",
	PayloadFormatInvalid: "payload format invalid", RetainNotSupported: "retain not supported",
	QoSNotSupported: "QoS not supported", UseAnotherServer: "use another server",
	ServerMoved:              "server moved",
	SharedSubsNotSupported:   "shared subscriptions not supported",
	ConnectionRateExceeded:   "connection rate exceeded",
	MaximumConnectTime:       "maximum connect time",
	SubIDsNotSupported:       "subscription identifiers not supported",
	WildcardSubsNotSupported: "wildcard subscriptions not supported",
}

// String returns the code's name in lower case, or "reason 0xnn" for a number that has none.
func (c ReasonCode) String() string {
	if int(c) < len(reasonNames) && reasonNames[c] != "" {
		return reasonNames[c]
	}
	return fmt.Sprintf("reason 0x%02x", byte(c))
}

// Failed reports whether the code tells of a failure: 0x80 and above (MQTT 5 section 2.4).
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// reasons lists the codes that each MQTT 5 packet may carry: sections 3.2.2.2 [MQTT-3.2.2-8],
// 3.4.2.1 [MQTT-3.4.2-1], 3.5.2.1 [MQTT-3.5.2-1], 3.6.2.1 [MQTT-3.6.2-1], 3.7.2.1
// [MQTT-3.7.2-1], 3.9.3 [MQTT-3.9.3-2], 3.11.3 [MQTT-3.11.3-2], 3.14.2.1 [MQTT-3.14.2-1] and
// 3.15.2.1 [MQTT-3.15.2-1].
var reasons = [16][]ReasonCode{
	CONNACK: {Success, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationError,
		UnsupportedProtocolVersion, ClientIDNotValid, BadUsernameOrPassword, NotAuthorized,
		ServerUnavailable, ServerBusy, Banned, BadAuthenticationMethod, TopicNameInvalid,
		PacketTooLarge, QuotaExceeded, PayloadFormatInvalid, RetainNotSupported, QoSNotSupported,
		UseAnotherServer, ServerMoved, ConnectionRateExceeded},
	PUBACK: {Success, NoMatchingSubscribers, UnspecifiedError, ImplementationError, NotAuthorized,
		TopicNameInvalid, PacketIDInUse, QuotaExceeded, PayloadFormatInvalid},
	PUBREC: {Success, NoMatchingSubscribers, UnspecifiedError, ImplementationError, NotAuthorized,
		TopicNameInvalid, PacketIDInUse, QuotaExceeded, PayloadFormatInvalid},
	PUBREL:  {Success, PacketIDNotFound},
	PUBCOMP: {Success, PacketIDNotFound},
	SUBACK: {GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationError,
		NotAuthorized, TopicFilterInvalid, PacketIDInUse, QuotaExceeded, SharedSubsNotSupported,
		SubIDsNotSupported, WildcardSubsNotSupported},
	UNSUBACK: {Success, NoSubscriptionExisted, UnspecifiedError, ImplementationError,
		NotAuthorized, TopicFilterInvalid, PacketIDInUse},
	DISCONNECT: {NormalDisconnection, DisconnectWithWill, UnspecifiedError, MalformedPacket,
		ProtocolError, ImplementationError, NotAuthorized, ServerBusy, ServerShuttingDown,
		BadAuthenticationMethod, KeepAliveTimeout, SessionTakenOver, TopicFilterInvalid,
		TopicNameInvalid, ReceiveMaximumExceeded, TopicAliasInvalid, PacketTooLarge,
		MessageRateTooHigh, QuotaExceeded, AdministrativeAction, PayloadFormatInvalid,
		RetainNotSupported, QoSNotSupported, UseAnotherServer, ServerMoved,
		SharedSubsNotSupported, ConnectionRateExceeded, MaximumConnectTime, SubIDsNotSupported,
		WildcardSubsNotSupported},
	AUTH: {Success, ContinueAuthentication, ReAuthenticate},
}

// allowedIn reports whether a packet of type t of MQTT 5 may carry the code.
func (c ReasonCode) allowedIn(t Type) bool { return slices.Contains(reasons[t], c) }
