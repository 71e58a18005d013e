package dashboard

import (
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

const token = "sword&fish <of the operator>"

// TestAccess is the table of the package's documentation.
func TestAccess(t *testing.T) {
	for _, tt := range []struct {
		name, listen, token string
		page, part, change  int
	}{
		{"loopback", "127.0.0.1:0", "", 200, 200, 303},
		{"another address", "0.0.0.0:0", "", 403, 403, 403},
		{"loopback with a token", "127.0.0.1:0", token, 303, 401, 401},
		{"another address with a token", "0.0.0.0:0", token, 303, 401, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := play(t, func(o *Options) { o.Listen, o.Token = tt.listen, tt.token })
			s.join("secret-client")
			check := func(page, part, change int, form url.Values) {
				t.Helper()
				for _, path := range []string{"/", "/client?id=secret-client"} {
					if a := s.ask(path, nil); a.code != page || strings.Contains(a.body, "secret-client") != (page == 200) {
						t.Errorf("GET %s: %d, want %d\n%s", path, a.code, page, a.body)
					}
				}
				for _, path := range []string{"figures", "clients", "retained", "subscriptions"} {
					if a := s.ask("/part/"+path, nil); a.code != part {
						t.Errorf("GET /part/%s: %d, want %d", path, a.code, part)
					}
				}
				if a := s.ask("/client/disconnect", form); a.code != change {
					t.Errorf("POST: %d, want %d\n%s", a.code, change, a.body)
				}
			}
			form := url.Values{"id": {"nobody"}, "csrf": {s.server.seal("form", "")}}
			check(tt.page, tt.part, tt.change, form)
			for _, path := range []string{"/page.css", "/page.js", "/icon.svg"} {
				s.want(200, path)
			}
			if tt.page == 403 {
				s.want(403, "/", "wants a token", "127.0.0.1:18083")
				s.want(403, "/login", "wants a token")
				if a := s.ask("/login", url.Values{"token": {""}}); a.code != 403 {
					t.Errorf("signing in without a token: %d", a.code)
				}
			}
			if tt.token == "" {
				return
			}
			s.want(200, "/login", `type="password"`)
			s.signIn(tt.token)
			check(200, 200, 403, form) // a form that was sealed for no session
			form.Set("csrf", s.seal())
			check(200, 200, 303, form)
			s.want(303, "/login")
		})
	}
}

// signIn gets the session's cookie, which the client keeps.
func (s *stage) signIn(token string) answer {
	s.t.Helper()
	a := s.ask("/login", url.Values{"token": {token}})
	if a.code != 303 || a.header.Get("Location") != "/" {
		s.t.Fatalf("signing in: %d\n%s", a.code, a.body)
	}
	return a
}

// seal reads the seal of a page's form.
func (s *stage) seal() string {
	s.t.Helper()
	_, rest, _ := strings.Cut(s.ask("/", nil).body, `name="csrf" value="`)
	seal, _, found := strings.Cut(rest, `"`)
	if !found {
		s.t.Fatal("no form has a seal")
	}
	return seal
}

