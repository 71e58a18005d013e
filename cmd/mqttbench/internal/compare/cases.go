//go:build linux

package compare

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

// A case is one kind of load, and what is asked of it.
type benchCase struct {
	name string
	plan load.Plan
	rows []row
}

// A row of the table.
type row struct {
	title  string
	metric string
	atMost *Bound // nil: none
}

// Sizes of a comparison.
type sizes struct {
	idle, storm, fanout, echo int
	rate                      float64
	measured, warmup          time.Duration
	idling, settle            time.Duration
	curve                     []int
}

// underWay is how many connections are being made at a time, where the case is not about that: as fast as both sides can, while
// what handshakes leave behind in a process stays small beside what connections hold.
const underWay = 64

// full is what the figures of the documentation are of: as many idle connections as a balancer with 20,000 descriptors has room for, with
// something left for the storm that comes before.
func full() sizes {
	return sizes{
		idle: 8000, storm: 8000, fanout: 2000, echo: 200, rate: 2000,
		measured: 6 * time.Second, warmup: 2 * time.Second, idling: 10 * time.Second, settle: 5 * time.Second,
		curve: []int{1000, 2000, 4000, 8000, 9800},
	}
}

// quick is for trying out whether it works.
func quick() sizes {
	return sizes{
		idle: 200, storm: 100, fanout: 50, echo: 20, rate: 200,
		measured: 300 * time.Millisecond, warmup: 100 * time.Millisecond, idling: 300 * time.Millisecond, settle: 200 * time.Millisecond,
		curve: []int{50, 100, 200},
	}
}

// cases are all of them for load balancers, in the table's order.
func cases(s sizes) []benchCase {
	const cpu = report.CPU
	idle := func(tls string, traffic, storm int, curve []int) load.Plan {
		return load.Plan{
			Scenario: load.Idle, TLS: tls, Connections: s.idle, Concurrency: underWay, Traffic: traffic, Storm: storm, Curve: curve,
			Settle: s.settle, Duration: s.idling,
		}
	}
	n := report.Number(float64(s.idle))
	subscribers := report.Number(float64(s.fanout)) + " subscribers"
	curve := idle(load.TLS13, 0, 0, s.curve)
	curve.Connections = s.curve[len(s.curve)-1]
	storm := idle(load.TLS13, 0, s.storm, nil)
	burst := idle(load.TLS13, 0, 0, nil)
	burst.Concurrency = 0
	storm.Duration, burst.Duration, curve.Duration = time.Second, time.Second, time.Second
	return []benchCase{
		{"idle", idle(load.TLS13, 1024, 0, nil), []row{
			{"memory of an idle connection, TLS 1.3, of " + n, report.Memory, nil},
			{"memory of an idle connection, TLS 1.3, after 1 KiB each way on every one", report.MemoryTraffic, nil},
			{"CPU of " + n + " idle connections", report.CPUIdle, nil},
		}},
		{"idle12", idle(load.TLS12, 1024, 0, nil), []row{
			{"memory of an idle connection, TLS 1.2, of " + n, report.Memory, nil},
			{"memory of an idle connection, TLS 1.2, after 1 KiB each way on every one", report.MemoryTraffic, nil},
		}},
		{"storm", storm, []row{{fmt.Sprintf("memory of an idle connection, TLS 1.3, after a storm of %s short ones", report.Number(float64(s.storm))), report.Memory, nil}}},
		{"burst", burst, []row{{"memory of an idle connection, TLS 1.3, when all " + n + " handshakes were under way at once", report.Memory, nil}}},
		{"ping", s.echoes(load.Plan{}), []row{
			{fmt.Sprintf("PINGREQ and answer, %d connections, closed loop", s.echo), cpu, nil}, {"latency of PINGREQ, median", report.P50, nil},
		}},
		{"qos1", s.echoes(load.Plan{QoS: 1, Size: 100, Rate: s.rate}), []row{
			{fmt.Sprintf("PUBLISH QoS 1 and answer, %s a second over %d connections", report.Number(s.rate), s.echo), cpu, nil}, {"latency of PUBLISH QoS 1, median", report.P50, nil},
		}},
		{"fanout1", s.fans(1), []row{{"delivery to one of " + subscribers + ", one publication at a time", cpu, nil}}},
		{"fanout4", s.fans(4), []row{{"delivery to one of " + subscribers + ", four publications in flight", cpu, nil}}},
		{"connect", s.connects(false), []row{{"connection with a full TLS 1.3 handshake, ECDSA P-256, X25519", cpu, nil}}},
		{"resume", s.connects(true), []row{{"connection with a TLS 1.3 session resumed by ticket", cpu, nil}}},
		{"bulk64k", s.bulks(64 << 10), []row{{"byte of PUBLISH with 64 KiB", report.CPUByte, nil}}},
		{"bulk1k", s.bulks(1 << 10), []row{{"byte of PUBLISH with 1 KiB", report.CPUByte, nil}}},
		{"curve", curve, nil},
	}
}

func (s sizes) echoes(p load.Plan) load.Plan {
	p.Scenario, p.TLS, p.Connections, p.Duration, p.Warmup = load.Echo, load.TLS13, s.echo, s.measured, s.warmup
	return p
}

func (s sizes) fans(inFlight int) load.Plan {
	return load.Plan{Scenario: load.Fanout, TLS: load.TLS13, Connections: s.fanout, InFlight: inFlight, Size: 128, Duration: s.measured, Warmup: s.warmup}
}

func (s sizes) connects(resume bool) load.Plan {
	return load.Plan{Scenario: load.Connect, TLS: load.TLS13, Connections: 1, Resume: resume, Duration: s.measured, Warmup: s.warmup}
}

func (s sizes) bulks(size int) load.Plan {
	return load.Plan{Scenario: load.Bulk, TLS: load.TLS13, Connections: 4, Size: size, Duration: s.measured, Warmup: s.warmup}
}

// choose returns the cases that are named, by their own names or their scenarios'; all if none is.
func choose(all []benchCase, only []string) ([]benchCase, error) {
	if len(only) == 0 {
		return all, nil
	}
	var names []string
	for _, c := range all {
		names = append(names, c.name)
	}
	for _, o := range only {
		if !slices.ContainsFunc(all, func(c benchCase) bool { return c.is(o) }) {
			return nil, fmt.Errorf("there is no case %q; there are %s, and the scenarios they belong to", o, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(c benchCase) bool { return !slices.ContainsFunc(only, c.is) }), nil
}

func (c benchCase) is(name string) bool { return c.name == name || c.plan.Scenario == name }
