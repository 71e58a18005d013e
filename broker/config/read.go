package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// reader collects what cannot be read, and where everything stands.
type reader struct {
	checker
	lines map[string]int // by path, of everything that the file spells out
}

// config is the table of what a file may say.
func (r *reader) config(v value, c *Config) {
	v.object(fields{
		"node":      text(&c.Node),
		"data_dir":  text(&c.DataDir),
		"listeners": func(v value) { v.list(func(v value) { c.Listeners = append(c.Listeners, r.listener(v)) }) },
		"api": func(v value) {
			c.API.Given = true
			v.object(fields{"listen": text(&c.API.Listen), "token_file": text(&c.API.TokenFile)})
		},
		"dashboard": func(v value) {
			c.Dashboard.Given = true
			v.object(fields{"listen": text(&c.Dashboard.Listen), "token_file": text(&c.Dashboard.TokenFile)})
		},
		"limits": object(fields{
			"max_connections": number(&c.Limits.MaxConnections),
			"max_packet_size": size(&c.Limits.MaxPacketSize),
			"max_inflight":    number(&c.Limits.MaxInflight),
			"max_queued":      number(&c.Limits.MaxQueued),
			"max_topic_alias": number(&c.Limits.MaxTopicAlias),
			"max_qos":         number(&c.Limits.MaxQoS),
			"receive_maximum": number(&c.Limits.ReceiveMaximum),
		}),
		"session": object(fields{
			"max_expiry":     duration(&c.Session.MaxExpiry),
			"max_keep_alive": duration(&c.Session.MaxKeepAlive),
		}),
		"auth": object(fields{
			"allow_anonymous": boolean(&c.Auth.AllowAnonymous),
			"users_file":      text(&c.Auth.UsersFile),
		}),
		"acl_file": text(&c.ACLFile),
		"cluster": object(fields{
			"listen":      text(&c.Cluster.Listen),
			"peers":       func(v value) { v.list(func(v value) { c.Cluster.Peers = append(c.Cluster.Peers, v.string()) }) },
			"secret_file": text(&c.Cluster.SecretFile),
			"replicas":    number(&c.Cluster.Replicas),
			"nats_url":    text(&c.Cluster.NATSURL),
		}),
	})
}

func (r *reader) listener(v value) Listener {
	l := Listener{Transport: TCP, ProxyProtocol: ProxyNone}
	v.object(fields{
		"name":                  text(&l.Name),
		"listen":                text(&l.Listen),
		"transport":             func(v value) { l.Transport = Transport(v.string()) },
		"path":                  text(&l.Path),
		"peer_cert_as_username": text(&l.PeerCertAsUsername),
		"proxy_protocol":        func(v value) { l.ProxyProtocol = ProxyProtocol(v.string()) },
		"tls": func(v value) {
			l.TLS = new(TLS)
			v.object(fields{"cert": text(&l.TLS.Cert), "key": text(&l.TLS.Key)})
		},
	})
	return l
}

// value is a node of the file and where it stands.
type value struct {
	r    *reader
	node *yaml.Node
	path string // "" for the root
}

// fields says how the value of each key is read.
type fields map[string]func(value)

func object(f fields) func(value)            { return func(v value) { v.object(f) } }
func text(to *string) func(value)            { return func(v value) { *to = v.string() } }
func number(to *int) func(value)             { return func(v value) { *to = v.int() } }
func size(to *int) func(value)               { return func(v value) { *to = v.size() } }
func boolean(to *bool) func(value)           { return func(v value) { *to = v.bool() } }
func duration(to *time.Duration) func(value) { return func(v value) { *to = v.duration() } }

// at returns the value at a node, with its line noted and an alias followed.
func (v value) at(node *yaml.Node, path string) value {
	v.r.lines[path] = node.Line
	if node.Kind == yaml.AliasNode { // of anchors, not of aliases: one step is enough
		node = node.Alias
	}
	return value{v.r, node, path}
}

