package access

import (
	"strings"
	"testing"
)

// rulesOf parses an ACL file without problems.
func rulesOf(t testing.TB, text string) *Rules {
	t.Helper()
	rep := &report{file: "acl"}
	r := parseRules(text, rep)
	if len(rep.list) > 0 {
		t.Fatal(rep.list)
	}
	return r
}

// plant has one of everything.
const plant = `# a plant
topic read news/#
topic public

user gateway
topic readwrite plant/#
topic deny plant/+/secret
topic write out
topic read in

user   second floor
topic  read   second floor/state
	topic	write	tabs

user gateway
topic read $SYS/broker/#
topic admin

pattern write devices/%u/state
pattern read devices/%u/%c/#
pattern deny devices/+/+/private
pattern read all/+
pattern deny admin
`

// rw says what MayRead and MayPublish answer.
func rw(r *Rules, user, id, name string) string {
	answer := ""
	if r.MayRead(user, id, name) {
		answer += "r"
	}
	if r.MayPublish(user, id, name) {
		answer += "w"
	}
	return answer
}

func TestRules(t *testing.T) {
	r := rulesOf(t, plant)
	tests := []struct{ what, user, id, name, want string }{
		{"before the first user", "", "c", "news/today", "r"},
		{"without a word", "", "c", "public", "rw"},
		{"no name, no line", "", "c", "plant/1", ""},
		{"parent of #", "", "c", "news", "r"},
		{"not for users", "gateway", "c", "news/today", ""},
		{"a user's", "gateway", "c", "plant/1/state", "rw"},
		{"deny before allow", "gateway", "c", "plant/1/secret", ""},
		{"deny of + only", "gateway", "c", "plant/1/2/secret", "rw"},
		{"write", "gateway", "c", "out", "w"},
		{"read", "gateway", "c", "in", "r"},
		{"second block of the user", "gateway", "c", "$SYS/broker/uptime", "r"},
		{"only what is below", "gateway", "c", "$SYS/other", ""},
		{"a user's own before a pattern's deny", "gateway", "c", "admin", "rw"},
		{"deny of a pattern", "second floor", "c", "admin", ""},
		{"blanks in names", "second floor", "c", "second floor/state", "r"},
		{"tabs", "second floor", "c", "tabs", "w"},
		{"user without lines", "third", "c", "plant/1", ""},
		{"%u", "third", "c", "devices/third/state", "w"},
		{"%u of another", "third", "c", "devices/gateway/state", ""},
		{"%u and %c", "third", "c", "devices/third/c/x", "r"},
		{"%c of another", "third", "c", "devices/third/d/x", ""},
		{"deny among patterns", "third", "c", "devices/third/c/private", ""},
		{"pattern without variables", "third", "c", "all/x", "r"},
		{"pattern for everybody", "", "c", "all/x", "r"},
		{"%u without a name", "", "c", "devices//state", ""},
		{"%u is not literal", "third", "c", "devices/%u/state", ""},
		{"a name with a separator", "a/b", "c", "devices/a/b/state", ""},
		{"a name that is a wildcard", "+", "c", "devices/a/state", ""},
		{"a name that is everything", "#", "c", "devices/a/state", ""},
		{"such names keep the rest", "a/b", "c", "all/x", "r"},
	}
	for _, test := range tests {
		if got := rw(r, test.user, test.id, test.name); got != test.want {
			t.Errorf("%s: %q %q %q: got %q, want %q", test.what, test.user, test.id, test.name, got, test.want)
		}
	}
}

// Who calls himself like several levels must not get round a deny by that.
func TestRulesDangerousNames(t *testing.T) {
	tests := []struct{ what, acl, user, id, name, want string }{
		{"deny with %u", "pattern read #\npattern deny x/%u", "a/b", "c", "x/a/b", ""},
		{"deny with %u, elsewhere", "pattern read #\npattern deny x/%u", "a/b", "c", "y", ""},
		{"deny with %c", "pattern read #\npattern deny x/%c/#", "u", "#", "x/a", ""},
		{"deny with the other variable", "pattern read #\npattern deny x/%c", "a/b", "c", "x/a/b", "r"},
		{"own lines stay", "user a/b\ntopic read own\npattern deny %u", "a/b", "c", "own", "r"},
		{"allow with %u", "pattern read x/%u", "a/b", "c", "x/a/b", ""},
		{"system by name", "pattern readwrite %u/#", "$SYS", "c", "$SYS/broker", ""},
		{"system by identifier", "pattern readwrite %c/#", "u", "$SYS", "$SYS/broker", ""},
		{"empty level", "pattern read x/%u/y\npattern read %u/y", "", "c", "x//y", ""},
	}
	for _, test := range tests {
		r := rulesOf(t, test.acl)
		if got := rw(r, test.user, test.id, test.name); got != test.want {
			t.Errorf("%s: got %q, want %q", test.what, got, test.want)
		}
		if grant := r.MaySubscribe(test.user, test.id, test.name); (grant != Refused) != (test.want != "") {
			t.Errorf("%s: subscription to the same name: %d", test.what, grant)
		}
	}
}

