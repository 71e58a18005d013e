package dashboard

import (
	"log/slog"
	"net/http"
	"net/url"

	"github.com/mqttlb/mqttlb/broker"
)

// ownRows is how many of its subscriptions a client's page shows.
const ownRows = 200

// clientPage is the content of one client's page.
type clientPage struct {
	ID            string
	Found         bool
	Client        broker.ClientInfo
	Subscriptions []broker.SubscriptionInfo
	Left          int // subscriptions that are not shown
}

// notices are what a page says when it was come to after a change, by the word in its address. The text is not in the
// address: nobody else is to make the page say something.
func notices(word string) string {
	if word == "disconnected" {
		return "The client was disconnected. It may connect again."
	}
	return ""
}

func clientHref(id string) string { return "/client?" + url.Values{"id": {id}}.Encode() }

// client shows one client. Its identifier is not in the path, because any text is one, ".." too.
func (s *Server) client(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	c := clientPage{ID: values.Get("id")}
	c.Client, c.Found = s.broker.Client(c.ID)
	f := s.frame(r, plain(c.ID), nil)
	f.Notice = notices(values.Get("done"))
	code := http.StatusOK
	if c.Found {
		list, _ := s.broker.Subscriptions(c.ID) // none if it has just gone
		c.Left = max(len(list)-ownRows, 0)
		c.Subscriptions = list[:len(list)-c.Left]
	} else if f.Notice == "" {
		code = http.StatusNotFound
	}
	f.Content = c
	s.show(w, code, "client", f)
}

// disconnect ends a client's connection and shows what is left of it.
func (s *Server) disconnect(w http.ResponseWriter, r *http.Request) {
	id := r.PostForm.Get("id")
	to := clientHref(id)
	if s.broker.Disconnect(id) {
		s.log.Info("client disconnected from the dashboard", slog.String("client", plain(id)), slog.String("by", r.RemoteAddr))
		to += "&done=disconnected"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}
