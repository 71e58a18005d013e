package api

import (
	"net/http"
	"time"

	"github.com/mqttlb/mqttlb/broker"
)

// Status is the answer of GET /api/v1/status. Counters are since the start.
type Status struct {
	Node     string     `json:"node"`
	Version  string     `json:"version"`
	Uptime   int64      `json:"uptime_seconds"`
	Ready    bool       `json:"ready"`
	Unready  string     `json:"unready,omitempty"` // why it is not
	Listener []Listener `json:"listeners"`

	Connections   int `json:"connections"` // sockets, CONNECT or not
	Clients       int `json:"clients"`     // connected
	Sessions      int `json:"sessions"`    // connected or away
	Subscriptions int `json:"subscriptions"`
	Retained      int `json:"retained_messages"`

	Accepted uint64            `json:"connections_accepted"`
	Ended    map[string]uint64 `json:"connections_ended"` // by reason
	Received [3]uint64         `json:"messages_received"` // by QoS
	Sent     [3]uint64         `json:"messages_sent"`     // by QoS
	Dropped  map[string]uint64 `json:"messages_dropped"`  // by reason
}

// Listener is one port of the node.
type Listener struct {
	Name          string `json:"name"`
	Address       string `json:"address"`
	Transport     string `json:"transport"`
	TLS           bool   `json:"tls"`
	ProxyProtocol string `json:"proxy_protocol"`
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	if _, err := query(r); err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	st, why := s.broker.Stats(), s.broker.Unready()
	answer(w, http.StatusOK, Status{
		Node: s.broker.Node(), Version: s.version, Uptime: int64(time.Since(s.began) / time.Second),
		Ready: why == "", Unready: why, Listener: listeners(s.broker),
		Connections: st.Connections, Clients: st.Clients, Sessions: st.Sessions,
		Subscriptions: st.Subscriptions, Retained: st.Retained,
		Accepted: st.Accepted, Ended: st.Ended, Dropped: st.Dropped,
		Received: st.MessagesReceived, Sent: st.MessagesSent,
	})
}

func listeners(b *broker.Broker) []Listener {
	list := []Listener{}
	for _, l := range b.Listeners() {
		list = append(list, Listener{l.Name, l.Addr.String(), string(l.Transport), l.TLS, string(l.ProxyProtocol)})
	}
	return list
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if why := s.broker.Unready(); why != "" {
		say(w, http.StatusServiceUnavailable, why)
		return
	}
	say(w, http.StatusOK, "ok")
}
