//go:build linux

package socket

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// A step list is what a script saw, for comparing.
type steps []string

func (s *steps) add(step string) { *s = append(*s, step) }

// scripts are run against every kind of connection; each must see what is written down here.
var scripts = []struct {
	name string
	run  func(t *testing.T, c conn, peer *net.TCPConn, saw *steps)
	want steps
}{
	{"read, then the end", readToEnd, steps{"3 ok", "0 EOF", "0 EOF"}},
	{"a deadline that has passed fails reads though data is there", pastDeadline, steps{"0 read timeout", "0 ok", "0 write timeout", "0 write timeout", "3 ok", "1 ok"}},
	{"a deadline passes while a read waits", deadlineWhileReading, steps{"0 read timeout", "0 read timeout", "3 ok"}},
	{"a deadline is set while a read waits", deadlineSetWhileReading, steps{"0 read timeout"}},
	{"a deadline is lifted while a read waits", deadlineLifted, steps{"3 ok"}},
	{"a full socket and a deadline", fullSocket, steps{"some", "write timeout", "all"}},
	{"a write waits for a slow reader", slowReader, steps{"8388608 ok", "same"}},
	{"close wakes readers and writers", closeWakes, steps{"ok", "0 read closed", "0 read closed", "write closed"}},
	{"nothing works after close", afterClose, steps{"ok", "close closed", "0 read closed", "0 read closed", "0 write closed", "0 write closed", "set closed", "set closed", "set closed", "close closed", "set closed", "same"}},
	{"half-close", halfClose, steps{"ok", "EOF", "3 ok", "0 write EPIPE", "0 EOF"}},
	{"half-close while a write waits", halfCloseWhileWriting, steps{"ok", "write EPIPE"}},
	{"linger 0 resets", lingerZero, steps{"ok", "ok", "0 read ECONNRESET"}},
	{"reset by the peer", resetByPeer, steps{"0 read ECONNRESET", "0 write EPIPE"}},
	{"reset with data unread", resetUnread, steps{"0 read ECONNRESET"}},
	{"writes are whole", wholeWrites, steps{"16 blocks"}},
	{"reads share", sharedReads, steps{"1 ok", "1 ok", "1 ok", "1 ok"}},
}

func TestConnIsLikeTCPConn(t *testing.T) {
	for _, script := range scripts {
		for _, kind := range kinds {
			t.Run(script.name+"/"+kind.name, func(t *testing.T) {
				leaktest.Check(t)
				c, peer := kind.make(t)
				deadline := time.Now().Add(patience)
				peer.SetDeadline(deadline)
				var saw steps
				script.run(t, c, peer, &saw)
				if !slices.Equal(saw, script.want) {
					t.Errorf("saw  %q\nwant %q", saw, script.want)
				}
			})
		}
	}
}

func readToEnd(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	b := make([]byte, 10)
	first := later(func() string { return result(c.Read(b)) })
	parked(t, c, false)
	write(t, peer, "abc")
	saw.add(get(t, first))
	peer.Close()
	saw.add(result(c.Read(b)))
	saw.add(result(c.Read(b)))
}

func pastDeadline(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	write(t, peer, "abc")
	b := make([]byte, 10)
	c.SetDeadline(time.Now().Add(-time.Second))
	saw.add(result(c.Read(b)))
	saw.add(result(c.Read(nil)))
	saw.add(result(c.Write(b)))
	saw.add(result(c.Write(nil)))
	c.SetDeadline(time.Time{})
	saw.add(result(c.Read(b)))
	saw.add(result(c.Write(b[:1])))
}

func deadlineWhileReading(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	b := make([]byte, 10)
	for range 2 {
		begun := time.Now()
		c.SetReadDeadline(begun.Add(20 * time.Millisecond))
		saw.add(result(c.Read(b)))
		if d := time.Since(begun); d < 20*time.Millisecond {
			t.Errorf("timeout after %v, before its time", d)
		}
	}
	c.SetReadDeadline(time.Now().Add(patience))
	write(t, peer, "abc")
	saw.add(result(c.Read(b)))
}

func deadlineSetWhileReading(t *testing.T, c conn, _ *net.TCPConn, saw *steps) {
	read := later(func() string { return result(c.Read(make([]byte, 10))) })
	parked(t, c, false)
	c.SetDeadline(time.Now().Add(10 * time.Millisecond))
	saw.add(get(t, read))
}

func deadlineLifted(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	b := make([]byte, 10)
	for d := 50 * time.Millisecond; ; d *= 2 {
		c.SetReadDeadline(time.Now().Add(patience))
		read := later(func() string { return result(c.Read(b)) })
		parked(t, c, false)
		soon := time.Now().Add(d)
		c.SetReadDeadline(soon)
		c.SetReadDeadline(time.Time{})
		inTime := time.Now().Before(soon)
		<-time.After(time.Until(soon) + 10*time.Millisecond) // the deadline that must not have an effect
		write(t, peer, "abc")
		got := get(t, read)
		if inTime {
			saw.add(got)
			return
		}
		if got != "3 ok" { // the machine was slow, and the deadline passed before it was lifted
			c.Read(b)
		}
	}
}

// fill writes until nothing goes any more, and returns how much went.
func fill(t *testing.T, c conn) (n int, err error) {
	all := make([]byte, 64<<20)
	for n == 0 { // on a slow machine the deadline may pass before the first byte goes
		c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err = c.Write(all); err == nil {
			t.Fatalf("%d bytes went to a peer that does not read", n)
		}
	}
	return n, err
}

