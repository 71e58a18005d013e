package dashboard

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/mqttlb/mqttlb/internal/peertest"
)

// shots names the folder that gets pictures of the page, for people to look at; without it none are taken.
const shots = "MQTTLB_SHOTS"

// A browser is a tab of Chromium, which notes what it should not see.
type browser struct {
	*stage
	ctx context.Context

	mu       sync.Mutex
	console  []string // what it says
	forgiven string   // what it may say
	requests []string // addresses
}

// browse opens an empty tab that ends with the test, which fails if the page had anything to complain about, or asked
// anything of others.
func (s *stage) browse() *browser {
	s.t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(peertest.Path(s.t, "chromium", "chromium")), chromedp.DisableGPU, chromedp.NoSandbox,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"), // nothing may leave the machine
		chromedp.WindowSize(1280, 900),
	)
	timed, cancelTime := context.WithTimeout(context.Background(), 2*patience)
	allocator, cancelAllocator := chromedp.NewExecAllocator(timed, options...)
	ctx, cancel := chromedp.NewContext(allocator)
	b := &browser{stage: s, ctx: ctx}
	s.t.Cleanup(func() {
		cancel()
		cancelAllocator()
		cancelTime()
		b.judge()
	})
	if err := chromedp.Listen(ctx, b.note); err != nil {
		s.t.Fatal(err)
	}
	b.call(network.Enable.Method, func() error {
		_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
		return err
	})
	return b
}

// note is called with every event of the tab.
func (b *browser) note(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	case *runtime.EventConsoleAPICalled:
		b.console = append(b.console, fmt.Sprintf("%s %v", e.Type, e.Args))
	case *runtime.EventExceptionThrown:
		b.console = append(b.console, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		b.console = append(b.console, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	}
}

// judge fails the test for what was noted.
func (b *browser) judge() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.console {
		if b.forgiven != "" && strings.Contains(m, b.forgiven) {
			continue
		}
		b.t.Errorf("the console says: %s", m)
	}
	if len(b.requests) == 0 {
		b.t.Error("no request was noted")
	}
	for _, r := range b.requests {
		if !strings.HasPrefix(r, b.base+"/") {
			b.t.Errorf("a request to %s", r)
		}
	}
}

func (b *browser) call(what string, f func() error) {
	b.t.Helper()
	if err := f(); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	b.call(what, func() error { return chromedp.Do(b.ctx, steps...) })
}

// open loads a page.
func (b *browser) open(path string) {
	b.t.Helper()
	b.do("open "+path, chromedp.Navigate(b.base+path))
}

// click clicks the first element that matches a selector, once the page has its style: until then things move.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.becomes(`document.readyState == "complete"`)
	b.do("click "+selector, chromedp.Click(selector))
}

// types types text into the first element that matches a selector.
func (b *browser) types(selector, text string) {
	b.t.Helper()
	b.do("type into "+selector, chromedp.SendKeys(selector, text))
}

// eval returns the value of an expression.
func eval[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// becomes waits until an expression is true. It may fail meanwhile, as when a page goes and another comes.
func (b *browser) becomes(expression string) {
	b.t.Helper()
	b.until(expression, func() bool {
		v, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`Boolean(`+expression+`)`))
		return err == nil && v
	})
}

// set gives a field a value, as choosing it does.
func (b *browser) set(selector, value string) {
	b.t.Helper()
	eval[bool](b, fmt.Sprintf(`(e => { e.value = %q; return e.dispatchEvent(new Event("input", {bubbles: true})); })(document.querySelector(%q))`, value, selector))
}

// look is how the page is looked at.
func (b *browser) look(width int64, scheme string) {
	b.t.Helper()
	b.do("resize", chromedp.EmulateViewport(width, 900))
	b.call("emulate "+scheme, func() error {
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}
		_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	})
}

// shoot takes a picture of what the window shows, if somebody wants it.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv(shots)
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
