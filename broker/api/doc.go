// Package api serves what a machine wants to know of a node over HTTP: /metrics for Prometheus, /healthz and
// /readyz.
//
//	s, err := api.New(api.Options{Listen: "127.0.0.1:8080", Broker: b, Version: "1.2.3"}) // the port is open
//	err = s.Run(ctx)                                                   // until ctx is done
//
// Invariants: nothing served here changes the node or names a client; labels come from closed lists; every
// request has a deadline.
//
// # Why
//
// Metrics are read from Broker.Stats at each scrape by one collector instead of being kept in
// Prometheus' own types: the node counts with plain atomics on its hot path and knows
// nothing of who reads them.
package api
