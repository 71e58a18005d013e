package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// maxText bounds the configuration and each servers file, in bytes. A server takes about 50,
// so that 80,000 of them fit.
const maxText = 4 << 20

// A mistake is what makes a text no YAML, at a line of it.
type mistake struct {
	line int
	what string
}

// parseYAML returns the root node of a text with one document in it, or nil for a text that
// holds none.
func parseYAML(text []byte) (*yaml.Node, *mistake) {
	if len(text) > maxText {
		return nil, &mistake{1, fmt.Sprintf("the file is bigger than %d MiB", maxText>>20)}
	}
	if err := illegible(text); err != nil {
		return nil, err
	}
	lines := &lineReader{rest: text}
	decoder := yaml.NewDecoder(lines)
	var doc, further yaml.Node
	err := decode(decoder, &doc)
	if err == nil {
		err = decode(decoder, &further)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, explain(text, lines.handed, err)
	}
	if !further.IsZero() {
		return nil, &mistake{further.Line, `a second YAML document starts here; keep one in the file and delete the "---" between them`}
	}
	if doc.IsZero() || len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" {
		return nil, nil
	}
	return doc.Content[0], nil
}

// decode reads the next document. yaml.v3 panics at a few texts that it cannot parse; a bad
// file must never end the process that runs on the good one before it.
func decode(d *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML parser gave up: %v", p)
		}
	}()
	return d.Decode(into)
}

// A lineReader hands out a text line by line, so that the place where the parser stopped shows.
type lineReader struct {
	rest   []byte
	handed int // lines
}

// Read returns the next line, or as much of it as fits.
func (l *lineReader) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	line := l.rest[:lineLength(l.rest)]
	n := copy(p, line)
	l.rest = l.rest[n:]
	if n == len(line) {
		l.handed++
	}
	return n, nil
}

// lineLength returns the length of the first line of text, its newline included.
func lineLength(text []byte) int {
	if end := bytes.IndexByte(text, '\n'); end >= 0 {
		return end + 1
	}
	return len(text)
}

// explain says at which line the text stops being YAML, and what may help. The line that yaml.v3
// puts into its messages is often that where the surrounding block began, and may be missing.
func explain(text []byte, handed int, err error) *mistake {
	line := brokenLine(text, handed)
	words := inMessage.ReplaceAllStringFunc(yamlPrefix.ReplaceAllString(err.Error(), ""), redact.Bare)
	return &mistake{line, "not valid YAML: " + words + "; " + hint(textOfLine(text, line))}
}

// yamlPrefix is what the messages of yaml.v3 begin with.
var yamlPrefix = regexp.MustCompile(`^(yaml: )?(line \d+: )?`)

// inMessage finds what the messages of yaml.v3 repeat of the text: an alias. A token that starts with * is one.
var inMessage = regexp.MustCompile(`'[^']*'`)

// brokenLine returns the line after the longest run of lines, of the first handed ones, that is
// YAML by itself: where the offending value begins, be it a list that is never closed. The
// answer is most often among the last lines; when it is not, halving finds it without reading a
// long text once for each of its lines, though it can take a list of several lines for broken.
func brokenLine(text []byte, handed int) int {
	ends := []int{0}                                        // of the lines, counted from 1
	for at := 0; at < len(text) && len(ends) <= handed+1; { // the one after them may be read in part
		at += lineLength(text[at:])
		ends = append(ends, at)
	}
	good, bad := 0, len(ends)-1 // so many lines are YAML, and are not
	for tries := 0; tries < 32 && bad-1 > good; tries++ {
		if isYAML(text[:ends[bad-1]]) {
			return bad
		}
		bad--
	}
	for bad-1 > good {
		if middle := (good + bad) / 2; isYAML(text[:ends[middle]]) {
			good = middle
		} else {
			bad = middle
		}
	}
	return bad
}

// isYAML says whether a text begins with a document of valid YAML, or holds none.
func isYAML(text []byte) bool {
	var node yaml.Node
	err := decode(yaml.NewDecoder(bytes.NewReader(text)), &node)
	return err == nil || errors.Is(err, io.EOF)
}

// textOfLine returns a line of the text, counted from 1.
func textOfLine(text []byte, line int) string {
	for ; line > 1; line-- {
		text = text[lineLength(text):]
	}
	return string(text[:lineLength(text)])
}

// Values that YAML takes for something else, though people who come from HAProxy or NGINX write them.
var (
	starAddress = regexp.MustCompile(`[:\s]\*:(\d{1,5})\b`)                      // an alias to YAML
	openBracket = regexp.MustCompile(`[:\s](\[[0-9a-fA-F:.]{0,45}\]:\d{1,5})\b`) // a list to YAML
)

// hint returns what to try when the line is no YAML.
func hint(line string) string {
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	switch {
	case strings.Contains(indent, "\t"):
		return "indent with spaces, not with tabs"
	case starAddress.MatchString(line):
		return fmt.Sprintf("for a port on every address write %q, in quotes", ":"+starAddress.FindStringSubmatch(line)[1])
	case strings.Contains(line, "*"):
		return `quote a text that holds a *; *name repeats the value that was marked &name further up`
	case openBracket.MatchString(line):
		return fmt.Sprintf("write %q, in quotes", openBracket.FindStringSubmatch(line)[1])
	case strings.HasPrefix(line, "%"):
		return "delete the line that starts with %"
	default:
		return "look at the indentation, the quotes and the colons of this line"
	}
}

// illegible finds the first thing in text that no YAML file may hold: bytes that are not UTF-8
// and control characters (YAML 1.2.2 section 5.1). The parser refuses them too, but without a line.
func illegible(text []byte) *mistake {
	line := 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			return &mistake{line, "the text is not UTF-8; save the file as UTF-8"}
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', 0x7f <= r && r < 0xa0 && r != 0x85:
			return &mistake{line, fmt.Sprintf("the control character %U is not allowed; delete it", r)}
		case r == '\n':
			line++
		}
		i += size
	}
	return nil
}
