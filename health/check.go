package health

import "time"

// A Target is a server to watch. It is a value and can be compared.
type Target struct {
	// Key names the server for good: "backend/server". What is known of a server follows it.
	Key string
	// Address is host:port. A name is resolved at each probe; of several addresses one has to answer.
	Address string
	Check   Check
	Passive Passive
	// ProxyHeader is the version of the PROXY header that an MQTT check sends first: 0 (none), 1 or 2.
	// It says that nobody is being proxied: UNKNOWN in version 1, LOCAL in version 2
	// (PROXY protocol, sections 2.1 and 2.2). The TCP check sends no byte and so no header.
	ProxyHeader int
	// Paused stops the checks, as HAProxy's maintenance does; the state is kept.
	Paused bool
}

// A Check says how a server is checked. Of each field but Type, what is not positive means its default.
type Check struct {
	Type         Type
	Interval     time.Duration // between checks; default 10s
	FastInterval time.Duration // while the counter is neither full nor 0 (HAProxy's fastinter); default Interval
	DownInterval time.Duration // while the counter is 0 (HAProxy's downinter); default Interval
	Timeout      time.Duration // of one check from resolving the name to the answer; default 5s
	Rise         int           // passes that bring a server up; default 5
	Fall         int           // failures that take it down; default 2
}

// Passive says how live traffic takes a server out: MaxFails connect errors within FailTimeout do, for
// FailTimeout (NGINX's max_fails and fail_timeout).
type Passive struct {
	MaxFails    int           // 0 or less: never
	FailTimeout time.Duration // default 30s
}

// A Type is a kind of check.
type Type uint8

// The kinds of checks.
const (
	TCP  Type = iota // the server's kernel answers SYN with SYN/ACK; the server itself learns nothing of it
	MQTT             // the server answers CONNECT (3.1.1, clean session) with CONNACK 0
	None             // no checks: the server is up as far as checks go
)

// String returns the kind as the configuration spells it.
func (t Type) String() string {
	switch t {
	case TCP:
		return "tcp"
	case MQTT:
		return "mqtt"
	case None:
		return "none"
	default:
		return "unknown"
	}
}

// withDefaults returns the target with every default filled in.
func (t Target) withDefaults() Target {
	c, p := &t.Check, &t.Passive
	c.Interval = positive(c.Interval, 10*time.Second)
	c.FastInterval = positive(c.FastInterval, c.Interval)
	c.DownInterval = positive(c.DownInterval, c.Interval)
	c.Timeout = positive(c.Timeout, 5*time.Second)
	c.Rise = positive(c.Rise, 5)
	c.Fall = positive(c.Fall, 2)
	p.MaxFails = max(p.MaxFails, 0)
	p.FailTimeout = positive(p.FailTimeout, 30*time.Second)
	return t
}

// checked reports whether checks are to run.
func (t Target) checked() bool { return t.Check.Type != None && !t.Paused }

// pause returns the time from the end of a check to the next one (HAProxy's srv_getinter). The
// defaults are filled in.
func (c Check) pause(health Counter) time.Duration {
	switch health {
	case full(c.Rise, c.Fall):
		return c.Interval
	case 0:
		return c.DownInterval
	default:
		return c.FastInterval
	}
}

func positive[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}