func TestSignIn(t *testing.T) {
	var lines strings.Builder // the server writes it while a request waits for it
	s := play(t, func(o *Options) { o.Token, o.Log = token, slog.New(slog.NewTextHandler(&lines, nil)) })
	for _, wrong := range []string{"", "sword", token + " ", strings.Repeat("x", 100_000)} {
		if a := s.ask("/login", url.Values{"token": {wrong}}); a.code != 401 || !strings.Contains(a.body, "not the token") || len(a.header["Set-Cookie"]) != 0 {
			t.Errorf("%.20q: %d %v\n%s", wrong, a.code, a.header, a.body)
		}
	}
	if text := lines.String(); strings.Count(text, "wrong token") != 4 || !strings.Contains(text, "address=127.0.0.1:") || strings.Contains(text, "sword") {
		t.Errorf("the log has %s", text)
	}
	a := s.signIn(token)
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%v", a.header)
	}
	c := cookies[0]
	_, port, _ := strings.Cut(s.server.Addr().String(), ":")
	if c.Name != "mqttbroker_"+port || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.MaxAge != int(sessionTime.Seconds()) {
		t.Errorf("the cookie is %+v", c)
	}
	if strings.Contains(c.Value, "sword") {
		t.Error("the token is in the cookie")
	}
	if page := s.want(200, "/"); strings.Contains(page.body, "sword") {
		t.Error("the token is in the page")
	}

	sealed := s.server.session
	future, past := time.Now().Add(time.Hour), time.Now().Add(-time.Second)
	other := &Server{token: token, key: newKey()}
	renamed := &Server{token: "another", key: s.server.key}
	s.client.Jar = nil
	for what, tt := range map[string]struct {
		value string
		code  int
	}{
		"good":                   {sealed(future), 200},
		"over":                   {sealed(past), 303},
		"of another process":     {other.session(future), 303},
		"of another token":       {renamed.session(future), 303},
		"prolonged":              {"9" + sealed(future), 303},
		"for another purpose":    {"1." + s.server.seal("form", "1"), 303},
		"nothing":                {"", 303},
		"no number":              {"x." + s.server.seal("session", "x"), 303},
		"a number that is large": {"99999999999999999999." + s.server.seal("session", "99999999999999999999"), 303},
		"without a seal":         {strings.Split(sealed(future), ".")[0], 303},
	} {
		if a := s.ask("/", nil, "Cookie: "+s.server.cookie+"="+tt.value); a.code != tt.code {
			t.Errorf("a session %s: %d, want %d", what, a.code, tt.code)
		}
	}
	if a := s.ask("/", nil, "Authorization: Bearer "+sealed(future)); a.code != 303 {
		t.Errorf("without the cookie: %d", a.code)
	}
}

func TestSignOut(t *testing.T) {
	s := play(t, func(o *Options) { o.Token = token })
	s.signIn(token)
	if a := s.ask("/logout", url.Values{}); a.code != 403 {
		t.Errorf("without a seal: %d", a.code)
	}
	s.want(200, "/")
	if a := s.ask("/logout", url.Values{"csrf": {s.seal()}}); a.code != 303 || a.header.Get("Location") != "/login" {
		t.Errorf("%d %v", a.code, a.header)
	}
	s.want(303, "/")
}

// TestGuessing: after some attempts a source has to wait, and is told how long.
func TestGuessing(t *testing.T) {
	s := play(t, func(o *Options) { o.Token = token })
	for i := range tryBurst {
		if a := s.ask("/login", url.Values{"token": {"guess"}}); a.code != 401 {
			t.Fatalf("attempt %d: %d", i, a.code)
		}
	}
	a := s.ask("/login", url.Values{"token": {token}})
	if a.code != 429 || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "Too many attempts. Try again in ") {
		t.Errorf("%d %v\n%s", a.code, a.header, a.body)
	}
}

func TestAttempts(t *testing.T) {
	var a attempts
	now := time.Now()
	one, two := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	for i := range tryBurst {
		if wait := a.take(one, now); wait != 0 {
			t.Fatalf("attempt %d waits %v", i, wait)
		}
	}
	for range 3 { // whoever is refused does not have to wait for longer
		if wait := a.take(one, now.Add(time.Second)); wait != tryEvery-time.Second {
			t.Errorf("wait %v", wait)
		}
	}
	if wait := a.take(two, now); wait != 0 {
		t.Errorf("another source waits %v", wait)
	}
	if wait := a.take(one, now.Add(tryEvery)); wait != 0 {
		t.Errorf("after %v: %v", tryEvery, wait)
	}
	if wait := a.take(one, now.Add(tryEvery)); wait != tryEvery {
		t.Errorf("the next: %v", wait)
	}
	a.clear(one)
	if wait := a.take(one, now.Add(tryEvery)); wait != 0 {
		t.Errorf("after a success: %v", wait)
	}
	for i := range 3 * trySources {
		a.take(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), now.Add(time.Hour+time.Duration(i)))
	}
	if len(a.sources) != trySources {
		t.Errorf("%d sources are remembered", len(a.sources))
	}
	if _, there := a.sources[one]; there {
		t.Error("the oldest is remembered")
	}
}

