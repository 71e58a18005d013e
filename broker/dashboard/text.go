package dashboard

import (
	"encoding/hex"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Client identifiers, user names, topics, filters and payloads are whatever somebody sent. They may be 64 KiB long, turn the
// reading direction around, or hold characters that have no shape. They become pieces here, which a template escapes and sets
// apart from what is around them with <bdi>.

// How much of a foreign text is shown, in characters: in a row of a table, where one has room for itself, and of a payload.
const (
	rowText     = 80
	fullText    = 240
	payloadText = 240
	payloadHex  = 64 // bytes
)

// A piece is part of a foreign text. Mark is true for what is not in the text but stands for
// something in it: a character that would not be seen, or would move others.
type piece struct {
	Text string
	Mark bool
}

// pieces takes a text apart. Of more than most characters the middle is left out, because the ends of topics and identifiers are
// what tells one from another. The characters of keep are shown as they are, though they do not print.
func pieces(text string, most int, keep string) []piece {
	head, tail, left := cut(text, most)
	list := appendPieces(nil, head, keep)
	if left > 0 {
		list = append(list, piece{fmt.Sprintf("… %s more …", number(left)), true})
	}
	return appendPieces(list, tail, keep)
}

// cut returns the first two thirds and the last third of most characters of a text, and how many are left out between them.
func cut(text string, most int) (head, tail string, left int) {
	if len(text) <= most {
		return text, "", 0
	}
	left = utf8.RuneCountInString(text) - most
	if left <= 0 {
		return text, "", 0
	}
	first, last := most*2/3, most-most*2/3
	i, j := 0, len(text)
	for range first {
		_, n := utf8.DecodeRuneInString(text[i:])
		i += n
	}
	for range last {
		_, n := utf8.DecodeLastRuneInString(text[:j])
		j -= n
	}
	if j < i { // bytes that are no UTF-8 count differently from either end
		return text[:i], "", left
	}
	return text[:i], text[j:], left
}

func appendPieces(list []piece, text, keep string) []piece {
	begin := 0
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if mark := markFor(r, n, text[i], keep); mark != "" {
			if begin < i {
				list = append(list, piece{text[begin:i], false})
			}
			list = append(list, piece{mark, true})
			begin = i + n
		}
		i += n
	}
	if begin < len(text) {
		list = append(list, piece{text[begin:], false})
	}
	return list
}

// markFor returns what stands for a character, "" for one that is shown itself. first is its first byte.
func markFor(r rune, size int, first byte, keep string) string {
	switch {
	case r == utf8.RuneError && size == 1:
		return fmt.Sprintf("0x%02X", first)
	case unicode.IsPrint(r) || strings.ContainsRune(keep, r):
		return ""
	}
	return fmt.Sprintf("%U", r)
}

// plain is pieces for where there can be no elements: titles and labels.
func plain(text string) string {
	var b strings.Builder
	for _, p := range pieces(text, rowText, "") {
		b.WriteString(p.Text)
	}
	return b.String()
}

// payload is what is shown of a message's content: text where all of it is UTF-8, else hexadecimal digits.
type payload struct {
	Text []piece
	Hex  string
	More int // bytes that Hex leaves out
	Size int // bytes
}

func showPayload(content []byte) payload {
	p := payload{Size: len(content)}
	if utf8.Valid(content) {
		p.Text = pieces(string(content), payloadText, "\n\t")
		return p
	}
	shown := content[:min(len(content), payloadHex)]
	p.More = len(content) - len(shown)
	var b strings.Builder
	for len(shown) > 0 {
		group := shown[:min(len(shown), 4)]
		shown = shown[len(group):]
		b.WriteString(hex.EncodeToString(group) + " ")
	}
	p.Hex = strings.TrimSpace(b.String())
	return p
}

// number writes an integer with a comma before every three digits.
func number[T int | uint64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// rate writes what happens in a second: with a decimal where few do.
func rate(r float64) string {
	if r > 0 && r < 9.95 {
		return strconv.FormatFloat(r, 'f', 1, 64)
	}
	return number(int(r + 0.5))
}

// size writes a number of bytes with three digits.
func size(n int) string {
	if n < 1024 {
		return strconv.Itoa(n) + " B"
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		f /= 1024
		if f < 9.995 {
			return strconv.FormatFloat(f, 'f', 2, 64) + " " + unit
		}
		if f < 99.95 {
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + unit
		}
		if f < 1023.5 || unit == "GiB" {
			return number(int(f+0.5)) + " " + unit
		}
	}
	return ""
}

// span writes a duration with its two largest units.
func span(d time.Duration) string {
	units := []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	d = max(d, 0)
	for i, u := range units {
		n := d / u.of
		if n == 0 && i < len(units)-1 {
			continue
		}
		text := number(int(n)) + " " + u.name
		if i+1 < len(units) {
			next := units[i+1]
			if m := d % u.of / next.of; m > 0 {
				text += " " + strconv.Itoa(int(m)) + " " + next.name
			}
		}
		return text
	}
	return ""
}

// functions are what the templates call.
func functions() template.FuncMap {
	return template.FuncMap{
		"text":    func(s string) []piece { return pieces(s, rowText, "") },
		"long":    func(s string) []piece { return pieces(s, fullText, "") },
		"plain":   plain,
		"number":  number[int],
		"size":    size,
		"span":    span,
		"lasting": func(since time.Time) string { return span(time.Since(since)) },
		"instant": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}
}
