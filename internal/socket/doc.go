// Package socket gives goroutines TCP connections whose descriptor they can take out again.
//
//	p, err := socket.Open()
//	ln, err := p.Listener(tcpListener, keepAlive)       // takes tcpListener over
//	client, err := ln.Accept()                          // a *Conn on Linux
//	server, err := p.Dial(ctx, "10.0.0.7:1883", keepAlive)
//	… handshake as over any net.Conn, then
//	fd, err := client.(socket.Detacher).Detach()        // fd is the caller's alone now
//
// A Conn behaves like *net.TCPConn: the same results for the same calls, deadlines and concurrent closing included; the
// tests run one script against both. It lacks what needs package net's own descriptor: File, SyscallConn, ReadFrom. And a
// byte that travels is no synchronization for the race detector, which package net makes it.
//
// Invariants:
//
//  1. A descriptor is closed or detached exactly once, and never while a system call of another goroutine uses its number.
//  2. After Detach has returned nothing here touches the descriptor, and no event of it is pending.
//  3. An event wakes the connection it was meant for or nobody: registrations carry a generation, and no Conn is used twice.
//  4. A wake-up is never lost: whoever is about to wait says so first and looks for a reason not to second; whoever has a
//     reason states it first and looks for a waiter second. Both are sequentially consistent atomics (go.dev/ref/mem).
//  5. A Conn that nobody waits for has no timer, no channel, and no goroutine.
//
// On other systems than Linux the same functions give the connections of package net, and nothing can be detached.
//
// # Why
//
// An event loop wants raw descriptors, a TLS handshake wants a goroutine that blocks. The descriptor of a net.TCPConn can only be
// duplicated: more system calls and a second descriptor for a moment for each of a million connections, and a pollDesc of the runtime
// that is never given back. A thread in epoll_wait for the handshakes would cost futex calls and a thread switch for each wake-up.
// Here one epoll instance of our own is itself a descriptor that Go's poller waits for (epoll(7): an epoll descriptor may be added to
// another, and is readable when it has events): no thread, but one epoll_pwait and one goroutine switch more for each wait. Measured on
// two cores in the same run as package net (bench_test.go; both ends together, CPU): one byte to and fro 10.9 µs against
// 7.0, a TLS 1.3 connection 1.00 to 1.05 times, accepting and giving the descriptor away 0.86 times duplicating it. So it is for
// the beginning of a connection, and what lasts belongs to an event loop. System calls that cannot block are made without telling the
// scheduler: a read that finds nothing takes 230 ns instead of 275.
package socket

// A Detacher is a connection whose descriptor can be taken out: on Linux every connection of this package.
type Detacher interface {
	// Detach returns the descriptor, non-blocking, and closes the connection for everybody else. See Conn.Detach.
	Detach() (fd int, err error)
}
