package api

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

const patience = 30 * time.Second

// node returns a broker that nobody has run, and closes it in the end.
func node(t *testing.T) *broker.Broker {
	t.Helper()
	c := config.Default()
	c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
	b, err := broker.New(broker.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// running starts f and returns what ends it and waits.
func running(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	}
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAPI(t *testing.T) {
	leaktest.Check(t)
	b := node(t)
	s, err := New(Options{Listen: "127.0.0.1:0", Broker: b, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	defer running(t, s.Run)()

	if code, text := get(t, s, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "not accepting") {
		t.Errorf("/readyz before Run: %d %s", code, text)
	}
	stop := running(t, b.Run)
	deadline := time.Now().Add(patience)
	for code := 0; code != http.StatusOK; code, _ = get(t, s, "/readyz") {
		if time.Now().After(deadline) {
			t.Fatal("the node does not get ready")
		}
	}
	if code, text := get(t, s, "/healthz"); code != http.StatusOK || text != "ok\n" {
		t.Errorf("/healthz: %d %s", code, text)
	}
	if code, _ := get(t, s, "/nothing"); code != http.StatusNotFound {
		t.Errorf("/nothing: %d", code)
	}
	code, text := get(t, s, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d", code)
	}
	for _, line := range []string{
		`mqttbroker_build_info{goversion="go1.`, `,version="1.2.3"} 1`, "mqttbroker_connections 0", "mqttbroker_clients 0", "mqttbroker_sessions 0",
		"mqttbroker_subscriptions 0", "mqttbroker_retained_messages 0", "mqttbroker_connections_accepted_total 0",
		`mqttbroker_connections_ended_total{reason="taken_over"} 0`, `mqttbroker_messages_received_total{qos="2"} 0`,
		`mqttbroker_messages_sent_total{qos="0"} 0`, `mqttbroker_messages_dropped_total{reason="queue_full"} 0`,
		"go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	stop()
	if code, _ := get(t, s, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz after Run: %d", code)
	}
}

// TestMetricNames are what Prometheus' own rules ask for.
func TestMetricNames(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(node(t), "v"))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestTakenPort(t *testing.T) {
	b := node(t)
	s, err := New(Options{Listen: "127.0.0.1:0", Broker: b})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := New(Options{Listen: s.Addr().String(), Broker: b}); err == nil {
		t.Error("a taken port is opened")
	}
}
