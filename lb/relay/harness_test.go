//go:build linux

package relay

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"github.com/mqttlb/mqttlb/internal/detach"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/lb/record"
)

// The secrets of a connection whose handshake is thought to have been.
var (
	clientSecret = bytes.Repeat([]byte{1}, 32) // TLS 1.3
	serverSecret = bytes.Repeat([]byte{2}, 32)
	masterSecret = bytes.Repeat([]byte{3}, 48) // TLS 1.2
	randoms      [32]byte                      // of both hellos
)

// states are both ends of a connection with AES-128-GCM, whose server has sent so many records.
func states(t testing.TB, version uint16, written uint64) (client, server record.State) {
	t.Helper()
	var log record.KeyLog
	fmt.Fprintf(&log, "CLIENT_RANDOM %x %x\n", randoms, masterSecret)
	fmt.Fprintf(&log, "CLIENT_TRAFFIC_SECRET_0 %x %x\n", randoms, clientSecret)
	fmt.Fprintf(&log, "SERVER_TRAFFIC_SECRET_0 %x %x\n", randoms, serverSecret)
	suite := tls.TLS_AES_128_GCM_SHA256
	if version == tls.VersionTLS12 {
		suite = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	}
	server, err := log.State(record.Handshake{Version: version, Suite: suite, Written: written})
	if err != nil {
		t.Fatal(err)
	}
	client, err = log.State(record.Handshake{Version: version, Suite: suite, Read: written, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// seal returns data as one record.
func seal(s *record.State, data []byte) []byte {
	buf := make([]byte, len(data)+s.Overhead())
	copy(buf[s.Prefix():], data)
	return s.Seal(record.NewCache(1), buf, len(data))
}

// A forger is a client of TLS that says what it likes: the records of package record's State are all good ones.
type forger struct {
	version uint16
	secret  []byte // of TLS 1.3
	key, iv []byte
	seq     uint64
}

// The content types and messages that it needs (RFC 8446, sections 4 and 5.1).
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

var (
	updateAsking = []byte{24, 0, 0, 1, 1} // KeyUpdate, update_requested
	updateSilent = []byte{24, 0, 0, 1, 0}
	helloAgain   = []byte{1, 0, 0, 2, 3, 3} // the beginning of a ClientHello
)

func newForger(version uint16) *forger {
	f := &forger{version: version, secret: clientSecret}
	if version == tls.VersionTLS13 {
		f.derive()
		return f
	}
	// RFC 5246, sections 5 and 6.3: both keys, then both salts; record 0 was Finished.
	seed := append([]byte("key expansion"), make([]byte, 64)...)
	var block []byte
	for a := sum(masterSecret, seed); len(block) < 40; a = sum(masterSecret, a) {
		block = append(block, sum(masterSecret, append(bytes.Clone(a), seed...))...)
	}
	f.key, f.iv, f.seq = block[:16], block[32:36], 1
	return f
}

func sum(key, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)
}

// expand is HKDF-Expand-Label (RFC 8446, section 7.1).
func expand(secret []byte, label string, n int) []byte {
	info := append([]byte{0, byte(n), byte(6 + len(label))}, "tls13 "+label+"\x00"...)
	out, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		panic(err)
	}
	return out
}

func (f *forger) derive() {
	f.key, f.iv, f.seq = expand(f.secret, "key", 16), expand(f.secret, "iv", 12), 0
}

// update goes on with the next key, as is due behind a KeyUpdate (RFC 8446, section 7.2).
func (f *forger) update() {
	f.secret = expand(f.secret, "traffic upd", 32)
	f.derive()
}

// record is one of any type (RFC 8446, section 5.2; RFC 5246, section 6.2.3.3, and RFC 5288, section 3).
func (f *forger) record(typ byte, content ...byte) []byte {
	block, err := aes.NewCipher(f.key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	number := binary.BigEndian.AppendUint64(nil, f.seq)
	f.seq++
	if f.version == tls.VersionTLS12 {
		out := append([]byte{typ, 3, 3, 0, byte(8 + len(content) + 16)}, number...)
		additional := append(bytes.Clone(number), typ, 3, 3, 0, byte(len(content)))
		return aead.Seal(out, append(bytes.Clone(f.iv), number...), content, additional)
	}
	content = append(bytes.Clone(content), typ)
	header := []byte{typeData, 3, 3, 0, byte(len(content) + 16)}
	nonce := bytes.Clone(f.iv)
	for i, b := range number {
		nonce[4+i] ^= b
	}
	return aead.Seal(header, nonce, content, header[:5:5])
}

// secured relays between two new connections as if the client had done a handshake: client is its bare socket.
func (p *plane) secured(t *testing.T, server record.State, raw []byte, change func(*Pair)) *fixture {
	t.Helper()
	client, a := p.connect(t)
	far, b := p.connect(t)
	f := &fixture{client: client, server: far}
	f.begin(t, p.loops.Start, Pair{Client: record.NewConn(a, server, raw), Server: b}, change)
	return f
}

// look runs a function on the loop of a plane that has one.
func (p *plane) look(t *testing.T, what func(l *loop)) {
	t.Helper()
	l := p.loops.loops[0]
	done := make(chan struct{})
	if !l.Post(func() { defer close(done); what(l) }) {
		t.Fatal("the loop has ended")
	}
	<-done
}

// until looks until there is something to see.
func (p *plane) until(t *testing.T, what string, seen func(l *loop) bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond) // nothing tells
	defer again.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-again.C {
		var now bool
		p.look(t, func(l *loop) { now = seen(l) })
		if now {
			return
		}
	}
	t.Fatalf("not so: %s", what)
}

// only is the pair of a loop that has one.
func (l *loop) only() *pair {
	for _, chunk := range l.view {
		for i := range chunk {
			if slot := chunk[i].slot; slot != 0 {
				return l.slots.At(slot)
			}
		}
	}
	return nil
}

// roundTrips lets a pair of its own go there and back so often, and returns how long the slowest took.
func (p *plane) roundTrips(t *testing.T, n int) (slowest time.Duration) {
	t.Helper()
	f := p.start(t, false, nil)
	for range n {
		begun := time.Now()
		send(t, f.client, "ping")
		expect(t, f.server, "ping")
		send(t, f.server, "pong")
		expect(t, f.client, "pong")
		slowest = max(slowest, time.Since(begun))
	}
	f.client.Close()
	expectEOF(t, f.server)
	f.server.Close()
	f.wait(t)
	return slowest
}

// A full connection's socket takes nothing more from the moment on at which its descriptor is given away, whatever it has in it.
type full struct {
	net.Conn
	stuffing [][]byte
	put      *int // how many bytes it has taken
}

// Detach writes the stuffing, or as many zeros as go in, and takes all room away. What comes behind cannot be added to
// the last segment (MSG_EOR, tcp_sendmsg in the kernel), and there is room for no other.
func (f full) Detach() (int, error) {
	fd, err := f.Conn.(detach.Socket).Detach()
	if err != nil {
		return fd, err
	}
	for _, b := range f.stuffing {
		n, err := syscall.SendmsgN(fd, b, nil, nil, 0x80) // MSG_EOR
		*f.put += n
		if err != nil || n < len(b) {
			return fd, fmt.Errorf("stuff a socket: %d of %d, %v", n, len(b), err)
		}
	}
	return fd, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1)
}

// stuffing is that of a plain socket.
func stuffing() (list [][]byte) {
	for range 64 {
		list = append(list, make([]byte, 16<<10))
	}
	return list
}

// tail reads to the end, and returns what stands behind the first n bytes.
func tail(t *testing.T, c net.Conn, n int) []byte {
	t.Helper()
	all, err := io.ReadAll(c)
	if err != nil || len(all) < n {
		t.Fatalf("%d bytes, %v; want at least %d, and the end", len(all), err, n)
	}
	return all[n:]
}
