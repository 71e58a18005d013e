package api

import (
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/broker"
)

// Clients is one page of GET /api/v1/clients, sorted by identifier.
type Clients struct {
	Clients []Client `json:"clients"`
	Total   int      `json:"total"`          // on all pages together
	Next    string   `json:"next,omitempty"` // the parameter "after" of the next page, which may be empty
}

// Client is one client. What belongs to a connection is left out while it is away.
type Client struct {
	ID            string    `json:"id"`
	Connected     bool      `json:"connected"`
	Since         time.Time `json:"since"` // connected, or away
	Address       string    `json:"address,omitempty"`
	Version       string    `json:"protocol_version,omitempty"`
	Listener      string    `json:"listener,omitempty"`
	Username      string    `json:"username,omitempty"`
	KeepAlive     *int64    `json:"keep_alive_seconds,omitempty"` // 0 = none
	CleanStart    *bool     `json:"clean_start,omitempty"`
	SessionExpiry int64     `json:"session_expiry_seconds"`
	Subscriptions int       `json:"subscriptions"`
	InFlight      int       `json:"in_flight"`
	Queued        int       `json:"queued"`
}

func newClient(i broker.ClientInfo) Client {
	c := Client{
		ID: i.ID, Connected: i.Connected, Since: i.Since, SessionExpiry: int64(i.SessionExpiry / time.Second),
		Subscriptions: i.Subscriptions, InFlight: i.InFlight, Queued: i.Queued,
	}
	if i.Connected {
		seconds := int64(i.KeepAlive / time.Second)
		c.Address, c.Version, c.Listener, c.Username = i.Addr.String(), i.Version.String(), i.Listener, i.Username
		c.KeepAlive, c.CleanStart = &seconds, &i.CleanStart
	}
	return c
}

func (s *Server) listClients(w http.ResponseWriter, r *http.Request) {
	q, most, ok := listed(w, r, "contains", "connected", "after", "limit")
	if !ok {
		return
	}
	ask := broker.ClientQuery{Contains: q.Get("contains"), After: q.Get("after"), Limit: most}
	switch q.Get("connected") {
	case "":
	case "true":
		ask.Connected = true
	case "false":
		ask.Away = true
	default:
		fail(w, http.StatusBadRequest, "connected is to be true or false, or not there for both")
		return
	}
	page, total := s.broker.Clients(ask)
	list := Clients{Clients: []Client{}, Total: total}
	for _, i := range page {
		list.Clients = append(list.Clients, newClient(i))
	}
	if len(page) == most && total > most {
		list.Next = page[most-1].ID
	}
	answer(w, http.StatusOK, list)
}

// clientsPath is what the path of one client begins with.
const clientsPath = "/api/v1/clients/"

// named takes the path of a request for one client apart: clientsPath, identifier, and what about it. A ServeMux does not
// match the identifier "/", which is one as good as any. When ok is false the request has been answered.
func named(w http.ResponseWriter, r *http.Request) (id, what string, ok bool) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), clientsPath)
	escaped, what, _ := strings.Cut(path, "/")
	id, err := url.PathUnescape(escaped)
	if err != nil || id == "" {
		fail(w, http.StatusBadRequest, "the identifier is missing, or cannot be read: percent-encode it, a/b as a%%2Fb")
		return "", "", false
	}
	return id, what, true
}

// aboutClient serves what there is to read of one client.
func (s *Server) aboutClient(w http.ResponseWriter, r *http.Request) {
	id, what, ok := named(w, r)
	switch {
	case !ok:
	case what == "":
		s.getClient(w, id)
	case what == "subscriptions":
		s.clientSubscriptions(w, r, id)
	default:
		noPath(w)
	}
}

func (s *Server) getClient(w http.ResponseWriter, id string) {
	info, there := s.broker.Client(id)
	if !there {
		noClient(w, id)
		return
	}
	answer(w, http.StatusOK, newClient(info))
}

// noClient says so. Identifiers are up to 65,535 bytes long: nobody reads so much.
func noClient(w http.ResponseWriter, id string) {
	fail(w, http.StatusNotFound, "no client %.80q is connected or has a session; its identifier is to be percent-encoded, a/b as a%%2Fb", id)
}

func (s *Server) disconnect(w http.ResponseWriter, r *http.Request) {
	id, what, ok := named(w, r)
	if !ok {
		return
	}
	if what != "" {
		noPath(w)
		return
	}
	if s.broker.Disconnect(id) {
		s.log.Info("client disconnected over the API", slog.String("client_id", id), slog.String("by", r.RemoteAddr))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if _, there := s.broker.Client(id); there {
		fail(w, http.StatusConflict, "client %.80q is not connected; its session stays until it expires", id)
		return
	}
	noClient(w, id)
}

// Subscriptions is one page of subscriptions, sorted by client identifier, then filter.
type Subscriptions struct {
	Subscriptions []Subscription `json:"subscriptions"`
	Total         int            `json:"total"`          // on all pages together
	Next          string         `json:"next,omitempty"` // the parameter "after" of the next page
}

// Subscription is one subscription (MQTT 5 section 3.8.3.1).
type Subscription struct {
	ClientID          string `json:"client_id"`
	Filter            string `json:"filter"`
	QoS               byte   `json:"qos"`
	NoLocal           bool   `json:"no_local"`
	RetainAsPublished bool   `json:"retain_as_published"`
	RetainHandling    byte   `json:"retain_handling"`
	ID                uint32 `json:"subscription_identifier,omitempty"`
}

func (l *Subscriptions) add(list []broker.SubscriptionInfo) {
	for _, i := range list {
		l.Subscriptions = append(l.Subscriptions, Subscription(i))
	}
}

// clientSubscriptions pages by the filter.
func (s *Server) clientSubscriptions(w http.ResponseWriter, r *http.Request, id string) {
	q, most, ok := listed(w, r, "contains", "after", "limit")
	if !ok {
		return
	}
	found, there := s.broker.Subscriptions(id)
	if !there {
		noClient(w, id)
		return
	}
	found = slices.DeleteFunc(found, func(i broker.SubscriptionInfo) bool { return !strings.Contains(i.Filter, q.Get("contains")) })
	list := Subscriptions{Subscriptions: []Subscription{}, Total: len(found)}
	found = slices.DeleteFunc(found, func(i broker.SubscriptionInfo) bool { return i.Filter <= q.Get("after") })
	if len(found) > most {
		found = found[:most]
		list.Next = found[most-1].Filter
	}
	list.add(found)
	answer(w, http.StatusOK, list)
}

// listSubscriptions pages by a text of the broker's, which holds what has no place in a URL.
func (s *Server) listSubscriptions(w http.ResponseWriter, r *http.Request) {
	q, most, ok := listed(w, r, "contains", "after", "limit")
	if !ok {
		return
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("after"))
	if err != nil {
		fail(w, http.StatusBadRequest, "after is to be the \"next\" of the page before, as it is")
		return
	}
	page, next, total := s.broker.AllSubscriptions(q.Get("contains"), string(after), most)
	list := Subscriptions{Subscriptions: []Subscription{}, Total: total, Next: base64.RawURLEncoding.EncodeToString([]byte(next))}
	list.add(page)
	answer(w, http.StatusOK, list)
}
