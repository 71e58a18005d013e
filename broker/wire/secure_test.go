//go:build linux

package wire

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb/record"
)

// The secrets of a connection whose handshake is thought to have been.
var (
	clientSecret = bytes.Repeat([]byte{1}, 32)
	serverSecret = bytes.Repeat([]byte{2}, 32)
)

// states are both ends of such a connection, of TLS 1.3 with AES-128-GCM.
func states(t testing.TB) (client, server record.State) {
	t.Helper()
	var log record.KeyLog
	fmt.Fprintf(&log, "CLIENT_TRAFFIC_SECRET_0 %x %x\n", [32]byte{}, clientSecret)
	fmt.Fprintf(&log, "SERVER_TRAFFIC_SECRET_0 %x %x\n", [32]byte{}, serverSecret)
	h := record.Handshake{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256}
	server, err := log.State(h)
	must(t, err)
	h.Client = true
	client, err = log.State(h)
	must(t, err)
	return client, server
}

// A forger is a client that makes records of any type (RFC 8446, section 5.2).
type forger struct {
	secret []byte
	seq    uint64
}

// The content types and messages that it needs (RFC 8446, sections 4.6.3, 5.1 and 6).
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

var (
	updateAsking = []byte{24, 0, 0, 1, 1}
	updateSilent = []byte{24, 0, 0, 1, 0}
)

// expand is HKDF-Expand-Label (RFC 8446, section 7.1).
func (f *forger) expand(label string, n int) []byte {
	out, err := hkdf.Expand(sha256.New, f.secret, string([]byte{0, byte(n), byte(6 + len(label))})+"tls13 "+label+"\x00", n)
	if err != nil {
		panic(err)
	}
	return out
}

func (f *forger) record(typ byte, content ...byte) []byte {
	block, err := aes.NewCipher(f.expand("key", 16))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	nonce := f.expand("iv", 12)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^f.seq)
	f.seq++
	inner := append(bytes.Clone(content), typ)
	header := binary.BigEndian.AppendUint16([]byte{typeData, 3, 3}, uint16(len(inner)+16))
	return aead.Seal(header, nonce, inner, header[:5:5])
}

// update is a KeyUpdate; what follows has the next key (RFC 8446, section 7.2).
func (f *forger) update(message []byte) []byte {
	b := f.record(typeHandshake, message...)
	f.secret, f.seq = f.expand("traffic upd", 32), 0
	return b
}

// secured is a connection with TLS whose client is a forger; what the node says is read from the link. raw is
// what came with the handshake.
func (nd *node) secured(t testing.TB, p *peer, raw []byte) (*link, *forger) {
	t.Helper()
	client, server := states(t)
	c, nc, _ := nd.accept(t, kinds[0])
	must(t, nd.loops.Adopt(&p.Conn, record.NewConn(nc, server, raw), Start{Peer: p, Timeout: time.Hour}))
	c.Conn = record.NewConn(c.tcp, client, nil)
	return c, &forger{secret: clientSecret}
}

// A KeyUpdate that asks for one has its answer before the next data, and however often it asks, one; keys change on both
// sides, wherever the network cuts.
func TestKeyUpdate(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	for at := range 200 {
		p := newPeer(t)
		p.handle = func(packet.Header, []byte) (Verdict, error) { p.Reply(pingresp); return Done, nil }
		c, f := nd.secured(t, p, nil)
		raw := joined(f.record(typeData, connect...), f.update(updateAsking), f.update(updateSilent), f.update(updateAsking),
			f.record(typeData, 0xc0), f.update(updateAsking), f.record(typeData, 0))
		nd.deliver(t, c, raw[:min(at, len(raw))])
		nd.deliver(t, c, raw[min(at, len(raw)):])
		expect(t, c, joined(pingresp, pingresp))
		if n := p.handled(); n != 2 {
			t.Errorf("cut at %d there are %d packets", at, n)
		}
		must(t, second(c.tcp.Write(f.record(typeAlert, 1, 0))))
		expectError(t, p.end(t), io.EOF)
		expectEnd(t, c)
		c.tcp.Close()
	}
}

// Records that came with the handshake are opened, also one of which only a part had come.
func TestRawRest(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	f := &forger{secret: clientSecret}
	raw := joined(f.record(typeData, connect...), f.record(typeData, pingreq...))
	for at := range raw {
		p := newPeer(t)
		c, _ := nd.secured(t, p, bytes.Clone(raw[:at]))
		must(t, second(c.tcp.Write(raw[at:])))
		eventually(t, "both packets", func() bool { return p.handled() == 2 })
		c.tcp.Close()
		expectError(t, p.end(t), io.EOF)
	}
}

