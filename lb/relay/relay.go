package relay

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// An End says how a pair ended: the first cause, seen from the relay.
type End uint8

// The ends of a pair.
const (
	ClientClosed  End = iota // the client ended its direction first
	ClientReset              // the client's socket failed
	ClientTimeout            // nothing from the client for ClientTimeout, or it took nothing for so long
	ServerClosed             // the server ended its direction first
	ServerReset              // the server's socket failed
	ServerTimeout            // nothing from the server for ServerTimeout, or it took nothing for so long
	Closed                   // Session.Close was called, or Loops.Run has ended
	NoRoom                   // the kernel takes no more descriptors to watch, or no memory is left
)

var endNames = [...]string{"client closed", "client reset", "client timeout", "server closed", "server reset", "server timeout", "closed", "no room"}

// String returns the end in words, for logs and tests.
func (e End) String() string { return endNames[e] }

// A Pair is two connected sockets and what is to be watched between them.
type Pair struct {
	// Client and Server are owned by the relay from Start on. Both are stream sockets that can
	// half-close: they have a method CloseWrite() error.
	Client, Server net.Conn

	ClientTimeout time.Duration // nothing from the client for so long ends the pair; 0 = no limit
	ServerTimeout time.Duration // nothing from the server for so long ends the pair; 0 = no limit
	ServerFirst   time.Duration // the same until the first bytes from the server; 0 = ServerTimeout

	// Watch, when set, is shown what comes from the server, in order and before it is sent on,
	// until it returns more == false. A positive timeout replaces ClientTimeout, a negative one
	// turns it off, 0 leaves it. It may not keep p.
	Watch func(p []byte) (timeout time.Duration, more bool)

	// Traffic is counted into each of these that is set, while bytes move.
	Traffic [2]*Traffic
}

// Traffic counts bytes; it may be read and added to from anywhere.
type Traffic struct {
	In  atomic.Uint64 // bytes from clients to servers
	Out atomic.Uint64 // bytes from servers to clients
}

// errTruncated is the Err of a client that ended its TCP stream without close_notify: whether something is missing nobody can
// know (RFC 8446, section 6.1).
var errTruncated = errors.New("the client's stream ended without close_notify")

// A Result is what became of a pair.
type Result struct {
	End End
	Err error // the cause behind a reset or NoRoom, or what was missing at the end of the client's stream; else nil
	In  uint64
	Out uint64
}

// An Owner is told what became of its pair.
type Owner interface {
	// Relayed is called once, when both sockets are closed; see Start for where.
	Relayed(r Result)
}

// A Func is an Owner that is a function.
type Func func(Result)

// Relayed calls f.
func (f Func) Relayed(r Result) { f(r) }

// A Session is a pair that is being relayed, or was. The zero Session is none.
type Session struct {
	by  closer
	ref uint64 // by's own
}

// A closer is what relays.
type closer interface{ cut(ref uint64) }

// Started reports whether s is of a pair.
func (s Session) Started() bool { return s.by != nil }

// Close ends both sockets now, from any goroutine and any number of times. The result's End is Closed unless the pair had
// ended before.
func (s Session) Close() { s.by.cut(s.ref) }
