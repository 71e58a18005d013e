// Package reactor tells a handler when its file descriptors are ready and its timers due. It knows nothing of connections. It is for Linux.
//
//	l, err := reactor.New()
//	l.Post(func() { ref, err = l.Add(fd, key) }) // fd is non-blocking and stays the caller's
//	err = l.Run(ctx, h)                          // calls h.Ready(key, reactor.Readable) and h.Expired(key)
//
//	func (h *handler) Ready(key uint32, e reactor.Events) { n, err := reactor.Read(h.conns.At(key).fd, h.loop.Buffer()) … }
//
// A Loop is one goroutine, the one that calls Run, locked to its thread, and one epoll instance. Everything that a Loop calls runs there, one call at
// a time, so that a Handler needs no locks. Post is the only method that may be called from anywhere else while
// it runs; the others belong to the loop's goroutine, and before Run to whoever made the Loop. After Run has returned
// they do nothing, Post returns false and Add and NewTimer must not be called.
//
// Descriptors are registered once, edge-triggered, for both directions. A handler that is told Readable reads until EAGAIN, until a
// read returns less than was asked for, or until it has moved Budget bytes and asks for another turn with Again.
// After HangUp a short read does not mean that there is no more: it reads until the end or an error.
//
// A process should have more Ps (GOMAXPROCS) than loops: a loop that has had an event keeps its P for up to 8 ms while it waits
// for the next. With fewer the other goroutines still make progress, in turns of Go's scheduler; with a single P loops always wait
// patiently.
//
// # Invariants
//
// Each has a test of its name.
//
//  1. NoStaleEvent: after Remove there is no Ready for the registration, not even from the batch in hand, and one that
//     reuses its descriptor's number is told only what is its own.
//  2. OneTurn: a registration has one Ready in a round; who asked for Again comes after the others, and neither they, nor timers, nor
//     posted functions keep any of the rest waiting for more than one bounded round.
//  3. PostsInOrder: what Post said true to runs once, in the order in which it was posted; what it said false to never runs.
//  4. OneWakeUp: a loop that is awake is posted to without a system call, one that waits with one.
//  5. NeverEarly: a timer fires once for each Arm, when its time has come by Now and not before, and not at all after Disarm or FreeTimer.
//  6. IdleCostsNothing: without events, due timers and posted functions the loop does not wake up, and holds no P.
//  7. Interrupted: a signal makes no event and loses none.
//  8. NothingRemains: when Run returns, the loop's descriptors are closed and its memory is given back.
//  9. OthersRun: with a single P other goroutines and timers go on, whatever the loop does.
//  10. MemoryOfTimers: a million timers take less than 32 bytes each.
//
// # Why
//
// Go's netpoller wakes a goroutine for each socket, which takes a stack of at least 2 KiB and two passes through the scheduler for
// each message. A thread of our own with an epoll instance of its own does without both, but falls into a trap: a
// goroutine that blocks in epoll_wait(2) by way of the scheduler loses its P to sysmon, and pays for getting one back, 65 to 184 µs for a message that comes alone.
// So the loop first waits in a raw system call, for 8 ms at most, which sysmon takes for a goroutine that computes, and only after
// that by way of the scheduler; an idle loop uses no CPU. BenchmarkPingPong compares: with 1 ms between messages, there and back takes 0.65 to 0.8 of what
// it takes with a goroutine in epoll_wait(2), and 0.8 of what it takes with the netpoller; back to back 1.03 and 0.91, the
// former because each wait sets a timer in the kernel; 20 ms apart, when the loop waits patiently, about 1 and 0.45.
//
// To stop the world the collector interrupts a waiting loop by a signal: with two loops and two Ps it stopped within 50 to 300 µs.
//
// Edge-triggered registration was chosen over switching interest on and off because it needs no epoll_ctl(2) while a connection lives; the price,
// that a handler must remember what it did not finish, is what Again is for. Events carry an index and a generation instead of a
// pointer, and registrations and timers lie in package slab: nothing here grows the heap with the number of connections. Timers are coarse
// and rounded up to whole seconds from 8 s on, since their purpose is to end connections that are silent: the wheel takes the same few nanoseconds for
// one as for a million, where a heap of time.Timer would take 100 bytes and a logarithm.
package reactor
