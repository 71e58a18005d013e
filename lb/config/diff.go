package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Change is what is different between two configurations. It prints itself.
type Change struct {
	Listeners ListenerChange
	Backends  BackendChange

	// Settings names what else changed and can be applied while running: "admin.token_file",
	// "log.level", "log.connections", "shutdown_timeout".
	Settings []string

	// NextStart names what changed but takes effect at the next start only, and is to be left
	// as it was: "admin.listen", "log.format", "workers".
	NextStart []string

	lines []string
}

// Names are those of parts that came, went, or are in both configurations and not the same. Each
// list is in the order of the new configuration, the removed ones in that of the old.
type Names struct {
	Added, Removed, Changed []string
}

// ListenerChange names the listeners that are different.
type ListenerChange struct {
	Names // Changed holds the rebound ones, too

	// Rebound are those whose socket must be opened anew, since listen or reuse_port changed.
	Rebound []string
}

// BackendChange names the backends that are different.
type BackendChange struct {
	Names // Changed holds those of Servers, too

	// Servers has, by name of a backend that stays, what is different about its servers. A server
	// of the same name at another address is Changed.
	Servers map[string]Names
}

// Empty says whether there is nothing to do.
func (c Change) Empty() bool { return len(c.lines) == 0 }

// Lines returns a line for a human for each difference, none when there is none.
func (c Change) Lines() []string { return slices.Clone(c.lines) }

// String returns the lines in one text, or "nothing to do".
func (c Change) String() string {
	if c.Empty() {
		return "nothing to do"
	}
	return strings.Join(c.lines, "\n")
}

// Diff returns what is different in to, compared with from; neither may be nil. It compares what
// the configurations mean: the order of listeners and backends, comments and defaults that are
// spelled out are no difference. A file that a listener names and that held something else when
// to was loaded is one.
func Diff(from, to *Config) Change {
	var c Change
	c.settings(from, to)
	c.listeners(from, to)
	c.backends(from, to)
	return c
}

// note adds a line.
func (c *Change) note(format string, args ...any) {
	c.lines = append(c.lines, fmt.Sprintf(format, args...))
}

// settings compares what is neither listener nor backend.
func (c *Change) settings(from, to *Config) {
	before := settingFields(from)
	for i, f := range settingFields(to) {
		renewed := f.name == "admin.token_file" && renewed(from, to, to.Admin.TokenFile)
		switch {
		case renewed && f.value == before[i].value:
			c.note("%s: new content", f.name)
		case f.value == before[i].value:
			continue
		default:
			c.note("%s: %s → %s%s", f.name, before[i], f, when(f.name))
		}
		if when(f.name) == "" {
			c.Settings = append(c.Settings, f.name)
		} else {
			c.NextStart = append(c.NextStart, f.name)
		}
	}
}

// when returns what to say after a setting that waits for the next start: event loops and the
// handler of the log are made once, and the address of the API is what the operator who reloads
// is talking to.
func when(setting string) string {
	switch setting {
	case "admin.listen", "log.format", "workers":
		return " (takes effect at the next start)"
	default:
		return ""
	}
}

// listeners compares the listeners.
func (c *Change) listeners(from, to *Config) {
	old := byName(from.Listeners, func(l Listener) string { return l.Name })
	for _, l := range to.Listeners {
		before, stays := old[l.Name]
		if !stays {
			c.Listeners.Added = append(c.Listeners.Added, l.Name)
			c.note("listener %s added (%s, backend %s)", l.Name, l.Listen, l.Backend)
			continue
		}
		delete(old, l.Name)
		changes := differences(listenerFields(before), listenerFields(l))
		for _, file := range tlsFiles(l.TLS) {
			if slices.Contains(tlsFiles(before.TLS), file) && renewed(from, to, file) {
				changes = append(changes, "new content in "+file)
			}
		}
		if len(changes) > 0 {
			c.Listeners.Changed = append(c.Listeners.Changed, l.Name)
		}
		if before.Listen != l.Listen || before.ReusePort != l.ReusePort {
			c.Listeners.Rebound = append(c.Listeners.Rebound, l.Name)
		}
		for _, change := range changes {
			c.note("listener %s: %s", l.Name, change)
		}
	}
	for _, l := range from.Listeners {
		if _, gone := old[l.Name]; gone {
			c.Listeners.Removed = append(c.Listeners.Removed, l.Name)
			c.note("listener %s removed (%s)", l.Name, l.Listen)
		}
	}
}

