package broker

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
)

// MaxPage bounds how many entries one call returns; a limit of 0 stands for defaultPage.
const (
	MaxPage     = 1000
	defaultPage = 100
)

func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, MaxPage)
}

// ClientInfo describes one client, connected or away. Of one that is away, what belongs to a connection is zero.
type ClientInfo struct {
	ID            string
	Connected     bool
	Addr          netip.AddrPort // the client's own, from the PROXY header where there was one
	Version       packet.Version
	Listener      string
	Username      string
	KeepAlive     time.Duration // that is in force; 0 = none
	CleanStart    bool          // as the CONNECT had it; Clean Session before MQTT 5
	SessionExpiry time.Duration // how long the session outlives the connection, as the node has granted it
	Since         time.Time     // when the connection was accepted, or when it was lost
	Subscriptions int
	InFlight      int // messages of QoS 1 and 2 that were sent and are not fully acknowledged
	Queued        int // messages that wait to be sent, retained ones for new subscriptions and packets not yet written included
}

// ClientQuery says which clients are asked for, and which page of them.
type ClientQuery struct {
	Contains  string // within the identifier, upper and lower case told apart; "" = all
	Connected bool   // only those that are connected
	Away      bool   // only those that are away; both false is as both true: all
	After     string // only identifiers that sort, by their bytes, after this one: the last of the page before
	Limit     int    // at most so many; 0 = 100, never more than MaxPage
}

func (q *ClientQuery) wants(s *session) bool {
	return strings.Contains(s.id, q.Contains) && (q.Connected == q.Away || q.Connected == s.online.Load())
}

// Clients returns one page of the clients that q asks for, sorted by identifier, and how many it would be on all pages
// together. It is a picture in passing: clients come and go meanwhile. It may be called from any goroutine. One call looks
// at every session, in a tenth of a second for a million, and keeps nobody from connecting meanwhile.
func (b *Broker) Clients(q ClientQuery) (page []ClientInfo, total int) {
	first := lowest[*session]{most: pageSize(q.Limit), compare: func(a, b *session) int { return strings.Compare(a.id, b.id) }}
	b.eachSession(func(s *session) {
		if !q.wants(s) {
			return
		}
		total++
		if s.id > q.After {
			first.offer(s)
		}
	})
	for _, s := range first.list() {
		page = append(page, s.info())
	}
	return page, total
}

// Client returns what is known of one client, and whether there is one of that identifier, connected or away. It may be
// called from any goroutine.
func (b *Broker) Client(id string) (ClientInfo, bool) {
	s := b.sessionOf(id)
	if s == nil {
		return ClientInfo{}, false
	}
	return s.info(), true
}

func (b *Broker) sessionOf(id string) *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[id]
}

func (s *session) info() ClientInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := ClientInfo{
		ID: s.id, Username: s.user, SessionExpiry: s.expiry, Subscriptions: s.filters.Len(),
		InFlight: s.outgoing.InFlight(), Queued: s.waiting(),
	}
	if c := s.conn; c != nil {
		i.Connected, i.Since = true, time.Unix(0, c.since)
		i.Addr, i.Version, i.Listener = c.addr, c.version, c.l.Name
		i.KeepAlive, i.CleanStart = time.Duration(c.keepAlive)*time.Second, c.clean
		i.Queued += c.out.Len()
	} else if s.away != nil { // else it has ended this moment
		i.Since = s.away.expireAt.Add(-s.expiry)
	}
	return i
}

// SubscriptionInfo describes one subscription (MQTT 5 section 3.8.3.1).
type SubscriptionInfo struct {
	ClientID          string
	Filter            string // as the client wrote it, "$share/…" too
	QoS               byte   // granted
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte   // 0 send retained messages, 1 send if the subscription is new, 2 do not
	ID                uint32 // subscription identifier; 0 = none
}

// Subscriptions returns what a client subscribes to, sorted by filter, and whether there is a client of that identifier,
// connected or away. These are route.MaxFilters at most. It may be called from any goroutine.
func (b *Broker) Subscriptions(clientID string) ([]SubscriptionInfo, bool) {
	s := b.sessionOf(clientID)
	if s == nil {
		return nil, false
	}
	var list []SubscriptionInfo
	for _, p := range s.places("", nil) {
		if i, there := p.info(); there {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b SubscriptionInfo) int { return strings.Compare(a.Filter, b.Filter) })
	return list, true
}