func TestMaySubscribe(t *testing.T) {
	r := rulesOf(t, plant+"pattern read part/#\npattern deny part/%u/x\nuser half\ntopic read part/a/#\n"+
		"user wild\ntopic read +/#\ntopic deny no/#\nuser two\ntopic read t/a\ntopic read t/b\ntopic write t/#\n")
	tests := []struct {
		what, user, filter string
		want               Grant
	}{
		{"the rule itself", "", "news/#", Granted},
		{"narrower", "", "news/+/x", Granted},
		{"parent", "", "news", Granted},
		{"wider", "", "#", Refused},
		{"wider by one level", "", "+/#", Refused},
		{"write only", "gateway", "out", Refused},
		{"deny concerns a part", "gateway", "plant/#", Filtered},
		{"deny concerns another part", "gateway", "plant/+/state", Granted},
		{"all is denied", "gateway", "plant/7/secret", Refused},
		{"all is denied, with +", "gateway", "plant/+/secret", Refused},
		{"deny and +", "gateway", "plant/+/+", Filtered},
		{"system", "gateway", "$SYS/broker/#", Granted},
		{"more of the system", "gateway", "$SYS/#", Refused},
		{"%u", "third", "devices/third/id/#", Filtered},
		{"%u, beside the deny", "third", "devices/third/id/+/x", Granted},
		{"%u of another", "third", "devices/fourth/id/#", Refused},
		{"+ in the place of %u", "third", "devices/+/id/#", Refused},
		{"+ from one called +", "+", "devices/+/id/#", Refused},
		{"# from one called #", "#", "devices/#", Refused},
		{"pattern", "third", "part/#", Filtered},
		{"pattern, for nobody", "", "part/+/x", Granted},
		{"own line beats the pattern's deny", "half", "part/a/#", Granted},
		{"+/# is #", "wild", "#", Filtered},
		{"+/# is not $", "wild", "$SYS/#", Refused},
		{"two rules together are none", "two", "t/+", Refused},
		{"prefix of a shared subscription", "", "$share/g/news/#", Refused},
	}
	for _, test := range tests {
		if got := r.MaySubscribe(test.user, "id", test.filter); got != test.want {
			t.Errorf("%s: %q %s: got %d, want %d", test.what, test.user, test.filter, got, test.want)
		}
	}
}

func TestNoRules(t *testing.T) {
	var r *Rules
	if rw(r, "", "", "a") != "rw" || r.MaySubscribe("", "", "#") != Granted {
		t.Error("something is refused without an ACL file")
	}
	if r = rulesOf(t, "\n# nothing\n"); rw(r, "", "", "a") != "" || r.MaySubscribe("u", "c", "a") != Refused {
		t.Error("something is allowed by an ACL file that has no lines")
	}
}

func TestRulesProblems(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"unknown word", "topics read a", `begins with "topics", not with topic, pattern or user`},
		{"upper case", "Topic a", `begins with "Topic", not with topic, pattern or user`},
		{"no user", "user  ", "names no user: write `user NAME`"},
		{"no topic", "topic", "topic has no topic: write [read|write|readwrite|deny] and a topic filter after it"},
		{"no pattern", "pattern ", "pattern has no topic: write [read|write|readwrite|deny] and a topic filter after it"},
		{"a word and no topic", "topic deny", "topic deny has no topic; if the topic is called deny, put readwrite before it"},
		{"other word", "topic allow a", `topic has "allow" where read, write, readwrite or deny is expected; a topic with blanks needs one of them before it`},
		{"bad #", "topic read a/#/b", "topic has a filter that is none: # is not the last level of the filter, or not a level of its own"},
		{"bad +", "pattern a/b+", "pattern has a filter that is none: + is not a level of its own"},
		{"too deep", "topic " + strings.Repeat("/", 128), "topic has a filter that is none: topic has more than 128 levels"},
		{"shared", "topic read $share/g/a", "topic has a shared subscription; what counts is the filter after $share/NAME/: write that"},
		{"Latin-1", "topic read j\xf6rg", "topic has a filter that is not UTF-8, which topics are: save the file as UTF-8"},
		{"variable in a topic line", "topic read a/%u", "topic has %u, which stands for the client's own in pattern lines only: write pattern instead of topic"},
		{"variable in a level", "pattern read a/x%c", "pattern has %c as a part of a level: it must be a level of its own"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rep := &report{file: "acl"}
			parseRules("topic a\n\n"+test.line+"\nuser", rep)
			want := "acl:3: " + test.want + "\nacl:4: names no user: write `user NAME`"
			if got := rep.list.Error(); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
