package dashboard

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// fleet fills a node with what makes a page worth looking at.
func (s *stage) fleet() {
	s.t.Helper()
	for i := range 30 {
		d := s.join(fmt.Sprintf("sensor-%04d", i))
		d.subscribe(packet.Options{QoS: 1}, fmt.Sprintf("home/%d/set", i), "home/all")
		d.publish(fmt.Sprintf("home/%d/temperature", i), fmt.Sprintf(`{"celsius": %.1f, "at": "2026-11-24T01:%02d:00Z"}`, 18+float64(i)/7, i), true)
	}
	s.join("gone-for-lunch").leave("gone-for-lunch")
	odd := s.join(odd)
	odd.subscribe(packet.Options{QoS: 2, NoLocal: true, RetainHandling: 2}, "home/#", "office/\u202egnp.exe/+")
	odd.publish("office/binary", "\xff\x00\x01\x02some bytes, and a few more", true)
	odd.publish("office/\u202edlrow\u202c/<b>bold</b>", "line one\nline two\t<img src=x onerror=alert(1)>", true)
	odd.publish("long/"+strings.Repeat("abcdefgh", 8190)+"/end", strings.Repeat("x", 5000), true)
	s.join("سنسور-درجة-الحرارة").subscribe(packet.Options{QoS: 0}, "$share/workers/jobs/+")
	s.join(strings.Repeat("w", 0xffff))
}

// odd is an identifier that wants to be a script.
const odd = "<script>alert(1)</script>"

// traffic sends messages, more and fewer, for as long as so many samples take.
func (s *stage) traffic(n int) {
	s.t.Helper()
	d := s.join("load")
	d.subscribe(packet.Options{}, "load/#")
	for i := 0; len(s.server.sampler.list()) < n; i++ {
		for range 1 + i%400/100*3 + i%7 {
			d.publish("load/x", "hello", false)
		}
		over := false
		s.until("a moment is over", func() bool { defer func() { over = true }(); return over })
	}
}

// TestLooks looks at the pages in light and dark, on a desk, a tablet and a phone: nothing may reach beyond the window.
func TestLooks(t *testing.T) {
	s := play(t, nil)
	b := s.browse()
	b.forgiven = "404" // it is how the page of nobody is answered
	s.fleet()
	if os.Getenv(shots) != "" {
		s.traffic(samples)
	}
	paths := map[string]string{
		"page": "/", "search": "/?filter=office/%23&q=s&sub=office", "long": "/?filter=long/%23&q=www", "nothing": "/?filter=a/%23/b&q=nobody&sub=nothing",
		"client": clientHref(odd), "gone": clientHref("gone-for-lunch"), "nobody": clientHref("nobody"), "wide": clientHref(strings.Repeat("w", 0xffff)),
		"clients": "/#clients", "retained": "/#retained", "subscriptions": "/#subscriptions",
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 768, 320} {
			b.look(width, scheme)
			b.open("/")
			ground := eval[string](b, `getComputedStyle(document.body).backgroundColor`)
			if light := strings.HasPrefix(ground, "rgb(2"); light != (scheme == "light") {
				t.Errorf("%s: the ground is %s", scheme, ground)
			}
			if scheme == "dark" && os.Getenv(shots) == "" {
				continue // colors have no width
			}
			for name, path := range paths {
				b.open(path)
				if over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
					t.Errorf("%d px, %s, %s: the page is %d px wider than the window", width, scheme, name, over)
				}
				b.shoot(fmt.Sprintf("%s-%s-%d", name, scheme, width))
			}
		}
	}
}

// TestAccessible asks of the page what somebody needs who does not see it, or has no mouse.
func TestAccessible(t *testing.T) {
	s := play(t, nil)
	s.fleet()
	b := s.browse()
	for _, path := range []string{"/", clientHref(odd)} {
		b.open(path)
		for what, script := range map[string]string{
			"fields without a label":        `[...document.querySelectorAll("input:not([type=hidden]), select")].filter(e => !e.labels.length).length`,
			"buttons and links without one": `[...document.querySelectorAll("button, a, summary")].filter(e => !e.textContent.trim()).length`,
			"sections without a name":       `[...document.querySelectorAll("section")].filter(e => !document.getElementById(e.getAttribute("aria-labelledby"))?.textContent.trim()).length`,
			"pictures without a text":       `[...document.querySelectorAll("img:not([alt]), svg:not([aria-label])")].length`,
			"columns without a name":        `[...document.querySelectorAll("th")].filter(e => e.scope != "col" || !e.textContent.trim()).length`,
			"identifiers used twice":        `(ids => ids.length - new Set(ids).size)([...document.querySelectorAll("[id]")].map(e => e.id))`,
			"first headings beyond one":     `document.querySelectorAll("h1").length - 1`,
			"announcements of figures":      `document.querySelectorAll("#figures [aria-live], #figures [role=status], #figures[aria-live]").length`,
			"elements out of order":         `document.querySelectorAll("[tabindex]:not([tabindex='0'])").length`,
		} {
			if n := eval[int](b, script); n != 0 {
				t.Errorf("%s: %d %s", path, n, what)
			}
		}
		b.do("press Tab", chromedp.KeyEvent(kb.Tab))
		if first := eval[string](b, `document.activeElement.textContent`); first != "Skip to the content" {
			t.Errorf("%s: the first stop of the keyboard is %q", path, first)
		}
		if outline := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`); outline != "solid" {
			t.Errorf("%s: the focus is not seen: outline %s", path, outline)
		}
	}
}

// TestContrast computes the contrasts of WCAG 2.2, section 1.4.3 (text: 4.5) and 1.4.11 (what is not text: 3).
func TestContrast(t *testing.T) {
	style, err := web.ReadFile("web/page.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, found := strings.Cut(string(style), "@media (prefers-color-scheme: dark)")
	if !found {
		t.Fatal("there is no dark scheme")
	}
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colors := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllStringSubmatch(text, -1) {
			colors[m[1]] = luminance(t, m[2])
		}
		for _, pair := range strings.Fields(`ink/ground ink/card ink/pill faint/ground faint/card faint/pill accent/card accent/ground
			card/accent card/bad good/good-ground bad/bad-ground bad/card warn/card in/card:3 out/card:3 faint/card:3`) {
			pair, limit, _ := strings.Cut(pair, ":")
			least := 4.5
			if limit != "" {
				least = 3
			}
			front, back, _ := strings.Cut(pair, "/")
			a, b := colors[front], colors[back]
			if a == 0 || b == 0 {
				t.Fatalf("%s: no color %s", scheme, pair)
			}
			if c := (math.Max(a, b) + 0.05) / (math.Min(a, b) + 0.05); c < least {
				t.Errorf("%s: the contrast of %s is %.2f, want %.1f", scheme, pair, c, least)
			}
		}
	}
}

// luminance is WCAG's relative luminance of a color.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, share := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		v := float64(n) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += share * v
	}
	return sum
}
