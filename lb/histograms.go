package lb

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Histograms are the distributions that the process observes; everything else that is counted is in Status. It is
// a prometheus.Collector and may be used from any goroutine.
type Histograms struct {
	handshake *prometheus.HistogramVec
	connect   *prometheus.HistogramVec
	check     *prometheus.HistogramVec
}

func newHistograms() *Histograms {
	server := []string{"backend", "server"}
	return &Histograms{
		handshake: histogram("mqttlb_tls_handshake_seconds", "Time of successful TLS handshakes, from accept or PROXY header to Finished.", "listener"),
		connect:   histogram("mqttlb_server_connect_seconds", "Time to establish connections to servers.", server...),
		check:     histogram("mqttlb_check_seconds", "Time of health checks, failed ones included.", server...),
	}
}

// histogram has buckets from 0.5 ms, a connect in one rack, to 16 s, beyond the default handshake_timeout.
func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	}, labels)
}

// Describe implements prometheus.Collector.
func (h *Histograms) Describe(ch chan<- *prometheus.Desc) {
	h.handshake.Describe(ch)
	h.connect.Describe(ch)
	h.check.Describe(ch)
}

// Collect implements prometheus.Collector.
func (h *Histograms) Collect(ch chan<- prometheus.Metric) {
	h.handshake.Collect(ch)
	h.connect.Collect(ch)
	h.check.Collect(ch)
}

// forget drops the series of a server that nobody knows any more.
func (h *Histograms) forget(gone *member) {
	h.connect.DeleteLabelValues(gone.backend, gone.server)
	h.check.DeleteLabelValues(gone.backend, gone.server)
}
