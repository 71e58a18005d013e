//go:build linux

package link

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/lb/record"
)

// MaxPacket bounds what a Link collects of one packet, in bytes: sixteen times the largest that a scenario sends by default.
const MaxPacket = 1 << 20

// ciphers is how many cipher objects a loop keeps, of about 0.9 KB: two for each of 10,000 connections, so that the generator never
// makes one twice.
const ciphers = 20_000

// batch is how much is sealed before it is written, in bytes: four full records.
const batch = 64 << 10

// ErrClosed is Receive's error when the peer has ended the connection in an orderly way.
var ErrClosed = errors.New("the peer closed the connection")

// A Handler takes packets.
type Handler interface {
	// Packet takes one packet, header included, which is valid until it returns. Its error ends Receive.
	Packet(key uint32, h packet.Header, whole []byte) error
}

// A Link is one connection. Make it with the descriptor alone for plain TCP, or by Protected.
type Link struct {
	FD int // non-blocking, and the Link's

	// Preamble, unless nil, is asked about what stands before the first packet: how many bytes it has, once that is known (done). It
	// is for PROXY headers.
	Preamble func(b []byte) (n int, done bool, err error)

	// Record bounds how many bytes go into one record, of TLS; 0: as many as it holds. A client that sends each packet by itself has
	// one record for each.
	Record int

	ref     reactor.Ref
	tls     bool
	state   record.State
	sealed  []byte // of a record that is not complete
	plain   []byte // of a packet that is not complete
	pending []byte // queued, and not sealed yet
	out     []byte // from sent on: sealed, and not written yet
	sent    int
}

// Protected makes a Link over TLS. The state is the Link's from now on; raw is what was read and not opened.
func Protected(fd int, state record.State, raw []byte) *Link {
	return &Link{FD: fd, tls: true, state: state, sealed: raw}
}

// Shared is what the links of a loop share.
type Shared struct {
	loop  *reactor.Loop
	cache *record.Cache
	seal  []byte
}

// New returns what the links of l share. It opens nothing.
func New(l *reactor.Loop) *Shared {
	room := batch + (batch/record.MaxPlaintext+2)*record.MaxOverhead
	return &Shared{loop: l, cache: record.NewCache(ciphers), seal: make([]byte, 0, room)}
}

// Add registers the link with the loop, under key. Ready is called in the next round: what came with the handshake is then received, since
// a socket is Writable at first, and Receive looks at what there is whatever the events are.
func (s *Shared) Add(k *Link, key uint32) error {
	ref, err := s.loop.Add(k.FD, key)
	k.ref = ref
	return err
}

// Again asks for another Ready of the link.
func (s *Shared) Again(k *Link) { s.loop.Again(k.ref) }

// Close takes the link from the loop and closes its descriptor, after a close_notify if it is over TLS and there is room for it.
func (s *Shared) Close(k *Link) {
	if k.tls {
		if k.Backlog() == 0 {
			// Whether it arrives does not matter: the FIN says as much to a peer that knows MQTT's DISCONNECT.
			_, _ = reactor.Write(k.FD, k.state.AppendAlert(s.cache, nil, record.CloseNotify))
		}
		k.state.Wipe()
	}
	s.loop.Remove(k.ref)
	_ = unix.Close(k.FD) // whatever it says, the descriptor is gone (close(2))
	k.FD = -1
}

// Receive reads what there is, and calls to.Packet for each packet. It asks the loop for another turn if there is more than one turn should take. The error is
// final: ErrClosed, or what went wrong, Packet's own errors included.
func (s *Shared) Receive(k *Link, key uint32, e reactor.Events, to Handler) error {
	buf := s.loop.Buffer()
	for moved := 0; moved < reactor.Budget; {
		have := copy(buf, k.sealed)
		n, err := reactor.Read(k.FD, buf[have:])
		if err == syscall.EAGAIN {
			return s.take(k, key, buf[:have], to) // what the handshake had read too much; otherwise nothing
		}
		if err == io.EOF {
			return ErrClosed
		}
		if err != nil {
			return fmt.Errorf("read from the peer: %w", err)
		}
		moved += n
		if err := s.take(k, key, buf[:have+n], to); err != nil {
			return err
		}
		if have+n < len(buf) && e&reactor.HangUp == 0 {
			return nil
		}
	}
	s.loop.Again(k.ref)
	return nil
}