func fullSocket(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	n, err := fill(t, c)
	if n > 0 {
		saw.add("some")
	}
	saw.add(describe(err))
	c.SetWriteDeadline(time.Time{})
	c.CloseWrite()
	if got, err := io.Copy(io.Discard, peer); got == int64(n) && err == nil {
		saw.add("all")
	}
}

func slowReader(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	c.SetWriteDeadline(time.Now().Add(patience))
	written := later(func() string { return result(c.Write(sent)) })
	parked(t, c, true)
	received := make([]byte, len(sent))
	if _, err := io.ReadFull(peer, received); err != nil {
		t.Fatal(err)
	}
	saw.add(get(t, written))
	if bytes.Equal(sent, received) {
		saw.add("same")
	}
}

func closeWakes(t *testing.T, c conn, _ *net.TCPConn, saw *steps) {
	fill(t, c)
	c.SetDeadline(time.Now().Add(patience))
	first := later(func() string { return result(c.Read(make([]byte, 1))) })
	second := later(func() string { return result(c.Read(make([]byte, 1))) })
	written := later(func() string {
		_, err := c.Write(make([]byte, 64<<20))
		return describe(err)
	})
	parked(t, c, false)
	parked(t, c, true)
	saw.add(describe(c.Close()))
	saw.add(get(t, first))
	saw.add(get(t, second))
	saw.add(get(t, written))
}

func afterClose(_ *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	saw.add(describe(c.Close()))
	saw.add(describe(c.Close()))
	saw.add(result(c.Read(make([]byte, 1))))
	saw.add(result(c.Read(nil)))
	saw.add(result(c.Write(make([]byte, 1))))
	saw.add(result(c.Write(nil)))
	saw.add(describe(c.SetDeadline(time.Now())))
	saw.add(describe(c.SetReadDeadline(time.Now())))
	saw.add(describe(c.SetWriteDeadline(time.Now())))
	saw.add(describe(c.CloseWrite()))
	saw.add(describe(c.SetLinger(0)))
	if c.RemoteAddr().String() == peer.LocalAddr().String() && c.LocalAddr().String() == peer.RemoteAddr().String() {
		saw.add("same")
	}
}

func halfClose(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	saw.add(describe(c.CloseWrite()))
	b := make([]byte, 10)
	_, err := peer.Read(b)
	saw.add(describe(err))
	write(t, peer, "abc")
	saw.add(result(c.Read(b)))
	saw.add(result(c.Write(b)))
	peer.Close()
	saw.add(result(c.Read(b)))
}

func halfCloseWhileWriting(t *testing.T, c conn, _ *net.TCPConn, saw *steps) {
	fill(t, c)
	c.SetDeadline(time.Now().Add(patience))
	written := later(func() string {
		_, err := c.Write(make([]byte, 64<<20))
		return describe(err)
	})
	parked(t, c, true)
	saw.add(describe(c.CloseWrite()))
	saw.add(get(t, written))
}

func lingerZero(_ *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	saw.add(describe(c.SetLinger(0)))
	saw.add(describe(c.Close()))
	saw.add(result(peer.Read(make([]byte, 1))))
}

func resetByPeer(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	read := later(func() string { return result(c.Read(make([]byte, 1))) })
	parked(t, c, false)
	peer.SetLinger(0)
	peer.Close()
	saw.add(get(t, read))
	saw.add(result(c.Write(make([]byte, 1))))
}

// resetUnread: a reset throws away what was not read yet (RFC 9293, section 3.10.7.4).
func resetUnread(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	write(t, peer, "a")
	c.Read(make([]byte, 1))
	peer.SetLinger(0)
	peer.Close()
	saw.add(result(c.Read(make([]byte, 1))))
}

// wholeWrites: what one Write sends is not mixed with what another does, though each waits several times.
func wholeWrites(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	const writers, block = 16, 1 << 20
	c.SetWriteDeadline(time.Now().Add(patience))
	for i := range writers {
		go c.Write(bytes.Repeat([]byte{byte(i)}, block))
	}
	whole, got := 0, make([]byte, block)
	for range writers {
		if _, err := io.ReadFull(peer, got); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(got, got[:1]) == block {
			whole++
		}
	}
	saw.add(strconv.Itoa(whole) + " blocks")
}

func sharedReads(t *testing.T, c conn, peer *net.TCPConn, saw *steps) {
	var reads []<-chan string
	for range 4 {
		reads = append(reads, later(func() string { return result(c.Read(make([]byte, 1))) }))
	}
	parked(t, c, false)
	write(t, peer, "abcd")
	for _, r := range reads {
		saw.add(get(t, r))
	}
}

// TestNoSignal: the program asks for SIGPIPE, and must not be told of broken connections.
func TestNoSignal(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	c, _ := pair(t, p, port(t, p))
	// Signals that come together are handed out by number (os/signal), so that SIGPIPE would be before the mark.
	const mark = syscall.SIGWINCH
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGPIPE, mark)
	defer signal.Stop(signals)
	c.CloseWrite()
	if got := result(c.Write([]byte("x"))); got != "0 write EPIPE" {
		t.Fatal(got)
	}
	if err := syscall.Kill(os.Getpid(), mark); err != nil {
		t.Fatal(err)
	}
	if got := <-signals; got != mark {
		t.Errorf("signal: %v", got)
	}
}