// AllSubscriptions returns one page of the subscriptions of all clients, those in whose client identifier or filter
// contains is found ("" = all), sorted by client identifier, then filter. After is "" for the first page and next of the one
// before for each further page; next is "" when there is none. Limit is as ClientQuery.Limit, total how many there are on all
// pages together. It is a picture in passing, as that of Clients; it may be called from any goroutine.
func (b *Broker) AllSubscriptions(contains, after string, limit int) (page []SubscriptionInfo, next string, total int) {
	id, filter, _ := strings.Cut(after, placeSeparator)
	last := place{&session{id: id}, filter}
	first := lowest[place]{most: pageSize(limit) + 1, compare: place.compare}
	var places []place
	b.eachSession(func(s *session) {
		places = s.places(contains, places[:0])
		total += len(places)
		for _, p := range places {
			if after == "" || p.compare(last) > 0 {
				first.offer(p)
			}
		}
	})
	places = first.list()
	if len(places) == first.most {
		places = places[:first.most-1]
		p := places[len(places)-1]
		next = p.s.id + placeSeparator + p.filter
	}
	for _, p := range places {
		if i, there := p.info(); there {
			page = append(page, i)
		}
	}
	return page, next, total
}

// placeSeparator is in no client identifier and no filter [MQTT-1.5.4-2].
const placeSeparator = "\x00"

// place is a subscription as what it is sorted by.
type place struct {
	s      *session
	filter string
}

func (p place) compare(q place) int {
	return cmp.Or(strings.Compare(p.s.id, q.s.id), strings.Compare(p.filter, q.filter))
}

// info is false when the client has unsubscribed in the meantime.
func (p place) info() (SubscriptionInfo, bool) {
	w, there := p.s.b.table.Wanted(p.s, p.filter)
	return SubscriptionInfo{p.s.id, p.filter, w.QoS, w.NoLocal, w.RetainAsPublished, w.RetainHandling, w.ID}, there
}

// places appends the session's subscriptions in which contains is found.
func (s *session) places(contains string, list []place) []place {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Contains(s.id, contains)
	for filter := range s.filters.All() {
		if all || strings.Contains(filter, contains) {
			list = append(list, place{s, filter})
		}
	}
	return list
}

// Waiting returns how many messages wait for all clients together, and how many of QoS 1 and 2 are on their way to them,
// as ClientInfo counts them but for packets not yet written. It looks at every session, as Clients does.
func (b *Broker) Waiting() (queued, inFlight int) {
	b.eachSession(func(s *session) {
		s.mu.Lock()
		defer s.mu.Unlock()
		queued += s.waiting()
		inFlight += s.outgoing.InFlight()
	})
	return queued, inFlight
}

// eachSession calls visit with each session, no lock being held. Those that come or go meanwhile are visited or not; an
// identifier whose session ends and begins again meanwhile may be visited with both.
func (b *Broker) eachSession(visit func(*session)) {
	// The lock is given up within the loop over the map it guards, after each batch, so that others get it in between: a
	// million sessions take a tenth of a second. A map may change between two steps of a loop over it.
	batch := make([]*session, 0, 256)
	b.mu.Lock()
	for _, s := range b.sessions {
		if batch = append(batch, s); len(batch) < cap(batch) {
			continue
		}
		b.mu.Unlock()
		for _, s := range batch {
			visit(s)
		}
		batch = batch[:0]
		b.mu.Lock()
	}
	b.mu.Unlock()
	for _, s := range batch {
		visit(s)
	}
}

// ListenerInfo describes an open port.
type ListenerInfo struct {
	Name          string
	Addr          net.Addr // with the port that was chosen for port 0
	Transport     config.Transport
	TLS           bool
	ProxyProtocol config.ProxyProtocol
}

// Listeners returns the ports in the order of the configuration. It may be called from any goroutine.
func (b *Broker) Listeners() []ListenerInfo {
	var list []ListenerInfo
	for _, l := range b.listeners {
		list = append(list, ListenerInfo{
			l.Name, l.ln.Addr(), cmp.Or(l.Transport, config.TCP), l.TLS != nil, cmp.Or(l.ProxyProtocol, config.ProxyNone),
		})
	}
	return list
}

// Unready returns why the node does not accept connections, "" when it does. It may be called from any goroutine.
func (b *Broker) Unready() string {
	if b.Accepting() {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping {
		return "the node is stopping: it accepts no connections any more"
	}
	return "the node is not accepting connections: it is starting, or about to stop"
}

// lowest keeps the first few of many things in an order, in memory for twice as many.
type lowest[T any] struct {
	most    int
	compare func(a, b T) int
	kept    []T
	full    bool // kept[:most] are in order, and the lowest until now
}

func (l *lowest[T]) offer(x T) {
	if l.full && l.compare(x, l.kept[l.most-1]) >= 0 {
		return
	}
	if l.kept = append(l.kept, x); len(l.kept) >= 2*l.most {
		l.list()
	}
}

// list returns what was kept, in order, each once.
func (l *lowest[T]) list() []T {
	slices.SortFunc(l.kept, l.compare)
	l.kept = slices.CompactFunc(l.kept, func(a, b T) bool { return l.compare(a, b) == 0 })
	if len(l.kept) >= l.most {
		l.kept, l.full = l.kept[:l.most], true
	}
	return l.kept
}