func (v value) wrong(format string, args ...any) { v.r.failf(v.path, format, args...) }

// object reads a mapping: every key at most once, and none but those of f.
func (v value) object(f fields) {
	if v.node.Kind != yaml.MappingNode {
		v.wrong("must be a mapping (key: value), not %s", v.described())
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := v.node.Content[i]
		path := strings.TrimPrefix(v.path+"."+key.Value, ".")
		read, known := f[key.Value]
		switch first, again := seen[key.Value]; {
		case redact.Secret(key.Value):
			v.r.problems = append(v.r.problems, Problem{Line: key.Line, Path: strings.TrimPrefix(v.path+".?", "."), What: "unknown key; it is " + redact.Bare(key.Value)})
			continue
		case again:
			v.r.problems = append(v.r.problems, Problem{Line: key.Line, Path: path, What: fmt.Sprintf("given twice, first at line %d; delete one", first)})
			continue
		case !known:
			v.r.problems = append(v.r.problems, Problem{Line: key.Line, Path: path, What: "unknown key; there are " + strings.Join(slices.Sorted(maps.Keys(f)), ", ")})
			continue
		}
		seen[key.Value] = key.Line
		field := v.at(v.node.Content[i+1], path)
		v.r.lines[path] = key.Line // a mapping's or a list's own line is that of its first element
		if field.node.ShortTag() == "!!null" {
			field.wrong(`has no value; write one or delete the line ("" is the empty text, [] the empty list)`)
			continue
		}
		read(field)
	}
}

// list reads a sequence.
func (v value) list(read func(value)) {
	switch {
	case v.node.Kind != yaml.SequenceNode:
		v.wrong("must be a list, not %s", v.described())
	case len(v.node.Content) > maxLists:
		v.wrong("has %d elements; at most %d are possible", len(v.node.Content), maxLists)
	default:
		for i, n := range v.node.Content {
			read(v.at(n, fmt.Sprintf("%s[%d]", v.path, i)))
		}
	}
}

func (v value) string() string {
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!str" {
		v.wrong("must be text, not %s; put it in quotes if it is meant as text", v.described())
		return ""
	}
	return v.node.Value
}

func (v value) bool() bool {
	if v.node.ShortTag() != "!!bool" {
		v.wrong("must be true or false, not %s", v.described())
		return false
	}
	return v.node.Value == "true" || v.node.Value == "True" || v.node.Value == "TRUE"
}

func (v value) int() int {
	n, err := strconv.Atoi(v.node.Value)
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!int" || err != nil {
		v.wrong("must be a whole number, not %s", v.described())
		return 0
	}
	return n
}

func (v value) duration() time.Duration {
	d, err := time.ParseDuration(v.node.Value)
	if v.node.Kind != yaml.ScalarNode || err != nil {
		v.wrong("must be a duration such as 10s, 5m or 24h, not %s", v.described())
		return 0
	}
	return d
}

// units are what a size may be followed by; the powers of two have the names of IEC 80000-13.
var units = []struct {
	name  string
	bytes int
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

func (v value) size() int {
	digits, factor := v.node.Value, 1
	for _, u := range units {
		if d, ok := strings.CutSuffix(digits, u.name); ok {
			digits, factor = strings.TrimRight(d, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if v.node.Kind != yaml.ScalarNode || err != nil || n > uint64(math.MaxInt32/factor) {
		v.wrong("must be a size below 2 GiB such as 65536, 64KiB or 1MiB, not %s", v.described())
		return 0
	}
	return int(n) * factor
}

// described returns what the value is, in words. Of the root it says only of which kind it is: a file that is one
// text is a key or a token that was named in the place of a configuration.
func (v value) described() string {
	switch {
	case v.node.Kind == yaml.MappingNode:
		return "a mapping"
	case v.node.Kind == yaml.SequenceNode:
		return "a list"
	case v.path == "":
		return fmt.Sprintf("a text of %d bytes", len(v.node.Value))
	}
	return redact.Quote(v.node.Value)
}