func TestSources(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1/32", "[::ffff:192.0.2.1]:5": "192.0.2.1/32", "[2001:db8:1:2:3:4:5:6]:5": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5": "fe80::/64", "": "invalid Prefix", "@": "invalid Prefix", "x:5": "invalid Prefix",
	} {
		if got := sourceOf(remote); got.String() != want {
			t.Errorf("%s: %v, want %s", remote, got, want)
		}
	}
}

// TestOthersAreKeptOut: a browser on the operator's machine is no way in for the pages of others.
func TestOthersAreKeptOut(t *testing.T) {
	s := play(t, nil)
	d := s.join("target")
	good := url.Values{"id": {"target"}, "csrf": {s.server.seal("form", "")}}
	for _, tt := range []struct {
		what, path string
		form       url.Values
		code       int
		headers    []string
	}{
		{"a name that was made to resolve here", "/", nil, 403, []string{"Host: rebound.evil.example:18083"}},
		{"the same for a change", "/client/disconnect", good, 403, []string{"Host: rebound.evil.example"}},
		{"the same for the form", "/login", nil, 403, []string{"Host: rebound.evil.example"}},
		{"a name that begins well", "/", nil, 403, []string{"Host: localhost.evil.example"}},
		{"loopback by name", "/", nil, 200, []string{"Host: LocalHost:18083"}},
		{"loopback of IPv6", "/", nil, 200, []string{"Host: [::1]:18083"}},
		{"a link from elsewhere", "/", nil, 200, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}},
		{"a script elsewhere", "/part/clients", nil, 403, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}},
		{"a script of a neighbour", "/part/clients", nil, 403, []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors"}},
		{"our script", "/part/clients", nil, 200, []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"}},
		{"another site's form", "/client/disconnect", good, 403, []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}},
		{"another origin's form", "/client/disconnect", good, 403, []string{"Origin: https://evil.example"}},
		{"no origin's form", "/client/disconnect", good, 403, []string{"Origin: null"}},
		{"another port's form", "/client/disconnect", good, 403, []string{"Origin: http://127.0.0.1:1"}},
		{"a form without a seal", "/client/disconnect", url.Values{"id": {"target"}}, 403, nil},
		{"a form with another seal", "/client/disconnect", url.Values{"id": {"target"}, "csrf": {"x"}}, 403, nil},
		{"a seal in the address", "/client/disconnect?" + good.Encode(), url.Values{}, 403, nil},
	} {
		if a := s.ask(tt.path, tt.form, tt.headers...); a.code != tt.code {
			t.Errorf("%s: %d, want %d\n%s", tt.what, a.code, tt.code, a.body)
		}
	}
	if c, _ := s.node.Client("target"); !c.Connected {
		t.Error("the client was disconnected")
	}
	if a := s.ask("/client/disconnect", good, "Origin: "+s.base); a.code != 303 {
		t.Errorf("our own form: %d", a.code)
	}
	d.told(0x98)
}

// TestHeaders are what every answer says to browsers.
func TestHeaders(t *testing.T) {
	s := play(t, nil)
	for _, path := range []string{"/", "/part/figures", "/client?id=x", "/page.js", "/page.css", "/icon.svg", "/login", "/nothing", "/client/disconnect"} {
		h := s.ask(path, nil).header
		for name, want := range map[string]string{
			"Content-Security-Policy": "frame-ancestors 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-",
		} {
			if got := h.Get(name); !strings.Contains(got, want) {
				t.Errorf("%s: %s: %q lacks %q", path, name, got, want)
			}
		}
		if csp := h.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("%s: %s", path, csp)
		}
		if h.Get("Access-Control-Allow-Origin") != "" || len(h["Set-Cookie"]) != 0 {
			t.Errorf("%s: %v", path, h)
		}
	}
}
