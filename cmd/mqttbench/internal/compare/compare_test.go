//go:build linux

package compare

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/peer"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/proc"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

// TestCases: every plan is one that runs, every row has a title, a metric and a unit, and titles are found again.
func TestCases(t *testing.T) {
	for _, list := range [][]benchCase{cases(full()), cases(quick()), brokerCases(fullBrokers()), brokerCases(quickBrokers())} {
		for _, c := range list {
			p := c.plan
			p.Target = "127.0.0.1:1"
			if err := p.Check(); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			for _, r := range c.rows {
				if r.title == "" || unit(r.metric) == "" {
					t.Errorf("%s: %+v", c.name, r)
				}
			}
			if len(c.rows) == 0 && len(p.Curve) == 0 {
				t.Errorf("%s shows nothing", c.name)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	balancers, brokers := Options{Quick: true}.cases(), Options{Direct: true}.cases()
	tests := []struct {
		all  []benchCase
		only []string
		want string
	}{
		{balancers, nil, "idle idle12 storm burst ping qos1 fanout1 fanout4 connect resume bulk64k bulk1k curve"},
		{balancers, []string{"bulk1k", "ping"}, "ping bulk1k"},
		{balancers, []string{"echo", "fanout"}, "ping qos1 fanout1 fanout4"},
		{balancers, []string{"idle12"}, "idle12"},
		{brokers, nil, "fanout1 fanout10 fanoutqos1 pairsqos0 pairsqos1 subscribed"},
		{brokers, []string{"fanoutqos1", "idle", "pairs"}, "fanoutqos1 pairsqos0 pairsqos1 subscribed"},
	}
	for _, tt := range tests {
		list, err := choose(tt.all, tt.only)
		var names []string
		for _, c := range list {
			names = append(names, c.name)
		}
		if got := strings.Join(names, " "); err != nil || got != tt.want {
			t.Errorf("%v: %s, %v, want %s", tt.only, got, err, tt.want)
		}
	}
	if _, err := choose(balancers, []string{"ping", "pong"}); err == nil || !strings.Contains(err.Error(), `"pong"`) {
		t.Errorf("%v", err)
	}
}

func TestLongestPause(t *testing.T) {
	tests := []struct {
		text  string
		want  float64
		fails bool
	}{
		{"# HELP x\ngo_gc_duration_seconds{quantile=\"0.75\"} 3\ngo_gc_duration_seconds{quantile=\"1\"} 0.000123\nx 5\n", 0.000123, false},
		{"go_gc_duration_seconds{quantile=\"1\"} often\n", 0, true},
		{"other 1\n", 0, true},
	}
	for _, tt := range tests {
		got, err := longestPause(strings.NewReader(tt.text))
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%q: %v, %v", tt.text, got, err)
		}
	}
}

// TestTable notes three rounds of two peers, one of which fails once and then for good.
func TestTable(t *testing.T) {
	f := &field{
		options: Options{Peers: []peer.Peer{{Kind: peer.HAProxy, Version: "2.6.12-1+deb"}, {Kind: peer.MQTTLB, Version: "(devel), commit x"}}},
		found: &Comparison{
			Started: time.Unix(0, 0), Took: 90 * time.Second, Machine: proc.Machine{CPU: "Some", CPUs: 2, Memory: 1 << 30, Kernel: "6.1"}, Command: "mqttbench compare",
			Peers: []string{"haproxy 2.6.12-1+deb", "mqttlb (devel), commit x"}, Broker: "standin", Rounds: 3, Missing: []string{"nginx"},
		},
	}
	ping := benchCase{name: "ping", rows: []row{{"round trip", report.CPU, nil}, {"latency", report.P50, nil}}}
	bulk := benchCase{name: "bulk", rows: []row{{"byte", report.CPUByte, nil}}}
	for round, cpu := range []float64{10, 12, 11} {
		var first, second, third report.Result
		first.Add(report.CPU, "µs", cpu)
		first.Add(report.P50, "µs", 200)
		first.Curve = []report.Point{{Connections: 1000, Memory: 17000 + cpu, Rate: 2000}}
		f.note(ping, 0, first, nil)
		second.Add(report.CPU, "µs", cpu/2)
		second.Add(report.GarbagePause, "ms", cpu/100)
		second.Curve = []report.Point{{Connections: 1000, Memory: 700, Rate: 2500}}
		var failed error
		if round == 1 {
			failed = errors.New("connection 3\nended")
		}
		f.note(ping, 1, second, failed)
		third.Add(report.CPUByte, "ns", cpu)
		f.note(bulk, 0, report.Result{}, errors.New("no luck"))
		f.note(bulk, 1, third, nil)
	}
	var b strings.Builder
	if err := f.found.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Measured 1970-01-01 00:00 UTC in 1m30s on 2 × Some, 1 GiB, Linux 6.1: haproxy 2.6.12-1+deb; mqttlb (devel), commit x; broker: standin.\n",
		"    mqttbench compare\n",
		"| | haproxy 2.6.12 | mqttlb (devel) | ratio |\n| --- | ---: | ---: | ---: |\n",
		"| round trip | 11 µs (10–12) | 5.25 µs (5–5.50) **1 failed** | 0.48 |\n",
		"| latency | 200 µs (200–200) | **3 failed** |  |\n",
		"| byte | **3 failed** | 11 ns (10–12) |  |\n",
		"| " + pauseTitle + " |  | 0.11 ms |  |\n",
		"| 1,000 | 17,010 B | 2,000/s | 700 B | 2,500/s |\n",
		"\nNot installed, and left out: nginx.\n",
		"- ping, mqttlb (devel), commit x: connection 3 / ended\n",
		"- bulk, haproxy 2.6.12-1+deb: no luck\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	p := f.found.Picture()
	if len(p.Bars) != 4 || len(p.Lines) != 2 || !slices.Equal(p.Series, []string{"haproxy 2.6.12", "mqttlb (devel)"}) {
		t.Errorf("%+v", p)
	}
	if err := report.Draw(&b, p); err != nil {
		t.Error(err)
	}
}

// TestBounds: what is more than what is wanted is bold, of every peer but the first.
func TestBounds(t *testing.T) {
	f := &field{
		options: Options{Peers: []peer.Peer{{Kind: peer.Mosquitto}, {Kind: peer.MQTTBroker}, {Kind: peer.StandIn}}},
		found:   &Comparison{Peers: []string{"mosquitto 2.0.11", "mqttbroker (devel)", "standin"}, Direct: true, Rounds: 1},
	}
	c := benchCase{name: "all", rows: []row{
		{"CPU", report.CPU, &Bound{Ratio: 0.6}}, {"memory", report.MemoryUser, &Bound{Value: 1024}}, {"latency", report.P50, nil},
	}}
	for i, v := range []float64{2, 1.25, 1.2} {
		var r report.Result
		r.Add(report.CPU, "µs", v)
		r.Add(report.MemoryUser, "B", 1024*v-1024*0.21)
		r.Add(report.P50, "µs", 100)
		f.note(c, i, r, nil)
	}
	var b strings.Builder
	if err := f.found.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"standin; plain TCP.\n", "anonymous memory", "what is more than that is bold.\n",
		"| | mosquitto 2.0.11 | mqttbroker (devel) | ratio | standin | ratio | at most |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
		"| CPU | 2 µs | 1.25 µs | **0.62** | 1.20 µs | 0.60 | 0.60 |\n",
		"| memory | 1,833 B | **1,065 B** | 0.58 | 1,014 B | 0.55 | 1,024 B |\n",
		"| latency | 100 µs | 100 µs | 1.00 | 100 µs | 1.00 |  |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if got := f.found.Picture().Title; got != "what a broker spends: less is better" {
		t.Errorf("the picture is called %q", got)
	}
}

// What means less than it looks like says so first.
func TestTableSaysWhatItIsNot(t *testing.T) {
	for _, tt := range []struct {
		partial, quick bool
	}{{false, false}, {true, false}, {false, true}, {true, true}} {
		var b strings.Builder
		c := &Comparison{Partial: tt.partial, Quick: tt.quick, Peers: []string{"haproxy"}}
		if err := c.Markdown(&b); err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(b.String(), "Measured ")
		if strings.Contains(before, "**Incomplete**") != tt.partial || strings.Contains(before, "**A trial** (--quick)") != tt.quick {
			t.Errorf("%+v begins with %q", tt, before)
		}
	}
}

func TestFreePort(t *testing.T) {
	a, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(a, "127.0.0.1:2") && !strings.HasPrefix(a, "127.0.0.1:3") {
		t.Errorf("%s", a)
	}
}
