package dashboard

import (
	"net/url"
	"slices"
	"strings"
)

// The names of what the page's address says. The page has three lists, each with a search of its own; who uses one keeps
// the state of the others.
const (
	byClient   = "q"      // clients: what their identifier contains
	byState    = "state"  // clients: "connected", "away" or "" for both
	afterID    = "after"  // clients: the page begins after this identifier
	byFilter   = "filter" // retained messages: whose topics match
	byText     = "sub"    // subscriptions: what client or filter contain
	afterPlace = "place"  // subscriptions: the page begins after this place
)

// A query is what the page's address says. It is foreign text, like all of it.
type query struct{ values url.Values }

// readQuery keeps what the page knows.
func readQuery(values url.Values) query {
	q := query{make(url.Values)}
	for _, name := range []string{byClient, byState, afterID, byFilter, byText, afterPlace} {
		if v := values.Get(name); v != "" {
			q.values.Set(name, v)
		}
	}
	return q
}

// Get returns the value of a name, "" if there is none.
func (q query) Get(name string) string { return q.values.Get(name) }

// A hidden is an input of a form that nobody sees.
type hidden struct{ Name, Value string }

// Except lists all but the named: what a form has to carry along that sets those.
func (q query) Except(names ...string) []hidden {
	var list []hidden
	for name := range q.values {
		if !slices.Contains(names, name) {
			list = append(list, hidden{name, q.Get(name)})
		}
	}
	slices.SortFunc(list, func(a, b hidden) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// link is the page's address with one value changed, at the section named by fragment.
func (q query) link(name, value, fragment string) string {
	changed := make(url.Values)
	for n, v := range q.values {
		changed[n] = v
	}
	changed.Del(name)
	if value != "" {
		changed.Set(name, value)
	}
	u := url.URL{Path: "/", RawQuery: changed.Encode(), Fragment: fragment}
	return u.String()
}
