package broker

import (
	"sync/atomic"
)

// dropReason is why a message did not reach a client: a metric's label, hence a closed list.
type dropReason uint8

const (
	queueFull      dropReason = iota // max_queued messages waited already
	clientSlow                       // QoS 0 for a client that does not read fast enough
	tooLarge                         // the client does not take packets of this size
	messageExpired                   // while it waited
	dropReasons
)

var dropNames = [dropReasons]string{
	queueFull: "queue_full", clientSlow: "client_slow", tooLarge: "too_large", messageExpired: "expired",
}

// stats are the counters of a node.
type stats struct {
	accepted atomic.Uint64          // connections
	ended    [reasons]atomic.Uint64 // connections, by reason
	received [3]atomic.Uint64       // PUBLISH packets, by QoS
	sent     [3]atomic.Uint64       // the same
	packets  [16]atomic.Uint64      // received, by type; PUBLISH is in received
	expired  atomic.Uint64          // sessions
	dropped  [dropReasons]atomic.Uint64
}

// count counts what one write had.
func (s *stats) count(sent *[3]uint64, expired uint64) {
	for qos, n := range sent {
		if n > 0 {
			s.sent[qos].Add(n)
		}
	}
	if expired > 0 {
		s.dropped[messageExpired].Add(expired)
	}
}

// Stats is what a node counts. Counters are since New.
type Stats struct {
	Connections      int               // sockets of clients, CONNECT or not
	Clients          int               // connected
	Sessions         int               // of clients connected or away
	Subscriptions    int               // of all sessions
	Retained         int               // messages, but for those that the node tells of itself ($SYS)
	Accepted         uint64            // connections
	Ended            map[string]uint64 // connections, by reason; every reason is there
	MessagesReceived [3]uint64         // by QoS
	MessagesSent     [3]uint64         // by QoS
	Dropped          map[string]uint64 // messages, by reason; every reason is there
}

// Stats returns the counters of this moment. It may be called from any goroutine.
func (b *Broker) Stats() Stats {
	s := Stats{
		Accepted: b.stats.accepted.Load(),
		Ended:    make(map[string]uint64, reasons),
		Dropped:  make(map[string]uint64, dropReasons),
	}
	for r := range reasons {
		s.Ended[r.String()] = b.stats.ended[r].Load()
	}
	for r := range dropReasons {
		s.Dropped[dropNames[r]] = b.stats.dropped[r].Load()
	}
	for qos := range s.MessagesSent {
		s.MessagesReceived[qos] = b.stats.received[qos].Load()
		s.MessagesSent[qos] = b.stats.sent[qos].Load()
	}
	s.Subscriptions, s.Retained = b.table.Size()
	s.Retained -= int(b.system.topics.Load())
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Connections, s.Clients, s.Sessions = b.connections, b.online, len(b.sessions)
	return s
}
