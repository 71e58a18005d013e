// Package health tells which servers may be used. It probes each one at its interval, counts
// successes and failures as HAProxy does, and listens to what live traffic reports, as NGINX does.
//
//	m := health.New(health.Options{Log: log, OnChange: pool.apply})
//	m.Set([]health.Target{{Key: "emqx/emqx1", Address: "10.0.0.1:1883"}}) // again at each reload
//	g.Go(func() error { return m.Run(ctx) })                              // returns when all probes are gone
//	m.Report("emqx/emqx1", err)                                           // after each connect of live traffic
//	s, ok := m.Status("emqx/emqx1")
//
// # Two opinions
//
// A server is usable (Status.Up) while both hold: the counter of its checks is at least Rise, and
// live traffic has not taken it out. Each opinion changes by itself, each change is handed to
// Options.OnChange and logged once, with its reason; single checks appear at debug level only.
// What to do when no server of a group is usable, or when the group has one server (NGINX then
// ignores max_fails), is the group's business and is not decided here.
//
// # Invariants
//
//   - A target has one goroutine, owned by Run, and at most one probe in flight.
//   - The next check waits for the interval from the end of the last one, so a slow probe delays its
//     successor and never meets it.
//   - All Changes and Results of one target come from its goroutine, in order, with no lock held.
//   - A result obtained for what a target no longer is (another address, another check, paused, removed)
//     counts for nothing.
//   - What fails on this machine (no descriptor, no memory, no source port) says nothing about a server:
//     it is a Result, but neither counter moves.
//
// # Why
//
// The counter and the intervals are HAProxy's (src/check.c set_server_check_status, src/server.c
// srv_getinter), because operators tune inter, fall and rise by experience with it. HAProxy
// counts a check that found no descriptor as failed; here that would take down every server, and with
// on_marked_down: close every session, exactly when the load balancer is full.
//
// NGINX's stream module approximates "max_fails within fail_timeout": errors 20 s apart pile up for
// as long as each comes within fail_timeout of the previous one. Here the documented sentence
// holds: the errors of the last fail_timeout are counted. After the pause NGINX lets one connection
// try; as usable is a fact here and not a ticket, all may, and the first error ends it again.
//
// The tcp probe never completes the handshake, so brokers log nothing. Linux holds the third packet
// back for up to 200 ms; the reset has to leave before that. Go's network poller alone is too slow
// for it on a busy machine: with 32 computing goroutines on 2 cores, 189 of 200 probes of an idle
// listener were accepted. Asking the socket for up to a millisecond before going to the poller made
// it 0 of 200 (quiet_linux.go), for at most a millisecond of CPU per probe of a distant or dead
// server. Elsewhere than on Linux a tcp check connects and resets, and a broker may log it.
package health
