package dashboard

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// names is the text of the clients' column.
const names = `[...document.querySelectorAll("#clients-list td.head")].map(e => e.textContent).join(" ")`

// TestBrowserSearch finds a client, turns pages and goes back, without the page being loaded again.
func TestBrowserSearch(t *testing.T) {
	s := play(t, nil)
	b := s.browse()
	for i := range clientRows + 5 {
		s.join(fmt.Sprintf("lamp-%03d", i))
	}
	s.join("heater-1").leave("heater-1")
	b.open("/?sub=lamp")
	eval[bool](b, `window.here = true`) // until the page is loaded again
	b.becomes(names + `.startsWith("heater-1 lamp-000")`)

	b.types(`input[name=q]`, "p-007")
	b.becomes(names + ` == "lamp-007"`)
	b.becomes(`document.getElementById("said").textContent == "1 of 1 client"`)
	b.becomes(`location.search == "?sub=lamp&q=p-007"`)
	b.set("input[name=q]", "")
	b.types(`input[name=q]`, "lamp")
	b.becomes(names + `.startsWith("lamp-000")`)
	b.click("#clients .paging a")
	b.becomes(names + `.startsWith("lamp-020")`)
	if !eval[bool](b, `here && location.search.includes("q=lamp&after=lamp-019")`) {
		t.Error("the page was loaded again, or its address is " + eval[string](b, `location.href`))
	}
	b.do("go back", chromedp.NavigateBack())
	b.becomes(names + `.startsWith("lamp-000")`)

	b.set("input[name=q]", "")
	b.set("select[name=state]", "away")
	b.click("#clients .search button")
	b.becomes(names + ` == "heater-1"`)
}

// TestBrowserRefresh sees the figures and the list of clients change by themselves.
func TestBrowserRefresh(t *testing.T) {
	s := play(t, nil)
	b := s.browse()
	b.open("/")
	eval[bool](b, `window.here = true`)
	const tiles = `document.querySelector("#figures .tiles").textContent`
	b.becomes(tiles + `.includes("Clients0 connected")`)
	d := s.join("newcomer")
	b.becomes(tiles + `.includes("Clients1 connected")`)
	b.becomes(names + ` == "newcomer"`)
	d.subscribe(packet.Options{}, "#")
	for range 20 {
		d.publish("a", "b", false)
	}
	b.becomes(`document.querySelector(".chart.in").textContent.includes("20 in all")`)
	b.becomes(`document.querySelectorAll(".chart polyline").length == 2`)

	// Under somebody's hands the list stays as it is.
	eval[bool](b, `(document.querySelector("#clients-list a").focus(), document.querySelector("#clients-list a").mine = true)`)
	s.join("second")
	b.becomes(tiles + `.includes("Clients2 connected")`)
	b.becomes(`(window.parts = performance.getEntriesByType("resource").filter(e => e.name.endsWith("/part/figures")).length) > 0`)
	b.becomes(`performance.getEntriesByType("resource").filter(e => e.name.endsWith("/part/figures")).length > parts + 4`)
	if !eval[bool](b, `here && document.activeElement.mine`) {
		t.Error("the list was replaced while a link in it had the focus")
	}
}

// TestBrowserDisconnects goes to a client's page and disconnects it.
func TestBrowserDisconnects(t *testing.T) {
	s := play(t, nil)
	b := s.browse()
	d := s.join(odd)
	b.open("/")
	b.click("#clients-list a")
	b.becomes(`document.querySelector("h1")?.textContent == ` + "`" + odd + "`")
	b.becomes(`!document.querySelector("button.danger").checkVisibility()`)
	b.shoot("confirm-before")
	b.click("summary")
	b.becomes(`document.querySelector("button.danger").checkVisibility()`)
	b.shoot("confirm")
	b.click("button.danger")
	b.becomes(`document.querySelector(".notice")?.textContent.includes("was disconnected")`)
	d.told(packet.AdministrativeAction)
	s.until("the client is away", func() bool { c, _ := s.node.Client(odd); return !c.Connected })
	b.do("look again", chromedp.Reload())
	b.becomes(`document.querySelector(".state").textContent.includes("away")`)
	b.shoot("disconnected")
}

// TestBrowserWithoutScript does the same with forms and links alone.
func TestBrowserWithoutScript(t *testing.T) {
	s := play(t, nil)
	b := s.browse()
	for i := range clientRows + 5 {
		s.join(fmt.Sprintf("lamp-%03d", i))
	}
	s.join("heater-1")
	b.call("switch scripts off", func() error {
		_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	})
	b.open("/?filter=home/%23")
	b.types(`input[name=q]`, "lamp")
	b.click("#clients .search button")
	b.becomes(names + `.startsWith("lamp-000")`)
	b.click("#clients .paging a")
	b.becomes(names + `.startsWith("lamp-020")`)
	if got := eval[string](b, `location.search + location.hash`); got != "?after=lamp-019&filter=home%2F%23&q=lamp#clients" {
		t.Errorf("the address has %s", got)
	}
	b.click("#clients-list a")
	b.becomes(`document.querySelector("h1").textContent == "lamp-020"`)
	b.click("summary")
	b.click("button.danger")
	b.becomes(`document.querySelector(".notice")?.textContent.includes("was disconnected")`)
	s.until("the client is away", func() bool { c, _ := s.node.Client("lamp-020"); return !c.Connected })
}

// TestBrowserSignsIn goes through the form, and out again.
func TestBrowserSignsIn(t *testing.T) {
	s := play(t, func(o *Options) { o.Token = "swordfish" })
	b := s.browse()
	b.open("/")
	b.becomes(`location.pathname == "/login" && document.activeElement.id == "token"`)
	b.shoot("login")
	b.types("#token", "swordfish\n")
	b.becomes(`location.pathname == "/" && document.getElementById("figures") != null`)
	if cookie := eval[string](b, `document.cookie`); cookie != "" {
		t.Errorf("scripts see the cookie %s", cookie)
	}
	b.becomes(`performance.getEntriesByType("resource").filter(e => e.name.includes("/part/")).length > 1`)
	b.click("nav button")
	b.becomes(`location.pathname == "/login"`)
}

// TestBrowserOutage says so when the node does not answer, and takes it back.
func TestBrowserOutage(t *testing.T) {
	s := play(t, nil)
	b := s.browse()
	b.forgiven = "ERR_INTERNET_DISCONNECTED"
	b.open("/")
	offline := func(yes bool) {
		b.call("change the network", func() error {
			rules := []*network.Conditions{{Offline: yes, DownloadThroughput: -1, UploadThroughput: -1}}
			_, err := chromedp.Call(b.ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: rules})
			return err
		})
	}
	offline(true)
	b.becomes(`document.getElementById("trouble").textContent.includes("has not answered since") && document.getElementById("trouble").checkVisibility()`)
	b.shoot("outage")
	offline(false)
	b.becomes(`!document.getElementById("trouble").checkVisibility()`)
}
