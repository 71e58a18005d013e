package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// load writes the files, unless they are "-", and loads them.
func load(t testing.TB, usersText, aclText string, anonymous bool) (*Snapshot, error) {
	t.Helper()
	dir := t.TempDir()
	file := func(name, text string) string {
		if text == "-" {
			return ""
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return Load(file("users", usersText), file("acl", aclText), anonymous)
}

// loaded is load of good files.
func loaded(t testing.TB, usersText, aclText string, anonymous bool) *Snapshot {
	t.Helper()
	s, err := load(t, usersText, aclText, anonymous)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecide(t *testing.T) {
	open, closed := loaded(t, "-", "-", true), loaded(t, "-", "-", false)
	usersOnly, both := loaded(t, fromHtpasswd, "-", false), loaded(t, fromHtpasswd, "-", true)
	nothing := Login{}
	name := Login{Name: "alice", HasName: true}
	right := Login{Name: "alice", HasName: true, Password: []byte("not-a-real-password"), HasPassword: true}
	unknown := Login{Name: "zoe", HasName: true, Password: []byte("x"), HasPassword: true}
	empty := Login{HasName: true, HasPassword: true}
	token := Login{Password: []byte("x"), HasPassword: true}
	long := Login{Name: "alice", HasName: true, Password: make([]byte, 73), HasPassword: true}
	proven := Login{Name: "alice", HasName: true, Password: []byte("wrong"), HasPassword: true, Proven: "device-7"}
	tests := []struct {
		what string
		s    *Snapshot
		l    Login
		want Outcome
		user string
	}{
		{"open, nothing", open, nothing, Allowed, ""},
		{"open, a name proves nothing", open, right, Allowed, ""},
		{"open, a password without name", open, token, Allowed, ""},
		{"open, certificate", open, proven, Allowed, "device-7"},
		{"closed, nothing", closed, nothing, NotAuthorized, ""},
		{"closed, name", closed, right, NotAuthorized, ""},
		{"closed, certificate", closed, proven, Allowed, "device-7"},
		{"users, nothing", usersOnly, nothing, NotAuthorized, ""},
		{"users, name alone", usersOnly, name, BadCredentials, ""},
		{"users, password alone", usersOnly, token, BadCredentials, ""},
		{"users, both", usersOnly, right, MustVerify, "alice"},
		{"users, unknown name", usersOnly, unknown, MustVerify, "zoe"},
		{"users, empty name", usersOnly, empty, MustVerify, ""},
		{"users, longer than bcrypt looks", usersOnly, long, BadCredentials, ""},
		{"users, certificate", usersOnly, proven, Allowed, "device-7"},
		{"users and anonymous, nothing", both, nothing, Allowed, ""},
		{"users and anonymous, name alone", both, name, BadCredentials, ""},
		{"users and anonymous, both", both, right, MustVerify, "alice"},
		{"users and anonymous, password alone", both, token, BadCredentials, ""},
	}
	for _, test := range tests {
		if o, user := test.s.Decide(test.l); o != test.want || user != test.user {
			t.Errorf("%s: %v as %q, want %v as %q", test.what, o, user, test.want, test.user)
		}
	}
}

func TestOutcomeString(t *testing.T) {
	told := make(map[string]bool)
	for o := Allowed; o <= MustVerify; o++ {
		if s := o.String(); s == "unknown" || told[s] {
			t.Errorf("outcome %d is called %s", o, s)
		} else {
			told[s] = true
		}
	}
}

func TestLoad(t *testing.T) {
	s := loaded(t, fromHtpasswd, "topic read a\n", false)
	if !s.Rules().MayRead("", "c", "a") || s.Rules().MayRead("", "c", "b") {
		t.Error("the rules are not those of the file")
	}
	if loaded(t, "-", "-", true).Rules() != nil {
		t.Error("rules without a file")
	}
	if _, known := s.users.lookup("alice"); !known {
		t.Error("alice is not known")
	}
}

// Everything that is wrong with both files is told at once.
func TestLoadProblems(t *testing.T) {
	s, err := load(t, "hunter2\nbob:hunter2\n", "topic\nuser\n", false)
	var problems Problems
	if s != nil || !errors.As(err, &problems) || len(problems) != 4 {
		t.Fatalf("got %v, %v, want four problems", s, err)
	}
	for i, where := range []string{"users:1: ", "users:2: ", "acl:1: ", "acl:2: "} {
		if got := problems[i].String(); !strings.Contains(got, where) || strings.Contains(got, "hunter2") {
			t.Errorf("problem %d: %s, want one of %s", i, got, where)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), "", true); err == nil {
		t.Error("a users file that is not there was loaded")
	}
}
