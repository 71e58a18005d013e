package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
)

func TestClients(t *testing.T) {
	a := start(t, Options{})
	for i := range 3 {
		a.connect(fmt.Sprint("dev", i))
	}
	for _, id := range []string{"x/away", "é<b>&"} {
		a.connect(id).conn.Close()
		until(t, "the client is away", func() bool { c, _ := a.broker.Client(id); return !c.Connected })
	}
	for _, tt := range []struct {
		parameters, ids, next string
		total                 int
	}{
		{"", "dev0 dev1 dev2 x/away é<b>&", "", 5},
		{"?contains=ev", "dev0 dev1 dev2", "", 3},
		{"?contains=%C3%A9%3Cb%3E%26", "é<b>&", "", 1},
		{"?connected=true", "dev0 dev1 dev2", "", 3},
		{"?connected=false", "x/away é<b>&", "", 2},
		{"?limit=5", "dev0 dev1 dev2 x/away é<b>&", "", 5},
		{"?limit=2", "dev0 dev1", "dev1", 5},
		{"?limit=2&after=dev1", "dev2 x/away", "x/away", 5},
		{"?limit=2&after=x%2Faway", "é<b>&", "", 5},
		{"?contains=nothing", "", "", 0},
	} {
		var page Clients
		a.get("/api/v1/clients"+tt.parameters, &page)
		var ids []string
		for _, c := range page.Clients {
			ids = append(ids, c.ID)
		}
		if got := strings.Join(ids, " "); got != tt.ids || page.Next != tt.next || page.Total != tt.total || page.Clients == nil {
			t.Errorf("%s: %q, next %q of %d; want %q, next %q of %d", tt.parameters, got, page.Next, page.Total, tt.ids, tt.next, tt.total)
		}
	}
	for _, wrong := range []string{"?limit=0", "?limit=-1", "?limit=1001", "?limit=x", "?connected=yes", "?contain=x", "?limit=1&limit=2", "?contains=%zz", "?a;b"} {
		a.want(http.StatusBadRequest, "GET", "/api/v1/clients"+wrong, "")
	}
}

func TestClient(t *testing.T) {
	a := start(t, Options{})
	d := a.connect("c")
	d.subscribe(packet.Options{}, "a")
	var c Client
	a.get("/api/v1/clients/c", &c)
	if c.ID != "c" || !c.Connected || time.Since(c.Since) > patience || c.Address != d.conn.LocalAddr().String() || c.Version != "5" || c.Listener != "mqtt" ||
		c.KeepAlive == nil || *c.KeepAlive != 60 || c.CleanStart == nil || !*c.CleanStart || c.SessionExpiry != 3600 || c.Subscriptions != 1 {
		t.Errorf("connected: %+v", c)
	}
	d.conn.Close()
	until(t, "the client is away", func() bool { c, _ := a.broker.Client("c"); return !c.Connected })
	c = Client{}
	a.get("/api/v1/clients/c", &c)
	if c.Connected || time.Since(c.Since) > patience || c.Address != "" || c.Version != "" || c.KeepAlive != nil || c.CleanStart != nil || c.SessionExpiry != 3600 {
		t.Errorf("away: %+v", c)
	}
}

// TestIdentifiers: every one that a client may have can be asked for, subscribed with and disconnected.
func TestIdentifiers(t *testing.T) {
	a := start(t, Options{})
	for _, id := range []string{
		"plain", "a/b", "/", "//", "a//b/", "..", ".", "../../metrics", "a b+c", "100%", "%2F", "a?b=c&d#e", `back\slash"quote`, "Ünïcode ☃ 𝄞", "<script>",
		"subscriptions", "a/subscriptions", "\u202eabc", "tab\tnewline\n", "{id}", strings.Repeat("long", 500),
	} {
		t.Run(fmt.Sprintf("%.20q", id), func(t *testing.T) {
			a.t = t
			d := a.connect(id)
			d.subscribe(packet.Options{}, "f")
			var escaped strings.Builder // all of it: what leaves dots alone makes ".." a way up
			for _, b := range []byte(id) {
				fmt.Fprintf(&escaped, "%%%02X", b)
			}
			for _, path := range []string{"/api/v1/clients/" + escaped.String(), "/api/v1/clients/" + url.PathEscape(id)} {
				if id == "." || id == ".." {
					path = "/api/v1/clients/" + escaped.String()
				}
				var c Client
				a.get(path, &c)
				if c.ID != id {
					t.Errorf("%s is %q", path, c.ID)
				}
				var list Subscriptions
				a.get(path+"/subscriptions", &list)
				if len(list.Subscriptions) != 1 || list.Subscriptions[0].ClientID != id {
					t.Errorf("%+v", list)
				}
			}
			a.want(http.StatusNoContent, "DELETE", "/api/v1/clients/"+escaped.String(), "")
			d.next(packet.DISCONNECT)
			until(t, "the client is away", func() bool { c, _ := a.broker.Client(id); return !c.Connected })
		})
	}
}

