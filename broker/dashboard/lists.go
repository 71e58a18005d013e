package dashboard

import (
	"net/http"
	"time"

	"github.com/mqttlb/mqttlb/broker"
)

// How many rows the page shows of each list.
const (
	clientRows       = 20
	retainedRows     = 20
	subscriptionRows = 20
)

// page is the content of the one page.
type page struct {
	Every         int // milliseconds between two refreshes of the figures
	Figures       figures
	Clients       clients
	Retained      retained
	Subscriptions subscriptions
}

// clients is the list of clients, or what of it was asked for.
type clients struct {
	Query query
	Total int // that match
	Rows  []clientRow
	First string // address of the list's beginning, "" = this is it
	Next  string // address of what follows, "" = nothing
}

// A clientRow is a client in a table, and the address of its own page.
type clientRow struct {
	broker.ClientInfo
	Href string
}

// retained is what was found of the retained messages.
type retained struct {
	Query   query
	Problem string // with the filter
	More    bool   // there are further ones
	Rows    []retainedRow
}

type retainedRow struct {
	Topic   string
	QoS     byte
	Payload payload
	Expires string // in how long, "" = never
}

// subscriptions is the list of subscriptions of all clients, or what of it was asked for.
type subscriptions struct {
	Query query
	Total int // that match
	Rows  []subscriptionRow
	First string
	Next  string
}

type subscriptionRow struct {
	broker.SubscriptionInfo
	Href string
}

// page shows everything.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	q := readQuery(r.URL.Query())
	s.show(w, http.StatusOK, "page", s.frame(r, "", page{
		Every:         int(s.sampler.every / time.Millisecond),
		Figures:       s.figures(),
		Clients:       s.clients(q),
		Retained:      s.retained(q),
		Subscriptions: s.subscriptions(q),
	}))
}

func (s *Server) figuresPart(w http.ResponseWriter, _ *http.Request) {
	s.part(w, "figures", s.figures())
}

func (s *Server) clientsPart(w http.ResponseWriter, r *http.Request) {
	s.part(w, "clients", s.clients(readQuery(r.URL.Query())))
}

func (s *Server) retainedPart(w http.ResponseWriter, r *http.Request) {
	s.part(w, "retained", s.retained(readQuery(r.URL.Query())))
}

func (s *Server) subscriptionsPart(w http.ResponseWriter, r *http.Request) {
	s.part(w, "subscriptions", s.subscriptions(readQuery(r.URL.Query())))
}

func (s *Server) clients(q query) clients {
	state := q.Get(byState)
	infos, total := s.broker.Clients(broker.ClientQuery{
		Contains: q.Get(byClient), Connected: state == "connected", Away: state == "away",
		After: q.Get(afterID), Limit: clientRows + 1, // one more tells whether there is a next page
	})
	c := clients{Query: q, Total: total}
	if q.Get(afterID) != "" {
		c.First = q.link(afterID, "", "clients")
	}
	if len(infos) > clientRows {
		infos = infos[:clientRows]
		c.Next = q.link(afterID, infos[clientRows-1].ID, "clients")
	}
	for _, info := range infos {
		c.Rows = append(c.Rows, clientRow{info, clientHref(info.ID)})
	}
	return c
}

// Filter returns the filter, or the one that matches every topic that does not begin with $.
func (r retained) Filter() string {
	if f := r.Query.Get(byFilter); f != "" {
		return f
	}
	return "#"
}

func (s *Server) retained(q query) retained {
	list := retained{Query: q}
	infos, more, err := s.broker.Retained(list.Filter(), retainedRows)
	if err != nil {
		list.Problem = err.Error()
		return list
	}
	list.More = more
	for _, info := range infos {
		row := retainedRow{Topic: info.Topic, QoS: info.QoS, Payload: showPayload(info.Payload)}
		if !info.Expires.IsZero() {
			row.Expires = span(time.Until(info.Expires))
		}
		list.Rows = append(list.Rows, row)
	}
	return list
}

func (s *Server) subscriptions(q query) subscriptions {
	infos, next, total := s.broker.AllSubscriptions(q.Get(byText), q.Get(afterPlace), subscriptionRows)
	list := subscriptions{Query: q, Total: total}
	if q.Get(afterPlace) != "" {
		list.First = q.link(afterPlace, "", "subscriptions")
	}
	if next != "" {
		list.Next = q.link(afterPlace, next, "subscriptions")
	}
	for _, info := range infos {
		list.Rows = append(list.Rows, subscriptionRow{info, clientHref(info.ClientID)})
	}
	return list
}
