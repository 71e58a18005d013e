package api

import (
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mqttlb/mqttlb/broker"
)

// collector reads the node's counters when Prometheus asks.
type collector struct {
	broker  *broker.Broker
	version string
	reload  func() (ok bool, succeeded time.Time) // nil where nothing is reloaded

	build, connections, clients, sessions, subscriptions, retained *prometheus.Desc
	queued, inFlight                                               *prometheus.Desc
	accepted, ended, received, sent, dropped                       *prometheus.Desc
	reloadOK, reloadTime                                           *prometheus.Desc
}

func newCollector(b *broker.Broker, version string, reload func() (ok bool, succeeded time.Time)) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("mqttbroker_"+name, help, labels, nil)
	}
	return &collector{
		broker:        b,
		version:       version,
		reload:        reload,
		build:         desc("build_info", "Always 1; the labels say what is running.", "version", "goversion"),
		connections:   desc("connections", "Open connections, those without a CONNECT included."),
		clients:       desc("clients", "Connected clients."),
		sessions:      desc("sessions", "Sessions of clients, connected or away."),
		subscriptions: desc("subscriptions", "Subscriptions of all sessions."),
		retained:      desc("retained_messages", "Retained messages."),
		queued:        desc("queued_messages", "Messages that wait for clients, connected or away."),
		inFlight:      desc("inflight_messages", "Messages of QoS 1 and 2 on their way to clients, not fully acknowledged."),
		accepted:      desc("connections_accepted_total", "Connections accepted."),
		ended:         desc("connections_ended_total", "Connections ended, by reason.", "reason"),
		received:      desc("messages_received_total", "PUBLISH packets from clients, by QoS.", "qos"),
		sent:          desc("messages_sent_total", "PUBLISH packets to clients, by QoS.", "qos"),
		dropped:       desc("messages_dropped_total", "Messages that did not reach a client, by reason.", "reason"),
		reloadOK:      desc("config_last_reload_successful", "1 if the last reload was applied, 0 if it was refused."),
		reloadTime:    desc("config_last_reload_success_timestamp_seconds", "When a configuration was last applied, the start included."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.broker.Stats()
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	ch <- prometheus.MustNewConstMetric(c.build, prometheus.GaugeValue, 1, c.version, runtime.Version())
	gauge(c.connections, s.Connections)
	gauge(c.clients, s.Clients)
	gauge(c.sessions, s.Sessions)
	gauge(c.subscriptions, s.Subscriptions)
	gauge(c.retained, s.Retained)
	queued, inFlight := c.broker.Waiting()
	gauge(c.queued, queued)
	gauge(c.inFlight, inFlight)
	counter(c.accepted, s.Accepted)
	for reason, n := range s.Ended {
		counter(c.ended, n, reason)
	}
	for reason, n := range s.Dropped {
		counter(c.dropped, n, reason)
	}
	for qos := range s.MessagesSent {
		counter(c.received, s.MessagesReceived[qos], strconv.Itoa(qos))
		counter(c.sent, s.MessagesSent[qos], strconv.Itoa(qos))
	}
	c.collectReload(gauge, ch)
}

// collectReload tells of the last reload, where there are any.
func (c *collector) collectReload(gauge func(*prometheus.Desc, int), ch chan<- prometheus.Metric) {
	if c.reload == nil {
		return
	}
	ok, succeeded := c.reload()
	applied := 0
	if ok {
		applied = 1
	}
	gauge(c.reloadOK, applied)
	ch <- prometheus.MustNewConstMetric(c.reloadTime, prometheus.GaugeValue, float64(succeeded.UnixMilli())/1000)
}
