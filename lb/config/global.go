package config

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// maxWorkers bounds the event loops: one a CPU is what they are for.
const maxWorkers = 1024

// config reads the whole configuration and checks what its parts have to do with each other.
func (r *reader) config(doc *document, text []byte) *Config {
	c := defaults().Config
	root := r.open(doc, text, "the file is empty; it needs listeners and backends at least")
	if root == nil {
		return nil
	}
	v := r.at(doc, root, "")
	v.mistaken()
	v.object(fields{
		"admin":            func(v value) { v.admin(&c.Admin) },
		"log":              func(v value) { v.log(&c.Log) },
		"shutdown_timeout": func(v value) { c.ShutdownTimeout = v.durationOrOff(time.Millisecond, 24*time.Hour) },
		"workers":          func(v value) { c.Workers = v.number(0, maxWorkers) },
		"listeners": func(v value) {
			v.list(maxListeners, func(v value) { c.Listeners = append(c.Listeners, v.listener()) })
		},
		"backends": func(v value) {
			v.list(maxBackends, func(v value) { c.Backends = append(c.Backends, v.backend()) })
		},
	})
	v.needed("listeners", len(c.Listeners), "at least one is needed, for clients to arrive at")
	v.needed("backends", len(c.Backends), "at least one is needed, for clients to be sent to")
	r.names(&c)
	r.references(&c)
	r.addresses(&c)
	return &c
}

// mistaken notes that the whole is one of the other files that a cluster of nodes has: it would only be told that
// nothing in it is known.
func (v value) mistaken() {
	var keys []string
	for i := 0; v.node.Kind == yaml.MappingNode && i < len(v.node.Content); i += 2 {
		keys = append(keys, v.node.Content[i].Value)
	}
	ofBroker := func(key string) bool { return slices.Contains([]string{"node", "limits", "session", "data_dir"}, key) }
	switch {
	case v.node.Kind == yaml.SequenceNode:
		v.wrong("this looks like a servers_file: check the file that names it")
	case slices.ContainsFunc(keys, ofBroker) && !slices.Contains(keys, "backends"):
		v.wrong("this looks like a configuration of mqttbroker: check it with mqttbroker check -c")
	}
}

// needed notes an empty list where there must be something.
func (v value) needed(key string, n int, why string) {
	if n == 0 && !v.bad[v.key(key)] {
		v.failf(v.key(key), "%s", why)
	}
}

// admin reads the section over the defaults in a.
func (v value) admin(a *Admin) {
	v.object(fields{
		"listen":     func(v value) { a.Listen = v.adminAddress() },
		"token_file": func(v value) { a.TokenFile = v.tokenFile() },
	})
}

// tokenFile reads the path of a file with something in it: an empty token would let everybody in.
func (v value) tokenFile() string {
	path := v.file()
	if path != "" && !v.bad[v.path] && len(bytes.TrimSpace(v.named[path].text)) == 0 {
		v.wrongFile(path, "the file is empty; write the token into it")
	}
	return path
}

// log reads the section over the defaults in l.
func (v value) log(l *Log) {
	v.object(fields{
		"level":       func(v value) { l.Level = v.logLevel() },
		"format":      func(v value) { l.Format = v.oneOf(FormatText, FormatJSON) },
		"connections": func(v value) { l.Connections = v.oneOf(ConnectionsAll, ConnectionsErrors, ConnectionsNone) },
	})
}

// logLevel reads log.level.
func (v value) logLevel() slog.Level {
	switch v.oneOf("debug", "info", "warn", "error") {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// names checks that listeners and backends can be told apart by theirs.
func (r *reader) names(c *Config) {
	listeners := make([]string, len(c.Listeners))
	for i, l := range c.Listeners {
		listeners[i] = l.Name
	}
	r.unique("listeners", listeners)
	r.unique("backends", backendNames(c))
}

// backendNames returns the names of the backends, in file order.
func backendNames(c *Config) []string {
	names := make([]string, len(c.Backends))
	for i, b := range c.Backends {
		names[i] = b.Name
	}
	return names
}

// references checks that the backends that listeners name are there. While the list of backends
// or a name in it is broken nobody can tell.
func (r *reader) references(c *Config) {
	known := backendNames(c)
	if len(known) == 0 || slices.Contains(known, "") {
		return
	}
	slices.Sort(known)
	for i, l := range c.Listeners {
		if l.Backend != "" && !slices.Contains(known, l.Backend) {
			r.failf(fmt.Sprintf("listeners[%d].backend", i), "no backend has the name %s; %s", redact.Quote(l.Backend), insteadOf(l.Backend, known))
		}
	}
}

// addresses checks that no two sockets want the same port of the same address.
func (r *reader) addresses(c *Config) {
	for i, l := range c.Listeners {
		path := fmt.Sprintf("listeners[%d].listen", i)
		if l.Listen == "" {
			continue // told already
		}
		for j, other := range c.Listeners[:i] {
			if other.Listen != "" && overlap(l.Listen, other.Listen) && !(l.ReusePort && other.ReusePort && !sameAddress(l.Listen, other.Listen)) {
				r.failf(path, "%s", r.clash(other.Listen, fmt.Sprintf("listeners[%d]", j)))
				break
			}
		}
		if c.Admin.Listen != "" && overlap(l.Listen, c.Admin.Listen) {
			r.failf(path, "%s", r.clash(c.Admin.Listen, "admin"))
		}
	}
}

// sameAddress says whether two listening addresses are one.
func sameAddress(a, b string) bool {
	hostA, _, errA := net.SplitHostPort(a)
	hostB, _, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && overlap(a, b) && (sameHost(hostA, hostB) || wildcard(hostA) && wildcard(hostB))
}

// clash says who has an address that is wanted twice, and where that is written.
func (r *reader) clash(address, owner string) string {
	s := owner + " takes this address already"
	if at, ok := r.lines[owner+".listen"]; ok {
		s += fmt.Sprintf(", at %s:%d", at.doc.name, at.line)
	}
	s += fmt.Sprintf(", with listen %q", address)
	if host, _, err := net.SplitHostPort(address); err == nil && wildcard(host) {
		s += ", which is every address, IPv4 and IPv6"
	}
	return s + "; choose another port"
}
