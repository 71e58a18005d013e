package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	tests := []struct {
		tag, name string
		want      error
	}{
		{"[MQTT-4.7.3-1] at least one character", "", errEmpty},
		{"[MQTT-4.7.3-2] no U+0000", "a\x00b", errNUL},
		{"[MQTT-4.7.3-3] no longer than 65,535 bytes", strings.Repeat("a", 65536), errTooLong},
		{"[MQTT-4.7.3-3] just as long", strings.Repeat("a", 65535), nil},
		{"[MQTT-4.7.0-1] no +", "a/+/b", errWildcard},
		{"[MQTT-4.7.0-1] no #", "a/#", errWildcard},
		{"[MQTT-4.7.0-1] not inside a level either", "a/b#", errWildcard},
		{"a single slash is a name of two empty levels", "/", nil},
		{"blanks are characters", " ", nil},
		{"system topic", "$SYS/x", nil},
		{"as deep as allowed", strings.Repeat("/", MaxLevels-1), nil},
		{"too deep", strings.Repeat("/", MaxLevels), ErrTooDeep},
	}
	for _, tt := range tests {
		t.Run(tt.tag, func(t *testing.T) {
			if err := CheckName(tt.name); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("CheckName(%.40q) = %v, want %v", tt.name, err, tt.want)
			}
		})
	}
}

func TestParseFilter(t *testing.T) {
	tests := []struct {
		tag, in       string
		share, filter string
		want          error
	}{
		{"[MQTT-4.7.3-1] at least one character", "", "", "", errEmpty},
		{"[MQTT-4.7.3-2] no U+0000", "a/\x00", "", "", errNUL},
		{"[MQTT-4.7.3-3] no longer than 65,535 bytes", strings.Repeat("a", 65536), "", "", errTooLong},
		{"[MQTT-4.7.1-1] # alone", "#", "", "#", nil},
		{"[MQTT-4.7.1-1] # last", "a/#", "", "a/#", nil},
		{"[MQTT-4.7.1-1] # not last", "a/#/b", "", "", errHash},
		{"[MQTT-4.7.1-1] # not a level of its own", "a#", "", "", errHash},
		{"[MQTT-4.7.1-1] # after an empty level", "/#", "", "/#", nil},
		{"[MQTT-4.7.1-1] ##", "##", "", "", errHash},
		{"[MQTT-4.7.1-2] + alone", "+", "", "+", nil},
		{"[MQTT-4.7.1-2] + anywhere", "+/a/+/#", "", "+/a/+/#", nil},
		{"[MQTT-4.7.1-2] + not a level of its own", "a+/b", "", "", errPlus},
		{"[MQTT-4.7.1-2] + before something", "+a", "", "", errPlus},
		{"[MQTT-4.7.1-2] ++", "a/++", "", "", errPlus},
		{"[MQTT-4.7.1-2] +#", "+#", "", "", errHash},
		{"empty levels", "//", "", "//", nil},
		{"[MQTT-4.8.2-1] shared", "$share/g/a/+", "g", "a/+", nil},
		{"[MQTT-4.8.2-1] shared, with an empty first level", "$share/g//a", "g", "/a", nil},
		{"[MQTT-4.8.2-1] no name", "$share//a", "", "", errShareName},
		{"[MQTT-4.8.2-2] wildcard in the name", "$share/g+/a", "", "", errShareName},
		{"[MQTT-4.8.2-2] # in the name", "$share/#/a", "", "", errShareName},
		{"[MQTT-4.8.2-2] no filter", "$share/g", "", "", errShareName},
		{"[MQTT-4.8.2-2] empty filter", "$share/g/", "", "", errShareName},
		{"[MQTT-4.8.2-2] nothing but the word", "$share", "", "", errShareName},
		{"[MQTT-4.8.2-2] nothing but the prefix", "$share/", "", "", errShareName},
		{"the filter of a shared subscription is checked, too", "$share/g/a+", "", "", errPlus},
		{"not the word, but a longer one", "$shared/g/a", "", "$shared/g/a", nil},
		{"as deep as allowed", strings.Repeat("+/", MaxLevels-1) + "#", "", strings.Repeat("+/", MaxLevels-1) + "#", nil},
		{"too deep", strings.Repeat("+/", MaxLevels) + "#", "", "", ErrTooDeep},
	}
	for _, tt := range tests {
		t.Run(tt.tag, func(t *testing.T) {
			share, filter, err := ParseFilter(tt.in)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("ParseFilter(%.40q): %v, want %v", tt.in, err, tt.want)
			}
			if share != tt.share || filter != tt.filter {
				t.Errorf("ParseFilter(%.40q) = %q, %q, want %q, %q", tt.in, share, filter, tt.share, tt.filter)
			}
		})
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"a/+/#", "$share/g/a", "$share//", "#", "+", "/", "a+/b", "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		share, filter, err := ParseFilter(s)
		if err != nil {
			if share != "" || filter != "" {
				t.Fatalf("%q: an error and a result", s)
			}
			return
		}
		whole := filter
		if share != "" {
			whole = sharePrefix + share + "/" + filter
		}
		if whole != s {
			t.Fatalf("%q was taken apart into %q and %q", s, share, filter)
		}
		if !hasWildcard(s) && CheckName(s) != nil && share == "" {
			t.Fatalf("%q is a filter without wildcards but not a name", s)
		}
		var tree Tree[int, int]
		tree.Subscribe(filter, 1, 1)
		if !tree.Unsubscribe(filter, 1) || !empty(&tree) {
			t.Fatalf("%q cannot be taken back", filter)
		}
	})
}
