package packet

// A Connect is the CONNECT with which a client begins (MQTT 5 section 3.1).
//
// In Username, Password and Will, nil means that the packet has none; an empty name or password
// is a slice that is not nil. After Decode the slices alias the body.
type Connect struct {
	Version    Version
	CleanStart bool   // clean session, before MQTT 5
	KeepAlive  uint16 // seconds; 0 turns it off
	Properties Properties
	ClientID   []byte // may be empty: the server then chooses one, or refuses
	Will       *Will
	Username   []byte
	Password   []byte // secret: never to be logged
}

// A Will is the message that the server publishes when the client is lost (section 3.1.2.5).
type Will struct {
	Retain     bool
	QoS        byte
	Properties Properties // of the message, and WillDelay
	Topic      []byte
	Payload    []byte
}

// Connect flags (section 3.1.2.3).
const (
	connectReserved   = 1 << 0
	connectCleanStart = 1 << 1
	connectWill       = 1 << 2
	connectWillQoS    = 3 // shift
	connectWillRetain = 1 << 5
	connectPassword   = 1 << 6
	connectUsername   = 1 << 7
)

// Decode reads the body of a CONNECT and finds the version in it. The fields alias body; only a
// will is allocated. When a client asks for a version that is none of ours the error's Code is
// UnsupportedProtocolVersion and Version the level that it asked for, 0 when the protocol is not
// even MQTT: a server answers with a CONNACK of that version, or of 3.1.1 [MQTT-3.1.2-2].
//
// Not checked, because the specifications leave the answer to the server: an empty client
// identifier in 3.1, or in 3.1.1 without a clean session [MQTT-3.1.3-8 of 3.1.1], and one longer than
// the 23 characters of 3.1 (section 3.1 there), which clients of that version exceed all the time.
func (c *Connect) Decode(h Header, body []byte) error {
	*c = Connect{}
	d := decode(V5, h, body)
	d.want(CONNECT)
	c.Version = d.version()
	flags := d.connectFlags(c.Version)
	c.CleanStart = flags&connectCleanStart != 0
	c.KeepAlive = d.uint16()
	if c.Version == V5 {
		c.Properties = d.connectProperties()
	}
	c.ClientID = d.text()
	if d.err == nil && flags&connectWill != 0 {
		c.Will = d.will(c.Version, flags)
	}
	// MQTT 3.1, section 3.1: when the packet ends early the flags promise too much, and that is valid.
	early := func() bool { return c.Version == V31 && len(d.b) == 0 }
	if flags&connectUsername != 0 && !early() {
		c.Username = d.text() // [MQTT-3.1.3-12]
	}
	if flags&connectPassword != 0 && !early() {
		c.Password = d.binary()
	}
	return d.end()
}

// version reads protocol name and level; it returns the level even when that is an error.
func (d *decoder) version() Version {
	name := d.binary()
	if d.err != nil {
		return 0
	}
	if s := string(name); s != "MQTT" && s != "MQIsdp" { // [MQTT-3.1.2-1]
		d.fail(MalformedPacket, "protocol name is not MQTT")
		return 0
	}
	v := Version(d.uint8())
	if !v.named(string(name)) {
		d.fail(UnsupportedProtocolVersion, "protocol level is none of 3.1, 3.1.1 and 5")
	}
	return v
}

// named reports whether v is one of ours and goes by that protocol name.
func (v Version) named(name string) bool {
	if v == V31 {
		return name == "MQIsdp"
	}
	return (v == V311 || v == V5) && name == "MQTT"
}

func (d *decoder) connectFlags(v Version) byte {
	flags := d.uint8()
	willQoS := flags >> connectWillQoS & qosMask
	switch {
	case flags&connectReserved != 0 && v != V31: // [MQTT-3.1.2-3]; 3.1 gave the bit no meaning
		d.fail(MalformedPacket, "reserved connect flag is set")
	case willQoS == 3: // [MQTT-3.1.2-12]
		d.fail(MalformedPacket, "will QoS is 3")
	case flags&connectWill == 0 && v != V31 && (willQoS != 0 || flags&connectWillRetain != 0):
		d.fail(MalformedPacket, "will QoS or will retain without a will") // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
	case flags&connectUsername == 0 && flags&connectPassword != 0 && v != V5:
		d.fail(ProtocolError, "password without a user name") // [MQTT-3.1.2-22 of 3.1.1]
	}
	return flags
}

func (d *decoder) connectProperties() Properties {
	p := d.properties(d.typ)
	if p.Has(AnyProperty(AuthData)) && !p.Has(AnyProperty(AuthMethod)) { // section 3.1.2.11.10
		d.fail(ProtocolError, "authentication data without a method")
	}
	return p
}

func (d *decoder) will(v Version, flags byte) *Will {
	w := &Will{QoS: flags >> connectWillQoS & qosMask, Retain: flags&connectWillRetain != 0}
	if v == V5 {
		w.Properties = d.properties(will)
	}
	w.Topic = d.name()
	if len(w.Topic) == 0 { // [MQTT-4.7.3-1]
		d.fail(MalformedPacket, "will topic is empty")
	}
	w.Payload = d.binary()
	return w
}

// Append appends the packet in the form of c.Version. It adds nothing if there is no such form: see
// Publish.Append.
func (c *Connect) Append(dst []byte) []byte {
	n := c.size()
	if !n.ok() {
		return dst
	}
	name := "MQTT"
	if c.Version == V31 {
		name = "MQIsdp"
	}
	dst = appendHeader(dst, CONNECT, 0, n)
	dst = append(append(dst, 0, byte(len(name))), name...)
	dst = append(dst, byte(c.Version), c.flags(), byte(c.KeepAlive>>8), byte(c.KeepAlive))
	if c.Version == V5 {
		dst = c.Properties.append(dst)
	}
	dst = appendBytes(dst, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			dst = w.Properties.append(dst)
		}
		dst = appendBytes(appendBytes(dst, w.Topic), w.Payload)
	}
	if c.Username != nil {
		dst = appendBytes(dst, c.Username)
	}
	if c.Password != nil {
		dst = appendBytes(dst, c.Password)
	}
	return dst
}

func (c *Connect) flags() byte {
	var flags byte
	if c.CleanStart {
		flags |= connectCleanStart
	}
	if w := c.Will; w != nil {
		flags |= connectWill | w.QoS<<connectWillQoS
		if w.Retain {
			flags |= connectWillRetain
		}
	}
	if c.Username != nil {
		flags |= connectUsername
	}
	if c.Password != nil {
		flags |= connectPassword
	}
	return flags
}

func (c *Connect) size() size {
	n := size(2 + len("MQTT") + 1 + 1 + 2)
	switch c.Version {
	case V31:
		n += size(len("MQIsdp") - len("MQTT"))
	case V311:
	case V5:
		n += c.Properties.sizeIn(CONNECT)
	default:
		return impossible
	}
	n += sizeBytes(c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			n += w.Properties.sizeIn(will)
		}
		if w.QoS > 2 || len(w.Topic) == 0 {
			return impossible
		}
		n += sizeBytes(w.Topic) + sizeBytes(w.Payload)
	}
	if c.Username != nil {
		n += sizeBytes(c.Username)
	}
	if c.Password != nil {
		if c.Username == nil && c.Version != V5 {
			return impossible
		}
		n += sizeBytes(c.Password)
	}
	return n
}
