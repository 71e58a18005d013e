//go:build linux

package socket

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

func TestDetach(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, c *Conn, peer *net.TCPConn)
		unread  string
	}{
		{"never waited", func(*testing.T, *Conn, *net.TCPConn) {}, ""},
		{"has waited", hasWaited, ""},
		{"data unread, never waited", func(t *testing.T, c *Conn, peer *net.TCPConn) { write(t, peer, "later") }, "later"},
		{"data unread, has waited", func(t *testing.T, c *Conn, peer *net.TCPConn) {
			hasWaited(t, c, peer)
			write(t, peer, "later")
		}, "later"},
		{"data unread, and a deadline that has passed", func(t *testing.T, c *Conn, peer *net.TCPConn) {
			write(t, peer, "later")
			c.SetDeadline(time.Now())
		}, "later"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			leaktest.Check(t)
			p := open(t)
			ln := port(t, p)
			peer := dialNet(t, ln.Addr().String())
			c := accepted(t, ln).(*Conn)
			test.prepare(t, c, peer)
			fd, err := c.Detach()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if watched(t, p, fd) {
				t.Error("the descriptor is still in the epoll instance")
			}
			gone(t, c)
			usable(t, fd, peer, test.unread)
		})
	}
}

func hasWaited(t *testing.T, c *Conn, peer *net.TCPConn) {
	read := later(func() string { return result(c.Read(make([]byte, 1))) })
	parked(t, c, false)
	if !watched(t, c.poller, int(c.fd)) {
		t.Error("the connection that waits is not in the epoll instance")
	}
	write(t, peer, "x")
	if got := get(t, read); got != "1 ok" {
		t.Fatal(got)
	}
}

// watched reports whether fd is in p's epoll instance (proc_pid_fdinfo(5)).
func watched(t *testing.T, p *Poller, fd int) bool {
	t.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", p.fd))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "tfd:" && f[1] == fmt.Sprint(fd) {
			return true
		}
	}
	return false
}

// gone checks that c is closed for everybody.
func gone(t *testing.T, c *Conn) {
	t.Helper()
	if fd, err := c.Detach(); !errors.Is(err, net.ErrClosed) || fd != -1 {
		t.Errorf("second Detach: %d, %v", fd, err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
	if got := result(c.Read(make([]byte, 1))); got != "0 read closed" {
		t.Errorf("Read: %s", got)
	}
	if got := result(c.Write(make([]byte, 1))); got != "0 write closed" {
		t.Errorf("Write: %s", got)
	}
}

// usable checks that fd is the other end of peer, non-blocking, with the unread data still in it.
func usable(t *testing.T, fd int, peer *net.TCPConn, data string) {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %#x, %v: not non-blocking", flags, err)
	}
	unread(t, fd, len(data))
	b := make([]byte, 100)
	if data != "" {
		if n, err := unix.Read(fd, b); string(b[:max(n, 0)]) != data || err != nil {
			t.Errorf("read %q, %v", b[:max(n, 0)], err)
		}
	}
	if _, err := unix.Read(fd, b); err != unix.EAGAIN {
		t.Errorf("read from the empty socket: %v", err)
	}
	if _, err := unix.Write(fd, []byte("hello")); err != nil {
		t.Error(err)
	}
	peer.SetDeadline(time.Now().Add(patience))
	if n, err := peer.Read(b); string(b[:n]) != "hello" {
		t.Errorf("the peer read %q, %v", b[:n], err)
	}
}

func TestDetachEndsWhatWaits(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	a, _ := pair(t, p, port(t, p))
	var ended atomic.Int32
	var results []<-chan string
	for range 3 {
		results = append(results, later(func() string {
			defer ended.Add(1)
			return result(a.Read(make([]byte, 1)))
		}))
	}
	results = append(results, later(func() string {
		defer ended.Add(1)
		_, err := a.Write(make([]byte, 64<<20))
		return describe(err)
	}))
	parked(t, a, false)
	parked(t, a, true)
	fd, err := a.Detach()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for i, want := range []string{"0 read closed", "0 read closed", "0 read closed", "write closed"} {
		if got := get(t, results[i]); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestOneOwner lets closing and detaching race: exactly one of them gets the descriptor.
func TestOneOwner(t *testing.T) {
	leaktest.Check(t)
	p := open(t)
	ln := port(t, p)
	for range 200 {
		a, b := pair(t, p, ln)
		var owners atomic.Int32
		var all sync.WaitGroup
		all.Go(func() { a.Read(make([]byte, 1)) })
		for range 2 {
			all.Go(func() {
				if a.Close() == nil {
					owners.Add(1)
				}
			})
			all.Go(func() {
				if fd, err := a.Detach(); err == nil {
					unix.Close(fd)
					owners.Add(1)
				}
			})
			all.Go(func() { a.SetDeadline(time.Now().Add(patience)) })
			all.Go(func() { a.CloseWrite() })
		}
		all.Wait()
		b.Close()
		if n := owners.Load(); n != 1 {
			t.Fatalf("%d had the descriptor", n)
		}
	}
}

func certificate(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	ca, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.Issue(devca.Options{Hosts: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{issued.TLS()}}, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}
}

func TestTLS(t *testing.T) {
	leaktest.Check(t)
	serverConfig, clientConfig := certificate(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			p := open(t)
			a, b := pair(t, p, port(t, p))
			a.SetDeadline(time.Now().Add(patience))
			b.SetDeadline(time.Now().Add(patience))
			clientConfig := clientConfig.Clone()
			clientConfig.MaxVersion = version
			server, client := tls.Server(b, serverConfig), tls.Client(a, clientConfig)
			echoed := later(func() string {
				_, err := io.Copy(server, server)
				server.CloseWrite()
				return fmt.Sprint(err)
			})
			sent := bytes.Repeat([]byte("all of this comes back "), 1<<16)
			written := later(func() string {
				_, err := client.Write(sent)
				client.CloseWrite()
				return fmt.Sprint(err)
			})
			received, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(sent, received) {
				t.Errorf("%d bytes came back of %d, %v", len(received), len(sent), err)
			}
			for _, r := range []<-chan string{echoed, written} {
				if got := get(t, r); got != "<nil>" {
					t.Error(got)
				}
			}
		})
	}
}
