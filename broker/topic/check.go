package topic

import (
	"errors"
	"strings"
)

const (
	// maxBytes is the longest name or filter, in bytes [MQTT-4.7.3-3]: the length field has two bytes.
	maxBytes = 65535

	// MaxLevels is the number of levels a name or a filter may have. The protocol sets no limit; without
	// one, a filter of 65,535 slashes would cost 65,536 nodes of 80 bytes, eighty times what it
	// took to send. 128 is what EMQX allows as well; topics in use have fewer than ten.
	MaxLevels = 128

	sharePrefix = "$share/"
)

// ErrTooDeep tells that a name or filter is well-formed but has more than [MaxLevels] levels: the
// reasons 0x90 and 0x8F of MQTT 5, rather than a malformed packet.
var ErrTooDeep = errors.New("topic has more than 128 levels")

var (
	errEmpty     = errors.New("topic is empty")
	errTooLong   = errors.New("topic is longer than 65,535 bytes")
	errNUL       = errors.New("topic contains the character U+0000")
	errWildcard  = errors.New("topic name contains a wildcard")
	errHash      = errors.New("# is not the last level of the filter, or not a level of its own")
	errPlus      = errors.New("+ is not a level of its own")
	errShareName = errors.New("shared subscription is not $share/NAME/FILTER with a name free of wildcards")
)

// CheckName reports why name cannot be the topic of a message, or nil. That it is
// valid UTF-8 is for the decoder of the packet to see. The numbers are those of MQTT 5.
func CheckName(name string) error {
	if err := checkChars(name); err != nil {
		return err
	}
	if strings.ContainsAny(name, "+#") { // [MQTT-4.7.0-1] [MQTT-3.3.2-2]
		return errWildcard
	}
	return checkDepth(name)
}

// ParseFilter checks a topic filter and takes a shared subscription apart: for "$share/g/a/+" it
// returns "g" and "a/+", for any other filter "" and the filter itself.
func ParseFilter(s string) (share, filter string, err error) {
	if err := checkChars(s); err != nil {
		return "", "", err
	}
	filter = s
	if s == "$share" || strings.HasPrefix(s, sharePrefix) { // [MQTT-4.8.2-1]
		var found bool
		share, filter, found = strings.Cut(strings.TrimPrefix(s, sharePrefix), "/")
		if !found || share == "" || filter == "" || strings.ContainsAny(share, "+#") { // [MQTT-4.8.2-2]
			return "", "", errShareName
		}
	}
	if err := checkWildcards(filter); err != nil {
		return "", "", err
	}
	if err := checkDepth(filter); err != nil {
		return "", "", err
	}
	return share, filter, nil
}

// checkChars checks what names and filters have in common, but for the depth.
func checkChars(s string) error {
	switch {
	case s == "": // [MQTT-4.7.3-1]
		return errEmpty
	case len(s) > maxBytes: // [MQTT-4.7.3-3]
		return errTooLong
	case strings.IndexByte(s, 0) >= 0: // [MQTT-4.7.3-2]
		return errNUL
	}
	return nil
}

// checkWildcards checks that each wildcard fills its level, and that # is the last one.
func checkWildcards(filter string) error {
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more, level != "#" && strings.IndexByte(level, '#') >= 0: // [MQTT-4.7.1-1]
			return errHash
		case level != "+" && strings.IndexByte(level, '+') >= 0: // [MQTT-4.7.1-2]
			return errPlus
		}
	}
	return nil
}

func checkDepth(s string) error {
	if strings.Count(s, "/") >= MaxLevels {
		return ErrTooDeep
	}
	return nil
}

// hasWildcard reports whether a checked filter matches more than one name.
func hasWildcard(filter string) bool {
	return strings.ContainsAny(filter, "+#")
}

// isSystem reports whether a name or filter starts with $, where the wildcards
// of the first level do not reach [MQTT-4.7.2-1].
func isSystem(name string) bool {
	return name != "" && name[0] == '$'
}
