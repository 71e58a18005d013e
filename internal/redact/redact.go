// Package redact decides which texts of a configuration a message may repeat.
//
//	v.wrong("must be a list, not %s", redact.Quote(text)) // "none", or: a text of 64 bytes
//
// Any goroutine may call its functions; none keeps what it is given.
//
// Invariant: nothing of a text that Secret tells of is in what Quote and Bare return but its length.
//
// # Why
//
// A message about a bad configuration goes to the terminal, to the journal and on to whoever collects that. The most
// usual slip next to a key is to name its file in the place of another, or to paste what the file holds where its
// path belongs; quoting the text that was found there would publish the key. No rule tells a key from a word for
// certain, so the rule errs on the side of silence: the line and the field are always named, and whoever can
// read the file needs no more.
package redact

import (
	"fmt"
	"regexp"
	"strings"
)

// enough is the length in bytes of the longest text that is repeated. The settings that have words of their own
// are shorter; the shortest private key in PEM, of Ed25519, has 119 bytes, 256 bits in base64 have 43.
const enough = 40

// token finds what looks drawn at random in a text that is short enough: 20 characters of hexadecimal digits
// or base64 in a row, where 16 bytes make at least 22.
var token = regexp.MustCompile(`[0-9A-Za-z+=]{20,}`)

// Secret says whether s may be a key, a token or a part of one.
func Secret(s string) bool {
	if len(s) > enough || strings.ContainsAny(s, "\n\r") || strings.Contains(s, "-----BEGIN") {
		return true
	}
	run := token.FindString(s)
	return strings.ContainsAny(run, "0123456789") && strings.Trim(run, "0123456789") != ""
}

// Quote returns s in quotes, or how long it is when it may be secret: "a text of 64 bytes".
func Quote(s string) string {
	if Secret(s) {
		return about(s)
	}
	return fmt.Sprintf("%q", s)
}

// Bare is Quote without the quotes.
func Bare(s string) string {
	if Secret(s) {
		return about(s)
	}
	return s
}

// about says of s what anybody may know.
func about(s string) string { return fmt.Sprintf("a text of %d bytes", len(s)) }
