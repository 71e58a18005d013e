package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mqttlb/mqttlb/internal/redact"
)

// Bounds that the protocol or the codec sets.
const (
	minPacket  = 256         // room for a CONNECT with an identifier of some length
	maxPacket  = 1<<28 + 4   // the longest Remaining Length and its header (MQTT 5 section 1.5.5)
	maxUint16  = 1<<16 - 1   // receive maximum, topic alias maximum, keep alive
	maxQueued  = 1 << 20     // a million messages for one client is a mistake, not a queue
	maxClients = 100_000_000 // beyond any machine: a typing error
	maxExpiry  = 136 * 365 * 24 * time.Hour
	maxNode    = 64
	maxLists   = 1000
)

// Check reports everything that is wrong with the configuration as Problems, or nil.
func (c *Config) Check() error {
	k := &checker{}
	k.config(c)
	if len(k.problems) == 0 {
		return nil
	}
	return k.problems
}

// checker collects what is wrong.
type checker struct{ problems Problems }

func (k *checker) failf(path, format string, args ...any) {
	k.problems = append(k.problems, Problem{Path: path, What: fmt.Sprintf(format, args...)})
}

func (k *checker) config(c *Config) {
	if c.Node == "" || len(c.Node) > maxNode || strings.ContainsFunc(c.Node, func(r rune) bool { return r <= ' ' || r > '~' }) {
		k.failf("node", "%s is not a name of 1 to %d visible ASCII characters", redact.Quote(c.Node), maxNode)
	}
	if len(c.Listeners) == 0 {
		k.failf("listeners", "is empty; a node needs at least one")
	}
	names, addresses := map[string]string{}, map[string]string{}
	for i := range c.Listeners {
		l, path := &c.Listeners[i], fmt.Sprintf("listeners[%d]", i)
		k.listener(l, path)
		k.unique(names, l.Name, path+".name")
		if !strings.HasSuffix(l.Listen, ":0") {
			k.unique(addresses, l.Listen, path+".listen")
		}
	}
	if c.API.Listen != "" {
		k.address("api.listen", c.API.Listen)
		if c.API.Given && !strings.HasSuffix(c.API.Listen, ":0") { // without, the node does without an API
			k.unique(addresses, c.API.Listen, "api.listen")
		}
	}
	if c.Dashboard.Listen != "" {
		k.address("dashboard.listen", c.Dashboard.Listen)
		if c.Dashboard.Given && !strings.HasSuffix(c.Dashboard.Listen, ":0") {
			k.unique(addresses, c.Dashboard.Listen, "dashboard.listen")
		}
	}
	for path, name := range map[string]string{
		"data_dir": c.DataDir, "auth.users_file": c.Auth.UsersFile, "acl_file": c.ACLFile, "api.token_file": c.API.TokenFile, "dashboard.token_file": c.Dashboard.TokenFile,
	} {
		if strings.ContainsFunc(name, unicode.IsControl) {
			k.failf(path, "is not a path, but a text of %d bytes; write the name of a file that holds it", len(name))
		}
	}
	k.limits(&c.Limits)
	k.duration("session.max_expiry", c.Session.MaxExpiry, maxExpiry)
	k.duration("session.max_keep_alive", c.Session.MaxKeepAlive, maxUint16*time.Second)
	if c.Session.MaxKeepAlive%time.Second != 0 { // what MQTT counts in
		k.failf("session.max_keep_alive", "%v is not a whole number of seconds", c.Session.MaxKeepAlive)
	}
	if !c.Auth.AllowAnonymous && c.Auth.UsersFile == "" && !c.identities() {
		k.failf("auth.allow_anonymous", "false without a users_file lets nobody in; name one, made with htpasswd -B")
	}
	k.missing(c)
}

// identities reports whether some clients have a name without a password.
func (c *Config) identities() bool {
	return slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.PeerCertAsUsername != "" })
}

// unique notes a value that another field may not have as well; seen holds where it is.
func (k *checker) unique(seen map[string]string, value, path string) {
	first, again := seen[value]
	switch {
	case value == "": // told already
	case again:
		k.failf(path, "%s is that of %s as well; it must be unique", redact.Quote(value), first)
	default:
		seen[value] = path
	}
}

