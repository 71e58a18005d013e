// Package compare puts the same load on several load balancers, or several brokers, in turn, and makes a table of what it has cost each.
//
//	c, err := compare.Run(ctx, compare.Options{Rounds: 3, Peers: peers, Broker: standIn, Load: load, Log: os.Stderr})
//	c, err := compare.Run(ctx, compare.Options{Rounds: 3, Peers: brokers, Direct: true, Load: load, Log: os.Stderr})
//	err = c.Markdown(w)
//	err = report.WriteJSON(w, c)
//	err = report.Draw(w, c.Picture())
//
// Invariants: each figure comes from a program that was started for it, with nothing else of ours running but the load and the node
// behind; peers take turns for each case, so that what else happens on the machine meets all alike; a run that
// has failed is in the table, as are those that did not; everything is stopped when Run returns.
//
// # Why
//
// Ratios within one run are what can be repeated: absolute figures differ by half between machines, and by a tenth between hours on
// one. That is why rounds are interleaved case by case and not program by program, and why the spread stands beside the median.
// A fresh process for each case, because memory that a burst of handshakes has left behind would be taken for that of
// connections.
package compare
