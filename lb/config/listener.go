package config

import (
	"crypto/tls"
	"time"
)

// Bounds that keep a slip of the pen, or a file that is none of ours, from costing more than a message.
const (
	maxListeners      = 1000
	maxConnections    = 1_000_000_000 // Linux: fs.nr_open is at most about this
	maxListedNetworks = 10_000
	maxCertificates   = 1000
)

// listener reads one element of listeners.
func (v value) listener() Listener {
	l := defaults().Listener
	v.object(fields{
		"name":            func(v value) { l.Name = v.name() },
		"listen":          func(v value) { l.Listen = v.listenAddress("1883") },
		"backend":         func(v value) { l.Backend = v.name() },
		"protocol":        func(v value) { l.Protocol = v.oneOf(ProtocolMQTT, ProtocolTCP) },
		"max_connections": func(v value) { l.MaxConnections = v.number(0, maxConnections) },
		"client_timeout":  func(v value) { l.ClientTimeout = v.clientTimeout() },
		"reuse_port":      func(v value) { l.ReusePort = v.boolean() },
		"accept_proxy":    func(v value) { l.AcceptProxy = v.boolean() },
		"trusted_proxies": func(v value) { l.TrustedProxies = several(v, maxListedNetworks, value.prefix) },
		"tls":             func(v value) { l.TLS = v.tls() },
	})
	v.require("name", "listen", "backend")
	v.listenerTimeout(&l)
	v.listenerProxies(&l)
	return l
}

// listenerTimeout applies what client_timeout depends on.
func (v value) listenerTimeout(l *Listener) {
	switch {
	case l.Protocol != ProtocolTCP:
	case !v.given("client_timeout"):
		l.ClientTimeout = ClientTimeout{Duration: tcpClientTimeout}
	case l.ClientTimeout.Auto:
		v.failf(v.key("client_timeout"), "auto needs protocol mqtt, whose clients announce a keep alive; write a duration such as %s, or 0s for no limit",
			period(tcpClientTimeout))
	}
}

// listenerProxies checks accept_proxy and trusted_proxies against each other.
func (v value) listenerProxies(l *Listener) {
	if !v.fine("accept_proxy", "trusted_proxies") {
		return
	}
	switch {
	case l.AcceptProxy && len(l.TrustedProxies) == 0:
		v.failf(v.key("accept_proxy"), "needs trusted_proxies, since everyone else is refused: list the networks of the load balancers in front")
	case !l.AcceptProxy && len(l.TrustedProxies) > 0:
		v.failf(v.key("trusted_proxies"), "does nothing without accept_proxy; set accept_proxy: true or delete the list")
	}
}

// tls reads listeners[].tls.
func (v value) tls() *TLS {
	t := defaults().TLS
	v.object(fields{
		"certificates":      func(v value) { t.Certificates = several(v, maxCertificates, value.certificate) },
		"min_version":       func(v value) { t.MinVersion = v.tlsVersion() },
		"handshake_timeout": func(v value) { t.HandshakeTimeout = v.duration(10*time.Millisecond, time.Hour) },
		"client_auth":       func(v value) { t.ClientAuth = v.oneOf(ClientAuthNone, ClientAuthOptional, ClientAuthRequire) },
		"client_ca":         func(v value) { t.ClientCA = v.file() },
		"client_crl":        func(v value) { t.ClientCRL = v.file() },
		"alpn":              func(v value) { t.ALPN = several(v, 100, value.alpn) },
	})
	v.require("certificates")
	if v.fine("certificates") && len(t.Certificates) == 0 {
		v.failf(v.key("certificates"), "needs at least one certificate; for a plain TCP listener delete tls")
	}
	v.clientAuth(&t)
	return &t
}

// clientAuth checks that what verifies client certificates is there when it is asked for, and
// is asked for when it is there: a setting of security is never ignored silently.
func (v value) clientAuth(t *TLS) {
	if !v.fine("client_auth", "client_ca", "client_crl") {
		return
	}
	const ask = "does nothing with client_auth none; set client_auth: require (or optional) or delete this"
	switch off := t.ClientAuth == ClientAuthNone; {
	case off && t.ClientCA != "":
		v.failf(v.key("client_ca"), ask)
	case off && t.ClientCRL != "":
		v.failf(v.key("client_crl"), ask)
	case !off && t.ClientCA == "":
		v.failf(v.key("client_auth"), "%s needs client_ca: the certificates of the authorities that sign the clients' own", t.ClientAuth)
	}
}

// certificate reads one element of tls.certificates.
func (v value) certificate() Certificate {
	c := defaults().Certificate
	v.object(fields{
		"cert": func(v value) { c.Cert = v.requiredFile() },
		"key":  func(v value) { c.Key = v.file() },
	})
	v.require("cert")
	return c
}

// tlsVersion reads tls.min_version.
func (v value) tlsVersion() uint16 {
	if v.oneOf("1.2", "1.3") == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// alpn reads the name of a protocol: 1 to 255 bytes (RFC 7301 section 3.1).
func (v value) alpn() string {
	s, ok := v.text()
	if ok && (s == "" || len(s) > 255) {
		v.wrong("must have 1 to 255 bytes, not %d", len(s))
	}
	return s
}
