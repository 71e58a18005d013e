// Package listen takes TCP connections from a port, whatever happens, and reads the PROXY
// protocol header in front of them.
//
//	ln, err := listen.TCP(ctx, ":8883", listen.Options{})
//	acc := listen.Acceptor{Listener: ln, OnPause: func(p listen.Pause) { … }}
//	for {
//		conn, err := acc.Accept(ctx) // an error means: closed, or ctx is done
//		…
//		header, conn, err := listen.ReadProxy(conn, time.Now().Add(5*time.Second))
//	}
//
// Invariants: an Acceptor never gives up while its listener is open, in particular not when the
// process has no descriptor left; no function here waits without a deadline or a context;
// what was read past the end of a PROXY header is read again from the returned connection.
//
// # Why
//
// The load balancer and the broker node both stand behind ports that must not die, and both
// stand behind proxies. An accept loop that ends at the first EMFILE turns a full descriptor
// table into a dead port until someone restarts the process; that is why the loop's policy is written once,
// here, with its test. The PROXY header is parsed by pires/go-proxyproto; its net.Listener is
// not used because it reads the header lazily inside the first Read, where a refusal
// can no longer be told from a broken connection.
package listen
