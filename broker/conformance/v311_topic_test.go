package conformance

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// matching publishes to each name and returns those that a subscription to the filter gets.
func (n *node) matching(t *testing.T, filter string, names []string) []string {
	t.Helper()
	c := n.listener(t, "matching", filter, "$marker")
	p := n.join(t, v4, "p")
	for _, name := range names {
		p.say(name, "m", 1)
	}
	p.say("$marker", "end", 1)
	var got []string
	for m := c.message(); string(m.Topic) != "$marker"; m = c.message() {
		c.acknowledge(m)
		got = append(got, string(m.Topic))
	}
	c.conn.Close()
	p.conn.Close()
	return got
}

// checkMatching wants a filter to match these of the names, in their order.
func (n *node) checkMatching(t *testing.T, filter string, names []string, want ...string) {
	t.Helper()
	if got := n.matching(t, filter, names); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%q matches %q, want %q", filter, got, want)
	}
}

// unlessGone returns the body of the next packet, which must be of that type; nil if the connection ends instead.
func (c *client) unlessGone(typ packet.Type) []byte {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	h, body, err := c.r.Next()
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	c.ok(err)
	if h.Type != typ {
		c.t.Fatalf("a %v % x, want a %v or the end", h.Type, body, typ)
	}
	return body
}

// checkRefused wants filters to be refused, by a SUBACK or by the end of the connection.
func (n *node) checkRefused(t *testing.T, filters ...string) {
	t.Helper()
	for _, filter := range filters {
		c := n.join(t, v4, "c")
		c.write(packetsWith(filter)["SUBSCRIBE"])
		if body := c.unlessGone(packet.SUBACK); body != nil && body[2] != 0x80 {
			t.Errorf("%q: SUBACK % x", filter, body)
		}
	}
}

func TestV311_4_7_1_1(t *testing.T) {
	n := start(t, nil)
	for _, name := range wildNames() {
		n.cuts(t, assemble(0x30, field(name), "m"))
		n.rejects(t, connect4(0x06, "id", name, "m"))
	}
	n.checkMatching(t, "a/+/#", []string{"a/b/c", "b/b/c"}, "a/b/c")
}

func TestV311_4_7_1_2(t *testing.T) {
	n := start(t, nil)
	n.checkRefused(t, "a/#/b", "#/a", "a#", "#a", "a/b#", "a/#b", "##", "a/##", "#/", "a/#/#", "#/#", "+#", "#+")
	names := []string{"a", "a/b", "a/b/c", "a/", "/", "/a", "b", "ab"}
	n.checkMatching(t, "#", names, names...)
	n.checkMatching(t, "a/#", names, "a", "a/b", "a/b/c", "a/")
	n.checkMatching(t, "a/b/#", names, "a/b", "a/b/c")
	n.checkMatching(t, "/#", names, "/", "/a")
}

func TestV311_4_7_1_3(t *testing.T) {
	n := start(t, nil)
	n.checkRefused(t, "a+", "+a", "a/+b", "a/b+/c", "++", "a/++", "+/a+")
	names := []string{"a", "a/b", "a/b/c", "a/", "/", "/a", "a//c", "b/b"}
	n.checkMatching(t, "+", names, "a")
	n.checkMatching(t, "a/+", names, "a/b", "a/")
	n.checkMatching(t, "+/b", names, "a/b", "b/b")
	n.checkMatching(t, "a/+/c", names, "a/b/c", "a//c")
	n.checkMatching(t, "+/+", names, "a/b", "a/", "/", "/a", "b/b")
	n.checkMatching(t, "/+", names, "/", "/a")
	n.checkMatching(t, "+/b/#", names, "a/b", "a/b/c", "b/b")
}

func TestV311_4_7_2_1(t *testing.T) {
	n := start(t, nil)
	names := []string{"$x", "$x/a", "$/a", "x/$a", "x"}
	n.checkMatching(t, "#", names, "x/$a", "x")
	n.checkMatching(t, "+", names, "x")
	n.checkMatching(t, "+/#", names, "x/$a", "x")
	n.checkMatching(t, "+/a", names)
	n.checkMatching(t, "$x/#", names, "$x", "$x/a")
	n.checkMatching(t, "$x/+", names, "$x/a")
	n.checkMatching(t, "x/+", names, "x/$a")
	p := n.join(t, v4, "p")
	p.retain("$x/a", "retained", 1)
	n.listener(t, "late", "#", "+/a").silent()
	n.listener(t, "other", "$x/#").hears("$x/a", "retained")
}

func TestV311_4_7_3_1(t *testing.T) {
	n := start(t, nil)
	for name, b := range packetsWith("") {
		t.Run(name, func(t *testing.T) { n.cuts(t, b) })
	}
	n.rejects(t, connectsWith("")["will topic"])
	n.checkMatching(t, "a", []string{"a", " ", "/"}, "a")
	n.checkMatching(t, " ", []string{"a", " ", "/"}, " ")
	n.checkMatching(t, "/", []string{"a", " ", "/"}, "/")
}

func TestV311_4_7_3_2(t *testing.T) {
	n := start(t, nil)
	for _, place := range []string{"PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "will topic"} {
		n.checkString(t, place, map[string]string{"alone": "\x00", "at the end": "a\x00", "between": "a/\x00/b"})
	}
}

// TestV311_4_7_3_3: longer ones have no form on the wire; the longest are served.
func TestV311_4_7_3_3(t *testing.T) {
	n := start(t, nil)
	longest := strings.Repeat("x", 65535)
	c := n.listener(t, "c", longest)
	p := n.join(t, v4, "p")
	p.say(longest, "m", 1)
	p.say(longest[1:], "not the same", 1)
	if m := c.message(); string(m.Topic) != longest {
		t.Errorf("a topic of %d bytes, want %d", len(m.Topic), len(longest))
	}
	c.silent()
	n.listener(t, "d", longest[2:]+"/#").silent()
}

func TestV311_4_7_3_4(t *testing.T) {
	n := start(t, nil)
	for _, alike := range [][]string{
		{"a", "A", "/a", "a/", " a", "a ", "\ufeffa", "a\u200b"},
		{"a/b", "a//b", "a/./b", "a/../a/b", "a\\b", "a/b/", "a%2fb", "A/b"},
		{"\u00e9", "e\u0301", "e", "E\u0301", "\u00c9"},  // composed and not
		{"\u00e5", "\u212b", "a\u030a", "\u00c5"},        // among them the sign of the unit
		{"\ufb01", "fi", "\uff46\uff49", "FI"},           // compatible forms
		{"\U000f0000", "\ufffd", "\U0001f600", "\uffff"}, // no characters, or unknown ones
	} {
		for _, filter := range alike {
			n.checkMatching(t, filter, alike, filter)
		}
	}
}
