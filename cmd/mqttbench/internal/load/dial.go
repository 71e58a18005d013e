//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/link"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A dialer makes connections. Any goroutine may use it.
type dialer struct {
	target    string
	tls       *tls.Config // nil: plain
	source    netip.Prefix
	keepAlive uint16
	first     int
}

// tcp connects. Number i decides on the source address: they are taken in turn, so that none runs out of ports.
func (d *dialer) tcp(ctx context.Context, i int) (*net.TCPConn, error) {
	nd := net.Dialer{Timeout: Patience, KeepAlive: -1}
	if d.source.IsValid() {
		nd.LocalAddr = &net.TCPAddr{IP: sourceAddress(d.source, d.first+i).AsSlice()}
		// The port is chosen when the connection is made, and so may be in use towards somebody else (ip(7)).
		nd.Control = func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			})
			return errors.Join(err, failed)
		}
	}
	c, err := nd.DialContext(ctx, "tcp", d.target)
	if err != nil {
		if errors.Is(err, syscall.EMFILE) {
			return nil, fmt.Errorf("connect: %w; raise ulimit -n, or use --processes", err)
		}
		return nil, fmt.Errorf("connect: %w", err)
	}
	return c.(*net.TCPConn), nil
}

// sourceAddress is address number i of a network, the second one for 0: the first names the network. After the last, or the first 16 million,
// they come again.
func sourceAddress(p netip.Prefix, i int) netip.Addr {
	bits := min(p.Addr().BitLen()-p.Bits(), 24)
	n := uint32(1+i) % (1 << bits)
	b := p.Masked().Addr().AsSlice()
	for at := len(b) - 1; n > 0; at-- {
		b[at] |= byte(n)
		n >>= 8
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// link connects, does the handshake, and gives descriptor and keys to a Link that is in no loop yet.
func (d *dialer) link(ctx context.Context, i int) (*link.Link, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	c, err := d.tcp(ctx, i)
	if err != nil {
		return nil, err
	}
	defer c.Close() // what the Link has is a duplicate
	if d.tls == nil {
		fd, err := duplicate(c)
		return &link.Link{FD: fd}, err
	}
	r := &recorder{Conn: c}
	var keys record.KeyLog
	defer keys.Wipe()
	config := d.tls.Clone()
	config.KeyLogWriter = &keys
	client := tls.Client(r, config)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	cs := client.ConnectionState()
	state, err := keys.State(record.Handshake{Version: cs.Version, Suite: cs.CipherSuite, Client: true, ServerRandom: r.random})
	if err != nil {
		return nil, err
	}
	fd, err := duplicate(c)
	return link.Protected(fd, state, r.buf), err
}

// duplicate returns a descriptor of the same socket that Go's poller does not know. Closing the connection afterwards takes
// the other one out of the poller, and leaves the socket open.
func duplicate(c *net.TCPConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	dup, failed := -1, error(nil)
	err = raw.Control(func(fd uintptr) { dup, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, failed); err != nil {
		return -1, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	return dup, nil
}

// A recorder gives crypto/tls one record for each Read, so that what follows the handshake stays unread, and remembers the random
// of the ServerHello.
type recorder struct {
	net.Conn
	buf    []byte // read, and not handed on
	left   int    // bytes of the record that is being handed on
	random [32]byte
	seen   bool
}

// Where in the first record the random is: behind the record's header, the message's type and length, and the version
// (RFC 8446, section 4.1.3; RFC 5246, section 7.4.1.3).
const randomAt = record.HeaderSize + 4 + 2

// Read is for crypto/tls.
func (r *recorder) Read(p []byte) (int, error) {
	for r.left == 0 {
		if size := record.Size(r.buf); size > 0 && len(r.buf) >= min(size, randomAt+len(r.random)) {
			r.left = size
			r.look()
			break
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	if len(r.buf) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[:min(len(r.buf), r.left)])
	r.buf, r.left = r.buf[n:], r.left-n
	return n, nil
}

func (r *recorder) look() {
	const handshake, serverHello = 22, 2
	if !r.seen && r.left >= randomAt+len(r.random) && r.buf[0] == handshake && r.buf[record.HeaderSize] == serverHello {
		r.seen = true
		copy(r.random[:], r.buf[randomAt:])
	}
}

func (r *recorder) fill() error {
	var room [4096]byte
	n, err := r.Conn.Read(room[:])
	r.buf = append(r.buf, room[:n]...)
	if n > 0 {
		return nil
	}
	return err
}
