package record

import "fmt"

// An AlertCode says why a connection ends (RFC 8446, section 6; RFC 5246, section 7.2). Those that this package sends have
// names; a peer may send others.
type AlertCode uint8

// The alerts that this package, or who uses it, sends.
const (
	CloseNotify       AlertCode = 0
	UnexpectedMessage AlertCode = 10
	BadRecordMAC      AlertCode = 20
	RecordOverflow    AlertCode = 22
	IllegalParameter  AlertCode = 47
	DecodeError       AlertCode = 50
	ProtocolVersion   AlertCode = 70
	InternalError     AlertCode = 80
	NoRenegotiation   AlertCode = 100
)

// userCanceled is ignored (RFC 8446, section 6.1): close_notify follows.
const userCanceled AlertCode = 90

// The levels of an alert (RFC 5246, section 7.2). TLS 1.3 sends them and ignores them (RFC 8446, section 6).
const (
	levelWarning = 1
	levelFatal   = 2
)

// level is the level an alert is sent with: close_notify (RFC 8446, section 6.1) and no_renegotiation (RFC 5246,
// section 7.2.2) are warnings by definition.
func (a AlertCode) level() byte {
	if a == CloseNotify || a == NoRenegotiation {
		return levelWarning
	}
	return levelFatal
}

// String returns the alert's name in the RFCs, or its number.
func (a AlertCode) String() string {
	if name, known := alertNames[a]; known {
		return name
	}
	return fmt.Sprintf("alert %d", uint8(a))
}

var alertNames = map[AlertCode]string{
	CloseNotify: "close_notify", UnexpectedMessage: "unexpected_message", BadRecordMAC: "bad_record_mac", RecordOverflow: "record_overflow",
	40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
	45: "certificate_expired", 46: "certificate_unknown", IllegalParameter: "illegal_parameter", 48: "unknown_ca", 49: "access_denied",
	DecodeError: "decode_error", 51: "decrypt_error", ProtocolVersion: "protocol_version", InternalError: "internal_error",
	userCanceled: "user_canceled", NoRenegotiation: "no_renegotiation", 116: "certificate_required",
}

// An Alert is the error of State.Open: the connection is over.
type Alert struct {
	Code   AlertCode // what to tell the peer, or what the peer told us
	Remote bool      // the peer sent it: nothing is to be answered

	why string
}

// Error says in a sentence for the operator who ended it, and why.
func (a *Alert) Error() string {
	if !a.Remote {
		return fmt.Sprintf("refuse a TLS record with %v: %s", a.Code, a.why)
	}
	hint := ""
	if a.Code >= 42 && a.Code <= 46 || a.Code == 48 { // RFC 8446, section 6.2
		hint = ": it does not accept our certificate; compare the CA that it trusts, the names, and its clock"
	}
	return fmt.Sprintf("the peer ended TLS with %v%s", a.Code, hint)
}

func refuse(code AlertCode, why string) *Alert { return &Alert{Code: code, why: why} }
