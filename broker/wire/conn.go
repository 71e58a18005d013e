package wire

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/overflow"
)

// A Peer is who talks to the client of a Conn: what the packets mean is its affair. All methods run on the goroutine of the Conn's
// loop and must not block.
type Peer interface {
	// Packet handles one packet; the body is valid until it returns. An error ends the connection.
	Packet(h packet.Header, body []byte) (Verdict, error)
	// Fill appends packets to dst until nothing waits, or until there are most bytes or more; more says that something is left. It is called
	// after Wake, and again when everything before has been taken by the socket.
	Fill(dst []byte, most int) (out []byte, more bool)
	// Ended tells that no packet is read any more, and why: nil after Finish, io.EOF, ErrIdle, ErrStalled, ErrTooLarge of package packet, what Packet
	// returned, and others. It is called once. With speak, Fill is asked for what is still to be said, and the client has some time to take it.
	Ended(err error) (speak bool)
	// Closed tells that the socket is closed. Nothing is called after it.
	Closed()
}

// A Prefacer is a Peer whose client may say something before MQTT: a PROXY header.
type Prefacer interface {
	// Preface is called with all that the client has sent, until it has found out that more is false: used bytes of it were not MQTT. An
	// error ends the connection. It bounds what it waits for.
	Preface(b []byte) (used int, more bool, err error)
}

// A Verdict says what became of a packet.
type Verdict uint8

// The verdicts.
const (
	Done  Verdict = iota // it was handled
	Again                // it was handled in part: Packet is called with it again, when others have had their turn
	Wait                 // as Again, but not before Resume
)

// Reasons for which a loop ends a connection.
var (
	// ErrIdle: the client has not sent a packet for as long as SetIdle said, or none at all by the time that Start said.
	ErrIdle = errors.New("the client was silent for too long")
	// ErrStalled: the client took nothing of what was sent to it.
	ErrStalled = errors.New("the client does not read")
	// ErrNotMQTT: the first byte was not that of a CONNECT [MQTT-3.1.0-1].
	ErrNotMQTT = errors.New("what came first is no CONNECT")
)

// A Conn is one connection on a loop. It is a part of what its Peer is made of: the zero value is ready for Loops.Adopt.
type Conn struct {
	loop   *loop
	peer   Peer
	secure *secure // nil: plain
	frames *frames // nil: not a WebSocket

	ref   uint64 // reactor.Ref
	key   uint32 // in loop.conns
	timer uint32 // reactor.Timer
	fd    int32
	heard tick   // when the client last showed that it is there
	idle  tick   // how long it may be silent; 0 = for ever
	since tick   // when the socket stopped to take what is sent, or when the end began
	got   uint32 // bytes since heard of a packet that is not complete

	partial overflow.Handle // the beginning of a packet, or packets whose turn it is not yet
	first   overflow.Handle // to be sent before anything else
	replies overflow.Handle // answers to the client's own packets, to be sent behind what Fill has
	unsent  overflow.Handle // what the socket did not take

	stage stage
	flags flags

	awake   atomic.Bool // it is among those that the loop looks at
	asked   atomic.Bool // Finish was called
	resumed atomic.Bool // Resume was called
}

// The life of a Conn:
//
//	        Finish, an error        Ended said: nothing          everything is written,
//	        of any kind             to say, or it failed         FIN is sent
//	open ──────────────────► ending ──────────┐                        │
//	                           └──────────────┼───────────► lingering ─┤ the client has closed,
//	                             speak        ▼                        ▼ or its time is over
//	                                        closed ◄───────────────────┘
type stage uint8

const (
	coming stage = iota // on its way to the loop: Wake and Finish may be called already
	open
	ending
	lingering
	closed
)

type flags uint16

const (
	readable flags = 1 << iota
	hungUp         // read to the end, a short read is not it
	waiting        // partial has something to go on with
	paused         // until Resume
	begun          // the first byte was seen
	settled        // SetIdle was called: parts of packets are signs of life
	stalled        // since says since when
	preface        // the Peer is a Prefacer that has not seen all that it wants
	over           // nothing comes any more: the client has closed its TLS or its WebSocket
)