// A record that was changed on the way ends the connection, and the client is told; what came before it counts.
func TestForgedRecord(t *testing.T) {
	for _, k := range kinds {
		if k.tls == 0 {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			leaktest.Check(t)
			nd := newNode(t, 1, Options{})
			p := newPeer(t)
			p.words = farewell // are not said
			c := nd.connect(t, k, p, Start{})
			raw := c.wire(t, connect, pingreq)
			raw[len(raw)-1] ^= 1
			must(t, second(c.tcp.Write(raw)))
			err := p.end(t)
			var alert *record.Alert
			if !errors.As(err, &alert) || alert.Code != record.BadRecordMAC || alert.Remote {
				t.Errorf("it ended with %v", err)
			}
			if n := p.handled(); n != 1 {
				t.Errorf("%d packets, want the one before", n)
			}
			_, err = io.ReadAll(c)
			var remote *net.OpError
			if !errors.As(err, &remote) || remote.Op != "remote error" {
				t.Errorf("the client is told %v", err)
			}
		})
	}
}

// A client whose alert says that it cannot go on ends with that; one that just vanishes, within a record or not, with the end of its stream.
func TestTruncated(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{})
	for _, cut := range []int{0, 3, 30} {
		p := newPeer(t)
		c, f := nd.secured(t, p, nil)
		must(t, second(c.tcp.Write(joined(f.record(typeData, connect...), f.record(typeData, publish(20, 0)...)[:cut]))))
		c.tcp.Close()
		expectError(t, p.end(t), io.EOF)
		if p.handled() != 1 {
			t.Errorf("%d packets", p.handled())
		}
	}
	p := newPeer(t)
	c, f := nd.secured(t, p, nil)
	must(t, second(c.tcp.Write(joined(f.record(typeData, connect...), f.record(typeAlert, 2, 48)))))
	var alert *record.Alert
	if err := p.end(t); !errors.As(err, &alert) || !alert.Remote {
		t.Errorf("it ended with %v", err)
	}
	_, _ = io.ReadAll(c) // its own end is no good one
}

// What a client says before it closes its TLS or its WebSocket is handled, however much that is and however long it has to wait: the
// DISCONNECT among it decides about the will.
func TestClosedWithPacketsWaiting(t *testing.T) {
	stream := joined(connect, bytes.Repeat(pingreq, 3000), []byte{0xe0, 0})
	want, _ := packsOf(stream, 0)
	closing := map[string]func(c *link) []byte{
		"TLS":       func(c *link) []byte { return joined(c.wire(c.t, stream), c.closeTLS()) },
		"WebSocket": func(c *link) []byte { return joined(c.wire(c.t, stream), c.closeFrames()) },
	}
	for _, k := range kinds[1:] {
		for name, raw := range closing {
			if name == "TLS" && (k.tls == 0 || k.webSocket) || name == "WebSocket" && !k.webSocket {
				continue
			}
			for _, first := range []Verdict{Done, Wait} {
				t.Run(fmt.Sprintf("%s, %s, %d", k.name, name, first), func(t *testing.T) {
					leaktest.Check(t)
					nd := newNode(t, 1, Options{})
					p := newPeer(t)
					verdict := first
					p.handle = func(packet.Header, []byte) (v Verdict, err error) {
						v, verdict = verdict, Done
						return v, nil
					}
					c := nd.connect(t, k, p, Start{})
					nd.deliver(t, c, raw(c))
					p.Resume()
					expectError(t, p.end(t), io.EOF)
					p.check(t, want)
				})
			}
		}
	}
}

// closeTLS is the client's close_notify.
func (l *link) closeTLS() []byte {
	l.held.set(true)
	must(l.t, l.Conn.(*tls.Conn).CloseWrite())
	must(l.t, l.tcp.SetDeadline(time.Now().Add(patience))) // CloseWrite has let it pass
	return l.held.set(false)
}

// closeFrames is the client's close frame, in a record if there are any.
func (l *link) closeFrames() []byte {
	frame := masked(0x88, []byte{3, 0xe8})
	if l.under == l.held {
		return frame
	}
	l.held.set(true)
	must(l.t, second(l.under.Write(frame)))
	return l.held.set(false)
}

// Nothing is sealed behind close_notify, whatever Fill has when that was late to go.
func TestNothingBehindCloseNotify(t *testing.T) {
	leaktest.Check(t)
	nd := newNode(t, 1, Options{Goodbye: time.Hour})
	p := newPeer(t)
	p.words = []byte{}
	said := false
	p.fill = func(dst []byte, _ int) ([]byte, bool) {
		if said {
			dst = append(dst, farewell...)
		}
		return dst, false
	}
	c, _ := nd.secured(t, p, nil)
	stuffed := 0
	p.on(t, func(l *loop) {
		for range 64 { // what comes behind cannot be added to the last segment (MSG_EOR), and there is room for no other
			n, err := syscall.SendmsgN(int(p.fd), make([]byte, 16<<10), nil, nil, syscall.MSG_EOR)
			if err != nil {
				break
			}
			stuffed += n
		}
		if err := syscall.SetsockoptInt(int(p.fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1); err != nil {
			t.Error(err)
		}
		l.end(&p.Conn, nil)
		if p.unsent == 0 {
			t.Error("close_notify went out: there is no test")
		}
		said = true
	})
	got, err := io.ReadAll(c.tcp)
	if want := stuffed + record.HeaderSize + 2 + 1 + 16; err != nil || len(got) != want {
		t.Errorf("%d bytes arrive, %v; want %d", len(got), err, want)
	}
	c.tcp.Close()
	expectError(t, p.end(t), nil)
}
