package dashboard

import (
	"bytes"
	"cmp"
	"maps"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/broker"
)

// figures is the part of the page that a script refreshes.
type figures struct {
	Accepting bool
	Uptime    string
	Memory    string
	Tiles     []tile
	Listeners []listener
	Charts    []chart
	Dropped   []count
	Ended     []count
}

// A tile is one number with its name, and what else is to be said of it.
type tile struct{ Name, Value, Note string }

// A count is how often something happened for a reason.
type count struct{ Reason, Times string }

func (s *Server) figures() figures {
	stats := s.broker.Stats()
	list := s.sampler.list()
	in, out := make([]float64, len(list)), make([]float64, len(list))
	for i, v := range list {
		in[i], out[i] = v.in, v.out
	}
	received, sent := draw(in, s.sampler.every), draw(out, s.sampler.every)
	received.Name, received.Kind, received.Total = "Messages in", "in", number(sum(stats.MessagesReceived))
	sent.Name, sent.Kind, sent.Total = "Messages out", "out", number(sum(stats.MessagesSent))
	return figures{
		Accepting: s.broker.Accepting(),
		Uptime:    span(time.Since(s.began)),
		Memory:    size(resident()),
		Tiles:     tiles(stats),
		Listeners: s.listeners(),
		Charts:    []chart{received, sent},
		Dropped:   counts(stats.Dropped),
		Ended:     counts(stats.Ended),
	}
}

func tiles(s broker.Stats) []tile {
	return []tile{
		{"Connections", number(s.Connections), number(s.Accepted) + " accepted"},
		{"Clients", number(s.Clients), "connected"},
		{"Sessions", number(s.Sessions), number(max(s.Sessions-s.Clients, 0)) + " away"},
		{"Subscriptions", number(s.Subscriptions), "of all sessions"},
		{"Retained", number(s.Retained), "messages"},
	}
}

// counts lists the reasons for which something happened, the most frequent first.
func counts(times map[string]uint64) []count {
	reasons := slices.SortedFunc(maps.Keys(times), func(a, b string) int {
		return cmp.Or(cmp.Compare(times[b], times[a]), strings.Compare(a, b))
	})
	var list []count
	for _, reason := range reasons {
		if n := times[reason]; n > 0 {
			list = append(list, count{strings.ReplaceAll(reason, "_", " "), number(n)})
		}
	}
	return list
}

// resident is the memory of the process in bytes: what the kernel counts (proc(5), /proc/pid/statm, second field, in pages),
// or where it does not tell what Go has taken from it.
func resident() int {
	statm, err := os.ReadFile("/proc/self/statm")
	if fields := bytes.Fields(statm); err == nil && len(fields) > 1 {
		if pages, err := strconv.Atoi(string(fields[1])); err == nil {
			return pages * os.Getpagesize()
		}
	}
	taken := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(taken)
	return int(taken[0].Value.Uint64() - taken[1].Value.Uint64())
}

// A listener is a port for clients, and what is particular about it.
type listener struct {
	Name, Address string
	Traits        []string
}

func (s *Server) listeners() []listener {
	var list []listener
	for _, l := range s.broker.Listeners() {
		shown := listener{Name: l.Name, Address: l.Addr.String()}
		if l.Transport != "tcp" {
			shown.Traits = append(shown.Traits, string(l.Transport))
		}
		if l.TLS {
			shown.Traits = append(shown.Traits, "TLS")
		}
		if l.ProxyProtocol != "none" {
			shown.Traits = append(shown.Traits, "PROXY "+string(l.ProxyProtocol))
		}
		list = append(list, shown)
	}
	return list
}
