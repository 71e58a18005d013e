package dashboard

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// flat writes pieces as one text, marks in brackets.
func flat(list []piece) string {
	var b strings.Builder
	for _, p := range list {
		if p.Mark {
			b.WriteString("[" + p.Text + "]")
		} else {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

func TestPieces(t *testing.T) {
	for _, tt := range []struct{ text, keep, want string }{
		{"", "", ""},
		{"home/kitchen", "", "home/kitchen"},
		{"<b>&\"'", "", "<b>&\"'"},
		{"a\u202egnp.exe", "", "a[U+202E]gnp.exe"},
		{"\u2066x\u2069", "", "[U+2066]x[U+2069]"},
		{"a\x1b[31m\x7f", "", "a[U+001B][31m[U+007F]"},
		{"one\ntwo\t3", "", "one[U+000A]two[U+0009]3"},
		{"one\ntwo\t3\r", "\n\t", "one\ntwo\t3[U+000D]"},
		{"n\u00a0b\u2003w\u200bz\ufeff", "", "n[U+00A0]b[U+2003]w[U+200B]z[U+FEFF]"},
		{"a\xffb\xc3", "", "a[0xFF]b[0xC3]"},
		{"true \ufffd", "", "true \ufffd"},
		{"سنسور/درجة", "", "سنسور/درجة"},
		{"日本 🚀", "", "日本 🚀"},
		{"private \ue000", "", "private [U+E000]"},
		{"0123456789abcdef", "", "01234567[… 4 more …]cdef"},
		{"0123456789ab", "", "0123456789ab"},
		{"ééééééééééééé", "", "éééééééé[… 1 more …]éééé"},
		{strings.Repeat("x", 65535), "", "xxxxxxxx[… 65,523 more …]xxxx"},
	} {
		if got := flat(pieces(tt.text, 12, tt.keep)); got != tt.want {
			t.Errorf("%.40q becomes %q, want %q", tt.text, got, tt.want)
		}
	}
	if got := plain("a\u202eb"); got != "aU+202Eb" {
		t.Errorf("plain: %q", got)
	}
}

func FuzzPieces(f *testing.F) {
	for _, seed := range []string{"", "home/+/#", "\u202e\u2066", "\xff\xc3\xed\xa0\x80", strings.Repeat("é\xff", 100)} {
		f.Add(seed, 12)
	}
	templates, err := template.New("").Funcs(functions()).ParseFS(web, "web/*.html")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = max(3, most%1000)
		shown := 0
		for _, p := range pieces(text, most, "") {
			if p.Text == "" || !utf8.ValidString(p.Text) {
				t.Fatalf("a piece is %q", p.Text)
			}
			if p.Mark {
				continue
			}
			shown += utf8.RuneCountInString(p.Text)
			if i := strings.IndexFunc(p.Text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Fatalf("%q has a character without a shape", p.Text)
			}
			if !strings.Contains(text, p.Text) {
				t.Fatalf("%q is not in %q", p.Text, text)
			}
		}
		if shown > most {
			t.Fatalf("%d characters, at most %d", shown, most)
		}
		if len(text) <= most && utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
			if got := flat(pieces(text, most, "")); got != text {
				t.Fatalf("%q becomes %q", text, got)
			}
		}
		var b bytes.Buffer
		if err := templates.ExecuteTemplate(&b, "text", pieces(text, most, "")); err != nil {
			t.Fatal(err)
		}
		inner := strings.NewReplacer(`<bdi class="text">`, "", `</bdi>`, "", `<span class="mark">`, "", `</span>`, "").Replace(b.String())
		if strings.ContainsAny(inner, "<>\"'") {
			t.Fatalf("%q became %s", text, inner)
		}
	})
}

func TestPayload(t *testing.T) {
	for _, tt := range []struct {
		content, text, hex string
		more               int
	}{
		{"", "", "", 0},
		{"21.5 °C\n", "21.5 °C\n", "", 0},
		{"\xff\x00\x01\x02\x03", "", "ff000102 03", 0},
		{strings.Repeat("\xfe", 65), "", strings.TrimSpace(strings.Repeat("fefefefe ", 16)), 1},
		{strings.Repeat("y", 1<<20), strings.Repeat("y", 160) + "[… 1,048,336 more …]" + strings.Repeat("y", 80), "", 0},
		{"\x00", "[U+0000]", "", 0},
	} {
		p := showPayload([]byte(tt.content))
		if flat(p.Text) != tt.text || p.Hex != tt.hex || p.More != tt.more || p.Size != len(tt.content) {
			t.Errorf("%.20q: %+v", tt.content, p)
		}
	}
}

func TestFigureTexts(t *testing.T) {
	for got, want := range map[string]string{
		number(0): "0", number(999): "999", number(1000): "1,000", number(1234567): "1,234,567", number(-1000): "-1,000", number(uint64(12)): "12",
		rate(0): "0", rate(0.04): "0.0", rate(9.94): "9.9", rate(9.96): "10", rate(1234.5): "1,235",
		size(0): "0 B", size(1023): "1023 B", size(1024): "1.00 KiB", size(10240): "10.0 KiB", size(102400): "100 KiB", size(1<<20 - 1): "1.00 MiB",
		size(21<<20 + 1): "21.0 MiB", size(1 << 30): "1.00 GiB", size(2000 << 30): "2,000 GiB",
		span(-1): "0 s", span(59 * time.Second): "59 s", span(time.Minute): "1 min", span(3601 * time.Second): "1 h",
		span(3700 * time.Second): "1 h 1 min", span(49 * time.Hour): "2 d 1 h", span(1400 * 24 * time.Hour): "1,400 d",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := fmt.Sprint(counts(map[string]uint64{"keep_alive_timeout": 2, "refused": 12000, "stopped": 0, "a": 2})); got != "[{refused 12,000} {a 2} {keep alive timeout 2}]" {
		t.Errorf("counts: %s", got)
	}
	if resident() < 1<<20 {
		t.Errorf("%d bytes of memory", resident())
	}
}
