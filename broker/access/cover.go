package access

import "strings"

// Two questions are asked of a tree: which rules match all that a filter matches, and which match some of it. A topic
// name is a filter that matches one name, so that the first question is that of a PUBLISH, too.
//
// Every node is reached by one way only: an answer costs at most one visit of each node, and where rules
// have few wildcards, one for each level of the filter.

// Covers says whether the filter wide matches every topic name that narrow matches. Both have passed
// topic.ParseFilter. The empty name, which no message has, counts as a name of one level here and in Overlaps.
func Covers(wide, narrow string) bool {
	return grow([]rule{newRule(wide, read, false)}).cover(&client{}, narrow) != 0
}

// Overlaps says whether there is a topic name that both filters match. Both have passed topic.ParseFilter.
func Overlaps(a, b string) bool {
	return grow([]rule{newRule(a, read, false)}).overlap(&client{}, b) != 0
}

// cover returns what the rules do that match all that a filter matches.
func (t tree) cover(c *client, filter string) access {
	if len(t) == 0 {
		return 0
	}
	level, rest, more := strings.Cut(filter, "/")
	switch {
	case isSystem(filter): // only what spells the first level out [MQTT-4.7.2-1]
		if kid := t.find(&t[0], level); kid != 0 {
			return t.coverKid(c, kid, rest, more)
		}
		return 0
	case level == "#": // +/# is as much: there is no name without a first level
		bits := t[0].below
		if kid := t[0].first; t[0].wild > 0 && t[kid].kind == single {
			bits |= t[kid].below
		}
		return bits
	}
	return t.coverBelow(c, &t[0], filter)
}

// coverBelow goes on below a node; rest is what is left of the filter, at least one level.
func (t tree) coverBelow(c *client, n *node, rest string) access {
	bits := n.below
	level, rest, more := strings.Cut(rest, "/")
	if level == "#" {
		return bits
	}
	for kid := n.first; kid < n.first+uint32(n.wild); kid++ {
		if t[kid].kind == single || t[kid].is(c, level) {
			bits |= t.coverKid(c, kid, rest, more)
		}
	}
	if kid := t.find(n, level); kid != 0 { // a rule has no literal +
		bits |= t.coverKid(c, kid, rest, more)
	}
	return bits
}

// coverKid goes on at a node that covers the level before rest. Where the filter ends, "a/#" covers "a": the
// multi-level wildcard includes its parent level (MQTT 5, section 4.7.1.2).
func (t tree) coverKid(c *client, kid uint32, rest string, more bool) access {
	if more {
		return t.coverBelow(c, &t[kid], rest)
	}
	return t[kid].here | t[kid].below
}

// is says whether a variable has this text, which is a level of a filter, for a client. Neither wildcards
// nor an empty level are equal to what a client calls itself.
func (n *node) is(c *client, text string) bool {
	return text != "" && text != "+" && n.value(c) == text
}

// value is what a variable stands for; "" is nothing.
func (n *node) value(c *client) string {
	if n.kind == userName {
		return c.user
	}
	return c.id
}

// overlap returns what the rules do that match a part of what a filter matches, or all. For a filter with # it
// may say more: variables count there, whether this client has a value for them or not.
func (t tree) overlap(c *client, filter string) access {
	if len(t) == 0 {
		return 0
	}
	level, rest, more := strings.Cut(filter, "/")
	switch {
	case isSystem(filter): // as in cover
		if kid := t.find(&t[0], level); kid != 0 {
			return t.overlapKid(c, kid, rest, more)
		}
		return 0
	case level != "#" && level != "+":
		return t.overlapBelow(c, &t[0], filter)
	}
	bits := t[0].below
	for kid := t[0].first; kid < t[0].end; kid++ {
		switch {
		case isSystem(t[kid].text):
		case level == "#":
			bits |= t[kid].within
		case t[kid].some(c):
			bits |= t.overlapKid(c, kid, rest, more)
		}
	}
	return bits
}

// overlapBelow goes on below a node; rest is what is left of the filter, at least one level.
func (t tree) overlapBelow(c *client, n *node, rest string) access {
	level, rest, more := strings.Cut(rest, "/")
	if level == "#" {
		return n.within // and what ends here: "a/#" matches "a"
	}
	bits := n.below
	if level == "+" {
		for kid := n.first; kid < n.end; kid++ {
			if t[kid].some(c) {
				bits |= t.overlapKid(c, kid, rest, more)
			}
		}
		return bits
	}
	for kid := n.first; kid < n.first+uint32(n.wild); kid++ {
		if t[kid].kind == single || t[kid].is(c, level) {
			bits |= t.overlapKid(c, kid, rest, more)
		}
	}
	if kid := t.find(n, level); kid != 0 {
		bits |= t.overlapKid(c, kid, rest, more)
	}
	return bits
}

// overlapKid goes on at a node that overlaps the level before rest.
func (t tree) overlapKid(c *client, kid uint32, rest string, more bool) access {
	if more {
		return t.overlapBelow(c, &t[kid], rest)
	}
	return t[kid].here | t[kid].below
}

// some says whether there is a level that the node matches: not if it is a variable and the client has no value for it.
func (n *node) some(c *client) bool {
	return n.kind == single || n.kind == literal || n.value(c) != ""
}

// isSystem says whether a name or filter begins with $.
func isSystem(s string) bool { return s != "" && s[0] == '$' }
