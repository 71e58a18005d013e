package dashboard

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestPage(t *testing.T) {
	s := play(t, nil)
	d := s.join("heater-1")
	d.subscribe(packet.Options{QoS: 1, RetainAsPublished: true, RetainHandling: 1}, "home/+/set")
	d.publish("home/a", `{"on": true}`, true)
	s.join("away-1").leave("away-1")
	s.want(200, "/",
		"<title>node-1</title>", "mqttbroker 1.2.3", "accepting clients", ">heater-1<", ">away-1<", `<span class="pill good">connected</span>`, `<span class="pill">away</span>`,
		"home/&#43;/set", `<span class="pill">retain as published</span>`, `<span class="pill">retained if new</span>`, "home/a", "{&#34;on&#34;: true}", "12 B",
		"mqtt</strong>", s.node.Addr("mqtt").String(), "PROXY optional", "client closed", "1 min", "2 of 2 clients", "1 of 1 subscription", "1 message<",
	)
	s.want(200, "/part/figures", "Connections", "2 accepted", "1 away")
	s.want(404, "/nothing", "nothing at this address")
	s.want(200, "/part/clients?q=heat", "heater-1", "1 of 1 client<")
	s.want(200, "/part/clients?q=nobody", "No client matches.")
	if page := s.want(200, "/part/clients?state=away", "away-1"); strings.Contains(page.body, "heater-1") {
		t.Error("a connected client among those that are away")
	}
	if page := s.want(200, "/part/clients?state=connected", "heater-1"); strings.Contains(page.body, "away-1") {
		t.Error("a client that is away among the connected")
	}
	s.want(200, "/part/retained?filter=home/%2B", "home/a")
	s.want(200, "/part/retained?filter=nothing/%23", "No retained message matches <bdi>nothing/#</bdi>")
	s.want(200, "/part/retained?filter=a/%23/b", `class="problem"`, "# is not the last level")
	s.want(200, "/part/subscriptions?sub=heater", "home/&#43;/set")
	s.want(200, "/part/subscriptions?sub=nobody", "No subscription matches.")
}

// TestForms: who searches in one list keeps the state of the others, without a script too.
func TestForms(t *testing.T) {
	s := play(t, nil)
	page := s.want(200, "/?q=a&state=away&after=b&filter=c/%23&sub=%22d%22&place=e&unknown=f").body
	for action, want := range map[string]string{
		"/#clients":       `filter="c/#" place="e" sub="&#34;d&#34;" q="a"`,
		"/#retained":      `after="b" place="e" q="a" state="away" sub="&#34;d&#34;" filter="c/#"`,
		"/#subscriptions": `after="b" filter="c/#" q="a" state="away" sub="&#34;d&#34;"`,
	} {
		_, form, _ := strings.Cut(page, `action="`+action+`"`)
		form, _, _ = strings.Cut(form, "</form>")
		var fields []string
		for _, m := range regexp.MustCompile(`name="([a-z]+)" value="([^"]*)"`).FindAllStringSubmatch(form, -1) {
			fields = append(fields, fmt.Sprintf(`%s="%s"`, m[1], m[2]))
		}
		if got := strings.Join(fields, " "); got != want {
			t.Errorf("%s carries %s, want %s", action, got, want)
		}
	}
	if !strings.Contains(page, `<option value="away" selected>`) {
		t.Error("the state is not chosen")
	}
}

// TestPages turns the pages of both lists by their links, and sees everything once.
func TestPages(t *testing.T) {
	s := play(t, nil)
	var want []string
	for i := range 2*clientRows + 7 {
		id := fmt.Sprintf("id-%03d", i)
		s.join(id).subscribe(packet.Options{}, "some/+/"+id)
		want = append(want, id)
	}
	s.join("other").subscribe(packet.Options{}, "b", "a")
	for _, tt := range []struct{ start, section, cell string }{
		{"/?q=id-&sub=nobody", "clients", `<td role="cell" class="head"><a href="[^"]*"><bdi class="text">([^<]*)</bdi>`},
		{"/?q=nobody&sub=some", "subscriptions", `<td role="cell" class="head"><bdi class="text">some/&#43;/([^<]*)</bdi>`},
	} {
		var got []string
		next, pages := tt.start, 0
		for ; next != ""; pages++ {
			if pages > 5 {
				t.Fatal("pages have no end")
			}
			page := s.want(200, next).body
			for _, m := range regexp.MustCompile(tt.cell).FindAllStringSubmatch(page, -1) {
				got = append(got, m[1])
			}
			if first := strings.Contains(page, ">First page<"); first != (pages > 0) {
				t.Errorf("page %d has a way back: %v", pages, first)
			}
			next = ""
			if m := regexp.MustCompile(`<a href="([^"]*)" rel="next">`).FindStringSubmatch(page); m != nil {
				next = html.UnescapeString(m[1])
				if !strings.HasSuffix(next, "#"+tt.section) {
					t.Errorf("the next page is %s", next)
				}
				next, _, _ = strings.Cut(next, "#")
			}
		}
		if !slices.Equal(got, want) || pages != 3 {
			t.Errorf("%s: %d pages with %v", tt.section, pages, got)
		}
	}
}

