// Package route knows who wants which messages of a node, and which messages it retains.
//
//	t := route.New[*Session]()
//	retained, more, err := t.Subscribe(s, "jobs/+", route.Want{QoS: 1}, 1000) // of a thousand at most
//	t.Publish(m, func(s *Session, c delivery.Copy) { s.Deliver(c) }) // one copy for each client
//	t.Unsubscribe(s, "jobs/+")
//
// Invariants:
//
//   - Every method may be called from any goroutine. Nothing is called back while the lock is held, but for the
//     methods of a Subscriber, which must not call the Table.
//   - A client gets one copy of a message through all its own subscriptions, and one through each
//     shared subscription whose turn it is.
//   - A message that is retained reaches a new subscriber either as a retained one or as a live one, not
//     as both and not as neither, whichever of Subscribe and Publish comes first.
//
// # Why
//
// One lock for subscriptions and retained messages: read for a message that is not retained, which is nearly
// all of them. What orders a retained message against a new subscription is a counter that both read under
// the lock; the retained messages themselves, of which there may be a hundred thousand, are then collected
// under the read lock, so that a subscription to everything does not hold up every publisher. Receivers are collected
// first and served after the lock is gone, in memory that is used again: a message costs no allocation here.
package route
