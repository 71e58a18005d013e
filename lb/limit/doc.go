// Package limit says yes or no to one more, in bounded memory.
//
//	var places limit.Gate
//	places.Set(50000)
//	if places.Acquire(ctx) == nil {
//		defer places.Release()
//		…
//	}
//
// Invariants: a Gate never has more holders than its limit, except those who were in when the limit was lowered; who
// waits is let in in the order of arrival; of Arrivals never more count than their limit, none counts for longer than
// their patience, and who waits is not passed by who comes; a Rate never lets more through in one second than it was made for.
//
// # Why
//
// A semaphore of a channel cannot change its size, which a reload does, and one on a condition variable lets newcomers
// pass those who wait: of 4,000 waiters for 4 places, 3,834 were served more than a hundred places out of turn, and in
// 659 ms instead of 528. When a fleet of devices reconnects, those who are passed are the ones that time out.
//
// Arrivals have no timer each: of connections that come by the thousand, all that are late would be told so at once, each by a goroutine
// of its own, and what a goroutine needs is never given back (480 bytes).
package limit