// take opens records, if there are any, and takes the packets from them.
func (s *Shared) take(k *Link, key uint32, b []byte, to Handler) error {
	if !k.tls {
		return k.packets(key, b, to)
	}
	for len(b) > 0 {
		o, err := k.state.Open(s.cache, b)
		if err != nil {
			return err
		}
		if o.Used == 0 {
			break
		}
		b = b[o.Used:]
		if len(o.Data) > 0 {
			if err := k.packets(key, o.Data, to); err != nil {
				return err
			}
		}
		if o.Close {
			return ErrClosed
		}
	}
	k.sealed = append(k.sealed[:0], b...)
	return nil
}

// packets hands on the packets that are whole, and keeps the rest.
func (k *Link) packets(key uint32, b []byte, to Handler) error {
	if len(k.plain) > 0 {
		k.plain = append(k.plain, b...)
		b = k.plain
	}
	if k.Preamble != nil {
		n, done, err := k.Preamble(b)
		if err != nil {
			return err
		}
		if !done {
			k.plain = append(k.plain[:0], b...)
			return nil
		}
		k.Preamble = nil
		b = b[n:]
	}
	for {
		h, n, err := packet.ParseHeader(b)
		if err != nil {
			return err
		}
		if h.Remaining > MaxPacket {
			return fmt.Errorf("a packet of %d bytes is larger than %d", h.Remaining, MaxPacket)
		}
		if n == 0 || len(b) < n+h.Remaining {
			break
		}
		if err := to.Packet(key, h, b[:n+h.Remaining]); err != nil {
			return err
		}
		b = b[n+h.Remaining:]
	}
	k.plain = append(k.plain[:0], b...)
	return nil
}

// Queue adds packets to what Flush sends. It does not bound what is queued: see Backlog.
func (k *Link) Queue(b []byte) { k.pending = append(k.pending, b...) }

// Queued gives the queue to append to; SetQueued takes it back.
func (k *Link) Queued() []byte { return k.pending }

// SetQueued replaces the queue by what was appended to Queued.
func (k *Link) SetQueued(b []byte) { k.pending = b }

// Backlog is how many bytes wait to be written.
func (k *Link) Backlog() int { return len(k.pending) + len(k.out) - k.sent }

// Flush writes what is queued, as far as the socket has room: call it again when it is Writable. The error is final.
func (s *Shared) Flush(k *Link) error {
	for {
		if k.sent < len(k.out) {
			n, err := reactor.Write(k.FD, k.out[k.sent:])
			if err == syscall.EAGAIN {
				return nil
			}
			if err != nil {
				return fmt.Errorf("write to the peer: %w", err)
			}
			k.sent += n
			continue
		}
		k.out, k.sent = k.out[:0], 0
		if len(k.pending) == 0 && !(k.tls && k.state.Owes()) {
			return nil
		}
		if !k.tls {
			k.out, k.pending = k.pending, k.out
			continue
		}
		if err := s.protect(k); err != nil {
			return err
		}
	}
}

// protect seals about a batch of what is pending, as one record or more, and writes it; what the socket has no room for goes to out.
func (s *Shared) protect(k *Link) error {
	sealed, taken := s.seal[:0], 0
	if k.state.Owes() {
		sealed = k.state.AppendOwed(s.cache, sealed)
	}
	most := record.MaxPlaintext
	if k.Record > 0 {
		most = min(most, k.Record)
	}
	for taken < len(k.pending) {
		at := len(sealed)
		room := sealed[at:cap(sealed)]
		n := min(len(k.pending)-taken, most)
		if len(room) < n+k.state.Overhead() {
			break
		}
		copy(room[k.state.Prefix():], k.pending[taken:taken+n])
		sealed = sealed[:at+len(k.state.Seal(s.cache, room, n))]
		taken += n
	}
	k.pending = k.pending[:copy(k.pending, k.pending[taken:])]
	n, err := reactor.Write(k.FD, sealed)
	if err != nil && err != syscall.EAGAIN {
		return fmt.Errorf("write to the peer: %w", err)
	}
	if n < len(sealed) {
		k.out = append(k.out, sealed[n:]...)
	}
	return nil
}
