//go:build linux

package compare

import (
	"fmt"
	"time"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

// brokerSizes are those of a comparison of brokers.
type brokerSizes struct {
	idle, fanout, pairs      int
	measured, warmup, settle time.Duration
}

// payload is how many bytes a message between clients has.
const payload = 128

// fullBrokers is what the figures of the documentation are of: as many idle connections as one process that drives load opens below the usual
// limit of 20,000 descriptors, with room for those of a curve or a fan-out beside them.
func fullBrokers() brokerSizes {
	return brokerSizes{idle: 10_000, fanout: 1000, pairs: 200, measured: 6 * time.Second, warmup: 2 * time.Second, settle: 5 * time.Second}
}

// quickBrokers is for trying out whether it works.
func quickBrokers() brokerSizes {
	return brokerSizes{idle: 200, fanout: 50, pairs: 20, measured: 300 * time.Millisecond, warmup: 100 * time.Millisecond, settle: 200 * time.Millisecond}
}

// brokerCases are all of them, in the table's order. What they are to cost at most is what this project wants of its broker.
func brokerCases(s brokerSizes) []benchCase {
	subscribers := report.Number(float64(s.fanout)) + " subscribers"
	topics := report.Number(float64(s.pairs)) + " topics"
	fan := func(qos, inFlight int) load.Plan {
		return s.plan(load.Plan{Scenario: load.Fanout, Connections: s.fanout, QoS: qos, InFlight: inFlight, Size: payload})
	}
	pairs := func(qos int) benchCase {
		name := fmt.Sprintf("QoS %d", qos)
		return benchCase{
			name: fmt.Sprintf("pairsqos%d", qos),
			plan: s.plan(load.Plan{Scenario: load.Pairs, Connections: s.pairs, QoS: qos, Size: payload}),
			rows: []row{
				{"message from one to one, over " + topics + ", " + name, report.CPU, &Bound{Ratio: 0.8}},
				{"latency of a message from one to one, " + name + ", median", report.P50, nil},
				{"latency of a message from one to one, " + name + ", 99 %", report.P99, nil},
			},
		}
	}
	idle := load.Plan{Scenario: load.Idle, TLS: load.Plain, Connections: s.idle, Concurrency: underWay, Subscribe: true, Settle: s.settle, Duration: s.measured}
	return []benchCase{
		{"fanout1", fan(0, 1), []row{{"delivery to one of " + subscribers + ", QoS 0, one publication at a time", report.CPU, &Bound{Ratio: 0.6}}}},
		{"fanout10", fan(0, 10), []row{{"delivery to one of " + subscribers + ", QoS 0, ten publications in flight", report.CPU, &Bound{Ratio: 0.3}}}},
		{"fanoutqos1", fan(1, 1), []row{{"delivery to one of " + subscribers + ", QoS 1, one publication at a time", report.CPU, &Bound{Ratio: 0.6}}}},
		pairs(0),
		pairs(1),
		{"subscribed", idle, []row{
			{"memory of an idle client with one subscription, of " + report.Number(float64(s.idle)), report.MemoryUser, &Bound{Value: 1024}},
			{"CPU of " + report.Number(float64(s.idle)) + " idle clients", report.CPUIdle, nil},
		}},
	}
}

// plan completes a plan of messages. Not all connections are made at once: mosquitto has a hundred wait for it, and whoever
// finds no place tries again in a second.
func (s brokerSizes) plan(p load.Plan) load.Plan {
	p.TLS, p.Concurrency, p.Duration, p.Warmup = load.Plain, underWay, s.measured, s.warmup
	return p
}
