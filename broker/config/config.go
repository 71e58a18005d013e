package config

import (
	"os"
	"time"
)

// Config is what a node is told. It is a value: copy it before you change it if others see it.
type Config struct {
	File string // where it was read from, as the operator named it; "" for none

	lines map[string]int // by path, of what the file spells out; not changed after Load

	Node      string // unique in the cluster
	DataDir   string // "" = everything in memory
	Listeners []Listener
	API       HTTP // management API, metrics, health
	Dashboard HTTP // web page
	Limits    Limits
	Session   Session
	Auth      Auth
	ACLFile   string // "" = everybody may publish and subscribe anywhere
	Cluster   Cluster
}

// Listener is a port for clients.
type Listener struct {
	Name          string // unique; what metrics and logs call it
	Listen        string // host:port; an empty host is every address, port 0 any free one
	Transport     Transport
	Path          string        // of the WebSocket; "" = /mqtt. None with plain TCP
	ProxyProtocol ProxyProtocol // "" = none
	// PeerCertAsUsername, CommonName, makes the common name of the client certificate that the load balancer has verified and told
	// of in the PROXY header (version 2, TLV ssl) the user name: no password is asked for. "" = it is not looked at.
	PeerCertAsUsername string
	TLS                *TLS // nil = plain
}

// Transport is what carries MQTT on a listener.
type Transport string

// The transports. The zero value counts as TCP.
const (
	TCP       Transport = "tcp"
	WebSocket Transport = "websocket"
)

// ProxyProtocol says what a listener does about PROXY headers. Who accepts them believes whoever connects: such a
// port belongs on a network where only the load balancers reach it.
type ProxyProtocol string

// What a listener does about PROXY headers. The zero value counts as None.
const (
	ProxyNone     ProxyProtocol = "none"     // they are not expected, and not MQTT
	ProxyOptional ProxyProtocol = "optional" // believed when there is one
	ProxyRequire  ProxyProtocol = "require"  // a connection without one is closed
)

// CommonName is the value of Listener.PeerCertAsUsername other than "".
const CommonName = "cn"

// TLS names the files of a certificate, in PEM.
type TLS struct {
	Cert string // chain; may hold the key too
	Key  string // "" = in Cert
}

// HTTP is an HTTP server's address.
type HTTP struct {
	Listen    string // "" = off
	TokenFile string // with the token that visitors must have; "" = none is wanted
	Given     bool   // the operator wrote it down, so that failing to open it is an error
}

// Limits bound what clients may take.
type Limits struct {
	MaxConnections int // clients at a time; 0 = no limit
	MaxPacketSize  int // bytes of a whole packet that a client may send
	MaxInflight    int // QoS 1 and 2 messages on the way to one client, not acknowledged
	MaxQueued      int // messages that wait for one client, of 4 KiB on average or 8 × MaxPacketSize together; further ones are dropped
	MaxTopicAlias  int // topic aliases a client may use; 0 = none
	MaxQoS         int // 0, 1 or 2
	ReceiveMaximum int // QoS 1 and 2 messages on the way from one client
}

// Session says how long sessions and silences may last.
type Session struct {
	MaxExpiry    time.Duration // that a session may outlive its connection; 0 = none does
	MaxKeepAlive time.Duration // longest keep alive an MQTT 5 client may choose; 0 = any, and none at all
}

// Auth says who may connect.
type Auth struct {
	AllowAnonymous bool
	UsersFile      string // "" = names and passwords are not looked at
}

// Cluster joins nodes.
type Cluster struct {
	Listen     string // "" = a node of its own
	Peers      []string
	SecretFile string
	Replicas   int
	NATSURL    string
}

// Default returns what a node does that is told nothing: MQTT on port 1883 of every address, with a PROXY
// header when one comes. Its name is the host's.
func Default() Config {
	c := defaults()
	c.Listeners = []Listener{{Name: "mqtt", Listen: ":1883", Transport: TCP, ProxyProtocol: ProxyOptional}}
	return c
}

// defaults is Default before the listeners: the file's replace those, not add to them.
func defaults() Config {
	return Config{
		Node:      hostName(),
		API:       HTTP{Listen: "127.0.0.1:8080"},
		Dashboard: HTTP{Listen: "127.0.0.1:18083"},
		Limits:    Limits{MaxPacketSize: 1 << 20, MaxInflight: 32, MaxQueued: 1000, MaxTopicAlias: 16, MaxQoS: 2, ReceiveMaximum: 32},
		Session:   Session{MaxExpiry: 24 * time.Hour},
		Auth:      Auth{AllowAnonymous: true},
		Cluster:   Cluster{Replicas: defaultReplicas},
	}
}

const defaultReplicas = 3

// hostName is a name for the node that needs no configuration; a host without one is
// rare enough for a fixed word.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "mqttbroker"
	}
	return name
}
