package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// Config is one valid configuration: everything is resolved, defaulted and checked.
// It is immutable once Load has returned it and may be read from any goroutine.
type Config struct {
	Path            string // of the file, as it was given to Load
	Admin           Admin
	Log             Log
	ShutdownTimeout time.Duration // how long a graceful stop waits for sessions to end; 0 = not at all
	Workers         int           // event loops; 0 = one for each CPU
	Listeners       []Listener    // in file order, names unique
	Backends        []Backend     // in file order, names unique

	// Files lists every file that Load read or that the configuration names (certificates,
	// keys, CAs, CRLs, servers files, the token file, the file itself): what Watch watches.
	// The paths are absolute and sorted.
	Files []string

	// Hash identifies the text of the configuration and its servers files: hex SHA-256. Without
	// servers files it is what sha256sum prints for the file.
	Hash string

	source source // where it all stands in the files, and what those held
}

// Admin says where metrics, health and the API are served.
type Admin struct {
	Listen    string // "host:port", "unix:/path" with an absolute path, or "" for nowhere
	TokenFile string // path of the bearer token, "" for none
}

// Log says what is logged on stderr, and how.
type Log struct {
	Level       slog.Level
	Format      string // FormatText or FormatJSON
	Connections string // ConnectionsAll, ConnectionsErrors or ConnectionsNone
}

// The values of log.format and log.connections.
const (
	FormatText        = "text"
	FormatJSON        = "json"
	ConnectionsAll    = "all"
	ConnectionsErrors = "errors"
	ConnectionsNone   = "none"
)

// Listener is one port where clients arrive (HAProxy: frontend).
type Listener struct {
	Name           string
	Listen         string // host:port; an empty host means every address
	Backend        string // name of the backend that serves it
	Protocol       string // ProtocolMQTT or ProtocolTCP
	MaxConnections int    // newcomers beyond it wait in the kernel's queue; 0 = no limit
	ClientTimeout  ClientTimeout
	ReusePort      bool           // SO_REUSEPORT
	AcceptProxy    bool           // every client sends a PROXY header first
	TrustedProxies []netip.Prefix // who may send it
	TLS            *TLS           // nil = plain TCP
}

// The values of listeners[].protocol.
const (
	ProtocolMQTT = "mqtt"
	ProtocolTCP  = "tcp"
)

// ClientTimeout is how long a client may send nothing.
type ClientTimeout struct {
	Auto     bool          // from the MQTT keep alive; Duration is unused then
	Duration time.Duration // 0 = no limit
}

// TLS is how a listener terminates TLS.
type TLS struct {
	Certificates     []Certificate // at least one; the first serves whoever asks for no known name
	MinVersion       uint16        // tls.VersionTLS12 or tls.VersionTLS13
	HandshakeTimeout time.Duration
	ClientAuth       string // ClientAuthNone, ClientAuthOptional or ClientAuthRequire
	ClientCA         string // path of a PEM bundle
	ClientCRL        string // path, "" for none
	ALPN             []string
}

// Certificate names the files of one chain and its key. Key is empty when Cert holds both,
// as the file of HAProxy's crt does. Both paths are absolute.
type Certificate struct {
	Cert string
	Key  string
}

// The values of tls.client_auth.
const (
	ClientAuthNone     = "none"
	ClientAuthOptional = "optional"
	ClientAuthRequire  = "require"
)

// Backend is a group of servers that share the work (HAProxy: backend).
type Backend struct {
	Name           string
	Balance        string        // BalanceSource, BalanceRoundRobin, BalanceLeastConn or BalanceRandom
	Hash           string        // HashConsistent or HashMap; matters to BalanceSource only
	SendProxy      string        // SendProxyNone, SendProxyV1 or SendProxyV2
	SendProxyTLVs  []string      // of TLVSSL, TLVCN, TLVAuthority, TLVUniqueID; matters to v2 only
	ConnectTimeout time.Duration // for one attempt to reach one server
	ServerTimeout  time.Duration // nothing from the server for so long ends the session; 0 = off
	Retries        int           // how many further servers are tried when one refuses
	OnMarkedDown   string        // MarkedDownKeep or MarkedDownClose
	Check          Check
	Passive        Passive
	ServersFile    string // path of a further list of servers, "" for none

	// Servers are those of the configuration, then those of the servers file, names unique in the
	// backend. There may be none when there is a servers file.
	Servers []Server
}

// The values of the enumerations of a backend.
const (
	BalanceSource     = "source"
	BalanceRoundRobin = "roundrobin"
	BalanceLeastConn  = "leastconn"
	BalanceRandom     = "random"

	HashConsistent = "consistent"
	HashMap        = "map"

	SendProxyNone = "none"
	SendProxyV1   = "v1"
	SendProxyV2   = "v2"

	TLVSSL       = "ssl"
	TLVCN        = "cn"
	TLVAuthority = "authority"
	TLVUniqueID  = "unique-id"

	MarkedDownKeep  = "keep"
	MarkedDownClose = "close"
)

// Check is the active health check of a backend's servers.
type Check struct {
	Type         string // CheckTCP, CheckMQTT or CheckNone
	Interval     time.Duration
	FastInterval time.Duration // while the state is changing; never 0: Interval when the file says 0
	DownInterval time.Duration // while down; never 0: Interval when the file says 0
	Timeout      time.Duration
	Fall         int // failed checks in a row that take a server down
	Rise         int // good checks in a row that bring it up
}

// The values of check.type.
const (
	CheckTCP  = "tcp"
	CheckMQTT = "mqtt"
	CheckNone = "none"
)

// Passive takes a server out after connect errors of live traffic (NGINX: max_fails, fail_timeout).
type Passive struct {
	MaxFails    int // 0 = off
	FailTimeout time.Duration
}

// Server is one member of a backend.
type Server struct {
	Name           string
	Address        string // host:port
	Weight         int    // 0 … 256; 0 = no newcomers
	MaxConnections int    // 0 = no limit
	Backup         bool   // used only while no other server is usable
	State          string // StateReady, StateDrain or StateMaint
}

// The values of servers[].state.
const (
	StateReady = "ready"
	StateDrain = "drain"
	StateMaint = "maint"
)
