package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// text reads a text, which may be empty.
func (v value) text() (string, bool) {
	if !v.is(yaml.ScalarNode, "a text") {
		return "", false
	}
	if v.node.ShortTag() != "!!str" {
		v.wrong("must be a text, not %s; write %s, in quotes", v.described(), redact.Quote(v.node.Value))
		return "", false
	}
	if strings.ContainsAny(v.node.Value, "\x00\n\r") {
		v.wrong("must be a single line") // not shown: it may be a key that was pasted in
		return "", false
	}
	return v.node.Value, true
}

// number reads a whole number from low to high.
func (v value) number(low, high int) int {
	if !v.is(yaml.ScalarNode, "a number") {
		return 0
	}
	n, err := strconv.Atoi(v.node.Value)
	switch tag := v.node.ShortTag(); {
	case tag == "!!str" && err == nil:
		v.wrong("must be a number, not a text; write %d, without quotes", n)
	case tag == "!!str" && thousands(v.node.Value) != "":
		v.wrong("must be a number without a unit; write %s", thousands(v.node.Value))
	case tag != "!!int" && tag != "!!float":
		v.wrong("must be a whole number from %d to %d, not %s", low, high, v.described())
	case tag == "!!int" && !decimal(v.node.Value): // 010 is 8 to YAML 1.1
		v.wrong("is %s; write numbers in plain decimal, without leading zeros or signs", redact.Bare(v.node.Value))
	case err != nil || n < low || n > high:
		v.wrong("must be a whole number from %d to %d, not %s", low, high, redact.Bare(v.node.Value))
	default:
		return n
	}
	return 0
}

// decimal says whether s is a number as people write it.
func decimal(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return strings.Trim(digits, "0123456789") == "" && (digits == "0" || !strings.HasPrefix(digits, "0"))
}

// thousands returns 50000 for 50k and 1000000 for 1M, or "".
func thousands(s string) string {
	digits := s[:max(len(s)-1, 0)]
	if n, err := strconv.ParseUint(digits, 10, 16); err != nil || strconv.FormatUint(n, 10) != digits {
		return ""
	}
	switch s[len(s)-1] {
	case 'k', 'K':
		return digits + "000"
	case 'm', 'M':
		return digits + "000000"
	}
	return ""
}

// boolean reads true or false.
func (v value) boolean() bool {
	if !v.is(yaml.ScalarNode, "true or false") {
		return false
	}
	switch v.node.Value {
	case "true":
		return v.bare(true)
	case "false":
		return v.bare(false)
	}
	switch strings.ToLower(v.node.Value) {
	case "yes", "on", "y", "true", "1":
		v.wrong("must be true or false; write true")
	case "no", "off", "n", "false", "0":
		v.wrong("must be true or false; write false")
	default:
		v.wrong("must be true or false, not %s", v.described())
	}
	return false
}

// bare returns b, and notes when it was written in quotes.
func (v value) bare(b bool) bool {
	if v.node.ShortTag() != "!!bool" {
		v.wrong("must be true or false, not a text; write %t, without quotes", b)
	}
	return b
}

// forever bounds every duration: a year. What is longer is a slip, and sums of two cannot overflow.
const forever = 365 * 24 * time.Hour

// duration reads a Go duration from low to high.
func (v value) duration(low, high time.Duration) time.Duration {
	return v.durationIn(low, high, false)
}

// durationOrOff is duration where 0 is possible as well.
func (v value) durationOrOff(low, high time.Duration) time.Duration {
	return v.durationIn(low, high, true)
}

// durationIn reads a Go duration from low to high, or 0 where that is off.
func (v value) durationIn(low, high time.Duration, off bool) time.Duration {
	if !v.is(yaml.ScalarNode, "a duration such as 10s") {
		return 0
	}
	d, err := time.ParseDuration(v.node.Value) // takes a bare 0, too
	switch tag := v.node.ShortTag(); {
	case err != nil && (tag == "!!int" || tag == "!!float"):
		v.wrong("must be a duration with its unit, not %s; write 10s or 500ms (a bare number of HAProxy's is milliseconds)", redact.Bare(v.node.Value))
	case err != nil:
		v.wrong("must be a duration, not %s; write 500ms, 10s, 5m or 1h30m", v.described())
	case off && (d < 0 || d > high || 0 < d && d < low):
		v.wrong("must be 0s, or from %s to %s, not %s", period(low), period(high), redact.Bare(v.node.Value))
	case !off && (d < low || d > high):
		v.wrong("must be from %s to %s, not %s", period(low), period(high), redact.Bare(v.node.Value))
	default:
		return d
	}
	return 0
}

// clientTimeout reads a duration or "auto".
func (v value) clientTimeout() ClientTimeout {
	if v.node.Kind == yaml.ScalarNode && v.untagged() && v.node.ShortTag() == "!!str" {
		if v.node.Value == "auto" {
			return ClientTimeout{Auto: true}
		}
		if _, err := time.ParseDuration(v.node.Value); err != nil {
			v.wrong("must be auto or a duration such as 600s, not %s", v.described())
			return ClientTimeout{}
		}
	}
	return ClientTimeout{Duration: v.durationOrOff(time.Millisecond, forever)}
}

// oneOf reads one of the words.
func (v value) oneOf(words ...string) string {
	if !v.is(yaml.ScalarNode, "one of "+strings.Join(words, ", ")) {
		return ""
	}
	if slices.Contains(words, v.node.Value) { // a bare 1.2 is a number to YAML: never mind
		return v.node.Value
	}
	if best := nearest(v.node.Value, words); best != "" {
		v.wrong("must be one of %s, not %s; did you mean %s?", strings.Join(words, ", "), v.described(), best)
	} else {
		v.wrong("must be one of %s, not %s", strings.Join(words, ", "), v.described())
	}
	return ""
}

// several reads a list whose elements are all different, by what read makes of them.
func several[T comparable](v value, limit int, read func(value) T) []T {
	var all []T
	line := make(map[T]int)
	v.list(limit, func(v value) {
		one := read(v)
		if v.bad[v.path] {
			return
		}
		if first, again := line[one]; again {
			v.wrong("the same as on line %d; delete one", first)
			return
		}
		line[one] = v.node.Line
		all = append(all, one)
	})
	return all
}

// maxName is long enough for the fully qualified names of Kubernetes' pods and short enough for a metric's label.
const maxName = 128

// name reads the name of a listener, backend or server. It becomes a metric's label, a part of a
// URL and an argument of commands (BACKEND/SERVER): letters, digits and HAProxy's - _ . : (its
// manual, section 2.2), and no first character that a path or an option could mistake.
func (v value) name() string {
	s, ok := v.text()
	if !ok {
		return ""
	}
	switch {
	case s == "":
		v.wrong("must not be empty")
	case len(s) > maxName:
		v.wrong("must have at most %d characters, not %d", maxName, len(s))
	case strings.ContainsFunc(s, notInName):
		v.wrong("%s may hold letters, digits and - _ . : only", redact.Quote(s))
	case strings.ContainsAny(s[:1], "-.:"):
		v.wrong("%s must start with a letter, a digit or _", redact.Quote(s))
	default:
		return s
	}
	return ""
}

// notInName says whether names may not hold r.
func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.:", r))
}
