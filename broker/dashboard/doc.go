// Package dashboard is the node's web page: what it carries, who is connected, what is retained and subscribed to, for a
// person with a browser.
//
//	s, err := dashboard.New(dashboard.Options{Listen: "127.0.0.1:18083", Broker: b, Version: "1.2.3"}) // the port is open
//	err = s.Run(ctx)                                                                              // until ctx is done
//
// # Who may see it
//
//	                    loopback                 another address
//	without a token     who names loopback       nobody: 403
//	with a token        who has signed in        who has signed in
//
// A request names loopback by its Host: 127.0.0.1, [::1] or localhost. Style, script and icon are for everybody; they hold
// nothing of the node. Whoever signs in has a cookie for twelve hours, or until the process ends.
//
// Invariants:
//
//   - Everything works without the script, which only refreshes parts of the page that the node has made.
//   - What clients sent reaches the page through html/template alone, in pieces (text.go), and is bounded where it is shown.
//   - A change wants three things: no sign of another site's page (Origin, Sec-Fetch-Site), the form's seal, and a session
//     where there is a token. The token is in no page, cookie, log or error.
//   - Nothing is loaded from elsewhere, and the Content-Security-Policy sees to that.
//   - Requests have a deadline and a bound, so have connections, rows and walks through the node's lists; labels and
//     texts of others do not become code, headers or log lines.
//
// # Why
//
// Templates and a hundred lines of script in place of a framework: the page needs no build, no store of other people's
// packages and no second language of types, and is complete for who has no script, or a screen reader. The price is that a part of
// the page is sent whole where a field has changed: 4 kB each five seconds for the figures.
//
// Sessions are a sealed date in a cookie instead of a table: there is nothing to bound or to sweep, and a restart ends them
// all. Signing out only forgets the cookie, therefore; one that was copied before is good until its date.
//
// Rates are kept here, not in package broker: what nobody looks at costs the node two reads of its counters in ten
// seconds, and its hot path nothing.
package dashboard
