package config

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// A prototype is one of everything, as it is where the file says nothing.
type prototype struct {
	Config      Config
	Listener    Listener
	TLS         TLS
	Certificate Certificate
	Backend     Backend
	Server      Server
}

// tcpClientTimeout is the default client_timeout of a listener with protocol tcp, where there is
// no keep alive to learn one from. WebSocket clients ping about once a minute; HAProxy's
// `timeout client` in MQTT deployments is about this long.
const tcpClientTimeout = 600 * time.Second

// defaults returns what holds where the file says nothing. What is not here is zero.
func defaults() prototype {
	return prototype{
		Config: Config{
			Admin:           Admin{Listen: "127.0.0.1:8404"},
			Log:             Log{Level: slog.LevelInfo, Format: FormatText, Connections: ConnectionsErrors},
			ShutdownTimeout: 30 * time.Second,
			Workers:         0, // one for each CPU
		},
		Listener: Listener{
			Protocol:       ProtocolMQTT,
			MaxConnections: 0,                         // no limit
			ClientTimeout:  ClientTimeout{Auto: true}, // for protocol tcp: tcpClientTimeout
		},
		TLS: TLS{
			MinVersion:       tls.VersionTLS12,
			HandshakeTimeout: 15 * time.Second, // NGINX: ssl_handshake_timeout is 60 s, the deployments' own is 15 s
			ClientAuth:       ClientAuthNone,
		},
		Backend: Backend{
			Balance:        BalanceSource,
			Hash:           HashConsistent,
			SendProxy:      SendProxyNone, // a server that does not expect the header would refuse every client
			SendProxyTLVs:  []string{TLVSSL, TLVCN, TLVAuthority, TLVUniqueID},
			ConnectTimeout: 5 * time.Second,
			ServerTimeout:  0, // off
			Retries:        3, // HAProxy: retries
			OnMarkedDown:   MarkedDownKeep,
			Check: Check{
				Type:         CheckTCP,
				Interval:     10 * time.Second,
				FastInterval: 0, // Interval
				DownInterval: 0, // Interval
				Timeout:      5 * time.Second,
				Fall:         2,
				Rise:         5,
			},
			Passive: Passive{
				MaxFails:    0, // off
				FailTimeout: 30 * time.Second,
			},
		},
		Server: Server{
			Weight:         1,
			MaxConnections: 0, // no limit
			State:          StateReady,
		},
	}
}
