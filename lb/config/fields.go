package config

import (
	"crypto/tls"
	"strconv"
	"strings"
	"time"
)

// A field is a setting under the name that the file has for it, and its value as an operator writes it.
type field struct {
	name, value string
}

// String returns the value as it is shown.
func (f field) String() string {
	if f.value == "" {
		return "none"
	}
	return f.value
}

// differences returns "name old → new" for each field of to that from has with another value.
func differences(from, to []field) []string {
	old := byName(from, func(f field) string { return f.name })
	var changes []string
	for _, f := range to {
		if before, ok := old[f.name]; ok && before.value != f.value {
			changes = append(changes, f.name+" "+before.String()+" → "+f.String())
		}
	}
	return changes
}

// settingFields returns all settings that are neither a listener's nor a backend's.
func settingFields(c *Config) []field {
	return []field{
		{"admin.listen", c.Admin.Listen},
		{"admin.token_file", c.Admin.TokenFile},
		{"log.level", strings.ToLower(c.Log.Level.String())},
		{"log.format", c.Log.Format},
		{"log.connections", c.Log.Connections},
		{"shutdown_timeout", period(c.ShutdownTimeout)},
		{"workers", strconv.Itoa(c.Workers)},
	}
}

// listenerFields returns all settings of a listener but its name.
func listenerFields(l Listener) []field {
	return append([]field{
		{"listen", l.Listen},
		{"backend", l.Backend},
		{"protocol", l.Protocol},
		{"max_connections", strconv.Itoa(l.MaxConnections)},
		{"client_timeout", l.ClientTimeout.String()},
		{"reuse_port", strconv.FormatBool(l.ReusePort)},
		{"accept_proxy", strconv.FormatBool(l.AcceptProxy)},
		{"trusted_proxies", listed(prefixes(l.TrustedProxies))},
	}, tlsFields(l.TLS)...)
}

// tlsFields returns the settings of tls; of a plain listener only that it is off.
func tlsFields(t *TLS) []field {
	if t == nil {
		return []field{{"tls", "off"}}
	}
	certificates := make([]string, len(t.Certificates))
	for i, c := range t.Certificates {
		certificates[i] = listed([]string{c.Cert})
		if c.Key != "" {
			certificates[i] += "+" + listed([]string{c.Key})
		}
	}
	return []field{
		{"tls", "on"},
		{"tls.certificates", strings.Join(certificates, ", ")},
		{"tls.min_version", strings.TrimPrefix(tls.VersionName(t.MinVersion), "TLS ")},
		{"tls.handshake_timeout", period(t.HandshakeTimeout)},
		{"tls.client_auth", t.ClientAuth},
		{"tls.client_ca", t.ClientCA},
		{"tls.client_crl", t.ClientCRL},
		{"tls.alpn", listed(t.ALPN)},
	}
}

// tlsFiles returns the files that t names.
func tlsFiles(t *TLS) []string {
	if t == nil {
		return nil
	}
	var files []string
	for _, c := range t.Certificates {
		files = append(files, c.Cert)
		if c.Key != "" {
			files = append(files, c.Key)
		}
	}
	for _, file := range []string{t.ClientCA, t.ClientCRL} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

// backendFields returns all settings of a backend but its name and servers.
func backendFields(b Backend) []field {
	return []field{
		{"balance", b.Balance},
		{"hash", b.Hash},
		{"send_proxy", b.SendProxy},
		{"send_proxy_tlvs", listed(b.SendProxyTLVs)},
		{"connect_timeout", period(b.ConnectTimeout)},
		{"server_timeout", period(b.ServerTimeout)},
		{"retries", strconv.Itoa(b.Retries)},
		{"on_marked_down", b.OnMarkedDown},
		{"check.type", b.Check.Type},
		{"check.interval", period(b.Check.Interval)},
		{"check.fast_interval", orInterval(b.Check.FastInterval, b.Check)},
		{"check.down_interval", orInterval(b.Check.DownInterval, b.Check)},
		{"check.timeout", period(b.Check.Timeout)},
		{"check.fall", strconv.Itoa(b.Check.Fall)},
		{"check.rise", strconv.Itoa(b.Check.Rise)},
		{"passive.max_fails", strconv.Itoa(b.Passive.MaxFails)},
		{"passive.fail_timeout", period(b.Passive.FailTimeout)},
		{"servers_file", b.ServersFile},
	}
}

// orInterval returns a fast or down interval as the file has it: 0s for the check's own.
func orInterval(d time.Duration, c Check) string {
	if d == c.Interval {
		return "0s"
	}
	return period(d)
}

// serverFields returns all settings of a server but its name.
func serverFields(s Server) []field {
	return []field{
		{"address", s.Address},
		{"weight", strconv.Itoa(s.Weight)},
		{"max_connections", strconv.Itoa(s.MaxConnections)},
		{"backup", strconv.FormatBool(s.Backup)},
		{"state", s.State},
	}
}

// listed returns the texts in one, different for different lists.
func listed(texts []string) string {
	shown := make([]string, len(texts))
	for i, text := range texts {
		if shown[i] = text; text == "" || strings.ContainsAny(text, "\"\\, +") {
			shown[i] = strconv.Quote(text)
		}
	}
	return strings.Join(shown, ", ")
}

// String returns the timeout as the file has it: "auto", "600s", "0s".
func (t ClientTimeout) String() string {
	if t.Auto {
		return "auto"
	}
	return period(t.Duration)
}

// period returns d as an operator writes it: 600s rather than Go's 10m0s.
func period(d time.Duration) string {
	switch {
	case d%time.Hour == 0 && d != 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	default:
		return d.String()
	}
}
