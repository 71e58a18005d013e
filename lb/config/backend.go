package config

import (
	"fmt"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// Bounds that keep a slip of the pen from costing more than a message.
const (
	maxBackends = 10_000
	maxServers  = 100_000 // of one backend
	maxRetries  = 100
	maxChecks   = 10_000 // fall, rise, max_fails: a counter that takes days is a slip
	maxWeight   = 256    // HAProxy configuration manual, section 5.2, weight
)

// minInterval is the shortest interval between two checks of one server: more often would be an
// attack on it rather than a check.
const minInterval = 10 * time.Millisecond

// backend reads one element of backends.
func (v value) backend() Backend {
	b := defaults().Backend
	serversFile := "" // as it is written
	v.object(fields{
		"name":            func(v value) { b.Name = v.name() },
		"balance":         func(v value) { b.Balance = v.oneOf(BalanceSource, BalanceRoundRobin, BalanceLeastConn, BalanceRandom) },
		"hash":            func(v value) { b.Hash = v.oneOf(HashConsistent, HashMap) },
		"send_proxy":      func(v value) { b.SendProxy = v.oneOf(SendProxyNone, SendProxyV1, SendProxyV2) },
		"send_proxy_tlvs": func(v value) { b.SendProxyTLVs = several(v, 4, value.proxyTLV) },
		"connect_timeout": func(v value) { b.ConnectTimeout = v.duration(time.Millisecond, time.Hour) },
		"server_timeout":  func(v value) { b.ServerTimeout = v.durationOrOff(time.Millisecond, forever) },
		"retries":         func(v value) { b.Retries = v.number(0, maxRetries) },
		"on_marked_down":  func(v value) { b.OnMarkedDown = v.oneOf(MarkedDownKeep, MarkedDownClose) },
		"check":           func(v value) { v.check(&b.Check) },
		"passive":         func(v value) { v.passive(&b.Passive) },
		"servers_file":    func(v value) { b.ServersFile, serversFile = v.file(), v.node.Value },
		"servers":         func(v value) { v.list(maxServers, func(v value) { b.Servers = append(b.Servers, v.server()) }) },
	})
	b.Check.FastInterval = orElse(b.Check.FastInterval, b.Check.Interval)
	b.Check.DownInterval = orElse(b.Check.DownInterval, b.Check.Interval)
	v.require("name")
	v.backendChoices(&b)
	v.backendServers(&b, serversFile)
	return b
}

// orElse returns d, or fallback where d is 0.
func orElse(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// backendChoices refuses settings that would do nothing with what else was chosen.
func (v value) backendChoices(b *Backend) {
	if v.given("hash") && v.fine("hash", "balance") && b.Balance != BalanceSource {
		v.failf(v.key("hash"), "does nothing with balance %s; set balance: source or delete hash", b.Balance)
	}
	if v.given("send_proxy_tlvs") && v.fine("send_proxy_tlvs", "send_proxy") && b.SendProxy != SendProxyV2 {
		v.failf(v.key("send_proxy_tlvs"), "only v2 carries them; set send_proxy: v2 or delete send_proxy_tlvs")
	}
}

// proxyTLV reads one element of send_proxy_tlvs.
func (v value) proxyTLV() string { return v.oneOf(TLVSSL, TLVCN, TLVAuthority, TLVUniqueID) }

// check reads backends[].check over the defaults in c.
func (v value) check(c *Check) {
	v.object(fields{
		"type":          func(v value) { c.Type = v.oneOf(CheckTCP, CheckMQTT, CheckNone) },
		"interval":      func(v value) { c.Interval = v.duration(minInterval, 24*time.Hour) },
		"fast_interval": func(v value) { c.FastInterval = v.durationOrOff(minInterval, 24*time.Hour) },
		"down_interval": func(v value) { c.DownInterval = v.durationOrOff(minInterval, 24*time.Hour) },
		"timeout":       func(v value) { c.Timeout = v.duration(time.Millisecond, time.Hour) },
		"fall":          func(v value) { c.Fall = v.number(1, maxChecks) },
		"rise":          func(v value) { c.Rise = v.number(1, maxChecks) },
	})
}

// passive reads backends[].passive over the defaults in p.
func (v value) passive(p *Passive) {
	v.object(fields{
		"max_fails":    func(v value) { p.MaxFails = v.number(0, maxChecks) },
		"fail_timeout": func(v value) { p.FailTimeout = v.duration(time.Millisecond, 24*time.Hour) },
	})
}

// server reads one element of servers or of a servers file.
func (v value) server() Server {
	s := defaults().Server
	v.object(fields{
		"name":            func(v value) { s.Name = v.name() },
		"address":         func(v value) { s.Address = v.serverAddress() },
		"weight":          func(v value) { s.Weight = v.number(0, maxWeight) },
		"max_connections": func(v value) { s.MaxConnections = v.number(0, maxConnections) },
		"backup":          func(v value) { s.Backup = v.boolean() },
		"state":           func(v value) { s.State = v.oneOf(StateReady, StateDrain, StateMaint) },
	})
	v.require("name", "address")
	return s
}

// backendServers adds the servers of the servers file, given as it is written, and checks the
// whole list.
func (v value) backendServers(b *Backend, serversFile string) {
	list := v.key("servers")
	if b.ServersFile != "" && v.fine("servers_file") {
		v.serversFile(b, &document{
			name: v.asGiven(serversFile),
			file: b.ServersFile,
			seen: v.named[b.ServersFile].sum,
			list: list,
			from: len(b.Servers),
		})
	}
	if v.node.Kind == yaml.MappingNode && b.ServersFile == "" && len(b.Servers) == 0 && v.fine("servers", "servers_file") {
		v.failf(list, "needs at least one server, or a servers_file that lists them")
	}
	names := make([]string, len(b.Servers))
	for i, s := range b.Servers {
		names[i] = s.Name
	}
	v.unique(list, names)
}

// serversFile adds what the servers file lists. An empty list is fine: an orchestrator that has
// scaled down to nothing writes one. An empty text is not: it is a file half written.
func (v value) serversFile(b *Backend, doc *document) {
	v.docs = append(v.docs, doc)
	v.hash.Write(doc.seen[:])
	root := v.open(doc, v.named[doc.file].text, "the file is empty; write a YAML list of servers, or [] for none")
	if root == nil {
		return
	}
	servers := value{v.reader, doc, root, doc.list}
	if !v.given("servers") {
		servers = v.at(doc, root, doc.list)
	}
	servers.elements(doc.from, maxServers, func(v value) { b.Servers = append(b.Servers, v.server()) })
}

// unique notes each name of the elements of a list that an earlier one has.
func (r *reader) unique(list string, names []string) {
	first := make(map[string]string, len(names)) // path of the name
	for i, name := range names {
		path := fmt.Sprintf("%s[%d].name", list, i)
		if name == "" {
			continue // told already
		}
		taken, again := first[name]
		if !again {
			first[name] = path
			continue
		}
		at, _ := source{lines: r.lines}.find(taken)
		r.failf(path, "%s is taken already, at %s:%d; choose another name", redact.Quote(name), at.doc.name, at.line)
	}
}
