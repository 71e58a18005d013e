package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// fromHtpasswd is what htpasswd -nbB of Apache 2.4.71 has printed, empty lines and all.
const fromHtpasswd = `# the fleet
alice:$2y$05$5.PHjL4HmNWMUjAF27pgN.MMDgo45Zq2YBf/nUAwRkZIuMosHI8b6

bob smith:$2y$04$jD/4PMaTGIBsuLLSydExvuOiuqL4OgrIDyndhtKYa5qUvMBqbvBmG

longest:$2y$04$L0WXktpY99Hm47m0KrciKuZmopnqrxDcSVPNIOJXdp9EmBjeG5Tta
`

// passwords are those of fromHtpasswd.
var passwords = map[string]string{
	"alice": "not-a-real-password", "bob smith": "hunter2", "longest": strings.Repeat("x", 72),
}

// usersOf parses a users file without problems.
func usersOf(t testing.TB, text string) *users {
	t.Helper()
	r := &report{file: "users"}
	u := parseUsers(text, r)
	if len(r.list) > 0 {
		t.Fatal(r.list)
	}
	return u
}

func TestUsers(t *testing.T) {
	for _, text := range []string{fromHtpasswd, strings.ReplaceAll(fromHtpasswd, "\n", "\r\n"), "\ufeff" + fromHtpasswd} {
		u := usersOf(t, text)
		if len(u.hashes) != len(passwords) {
			t.Errorf("%d users, want %d", len(u.hashes), len(passwords))
		}
		for name, password := range passwords {
			hash, known := u.lookup(name)
			if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)); err != nil || !known {
				t.Errorf("%s: known %v, %v", name, known, err)
			}
		}
		if hash, known := u.lookup("Alice"); known || hash == "" {
			t.Errorf("a name that is not there: %q, %v", hash, known)
		}
	}
}

// All three spellings of one algorithm.
func TestUsersVersions(t *testing.T) {
	u := usersOf(t, "a:$2a$04$jD/4PMaTGIBsuLLSydExvuOiuqL4OgrIDyndhtKYa5qUvMBqbvBmG\n"+
		"b:$2b$04$jD/4PMaTGIBsuLLSydExvuOiuqL4OgrIDyndhtKYa5qUvMBqbvBmG\n")
	for name, hash := range u.hashes {
		if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte("hunter2")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Names that are not there are compared with a hash that takes as long as that of most others.
func TestDecoy(t *testing.T) {
	line := func(name, cost string) string { return name + ":$2y$" + cost + "$" + strings.Repeat("a", 53) + "\n" }
	tests := []struct {
		name, text string
		cost       int
	}{
		{"no users", "", 5},
		{"one", line("a", "09"), 9},
		{"most", line("a", "04") + line("b", "04") + line("c", "12"), 4},
		{"of two the higher", line("a", "04") + line("b", "07"), 7},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hash, _ := usersOf(t, test.text).lookup("nobody")
			if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost != test.cost {
				t.Errorf("cost %d, %v, want %d", cost, err, test.cost)
			}
			if _, wrong := costOf(hash); wrong != "" {
				t.Errorf("the decoy is no hash: %s", wrong)
			}
			if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte("x")); err != bcrypt.ErrMismatchedHashAndPassword {
				t.Errorf("comparing with the decoy: %v", err)
			}
		})
	}
}

