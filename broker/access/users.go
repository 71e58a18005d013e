package access

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mqttlb/mqttlb/internal/redact"
)

const (
	// minCost is the smallest cost that bcrypt knows, maxCost the largest that is accepted. Each step doubles the
	// time: 5, which is htpasswd's own, takes 2 to 3 ms of CPU for each login, 10 about 70 ms, 16 more than 4 s.
	minCost = 4
	maxCost = 16

	// hashLength is that of $2y$05$, 22 characters of salt and 31 of digest.
	hashLength = 60

	// nobody is the salt and digest of the hash that unknown names are compared with. That no password leads to it does
	// not matter: the answer is no in any case.
	nobody = "mqttlb.unknown.names.take.as.long.as.known.ones.0123456"

	// maxPassword is the longest password in bytes. bcrypt does not look further, and two tokens with
	// one beginning would be one password: longer ones are refused.
	maxPassword = 72
)

// users are the names and hashes of a users file. Immutable.
type users struct {
	hashes map[string]string // by name
	decoy  string            // the hash for names that are not there
}

// lookup returns the hash to compare a password for name with. For a name that is not known it is one that costs as much as
// that of most users, so that time does not tell which names exist.
func (u *users) lookup(name string) (hash string, known bool) {
	if hash, known = u.hashes[name]; known {
		return hash, true
	}
	return u.decoy, false
}

// parseUsers reads lines of name:hash.
func parseUsers(text string, r *report) *users {
	u := &users{hashes: make(map[string]string)}
	first := make(map[string]int) // the line of each name
	var costs [maxCost + 1]int
	for number, line := range lines(text) {
		name, hash, found := strings.Cut(line, ":")
		if !found { // it may be a password: not a word of it
			r.addf(number, "is not NAME:HASH: write it with `htpasswd -B %s NAME`", r.file)
			continue
		}
		if wrong := wrongName(name); wrong != "" {
			r.addf(number, "%s", wrong)
			continue
		}
		if before := first[name]; before > 0 {
			r.addf(number, "user %s is in line %d already: take one of them out", redact.Quote(name), before)
			continue
		}
		first[name] = number
		cost, wrong := costOf(hash)
		if wrong != "" {
			r.addf(number, "the password of user %s %s", redact.Quote(name), wrong)
			continue
		}
		u.hashes[name] = hash
		costs[cost]++
	}
	u.decoy = fmt.Sprintf("$2b$%02d$%s", commonest(costs[:]), nobody[:53])
	return u
}

// commonest is the cost that most users have; of two the higher, and without users that of htpasswd.
func commonest(costs []int) int {
	best := 5
	for cost, count := range costs {
		if count > 0 && count >= costs[best] {
			best = cost
		}
	}
	return best
}

// wrongName says why no client could have this name, or "".
func wrongName(name string) string {
	switch {
	case name == "":
		return "has no user name before the colon"
	case strings.Trim(name, blanks) != name:
		return fmt.Sprintf("user name %s begins or ends with a blank: take the blank out", redact.Quote(name))
	case !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0: // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
		return "the user name is not UTF-8, which names in MQTT are: save the file as UTF-8"
	}
	return ""
}

// costOf returns the cost of a bcrypt hash, or what is wrong with the hash, to follow "the password of user x".
func costOf(hash string) (cost int, wrong string) {
	const again = "set it again with `htpasswd -B`"
	switch scheme(hash) {
	case "bcrypt":
	case "mosquitto":
		return 0, "was hashed by mosquitto_passwd (or crypt) and cannot be converted: " + again
	case "":
		return 0, "is no hash but perhaps the password itself: " + again + ", and choose another one if others could read the file"
	default:
		return 0, fmt.Sprintf("is hashed with %s, not with bcrypt: %s", scheme(hash), again)
	}
	if len(hash) != hashLength || hash[6] != '$' || strings.Trim(hash[7:], alphabet) != "" {
		return 0, "is a bcrypt hash that is cut off, or has something after it: " + again
	}
	tens, ones := hash[4]-'0', hash[5]-'0' // wraps around for what is not a digit
	cost = int(tens)*10 + int(ones)
	if tens > 9 || ones > 9 || cost < minCost || cost > maxCost {
		return 0, fmt.Sprintf("has a bcrypt cost that is not between %02d and %d, which takes seconds for each login: "+
			"set it again with `htpasswd -B -C 10`", minCost, maxCost)
	}
	return cost, ""
}

// alphabet is that of bcrypt's base64.
const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// schemes are the ways to hash a password that are found in such files, by what the hash begins with.
var schemes = []struct{ prefix, name string }{
	{"$2a$", "bcrypt"}, {"$2b$", "bcrypt"}, {"$2y$", "bcrypt"},
	{"$2$", "an early bcrypt ($2$)"}, {"$2x$", "a faulty bcrypt ($2x$)"},
	{"$apr1$", "MD5 ($apr1$)"}, {"$1$", "MD5 ($1$)"}, {"$5$", "SHA-256 ($5$)"},
	{"$6$", "mosquitto"}, {"$7$", "mosquitto"}, {"$argon2", "Argon2 ($argon2…$)"},
	{"{SHA}", "SHA-1 ({SHA})"}, {"{SSHA}", "salted SHA-1 ({SSHA})"}, {"{PLAIN}", "nothing ({PLAIN})"},
}

// scheme names how a password was hashed; "" for what looks like no hash at all.
func scheme(hash string) string {
	for _, s := range schemes {
		if strings.HasPrefix(hash, s.prefix) {
			return s.name
		}
	}
	if len(hash) == 13 && strings.Trim(hash, alphabet) == "" { // crypt(3) with DES: 2 characters of salt, 11 of digest
		return "crypt (DES)"
	}
	return ""
}
