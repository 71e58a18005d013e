package api

import (
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

func TestMetrics(t *testing.T) {
	a := start(t, Options{})
	d := a.connect("meter-17")
	d.subscribe(packet.Options{QoS: 1}, "a")
	d.conn.Close()
	until(t, "the connection is gone", func() bool { return a.broker.Stats().Connections == 0 })
	for range 3 {
		a.want(http.StatusOK, "POST", "/api/v1/publish", `{"topic": "a", "qos": 1}`)
	}
	d = a.connect("reader")
	d.subscribe(packet.Options{QoS: 1}, "b")
	a.want(http.StatusOK, "POST", "/api/v1/publish", `{"topic": "b", "qos": 1, "retain": true, "payload": "x"}`)
	d.next(packet.PUBLISH) // and is not acknowledged
	until(t, "the packet is off the outbox", func() bool { c, _ := a.broker.Client("reader"); return c.Queued == 0 })

	_, text := a.ask("GET", "/metrics", "")
	for _, line := range []string{
		`mqttbroker_build_info{goversion="go1.`, `,version="1.2.3"} 1`, "mqttbroker_connections 1", "mqttbroker_clients 1", "mqttbroker_sessions 2",
		"mqttbroker_subscriptions 2", "mqttbroker_retained_messages 1", "mqttbroker_connections_accepted_total 2",
		"mqttbroker_queued_messages 3", "mqttbroker_inflight_messages 1",
		`mqttbroker_connections_ended_total{reason="taken_over"} 0`, `mqttbroker_connections_ended_total{reason="administrative"} 0`,
		`mqttbroker_messages_received_total{qos="2"} 0`, `mqttbroker_messages_sent_total{qos="1"} 1`,
		`mqttbroker_messages_dropped_total{reason="queue_full"} 0`, "go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	for _, name := range []string{"meter-17", "reader", "127.0.0.1"} {
		if strings.Contains(text, name) {
			t.Errorf("/metrics names %s", name)
		}
	}
	t.Run("naming rules", func(t *testing.T) {
		check := exec.CommandContext(t.Context(), peertest.Path(t, "promtool", "prometheus"), "check", "metrics")
		check.Stdin = strings.NewReader(text)
		if output, err := check.CombinedOutput(); err != nil || len(output) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, output)
		}
	})
}

// TestReloadMetrics: the last reload as it is at each scrape, and nothing where there are none.
func TestReloadMetrics(t *testing.T) {
	var refused atomic.Bool
	a := start(t, Options{LastReload: func() (bool, time.Time) { return !refused.Load(), time.UnixMilli(1_700_000_000_500) }})
	const at = "\nmqttbroker_config_last_reload_success_timestamp_seconds 1.7000000005e+09\n"
	for _, line := range []string{"\nmqttbroker_config_last_reload_successful 1\n", "\nmqttbroker_config_last_reload_successful 0\n"} {
		if _, text := a.ask("GET", "/metrics", ""); !strings.Contains(text, line) || !strings.Contains(text, at) {
			t.Errorf("/metrics lacks %q or %q", line, at)
		}
		refused.Store(true)
	}
}

func TestNoReloadMetrics(t *testing.T) {
	if _, text := start(t, Options{}).ask("GET", "/metrics", ""); strings.Contains(text, "reload") {
		t.Error("/metrics tells of reloads that there are none of")
	}
}

// TestMetricNames are what Prometheus' own rules ask for.
func TestMetricNames(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(node(t), "v", func() (bool, time.Time) { return true, time.Now() }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}
