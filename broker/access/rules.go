package access

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mqttlb/mqttlb/broker/topic"
	"github.com/mqttlb/mqttlb/internal/redact"
)

// Rules say who may publish and subscribe where: an ACL file of mosquitto's format. They are immutable; any goroutine may
// ask. The nil Rules allow everything.
//
// A client is judged in two steps, the first that has an answer decides:
//
//  1. the topic lines of its user, or, for a client without a user name, those before the first user line;
//  2. the pattern lines.
//
// Within a step deny comes before everything else; what no step allows is refused. So a pattern with deny
// binds all but those users whose own lines allow it.
type Rules struct {
	own       map[string]tree // by user
	anonymous tree
	patterns  tree

	// Whether there are patterns with deny that have %u or %c in them.
	denyUser, denyClient bool
}

// Grant is the answer to a SUBSCRIBE.
type Grant uint8

// The answers to a SUBSCRIBE.
const (
	Refused  Grant = iota // reason 0x87 of MQTT 5, return code 0x80 of 3.1.1
	Filtered              // granted, but a deny may concern a part of it: ask MayRead for each message
	Granted               // granted with all that it matches
)

// dangerous are the characters that would give a user name or client identifier more than a level.
const dangerous = "+#/"

// MayPublish says whether a client may publish to a topic. It allocates nothing. The name has passed topic.CheckName;
// user is the one that Decide returned, "" for an anonymous client.
func (r *Rules) MayPublish(user, clientID, name string) bool {
	return r.allows(client{user, clientID}, name, write)
}

// MayRead says whether a client may get a message with this topic: for subscriptions that are Filtered, for those
// that were made under other rules, and for wills and retained messages alike. It allocates nothing.
func (r *Rules) MayRead(user, clientID, name string) bool {
	return r.allows(client{user, clientID}, name, read)
}

// allows judges a topic name.
func (r *Rules) allows(c client, name string, want access) bool {
	if r == nil {
		return true
	}
	own := r.of(c.user).cover(&c, name)
	if own&(deny|want) != 0 {
		return own&deny == 0
	}
	bits := r.patterns.cover(&c, name)
	return bits&(deny|want) == want && r.safe(c)
}

// MaySubscribe says whether a client may subscribe to a filter, which is one that topic.ParseFilter returned: that of a
// shared subscription without its prefix.
//
// One line with read has to cover all that the filter can match, and no line with deny all of that. Where
// a deny concerns a part, the subscription is granted and that part filtered.
func (r *Rules) MaySubscribe(user, clientID, filter string) Grant {
	if r == nil {
		return Granted
	}
	c := client{user, clientID}
	own := r.of(user)
	bits, denied := own.cover(&c, filter), own.overlap(&c, filter)&deny
	if bits&(deny|read) == 0 { // the patterns decide
		bits = r.patterns.cover(&c, filter)
		denied |= r.patterns.overlap(&c, filter) & deny
		if !r.safe(c) {
			return Refused
		}
	}
	switch {
	case bits&(deny|read) != read:
		return Refused
	case denied != 0:
		return Filtered
	}
	return Granted
}

// of returns the rules of a user.
func (r *Rules) of(user string) tree {
	if user == "" {
		return r.anonymous
	}
	return r.own[user]
}

// safe says whether the patterns can be asked. A name with a wildcard or a separator in it is no level and so
// never matches %u or %c: it is given nothing by that, but could get round a deny.
func (r *Rules) safe(c client) bool {
	return !(r.denyUser && strings.ContainsAny(c.user, dangerous) || r.denyClient && strings.ContainsAny(c.id, dangerous))
}

// parseRules reads an ACL file.
func parseRules(text string, rep *report) *Rules {
	r := &Rules{own: make(map[string]tree)}
	own := make(map[string][]rule) // "" for those before the first user line
	var patterns []rule
	user := ""
	for number, line := range lines(text) {
		keyword, rest := field(line)
		switch keyword {
		case "user":
			if rest == "" {
				rep.addf(number, "names no user: write `user NAME`")
			}
			user = rest
		case "topic", "pattern":
			parsed, wrong := parseRule(rest, keyword == "pattern")
			switch {
			case wrong != "":
				rep.addf(number, "%s %s", keyword, wrong)
			case keyword == "pattern":
				patterns = append(patterns, parsed)
			default:
				own[user] = append(own[user], parsed)
			}
		default:
			rep.addf(number, "begins with %s, not with topic, pattern or user", redact.Quote(keyword))
		}
	}
	for name, rules := range own {
		r.own[name] = grow(rules)
	}
	r.anonymous = r.own[""]
	delete(r.own, "")
	r.patterns = grow(patterns)
	r.denyUser, r.denyClient = denies(patterns, userName), denies(patterns, clientID)
	return r
}

// field returns the first word of a line, and the rest without the blanks around it.
func field(line string) (word, rest string) {
	line = strings.Trim(line, blanks)
	if end := strings.IndexAny(line, blanks); end >= 0 {
		return line[:end], strings.TrimLeft(line[end:], blanks)
	}
	return line, ""
}

// grants are the words before a filter; without one it is readwrite.
var grants = map[string]access{"read": read, "write": write, "readwrite": read | write, "deny": deny}

// parseRule reads what follows the keyword: [read|write|readwrite|deny] FILTER. The filter may contain blanks if there is a
// word before it. What is wrong is said so that it can follow the keyword.
func parseRule(rest string, pattern bool) (r rule, wrong string) {
	word, filter := field(rest)
	granted, known := grants[word]
	switch {
	case rest == "":
		return rule{}, "has no topic: write [read|write|readwrite|deny] and a topic filter after it"
	case known && filter == "":
		return rule{}, fmt.Sprintf("%[1]s has no topic; if the topic is called %[1]s, put readwrite before it", word)
	case !known && filter != "":
		return rule{}, fmt.Sprintf("has %s where read, write, readwrite or deny is expected; a topic with blanks needs one of them before it",
			redact.Quote(word))
	case !known:
		granted, filter = read|write, rest
	}
	if wrong := wrongFilter(filter, pattern); wrong != "" {
		return rule{}, wrong
	}
	return newRule(filter, granted, pattern), ""
}

// wrongFilter says why a filter cannot be that of a rule, or "".
func wrongFilter(filter string, pattern bool) string {
	share, _, err := topic.ParseFilter(filter)
	switch {
	case err != nil:
		return fmt.Sprintf("has a filter that is none: %v", err)
	case share != "":
		return "has a shared subscription; what counts is the filter after $share/NAME/: write that"
	case !utf8.ValidString(filter): // [MQTT-1.5.4-1]
		return "has a filter that is not UTF-8, which topics are: save the file as UTF-8"
	}
	for level := range strings.SplitSeq(filter, "/") {
		for _, variable := range []string{"%u", "%c"} {
			switch {
			case !pattern && level == variable:
				return fmt.Sprintf("has %s, which stands for the client's own in pattern lines only: write pattern instead of topic", variable)
			case pattern && level != variable && strings.Contains(level, variable):
				return fmt.Sprintf("has %s as a part of a level: it must be a level of its own", variable)
			}
		}
	}
	return ""
}