// sign is how many bytes of a packet show that a client is there, as a whole packet does: single ones
// would keep a connection for ever [MQTT-3.1.2-22].
const sign = 4 << 10

const (
	// turnWork bounds what one connection does in a turn: so much of it is one delivery, packetWork is one packet, and one for each
	// 16 bytes. 256 packets are fewer than the messages that may wait for one receiver, to whom they may all go; a message for more
	// receivers than that is a turn of its own.
	turnWork   = 16 << 10
	packetWork = turnWork / 256

	// fullOfReplies is how many bytes of answers may wait that the client does not take, before no more of its packets are read: whoever asks and
	// does not read slows itself.
	fullOfReplies = 4 << 10
)

// Wake has Fill called soon. From anywhere, once the Conn was adopted.
func (c *Conn) Wake() {
	if !c.awake.Swap(true) {
		c.loop.notice(c)
	}
}

// Finish ends the connection soon, with Ended(nil) unless something else does before. From anywhere, once the Conn was adopted.
func (c *Conn) Finish() {
	c.asked.Store(true)
	c.Wake()
}

// Resume has the packet handled on for which Packet has said Wait. From anywhere.
func (c *Conn) Resume() {
	c.resumed.Store(true)
	c.Wake()
}

// Reply sends a packet that answers one of the client, behind what Fill has by then: a PINGRESP says that there is nothing before
// it. For the loop's goroutine.
func (c *Conn) Reply(raw []byte) { c.say(&c.replies, raw) }

// ReplyFirst sends one before what Fill has, and with it the answers before it, whose order stays: a CONNACK [MQTT-3.2.0-1], a SUBACK,
// behind which clients expect retained messages. For the loop's goroutine.
func (c *Conn) ReplyFirst(raw []byte) {
	if held := &c.loop.held; c.replies != 0 {
		held.Add(&c.first, held.Bytes(c.replies))
		held.Drop(&c.replies)
	}
	c.say(&c.first, raw)
}

func (c *Conn) say(where *overflow.Handle, raw []byte) {
	if c.stage == closed {
		return
	}
	c.loop.held.Add(where, raw)
	if c.unsent == 0 {
		c.Wake()
	}
}

// Spend counts work that was done for the client towards its turn, in deliveries to one receiver. For the loop's goroutine, within
// Packet.
func (c *Conn) Spend(deliveries int) { c.loop.left -= deliveries }

// Spent reports whether the turn is over: what takes long goes on in another (Again). For the loop's goroutine, within Packet.
func (c *Conn) Spent() bool { return c.loop.left <= 0 }

// SetIdle says how long the client may be silent from now on; 0 = for ever. For the loop's goroutine.
func (c *Conn) SetIdle(d time.Duration) {
	c.idle = ticks(d)
	c.heard = c.loop.tick()
	c.flags |= settled
	c.loop.arm(c)
}

// Post has f run on the goroutine of the connection's loop, unless that has ended. From anywhere, once the Conn was adopted.
func (c *Conn) Post(f func()) bool { return c.loop.post(f) }

// blocked reports whether nothing is read: the client has to take answers first.
func (c *Conn) blocked() bool {
	return c.unsent != 0 && len(c.loop.held.Bytes(c.replies))+len(c.loop.held.Bytes(c.first)) >= fullOfReplies
}

// left is how long the client has for what it has to do, and false when there is nothing.
func (c *Conn) left(now tick, o *Options) (tick, bool) {
	least, some := tick(0), false
	take := func(since, most tick) {
		left := tick(0)
		if gone := now - since; gone < most { // modulo 2³²: a connection may be older than what a tick counts
			left = most - gone
		}
		if !some || left < least {
			least, some = left, true
		}
	}
	switch {
	case c.stage != open:
		take(c.since, ticks(o.Goodbye))
		return least, some
	case c.flags&stalled != 0:
		take(c.since, ticks(o.WriteTimeout))
	}
	if c.idle > 0 && (c.flags&settled == 0 || c.flags&paused == 0 && !c.blocked()) { // else we do not hear what it says
		take(c.heard, c.idle)
	}
	return least, some
}
