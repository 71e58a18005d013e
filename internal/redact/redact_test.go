package redact

import (
	"strings"
	"testing"
)

func TestQuote(t *testing.T) {
	tests := []struct{ text, quoted, bare string }{
		{"", `""`, ""},
		{"none", `"none"`, "none"},
		{`say "x"`, `"say \"x\""`, `say "x"`},
		{"round-robin", `"round-robin"`, "round-robin"},
		{"[2001:db8:1234:5678:9abc:def0:1234:5678]", `"[2001:db8:1234:5678:9abc:def0:1234:5678]"`, "[2001:db8:1234:5678:9abc:def0:1234:5678]"},
		{"emqx-0.emqx-headless.mqtt.svc", `"emqx-0.emqx-headless.mqtt.svc"`, "emqx-0.emqx-headless.mqtt.svc"},
		{"99999999999999999999999", `"99999999999999999999999"`, "99999999999999999999999"},
		{"servercertificatepassword", `"servercertificatepassword"`, "servercertificatepassword"},
		{strings.Repeat("x", 41), "a text of 41 bytes", "a text of 41 bytes"},
		{strings.Repeat("7", 64), "a text of 64 bytes", "a text of 64 bytes"},
		{"one\ntwo", "a text of 7 bytes", "a text of 7 bytes"},
		{"-----BEGIN X-----", "a text of 17 bytes", "a text of 17 bytes"},
		{"0123456789abcdef0123456789abcdef", "a text of 32 bytes", "a text of 32 bytes"},
		{"MHcCAQEEIJ2+5A==zz12", "a text of 20 bytes", "a text of 20 bytes"},
	}
	for _, test := range tests {
		if got := Quote(test.text); got != test.quoted {
			t.Errorf("Quote(%q): got %s, want %s", test.text, got, test.quoted)
		}
		if got := Bare(test.text); got != test.bare {
			t.Errorf("Bare(%q): got %s, want %s", test.text, got, test.bare)
		}
	}
}