// TestHostileText: what clients send does not become part of the page, does not move it, and does not swell it.
func TestHostileText(t *testing.T) {
	s := play(t, nil)
	long := strings.Repeat("\u20ac", 0xffff/3) // as long as strings get, and three times as long in an address
	ids := []string{odd, `"><img src=x onerror=alert(1)>`, "javascript:alert(1)", "../../client", "a b&c=d#e?f%41", "\u202egnp.exe", "\x01\x1b[31m\n", "{{.CSRF}}", " ", long}
	for _, id := range ids {
		s.connect(packet.Connect{Version: packet.V5, ClientID: []byte(id)}).subscribe(packet.Options{}, "f/"+strings.ReplaceAll(id[:min(len(id), 3000)], "#", "."))
	}
	d := s.join("sender")
	d.publish("t/"+odd, odd, true)
	d.publish("t/\u202e\x1b", "\u202e\x00", true)
	d.publish("t/long/"+strings.Repeat("x", 60_000)+"/end", strings.Repeat("<", 200_000), true)
	page := s.want(200, "/", "&lt;script&gt;", `<span class="mark">U&#43;202E</span>gnp.exe`, `<span class="mark">U&#43;001B</span>[31m`, "more …", "/end", "{{.CSRF}}")
	for _, bad := range []string{"<script>alert", "<img src=x", `href="javascript`, "\u202e", "\x1b", "\x01"} {
		if strings.Contains(page.body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if n := strings.Count(page.body, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
	if len(page.body) > 1<<20 {
		t.Errorf("the page has %d bytes", len(page.body))
	}
	for _, id := range ids {
		link := clientHref(id)
		if !strings.Contains(html.UnescapeString(page.body), `href="`+link+`"`) {
			t.Errorf("no link to %.40q", id)
		}
		own := s.want(200, link, `<span class="pill good">connected</span>`)
		if got := html.UnescapeString(regexp.MustCompile(`name="id" value="([^"]*)"`).FindStringSubmatch(own.body)[1]); got != id {
			t.Errorf("the form is about %.40q, want %.40q", got, id)
		}
		if a := s.ask("/client/disconnect", url.Values{"id": {id}, "csrf": {s.server.seal("form", "")}}); a.code != 303 || !strings.HasPrefix(a.header.Get("Location"), link) {
			t.Errorf("%.40q: %d %.200s", id, a.code, a.header.Get("Location"))
		}
		s.until("it is gone", func() bool { c, _ := s.node.Client(id); return !c.Connected })
	}
	// The page after one with the longest filter of the longest identifier has the longest address of all.
	place := url.Values{afterPlace: {long + "\x00" + long}}.Encode()
	s.want(200, "/?"+place)
	if a := s.ask("/client/disconnect", url.Values{"id": {strings.Repeat(long, 5)}}); a.code != 403 {
		t.Errorf("a form of a megabyte: %d", a.code)
	}
}

func TestClientPage(t *testing.T) {
	s := play(t, nil)
	s.connect(packet.Connect{Version: packet.V311, ClientID: []byte("plain"), CleanStart: true})
	s.want(200, "/client?id=plain", "3.1.1", "off", "ends too", "<dd>yes</dd>", "None.")
	s.want(404, "/client?id=nobody", "keeps nothing of a client")
	s.want(404, "/client", "keeps nothing of a client")

	d := s.join("much")
	for i := 0; i < ownRows+5; i += 41 {
		var filters []string
		for j := range 41 {
			filters = append(filters, fmt.Sprintf("f/%03d", i+j))
		}
		d.subscribe(packet.Options{QoS: 2}, filters...)
	}
	own := s.want(200, "/client?id=much", "f/000", "f/199", "… and 5 more.", "1 h")
	if strings.Contains(own.body, "f/200") {
		t.Error("more rows than there is room for")
	}
	csrf := s.server.seal("form", "")
	a := s.ask("/client/disconnect", url.Values{"id": {"much"}, "csrf": {csrf}})
	if a.code != 303 || a.header.Get("Location") != "/client?id=much&done=disconnected" {
		t.Errorf("%d %s", a.code, a.header.Get("Location"))
	}
	d.told(packet.AdministrativeAction)
	s.until("the client is away", func() bool { c, _ := s.node.Client("much"); return !c.Connected })
	s.want(200, a.header.Get("Location"), "The client was disconnected.", "away")

	// Whoever is away cannot be disconnected, and whose session ends with its connection is gone.
	a = s.ask("/client/disconnect", url.Values{"id": {"much"}, "csrf": {csrf}})
	if a.header.Get("Location") != "/client?id=much" {
		t.Errorf("%d %s", a.code, a.header.Get("Location"))
	}
	a = s.ask("/client/disconnect", url.Values{"id": {"plain"}, "csrf": {csrf}})
	s.until("the client is gone", func() bool { _, there := s.node.Client("plain"); return !there })
	s.want(200, a.header.Get("Location"), "The client was disconnected.", "keeps nothing of a client")
	if page := s.want(404, "/client?id=x&done=<b>all+is+lost"); strings.Contains(page.body, "lost") {
		t.Error("the page says what its address wants it to")
	}
}

// TestTurns: two lists are made at a time, further requests wait for their turn.
func TestTurns(t *testing.T) {
	s := play(t, nil)
	for range maxWalks {
		s.server.walks <- struct{}{}
	}
	answered := make(chan error, 1)
	go func() {
		resp, err := s.client.Get(s.base + "/part/clients")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
		}
		answered <- err
	}()
	s.want(200, "/part/figures")
	select {
	case err := <-answered:
		t.Errorf("answered before its turn: %v", err)
	default:
	}
	<-s.server.walks
	if err := <-answered; err != nil {
		t.Error(err)
	}
	<-s.server.walks
}
