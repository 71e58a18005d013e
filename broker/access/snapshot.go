package access

// A Snapshot is what the users file and the ACL file said when they were read. It is immutable: put it behind an
// atomic.Pointer, and put another one there when they have changed.
type Snapshot struct {
	anonymous bool
	users     *users // nil without a users file
	rules     *Rules // nil without an ACL file
}

// Load reads a users file, as htpasswd -B writes it, and an ACL file in mosquitto's format; "" stands for none. Whether clients
// may come without a name is for the caller to say. The error is of type [Problems], and there is no Snapshot then.
func Load(usersFile, aclFile string, allowAnonymous bool) (*Snapshot, error) {
	s := &Snapshot{anonymous: allowAnonymous}
	var problems Problems
	if usersFile != "" {
		r := &report{file: usersFile}
		s.users = parseUsers(r.read(), r)
		problems = r.list
	}
	if aclFile != "" {
		r := &report{file: aclFile}
		s.rules = parseRules(r.read(), r)
		problems = append(problems, r.list...)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return s, nil
}

// Rules returns the rules of the ACL file; nil, which allow everything, when there is none.
func (s *Snapshot) Rules() *Rules { return s.rules }

// An Outcome is what became of a login.
type Outcome uint8

// The outcomes, with what a CONNACK says of them in MQTT 5 (section 3.2.2.2) and in 3.1.1 (section 3.2.2.3).
const (
	Allowed        Outcome = iota // 0x00, 0
	BadCredentials                // 0x86, 4: bad user name or password
	NotAuthorized                 // 0x87, 5
	Busy                          // 0x89, 3: too many logins wait, or this one has waited too long
	MustVerify                    // nothing yet: the password is to be verified
)

// String returns the outcome in words.
func (o Outcome) String() string {
	switch o {
	case Allowed:
		return "allowed"
	case BadCredentials:
		return "bad user name or password"
	case NotAuthorized:
		return "not authorized"
	case Busy:
		return "busy"
	case MustVerify:
		return "must verify"
	}
	return "unknown"
}

// A Login is what a CONNECT says of who is there, and what its connection has proved.
type Login struct {
	Name        string
	HasName     bool // a user name was given, perhaps the empty one
	Password    []byte
	HasPassword bool // a password was given, perhaps the empty one

	// Proven is the name that a certificate has proved; "" is none. Name and Password do not count beside it.
	Proven string
}

// Decide says whether a client may connect, and as which user: the one to ask the rules for once the outcome
// is Allowed. It takes no time, and allocates nothing.
//
// A name counts when it was proved. Without a users file no password proves anything: whoever gives
// a name then is as anonymous as who gives none, and the user is "".
func (s *Snapshot) Decide(l Login) (o Outcome, user string) {
	switch {
	case l.Proven != "":
		return Allowed, l.Proven
	case s.users == nil || !l.HasName && !l.HasPassword:
		if s.anonymous {
			return Allowed, ""
		}
		return NotAuthorized, ""
	case !l.HasName || !l.HasPassword || len(l.Password) > maxPassword:
		return BadCredentials, ""
	}
	return MustVerify, l.Name
}

// Knows reports whether a user whose password was verified before could still connect: one of that name is in the users file, or, for "",
// clients may come without a name.
func (s *Snapshot) Knows(user string) bool {
	if user == "" || s.users == nil {
		return s.anonymous
	}
	_, known := s.users.hashes[user]
	return known
}
