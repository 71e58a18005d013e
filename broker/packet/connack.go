package packet

// A Connack is the server's answer to a CONNECT (MQTT 5 section 3.2). Code is a code of MQTT 5 in
// every version; on the wire the 3.x versions have the return codes 0 to 5 (section 3.2.2.3 of
// 3.1.1), which a ReturnCode names.
type Connack struct {
	SessionPresent bool // 3.1 cannot say so
	Code           ReasonCode
	Properties     Properties // aliases the body after Decode
}

// A ReturnCode is the result in a CONNACK before MQTT 5 (MQTT 3.1.1 section 3.2.2.3, table 3.1).
type ReturnCode byte

// The return codes; all others are reserved.
const (
	Accepted              ReturnCode = 0
	RefusedVersion        ReturnCode = 1
	RefusedClientID       ReturnCode = 2
	RefusedUnavailable    ReturnCode = 3
	RefusedBadCredentials ReturnCode = 4
	RefusedNotAuthorized  ReturnCode = 5
)

var returnReasons = [...]ReasonCode{
	Accepted: Success, RefusedVersion: UnsupportedProtocolVersion, RefusedClientID: ClientIDNotValid,
	RefusedUnavailable: ServerUnavailable, RefusedBadCredentials: BadUsernameOrPassword,
	RefusedNotAuthorized: NotAuthorized,
}

// ReturnCode translates a code of a CONNACK for a client before MQTT 5. It is false where 3.1.1 has
// nothing to say: the connection is then closed without a CONNACK [MQTT-3.2.2-6 of 3.1.1].
func (c ReasonCode) ReturnCode() (ReturnCode, bool) {
	switch c {
	case Success:
		return Accepted, true
	case UnsupportedProtocolVersion:
		return RefusedVersion, true
	case ClientIDNotValid:
		return RefusedClientID, true
	case ServerUnavailable, ServerBusy, QuotaExceeded, UseAnotherServer, ServerMoved,
		ConnectionRateExceeded:
		return RefusedUnavailable, true
	case BadUsernameOrPassword:
		return RefusedBadCredentials, true
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return RefusedNotAuthorized, true
	}
	return 0, false
}

// Decode reads the body of a CONNACK that answers a CONNECT of version v.
func (c *Connack) Decode(v Version, h Header, body []byte) error {
	*c = Connack{}
	d := decode(v, h, body)
	d.want(CONNACK)
	flags := d.uint8()
	if v == V31 { // MQTT 3.1 section 3.2: the byte is not used
		flags = 0
	}
	if flags > 1 { // [MQTT-3.2.2-1]
		d.fail(MalformedPacket, "reserved connack flags are set")
	}
	c.SessionPresent = flags == 1
	code := d.uint8()
	switch {
	case v == V5:
		c.Code = ReasonCode(code)
		d.allow(c.Code) // [MQTT-3.2.2-8]
		c.Properties = d.connectProperties()
	case int(code) < len(returnReasons):
		c.Code = returnReasons[code]
	default:
		d.fail(ProtocolError, "return code is reserved")
	}
	if c.SessionPresent && c.Code != Success { // [MQTT-3.2.2-6]
		d.fail(ProtocolError, "a refusal says that there is a session")
	}
	return d.end()
}

// allow fails unless the packet may carry the code.
func (d *decoder) allow(c ReasonCode) {
	if d.err == nil && !c.allowedIn(d.typ) {
		d.fail(ProtocolError, "reason code does not belong here")
	}
}

// Append appends the packet for a client of version v. It adds nothing if there is no such form:
// see Publish.Append, and ReturnCode for refusals that v has no word for.
func (c *Connack) Append(dst []byte, v Version) []byte {
	code, ok := byte(c.Code), c.Code.allowedIn(CONNACK)
	n := size(2)
	if v == V5 {
		n += c.Properties.sizeIn(CONNACK)
	} else {
		var rc ReturnCode
		rc, ok = c.Code.ReturnCode()
		code = byte(rc)
	}
	if !ok || !n.ok() || c.SessionPresent && c.Code != Success {
		return dst
	}
	var flags byte
	if c.SessionPresent && v != V31 {
		flags = 1
	}
	dst = append(appendHeader(dst, CONNACK, 0, n), flags, code)
	if v == V5 {
		dst = c.Properties.append(dst)
	}
	return dst
}
