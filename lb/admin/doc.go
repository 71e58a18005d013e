// Package admin is the load balancer's HTTP side: metrics, health, status, reload, profiles.
//
//	a := admin.New(admin.Options{LB: srv, Log: log, Version: "1.2.3"})
//	err := a.Run(ctx) // listens where admin.listen says, until ctx is done
//
// # Who may do what
//
//	                     loopback or Unix socket   another address   with token_file
//	/healthz /readyz     anybody                   anybody           anybody
//	/metrics, status     anybody                   anybody           the token's bearer
//	reload, pprof        anybody                   nobody: 403       the token's bearer
//
// On loopback without a token, a request for anything but /healthz and /readyz must also name a loopback host, and reload
// and pprof are not for another site's page: a browser on the same machine is not a way in.
//
// Invariants: at most maxConnections requests at once and a deadline on each, so that the API cannot eat the descriptors
// of clients; label sets are closed, never a client's address or identifier; all gauges and counters of ours come from
// one Status, so that they belong together.
//
// # Why
//
// What is counted lives in lb as plain atomic counters beside the thing that it belongs to, and becomes
// metrics only when somebody asks, so that a connection costs no look-up of labels and a
// server that left takes its series with it.
package admin
