package packet

// A Disconnect is the last packet of a connection (MQTT 5 section 3.14). Before MQTT 5 only the
// client has it, without a code.
type Disconnect struct {
	Code       ReasonCode
	Properties Properties // aliases the body after Decode
}

// Decode reads the body of a DISCONNECT. Codes and properties that only one of client and server
// may send are accepted from both [MQTT-3.14.2-2].
func (p *Disconnect) Decode(v Version, h Header, body []byte) error {
	*p = Disconnect{}
	d := decode(v, h, body)
	d.want(DISCONNECT)
	if v == V5 {
		p.Code, p.Properties = d.result()
	}
	return d.end()
}

// result reads a reason code and properties, each of which may be missing at the end of a packet:
// sections 3.4.2, 3.14.2 and 3.15.2.
func (d *decoder) result() (c ReasonCode, p Properties) {
	if len(d.b) > 0 {
		c = ReasonCode(d.uint8())
		d.allow(c)
	}
	if len(d.b) > 0 {
		p = d.properties(d.typ)
	}
	return c, p
}

// sizeResult counts what appendResult writes: as little as the specification lets one write.
func sizeResult(t Type, c ReasonCode, p Properties) size {
	switch {
	case !c.allowedIn(t):
		return impossible
	case !p.Empty():
		return 1 + p.sizeIn(t)
	case c != Success:
		return 1
	}
	return 0
}

func appendResult(dst []byte, c ReasonCode, p Properties) []byte {
	if c == Success && p.Empty() {
		return dst
	}
	dst = append(dst, byte(c))
	if !p.Empty() {
		dst = p.append(dst)
	}
	return dst
}

// Append appends the packet in the form of version v. Before MQTT 5 only the client's normal end
// has a form: any other code adds nothing, so that a server may append its reason for every
// version before it closes. See Publish.Append.
func (p *Disconnect) Append(dst []byte, v Version) []byte {
	n := sizeResult(DISCONNECT, p.Code, p.Properties)
	if v < V5 && p.Code == NormalDisconnection {
		return appendHeader(dst, DISCONNECT, 0, 0)
	}
	if v < V5 || !n.ok() {
		return dst
	}
	return appendResult(appendHeader(dst, DISCONNECT, 0, n), p.Code, p.Properties)
}

// An Auth is a step of an extended authentication (MQTT 5 section 3.15).
type Auth struct {
	Code       ReasonCode // Success, ContinueAuthentication or ReAuthenticate
	Properties Properties // aliases the body after Decode
}

// Decode reads the body of an AUTH, which no version before MQTT 5 has.
func (p *Auth) Decode(v Version, h Header, body []byte) error {
	*p = Auth{}
	d := decode(v, h, body)
	d.want(AUTH)
	p.Code, p.Properties = d.result()
	if !p.complete() {
		d.fail(ProtocolError, "authentication method is missing")
	}
	return d.end()
}

// Append appends the packet; before MQTT 5 it adds nothing. See Publish.Append.
func (p *Auth) Append(dst []byte, v Version) []byte {
	n := sizeResult(AUTH, p.Code, p.Properties)
	if v < V5 || !n.ok() || !p.complete() {
		return dst
	}
	return appendResult(appendHeader(dst, AUTH, 0, n), p.Code, p.Properties)
}

// complete reports whether the method is there (section 3.15.2.2.2), which only a success without any
// property may leave out (section 3.15.2.1).
func (p *Auth) complete() bool {
	return p.Properties.Has(AnyProperty(AuthMethod)) || p.Code == Success && p.Properties.Empty()
}