// The hashes are those of htpasswd and mosquitto_passwd for the password hunter2.
func TestUsersProblems(t *testing.T) {
	const good = "$2y$04$jD/4PMaTGIBsuLLSydExvuOiuqL4OgrIDyndhtKYa5qUvMBqbvBmG"
	tests := []struct{ name, line, want string }{
		{"no colon", "hunter2", "f:3: is not NAME:HASH: write it with `htpasswd -B f NAME`"},
		{"no name", ":" + good, "f:3: has no user name before the colon"},
		{"blank after the name", "bob :" + good, `f:3: user name "bob " begins or ends with a blank: take the blank out`},
		{"blank before the name", " bob:" + good, `f:3: user name " bob" begins or ends with a blank: take the blank out`},
		{"Latin-1", "j\xf6rg:" + good, "f:3: the user name is not UTF-8, which names in MQTT are: save the file as UTF-8"},
		{"NUL", "bob\x00:" + good, "f:3: the user name is not UTF-8, which names in MQTT are: save the file as UTF-8"},
		{"twice", "ann:" + good, `f:3: user "ann" is in line 1 already: take one of them out`},
		{"plain", "bob:hunter2", "is no hash but perhaps the password itself"},
		{"nothing", "bob:", "is no hash but perhaps the password itself"},
		{"apr1", "bob:$apr1$NjKmzcnR$Cg4rYL3exEoD09b9d1sct/", `f:3: the password of user "bob" is hashed with MD5 ($apr1$), not with bcrypt: set it again with ` + "`htpasswd -B`"},
		{"md5", "bob:$1$saltsalt$qjXMvbEw8oaL.CzflDtaK/", "is hashed with MD5 ($1$)"},
		{"sha", "bob:{SHA}87u9ZqY9S/F0eUBXjsPQEDUw4h0=", "is hashed with SHA-1 ({SHA})"},
		{"des", "bob:3btM7HY0ZX7uI", "is hashed with crypt (DES)"},
		{"sha256", "bob:$5$FXoqcp8E.c.QKEFf$b0Eiyio8.vNavnDF2ALJQEZqv9zRRmHj13Tyb/VWw5C", "is hashed with SHA-256 ($5$)"},
		{"sha512", "bob:$6$I+PVb/gxtJFnV9G4$DK6u5BRkuukKI9O6u0nxrF7Y02Je1yBasnSNPgrR0ouWwj3RqowBYdRjTwen6jzvX5ZHVETSN3rtaIZd2EutTQ==", "was hashed by mosquitto_passwd (or crypt) and cannot be converted"},
		{"pbkdf2", "bob:$7$101$WOBJTIJ8sfWIjDK6$YHaZIYNxIiQv/eBNhQpLsZe8w+7qWUDjZNO7U65BOAHcKJlH4AMjx0zNMBSotp4n+q0BcIdEc8xajhwnB+CsxQ==", "was hashed by mosquitto_passwd (or crypt) and cannot be converted"},
		{"argon2", "bob:$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g", "is hashed with Argon2"},
		{"early bcrypt", "bob:$2$04$" + good[7:], "an early bcrypt"},
		{"cut off", "bob:" + good[:59], "is a bcrypt hash that is cut off"},
		{"something after it", "bob:" + good + ":Bob", "is a bcrypt hash that is cut off, or has something after it"},
		{"not of the alphabet", "bob:" + good[:59] + "=", "is a bcrypt hash that is cut off"},
		{"cost 3", "bob:$2y$03" + good[6:], "has a bcrypt cost that is not between 04 and 16"},
		{"cost 17", "bob:$2y$17" + good[6:], "has a bcrypt cost that is not between 04 and 16"},
		{"cost of letters", "bob:$2y$xx" + good[6:], "has a bcrypt cost that is not between 04 and 16"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &report{file: "f"}
			parseUsers("ann:"+good+"\n# hunter2\n"+test.line+"\nbad", r)
			if len(r.list) != 2 || !strings.HasPrefix(r.list[1].String(), "f:4: is not NAME:HASH") {
				t.Fatalf("problems:\n%v\nwant one more, in line 4", r.list)
			}
			got := r.list[0].String()
			if !strings.HasPrefix(got, "f:3: ") || !strings.Contains(got, test.want) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			quiet(t, got, test.line)
		})
	}
}

// quiet fails when text has the password hunter2 in it, or a part of the hash in line.
func quiet(t *testing.T, text, line string) {
	t.Helper()
	_, hash, _ := strings.Cut(line, ":")
	for i := 0; i+12 <= len(hash); i++ {
		if strings.Contains(text, hash[i:i+12]) {
			t.Errorf("a part of the hash is told: %s", text)
			return
		}
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("the password is told: %s", text)
	}
}

// A file that was put in the place of another says so a thousand times, not a million.
func TestProblemsBounded(t *testing.T) {
	r := &report{file: "f"}
	parseUsers(strings.Repeat("word\n", 5000), r)
	if len(r.list) != maxProblems {
		t.Errorf("%d problems, want %d", len(r.list), maxProblems)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFile+1); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, file, want string }{
		{"missing", filepath.Join(dir, "none"), "cannot be read: no such file or directory"},
		{"folder", dir, "cannot be read: it is not a regular file"},
		{"device", "/dev/zero", "cannot be read: it is not a regular file"},
		{"large", large, "is larger than 64 MiB: is it the right file?"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &report{file: test.file}
			r.read()
			if want := test.file + ": " + test.want; r.list.Error() != want {
				t.Errorf("got %q, want %q", r.list.Error(), want)
			}
		})
	}
}
