package lb

// A Reason says why a connection ended. It is the value of the label "reason" of
// mqttlb_listener_connections_total and of the attribute "reason" of the connection's log line: a closed list.
type Reason uint8

// The reasons. "Before" means before a server had the connection.
const (
	ClientClose        Reason = iota // the client closed first, as after DISCONNECT
	ClientReset                      // the client's socket failed: reset, power lost, broken TLS
	ClientTimeout                    // nothing from the client for client_timeout
	ServerClose                      // the server closed first
	ServerReset                      // the server's socket failed
	ServerTimeout                    // nothing from the server for server_timeout, or never a CONNACK
	ServerRejected                   // protocol mqtt: the server ended it without a byte, as when one side expects a PROXY header
	Refused                          // before: by policy, as a stranger who is not among trusted_proxies
	ProxyHeader                      // before: accept_proxy, and no valid PROXY header in time
	HandshakeFailed                  // before: TLS; mqttlb_tls_handshake_failures_total says why
	NotMQTT                          // before: the first packet is no CONNECT
	ConnectTooLarge                  // before: the CONNECT is larger than any that makes sense
	MQTTConnectTimeout               // before: no whole CONNECT in time, though TLS was complete or not asked for
	NoServer                         // before: no server is usable
	DialFailed                       // before: every server that was tried refused
	NoDescriptors                    // before: the process has no descriptor left to reach a server with
	MarkedDown                       // the server went down, and on_marked_down is close
	ServerRemoved                    // the server left the configuration, and on_marked_down is close
	Drained                          // closed in turn while the process stops gracefully
	Stopped                          // the process stopped
	reasons                          // how many there are
)

var reasonNames = [reasons]string{
	ClientClose: "client_close", ClientReset: "client_reset", ClientTimeout: "client_timeout",
	ServerClose: "server_close", ServerReset: "server_reset", ServerTimeout: "server_timeout",
	ServerRejected: "server_rejected",
	Refused:        "refused", ProxyHeader: "proxy_header", HandshakeFailed: "handshake_failed",
	NotMQTT: "not_mqtt", ConnectTooLarge: "connect_too_large", MQTTConnectTimeout: "mqtt_connect_timeout",
	NoServer: "no_server", DialFailed: "dial_failed", NoDescriptors: "no_descriptors",
	MarkedDown: "marked_down", ServerRemoved: "server_removed", Drained: "drained", Stopped: "stopped",
}

// String returns the reason as metrics and logs show it.
func (r Reason) String() string { return reasonNames[r] }

// clean reports whether a connection that ended so is business as usual: no line for it when
// log.connections is errors.
func (r Reason) clean() bool {
	switch r {
	case ClientClose, ServerClose, MarkedDown, ServerRemoved, Drained, Stopped:
		return true
	}
	return false
}

// A refusal is the error of a step that ends a connection before a server has it.
type refusal struct {
	reason Reason
	err    error // nil when the reason says it all
}

func refuse(r Reason, err error) error { return &refusal{r, err} }

func (r *refusal) Error() string {
	if r.err == nil {
		return r.reason.String()
	}
	return r.reason.String() + ": " + r.err.Error()
}

func (r *refusal) Unwrap() error { return r.err }
