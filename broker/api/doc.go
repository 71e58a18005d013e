// Package api is a node's HTTP side for machines: metrics, health, and the management of clients and messages.
//
//	s, err := api.New(api.Options{Listen: "127.0.0.1:8080", Broker: b, Version: "1.2.3"}) // the port is open
//	err = s.Run(ctx)                                                   // until ctx is done
//
//	curl 127.0.0.1:8080/api/v1/clients?contains=meter
//	curl 127.0.0.1:8080/api/v1/publish -d '{"topic": "a/b", "payload": "text", "qos": 1}'
//
// # What there is
//
//	GET    /healthz                             200 while the process works
//	GET    /readyz                              200 while the node accepts connections, else 503 and why not
//	GET    /metrics                             for Prometheus
//	GET    /api/v1/status                       node, version, listeners, counters
//	GET    /api/v1/clients                      ?contains= &connected=true|false &after= &limit=
//	GET    /api/v1/clients/{id}                 the identifier percent-encoded: a%2Fb for a/b
//	DELETE /api/v1/clients/{id}                 disconnects it; its session stays by its expiry
//	GET    /api/v1/clients/{id}/subscriptions   ?contains= &after= &limit=
//	GET    /api/v1/subscriptions                ?contains= &after= &limit=
//	GET    /api/v1/retained                     ?filter= &limit=
//	DELETE /api/v1/retained                     ?topic=
//	POST   /api/v1/publish                      a JSON object: topic, payload or payload_base64, qos, retain, properties
//
// Lists come in pages: where an answer has "next", the next page is had with it as the parameter "after". A failure is
// {"error": "…"}, which says what to do.
//
// # Who may do what
//
//	                      loopback   another address   with a token
//	/healthz /readyz      anybody    anybody           anybody
//	/metrics, status      anybody    anybody           the token's bearer
//	all the rest          anybody    nobody: 403       the token's bearer
//
// On loopback without a token, a request for anything but /healthz and /readyz must also name a loopback host, and what
// names clients or changes something is not for another site's page: a browser on the same machine is not a way in. With
// a token no more is asked: a page that was led here does not have it.
//
// Invariants: labels of metrics come from closed lists and never name a client; at most maxConnections requests at once,
// with a deadline and a bound in bytes on each; an answer holds at most broker.MaxPage entries.
//
// # Why
//
// Metrics are read from Broker.Stats at each scrape by one collector instead of being kept in
// Prometheus' own types: the node counts with plain atomics on its hot path and knows
// nothing of who reads them. What waits in queues is the exception that nobody counts: a scrape asks every session, a
// tenth of a microsecond each, which costs less than a counter that every delivery would have to move.
//
// A parameter or a field that is not known is refused, not passed over: a filter with a slip of the pen in its name
// would otherwise show, or a later version delete, more than was meant.
package api