// backends compares the backends.
func (c *Change) backends(from, to *Config) {
	old := byName(from.Backends, func(b Backend) string { return b.Name })
	for _, b := range to.Backends {
		before, stays := old[b.Name]
		if !stays {
			c.Backends.Added = append(c.Backends.Added, b.Name)
			c.note("backend %s added (%s)", b.Name, counted(len(b.Servers), "server"))
			continue
		}
		delete(old, b.Name)
		changes := differences(backendFields(before), backendFields(b))
		servers, more := serverChanges(before, b)
		if changes = append(changes, more...); len(changes) > 0 {
			c.Backends.Changed = append(c.Backends.Changed, b.Name)
		}
		if len(servers.Added)+len(servers.Removed)+len(servers.Changed) > 0 {
			if c.Backends.Servers == nil {
				c.Backends.Servers = make(map[string]Names)
			}
			c.Backends.Servers[b.Name] = servers
		}
		for _, change := range changes {
			c.note("backend %s: %s", b.Name, change)
		}
	}
	for _, b := range from.Backends {
		if _, gone := old[b.Name]; gone {
			c.Backends.Removed = append(c.Backends.Removed, b.Name)
			c.note("backend %s removed (%s)", b.Name, counted(len(b.Servers), "server"))
		}
	}
}

// serverChanges compares the servers of a backend, and says so in words.
func serverChanges(from, to Backend) (names Names, words []string) {
	old := byName(from.Servers, func(s Server) string { return s.Name })
	for _, s := range to.Servers {
		before, stays := old[s.Name]
		if !stays {
			names.Added = append(names.Added, s.Name)
			words = append(words, fmt.Sprintf("server %s added (%s, weight %d)", s.Name, s.Address, s.Weight))
			continue
		}
		delete(old, s.Name)
		changes := differences(serverFields(before), serverFields(s))
		if len(changes) > 0 {
			names.Changed = append(names.Changed, s.Name)
		}
		for _, change := range changes {
			words = append(words, fmt.Sprintf("server %s %s", s.Name, change))
		}
	}
	for _, s := range from.Servers {
		if _, gone := old[s.Name]; gone {
			names.Removed = append(names.Removed, s.Name)
			words = append(words, fmt.Sprintf("server %s removed (%s)", s.Name, s.Address))
		}
	}
	if to.Balance == BalanceSource && to.Hash == HashMap && reordered(from.Servers, to.Servers) {
		words = append(words, "servers in another order, which hash map goes by")
	}
	if reordered(backups(from.Servers), backups(to.Servers)) {
		words = append(words, "backup servers in another order; the first that is usable is used")
	}
	return names, words
}

// backups returns the servers that are used only when no other is.
func backups(servers []Server) []Server {
	var list []Server
	for _, s := range servers {
		if s.Backup {
			list = append(list, s)
		}
	}
	return list
}

// reordered says whether the servers that both lists have stand in different orders.
func reordered(from, to []Server) bool {
	place := make(map[string]int, len(from))
	for i, s := range from {
		place[s.Name] = i
	}
	last := -1
	for _, s := range to {
		at, ok := place[s.Name]
		if ok && at < last {
			return true
		}
		if ok {
			last = at
		}
	}
	return false
}

// renewed says whether the file held something else when to was loaded than when from was.
func renewed(from, to *Config, file string) bool {
	before, knownBefore := from.source.sums[file]
	after, known := to.source.sums[file]
	return knownBefore && known && before != after
}

// byName returns the parts by their names.
func byName[T any](parts []T, name func(T) string) map[string]T {
	m := make(map[string]T, len(parts))
	for _, p := range parts {
		m[name(p)] = p
	}
	return m
}

// counted returns "1 server", "2 servers".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// prefixes returns the networks as texts.
func prefixes(networks []netip.Prefix) []string {
	texts := make([]string, len(networks))
	for i, n := range networks {
		texts[i] = n.String()
	}
	return texts
}
