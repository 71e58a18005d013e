package listen

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// ErrNoProxy says that a connection did not begin with a PROXY header. What it did begin with
// is still to be read.
var ErrNoProxy = proxyproto.ErrNoProxyProtocol

// maxV1 is the longest version 1 line, CRLF included (PROXY protocol, section 2.1).
const maxV1 = 107

// proxyBuffer is the size of the buffer that a header is read through. It must hold a whole
// version 1 line; a version 2 header may be longer and is bounded by the library (4 KiB).
const proxyBuffer = 256

// Header is what a PROXY header said.
type Header struct {
	// Source and Destination are the addresses of the original connection. Both are zero when the
	// header names none: LOCAL (the proxy's own connection, a health check), UNKNOWN, or a Unix socket.
	Source, Destination netip.AddrPort
	Local               bool             // the proxy speaks for itself: LOCAL of version 2, UNKNOWN of version 1
	TLVs                []proxyproto.TLV // version 2's extensions, nil when there are none
}

// ReadProxy reads the PROXY header, version 1 or 2, that conn begins with, and returns it with
// the connection to go on with, which is never nil. Without a header the error is ErrNoProxy,
// and nothing is lost: the returned connection begins with the same bytes. It is io.EOF, wrapped, when the peer
// left without a byte. Any other error means that conn is of no more use. The deadline is for the header alone and is lifted again.
// Peers that send the header in pieces are served: the specification asks for tolerance (section 2).
func ReadProxy(conn net.Conn, deadline time.Time) (Header, net.Conn, error) {
	if err := conn.SetReadDeadline(deadline); err != nil {
		return Header{}, conn, fmt.Errorf("set deadline for the PROXY header: %w", err)
	}
	r := bufio.NewReaderSize(conn, proxyBuffer)
	if _, err := r.Peek(1); err != nil {
		return Header{}, conn, fmt.Errorf("read PROXY header: %w", err)
	}
	header, err := readHeader(r)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // in the middle of it
	}
	if err != nil && !errors.Is(err, ErrNoProxy) {
		return Header{}, conn, fmt.Errorf("read PROXY header: %w", err)
	}
	rest, _ := r.Peek(r.Buffered())
	conn = withPrefix(conn, rest)
	if derr := conn.SetReadDeadline(time.Time{}); derr != nil {
		return Header{}, conn, fmt.Errorf("lift deadline of the PROXY header: %w", derr)
	}
	if err != nil {
		return Header{}, conn, err
	}
	p, err := interpret(header)
	return p, conn, err
}

// ErrShort says that the header is not complete: more of it may come.
var ErrShort = errors.New("the PROXY header is not complete")

// maxV2 is the longest version 2 header that the library reads, without the 16 bytes in front that say how long it is.
const maxV2 = 4 << 10

// ParseProxy reads the PROXY header that b begins with, as ReadProxy does, and returns how many bytes it has. The error is ErrShort while it
// can still become one, ErrNoProxy when it is none, and another for one that is broken. For who has bytes instead of a connection.
func ParseProxy(b []byte) (h Header, used int, err error) {
	if err := complete(b); err != nil {
		return Header{}, 0, err
	}
	src := bytes.NewReader(b)
	r := bufio.NewReaderSize(src, proxyBuffer)
	header, err := proxyproto.Read(r)
	if err != nil {
		return Header{}, 0, fmt.Errorf("read PROXY header: %w", err)
	}
	h, err = interpret(header)
	return h, len(b) - src.Len() - r.Buffered(), err
}

// complete says whether b begins with a header of which everything is there.
func complete(b []byte) error {
	const v2Front = 16 // signature, command, family, and the length of the rest (PROXY protocol, section 2.2)
	short := func(signature []byte) bool { return len(b) < len(signature) && bytes.HasPrefix(signature, b) }
	switch {
	case short(proxyproto.SIGV1), short(proxyproto.SIGV2):
		return ErrShort
	case bytes.HasPrefix(b, proxyproto.SIGV1):
		if len(b) < maxV1 && bytes.IndexByte(b, '\n') < 0 {
			return ErrShort
		}
		return nil
	case !bytes.HasPrefix(b, proxyproto.SIGV2):
		return ErrNoProxy
	case len(b) < v2Front:
		return ErrShort
	}
	rest := int(binary.BigEndian.Uint16(b[v2Front-2:]))
	if rest <= maxV2 && len(b) < v2Front+rest {
		return ErrShort
	}
	return nil
}

// readHeader waits for a whole version 1 line before it lets the library parse it, because the
// library takes a line in two segments for an attack.
func readHeader(r *bufio.Reader) (*proxyproto.Header, error) {
	for n := 1; n <= len(proxyproto.SIGV1); n++ {
		start, err := r.Peek(n)
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(proxyproto.SIGV1, start) {
			return readV2(r)
		}
	}
	for n := len(proxyproto.SIGV1) + 1; n <= maxV1; n = max(n+1, r.Buffered()) {
		line, err := r.Peek(n)
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(line, '\n') >= 0 {
			break
		}
	}
	return proxyproto.Read(r)
}

// readV2 waits byte by byte for as much of version 2's signature as the peer sends right, so that a peer
// with something shorter to say is not kept waiting for twelve bytes.
func readV2(r *bufio.Reader) (*proxyproto.Header, error) {
	for n := 1; n <= len(proxyproto.SIGV2); n++ {
		start, err := r.Peek(n)
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(proxyproto.SIGV2, start) {
			return nil, ErrNoProxy
		}
	}
	return proxyproto.Read(r)
}

func interpret(h *proxyproto.Header) (Header, error) {
	tlvs, err := h.TLVs()
	if err != nil {
		return Header{}, fmt.Errorf("read PROXY header: extensions: %w", err)
	}
	p := Header{Local: h.Command == proxyproto.LOCAL, TLVs: tlvs}
	if src, dst, ok := h.TCPAddrs(); ok && !p.Local {
		p.Source, p.Destination = Unmap(src.AddrPort()), Unmap(dst.AddrPort())
	}
	return p, nil
}

// Unmap returns a with an IPv4 address in IPv6 form (::ffff:192.0.2.1) written as IPv4, so that
// one client has one address whichever kind of socket it arrived on.
func Unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// prefixed is a connection with bytes in front that were read already.
type prefixed struct {
	net.Conn
	rest []byte
}

func withPrefix(conn net.Conn, rest []byte) net.Conn {
	if len(rest) == 0 {
		return conn
	}
	return &prefixed{Conn: conn, rest: bytes.Clone(rest)}
}

func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

// Under returns the connection below, and the bytes that come before what is read from it.
func (c *prefixed) Under() (net.Conn, []byte) { return c.Conn, c.rest }

// CloseWrite ends the sending direction, as *net.TCPConn does.
func (c *prefixed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