func TestDisconnect(t *testing.T) {
	a := start(t, Options{})
	d := a.connect("c")
	a.want(http.StatusNoContent, "DELETE", "/api/v1/clients/c", "")
	h, body := d.next(packet.DISCONNECT)
	var p packet.Disconnect
	if err := p.Decode(packet.V5, h, body); err != nil || p.Code != packet.AdministrativeAction {
		t.Errorf("%v, %v", p.Code, err)
	}
	d.conn.Close()
	until(t, "the client is away", func() bool { c, _ := a.broker.Client("c"); return !c.Connected })
	a.want(http.StatusConflict, "DELETE", "/api/v1/clients/c", "")
	text := a.want(http.StatusNotFound, "DELETE", "/api/v1/clients/nobody", "")
	if !strings.Contains(text, "nobody") || !strings.Contains(text, "a%2Fb") {
		t.Error(text)
	}
	a.want(http.StatusNotFound, "GET", "/api/v1/clients/nobody", "")
	a.want(http.StatusNotFound, "GET", "/api/v1/clients/nobody/subscriptions", "")
	if text := a.want(http.StatusNotFound, "GET", "/api/v1/clients/"+strings.Repeat("x", 10_000), ""); len(text) > 1000 {
		t.Errorf("a failure of %d bytes", len(text))
	}
}

func TestSubscriptions(t *testing.T) {
	a := start(t, Options{})
	var want []string
	for _, id := range []string{"a", "a b", "b"} {
		d := a.connect(id)
		for _, filter := range []string{"#", "$share/g/x", "t/+"} {
			d.subscribe(packet.Options{QoS: 2, NoLocal: filter[0] != '$', RetainAsPublished: true, RetainHandling: 1}, filter)
			want = append(want, id+": "+filter)
		}
	}
	pages := func(path string) (got []string) {
		t.Helper()
		after := ""
		for range 20 {
			var page Subscriptions
			a.get(path+"limit=2&after="+url.QueryEscape(after), &page)
			for _, s := range page.Subscriptions {
				got = append(got, s.ClientID+": "+s.Filter)
				if s.QoS != 2 || s.NoLocal == strings.HasPrefix(s.Filter, "$") || !s.RetainAsPublished || s.RetainHandling != 1 {
					t.Errorf("%+v", s)
				}
			}
			if after = page.Next; after == "" {
				break
			}
		}
		return got
	}
	if got := pages("/api/v1/subscriptions?"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := pages("/api/v1/subscriptions?contains=t%2F&"); len(got) != 3 {
		t.Errorf("%q", got)
	}
	if got := pages("/api/v1/clients/a%20b/subscriptions?"); !slices.Equal(got, want[3:6]) {
		t.Errorf("%q, want %q", got, want[3:6])
	}
	if got := pages("/api/v1/clients/b/subscriptions?contains=x&"); !slices.Equal(got, want[7:8]) {
		t.Errorf("%q, want %q", got, want[7:8])
	}
	var none Subscriptions
	a.get("/api/v1/subscriptions?contains=nothing", &none)
	if none.Total != 0 || none.Subscriptions == nil {
		t.Errorf("%+v", none)
	}
	a.want(http.StatusBadRequest, "GET", "/api/v1/subscriptions?after=not+base64!", "")
	a.want(http.StatusBadRequest, "GET", "/api/v1/subscriptions?filter=x", "")
	a.want(http.StatusBadRequest, "GET", "/api/v1/clients/a/subscriptions?limit=0", "")
}
