package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mqttlb/mqttlb/lb"
)

// A collector makes metrics of one Status.
type collector struct{ lb *lb.Server }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mqttlb_"+name, help, labels, nil)
}

// What a Status becomes. The names are fixed: dashboards rely on them.
var (
	connections      = desc("listener_connections", "Open client connections.", "listener")
	maxOpen          = desc("listener_max_connections", "The listener's max_connections; 0 = no limit.", "listener")
	connectionsTotal = desc("listener_connections_total", "Ended client connections, by the reason of their end.", "listener", "reason")
	handshakes       = desc("tls_handshakes_total", "Successful TLS handshakes.", "listener", "version", "resumed")
	handshakeErrors  = desc("tls_handshake_failures_total", "Failed TLS handshakes.", "listener", "reason")
	listenerBytes    = desc("bytes_total", "Bytes relayed, TLS taken off: in is from clients, out is to them.", "listener", "direction")
	certExpiry       = desc("certificate_expiry_timestamp_seconds", "When the first certificate of this subject expires.", "listener", "subject")
	crlExpiry        = desc("client_crl_expiry_timestamp_seconds", "When the first list of client_crl is out of date.", "listener")

	serverUp          = desc("server_up", "1 if the server is up, 0 if it is down.", "backend", "server")
	serverConnections = desc("server_connections", "Open sessions on the server.", "backend", "server")
	serverTotal       = desc("server_connections_total", "Sessions that reached the server.", "backend", "server")
	serverErrors      = desc("server_connect_errors_total", "Failed attempts to reach the server.", "backend", "server")
	serverBytes       = desc("server_bytes_total", "Bytes relayed: in is to the server, out is from it.", "backend", "server", "direction")
	checks            = desc("check_total", "Health checks, by result.", "backend", "server", "result")

	reloadOK   = desc("config_last_reload_successful", "1 if the last reload was applied, 0 if it was refused.")
	reloadTime = desc("config_last_reload_success_timestamp_seconds", "When a configuration was last applied, the start included.")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		connections, maxOpen, connectionsTotal, handshakes, handshakeErrors, listenerBytes, certExpiry, crlExpiry, serverUp, serverConnections,
		serverTotal, serverErrors, serverBytes, checks, reloadOK, reloadTime,
	} {
		ch <- d
	}
}

// A sink takes metrics.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	st, out := c.lb.Status(), sink(ch)
	out.gauge(reloadOK, number(st.LastReload.Successful))
	out.gauge(reloadTime, seconds(st.LastReload.SucceededAt))
	for _, l := range st.Listeners {
		out.listener(l)
	}
	for _, b := range st.Backends {
		for _, srv := range b.Servers {
			out.gauge(serverUp, number(srv.Up), b.Name, srv.Name)
			out.server(b.Name, srv)
		}
		for _, srv := range b.Removed {
			out.server(b.Name, srv)
		}
	}
}

func (s sink) listener(l lb.ListenerStatus) {
	s.gauge(connections, float64(l.Connections), l.Name)
	s.gauge(maxOpen, float64(l.MaxConnections), l.Name)
	s.counter(listenerBytes, l.BytesIn, l.Name, "in")
	s.counter(listenerBytes, l.BytesOut, l.Name, "out")
	for reason, n := range l.Ended {
		s.counter(connectionsTotal, n, l.Name, reason)
	}
	for _, h := range l.Handshakes {
		resumed := "false"
		if h.Resumed {
			resumed = "true"
		}
		s.counter(handshakes, h.Count, l.Name, h.Version, resumed)
	}
	for reason, n := range l.Failures {
		s.counter(handshakeErrors, n, l.Name, reason)
	}
	if l.CRLNextUpdate != nil {
		s.gauge(crlExpiry, seconds(*l.CRLNextUpdate), l.Name)
	}
	for subject, at := range firstExpiry(l.Certificates) {
		s.gauge(certExpiry, seconds(at), l.Name, subject)
	}
}

// firstExpiry is when each subject's certificates begin to expire: an ECDSA and an RSA certificate share one.
func firstExpiry(list []lb.CertStatus) map[string]time.Time {
	first := make(map[string]time.Time)
	for _, cert := range list {
		if at, known := first[cert.Subject]; !known || cert.NotAfter.Before(at) {
			first[cert.Subject] = cert.NotAfter
		}
	}
	return first
}

// server writes what is known of every server, of one that left as well.
func (s sink) server(backend string, srv lb.ServerStatus) {
	s.gauge(serverConnections, float64(srv.Active), backend, srv.Name)
	s.counter(serverTotal, srv.Total, backend, srv.Name)
	s.counter(serverErrors, srv.ConnectErrors, backend, srv.Name)
	s.counter(serverBytes, srv.BytesIn, backend, srv.Name, "in")
	s.counter(serverBytes, srv.BytesOut, backend, srv.Name, "out")
	for result, n := range srv.Checks {
		s.counter(checks, n, backend, srv.Name, result)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
