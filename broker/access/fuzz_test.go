package access

import (
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/mqttlb/mqttlb/broker/topic"
)

// FuzzUsers: whatever a file holds, what is taken from it is what bcrypt takes, every line is a user or a problem, and
// what is said has nothing in it that looks like a part of a password.
func FuzzUsers(f *testing.F) {
	for _, text := range []string{
		fromHtpasswd, quick, "", "\ufeffa:b", "#\n\r\n:", "a:$2y$04$", "a:{SHA}87u9ZqY9S/F0eUBXjsPQEDUw4h0=",
		"a:$apr1$NjKmzcnR$Cg4rYL3exEoD09b9d1sct/", "a:$7$101$WOBJTIJ8sfWIjDK6$YHaZ", "a:hunter2\na:hunter2", "hunter2hunter2",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := &report{file: "f"}
		u := parseUsers(text, r)
		said := 0
		for _, line := range lines(text) {
			said++
			alone := &report{file: "f"}
			parseUsers(line, alone)
			name, hash, found := strings.Cut(line, ":")
			if found && len(hash) >= 16 && !strings.Contains(name, hash) && strings.Contains(alone.list.Error(), hash) {
				t.Errorf("a hash is told: %s", alone.list.Error())
			}
		}
		if len(u.hashes)+len(r.list) != min(said, len(u.hashes)+maxProblems) {
			t.Errorf("%d lines, %d users and %d problems", said, len(u.hashes), len(r.list))
		}
		for name, hash := range u.hashes {
			if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost > maxCost || name == "" {
				t.Errorf("user %q: cost %d, %v", name, cost, err)
			}
		}
		if decoy, known := u.lookup("\xff"); known || len(decoy) != hashLength {
			t.Errorf("the decoy is %q", decoy)
		}
	})
}

// FuzzRules: whatever a file holds, every line is taken or a problem, and nobody may do what no filter in the
// file, with the variables replaced, has to do with.
func FuzzRules(f *testing.F) {
	for _, text := range []string{
		plant, "topic a", "topic read  a b ", "user \n", "pattern %u/%c/#", "pattern deny a/%u\npattern #", "topic deny", "topic #\ntopic +/#\ntopic $s/#",
		"user a\ntopic readwrite +\nuser b\ntopic deny /", "\ufefftopic a\r\n# b\r\n",
	} {
		f.Add(text, "a", "c", "a/b")
	}
	f.Fuzz(func(t *testing.T, text, user, id, name string) {
		rep := &report{file: "f"}
		r := parseRules(text, rep)
		if topic.CheckName(name) != nil {
			return
		}
		if (r.MayRead(user, id, name) || r.MayPublish(user, id, name)) && !mentioned(text, client{user, id}, name) {
			t.Errorf("%q %q may do something with %q, of which the file says nothing", user, id, name)
		}
		grant := r.MaySubscribe(user, id, name)
		if (grant != Refused) != r.MayRead(user, id, name) || grant == Filtered {
			t.Errorf("%q %q: subscription to the name %q: %d, reading: %v", user, id, name, grant, r.MayRead(user, id, name))
		}
	})
}

// mentioned says whether some line has a filter for the name.
func mentioned(text string, c client, name string) bool {
	for _, line := range lines(text) {
		keyword, rest := field(line)
		word, filter := field(rest)
		if _, known := grants[word]; !known {
			filter = rest
		}
		if keyword == "pattern" {
			levels := strings.Split(filter, "/")
			for i, level := range levels {
				switch {
				case level == "%u" && !strings.ContainsAny(c.user, dangerous):
					levels[i] = c.user
				case level == "%c" && !strings.ContainsAny(c.id, dangerous):
					levels[i] = c.id
				}
			}
			filter = strings.Join(levels, "/")
		}
		if _, f, err := topic.ParseFilter(filter); err == nil && matched(f, []string{name})[0] {
			return true
		}
	}
	return false
}
