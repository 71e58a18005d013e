// Package load drives MQTT load against an endpoint: the part of a benchmark that one process does.
//
//	p := load.Plan{Scenario: load.Echo, Target: "127.0.0.1:8883", TLS: load.TLS13, CA: pem, Connections: 200, Duration: 10 * time.Second}
//	err := p.Check()
//	tally, err := p.Run(ctx, stages, &progress) // stages.Reach is called at the points where somebody may want to measure
//	fmt.Println(tally.Units, tally.Latency)
//
// A connection is dialled and does its TLS handshake in a goroutine of its own; then its descriptor and its keys go to one event loop, which
// does the rest, CONNECT first. Invariants: a connection that ends before its time ends the run with an error, so that no figure is ever of
// fewer connections than it says; latencies of paced load count from when a message should have been sent; Run
// returns when every connection is closed and every goroutine gone; all waits end with ctx or after Patience.
//
// # Why
//
// One loop instead of goroutines because the generator shares the machine with what it measures: at 8,000 connections it must not
// be what the CPUs are busy with. One loop a process because the limit that one meets first is that of descriptors, and more processes
// lift both. A publication with QoS 1 is followed by another only when it was acknowledged too, so that as many are under way as with QoS 0, and
// whoever acknowledges late gains nothing. Pace comes from a timerfd on the loop: Go's timers are late by up to a millisecond, which is more than what is measured. CPU
// and memory of the program under test are not this package's: several processes may drive the load, but one has to measure.
package load