func (k *checker) listener(l *Listener, path string) {
	if l.Name == "" {
		k.failf(path+".name", "is missing; metrics and logs need it")
	}
	if l.Listen == "" {
		k.failf(path+".listen", `is missing; write host:port, or ":1883" for every address`)
	} else {
		k.address(path+".listen", l.Listen)
	}
	switch l.Transport {
	case TCP, "":
		if l.Path != "" {
			k.failf(path+".path", "is for transport: websocket only")
		}
	case WebSocket:
		if l.Path != "" && !strings.HasPrefix(l.Path, "/") {
			k.failf(path+".path", "%s does not begin with a slash; write /mqtt", redact.Quote(l.Path))
		}
	default:
		k.failf(path+".transport", "%s is none of tcp, websocket", redact.Quote(string(l.Transport)))
	}
	switch l.ProxyProtocol {
	case ProxyNone, ProxyOptional, ProxyRequire, "":
	default:
		k.failf(path+".proxy_protocol", "%s is none of none, optional, require", redact.Quote(string(l.ProxyProtocol)))
	}
	switch {
	case l.PeerCertAsUsername == "":
	case l.PeerCertAsUsername != CommonName:
		k.failf(path+".peer_cert_as_username", "%s is none of cn", redact.Quote(l.PeerCertAsUsername))
	case l.ProxyProtocol != ProxyRequire:
		k.failf(path+".peer_cert_as_username", "the name comes from the load balancer; write proxy_protocol: require beside it, and let nobody else reach the port")
	}
	if l.TLS != nil && l.TLS.Cert == "" {
		k.failf(path+".tls.cert", "is missing; write the path of a certificate chain in PEM")
	}
}

func (k *checker) address(path, address string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		k.failf(path, "%s is not host:port", redact.Quote(address))
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		k.failf(path, "%s has no port between 0 and 65535", redact.Quote(address))
	} else if strconv.FormatUint(n, 10) != port {
		k.failf(path, "%s: write the port as %d", redact.Quote(address), n)
	}
}

func (k *checker) limits(l *Limits) {
	k.number("limits.max_connections", l.MaxConnections, 0, maxClients)
	k.number("limits.max_packet_size", l.MaxPacketSize, minPacket, maxPacket)
	k.number("limits.max_inflight", l.MaxInflight, 1, maxUint16)
	k.number("limits.max_queued", l.MaxQueued, 1, maxQueued)
	k.number("limits.max_topic_alias", l.MaxTopicAlias, 0, maxUint16)
	k.number("limits.max_qos", l.MaxQoS, 0, 2)
	k.number("limits.receive_maximum", l.ReceiveMaximum, 1, maxUint16)
}

func (k *checker) number(path string, n, least, most int) {
	if n < least || n > most {
		k.failf(path, "%d is not between %d and %d", n, least, most)
	}
}

func (k *checker) duration(path string, d, most time.Duration) {
	if d < 0 || d > most {
		k.failf(path, "%v is not between 0s and %v", d, most)
	}
}

// missing refuses what this version does not do.
func (k *checker) missing(c *Config) {
	unbuilt := []struct {
		asked bool
		path  string
		what  string
	}{
		{c.Cluster.Listen != "", "cluster.listen", "the cluster is not built into this version; leave it empty"},
		{len(c.Cluster.Peers) > 0, "cluster.peers", "the cluster is not built into this version; leave it empty"},
		{c.Cluster.SecretFile != "", "cluster.secret_file", "the cluster is not built into this version; leave it empty"},
		{c.Cluster.Replicas != defaultReplicas && c.Cluster.Replicas != 0, "cluster.replicas", "the cluster is not built into this version; delete it"},
		{c.Cluster.NATSURL != "", "cluster.nats_url", "the cluster is not built into this version; leave it empty"},
	}
	for _, u := range unbuilt {
		if u.asked {
			k.failf(u.path, "%s", u.what)
		}
	}
}
