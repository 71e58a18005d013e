//go:build linux

package socket

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A contest measures two ways to do the same in turns within one run, so that whatever else the machine does meets both.
type contest struct {
	names [2]string
	wall  [2]time.Duration
	cpu   [2]time.Duration // of the whole process, both ends
	times int
}

func (c *contest) turn(b *testing.B, who, times int, f func()) {
	begun, used := time.Now(), processCPU(b)
	for range times {
		f()
	}
	c.wall[who] += time.Since(begun)
	c.cpu[who] += processCPU(b) - used
	if who == 0 {
		c.times += times
	}
}

func (c *contest) report(b *testing.B) {
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(c.times) }
	b.ReportMetric(0, "ns/op") // of both together: says nothing
	for i, name := range c.names {
		b.ReportMetric(per(c.wall[i]), name+"-ns")
		b.ReportMetric(per(c.cpu[i]), name+"-cpu-ns")
	}
	b.ReportMetric(per(c.wall[1])/per(c.wall[0]), "ratio")
	b.ReportMetric(per(c.cpu[1])/per(c.cpu[0]), "cpu-ratio")
}

func processCPU(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// servers are an echo over package net and one over this one. wrap is what the server does with each connection first.
func servers(b *testing.B, wrap func(net.Conn) net.Conn) [2]string {
	var addresses [2]string
	for i, ln := range []net.Listener{listen(b), port(b, open(b))} {
		addresses[i] = ln.Addr().String()
		ended := make(chan struct{})
		b.Cleanup(func() {
			ln.Close()
			<-ended
		})
		go func() {
			defer close(ended)
			serve(wrapped{ln, wrap})
		}()
	}
	return addresses
}

type wrapped struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (w wrapped) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return w.wrap(c), nil
}

// BenchmarkPingPong sends one byte to an echo server and waits for it. The client is package net's both times.
func BenchmarkPingPong(b *testing.B) {
	addresses := servers(b, func(c net.Conn) net.Conn { return c })
	var clients [2]net.Conn
	for i, a := range addresses {
		clients[i] = dialNet(b, a)
	}
	c := contest{names: [2]string{"net", "socket"}}
	for b.Loop() {
		for i, client := range clients {
			c.turn(b, i, 100, func() {
				var p [1]byte
				client.Write(p[:])
				if _, err := client.Read(p[:]); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
	c.report(b)
	for _, client := range clients {
		client.Close()
	}
}

// BenchmarkHandshake connects, shakes hands by TLS 1.3, and disconnects. The client is package net's both times.
func BenchmarkHandshake(b *testing.B) {
	server, client := certificate(b)
	addresses := servers(b, func(c net.Conn) net.Conn { return tls.Server(c, server) })
	c := contest{names: [2]string{"net", "socket"}}
	for b.Loop() {
		for i, a := range addresses {
			c.turn(b, i, 10, func() {
				raw, err := net.Dial("tcp", a)
				if err != nil {
					b.Fatal(err)
				}
				conn := tls.Client(raw, client)
				if _, err := conn.Write([]byte("x")); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
					b.Fatal(err)
				}
				conn.Close()
			})
		}
	}
	c.report(b)
}

// BenchmarkSystemCall reads from a socket that has nothing, telling the scheduler and not.
func BenchmarkSystemCall(b *testing.B) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	c, p := contest{names: [2]string{"told", "raw"}}, make([]byte, 1)
	for b.Loop() {
		c.turn(b, 0, 1000, func() { unix.Read(fds[0], p) })
		c.turn(b, 1, 1000, func() { receive(int32(fds[0]), p) })
	}
	c.report(b)
}

// BenchmarkDetach accepts a connection and takes its descriptor out, against duplicating package net's.
func BenchmarkDetach(b *testing.B) {
	plain := listen(b)
	own := port(b, open(b))
	c := contest{names: [2]string{"dup", "detach"}}
	connect := func(ln net.Listener) net.Conn {
		peer, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer peer.Close()
		conn, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		peer.Write([]byte("x"))
		conn.Read(make([]byte, 1))
		return conn
	}
	for b.Loop() {
		c.turn(b, 0, 10, func() {
			conn := connect(plain)
			defer conn.Close()
			f, err := conn.(*net.TCPConn).File()
			if err != nil {
				b.Fatal(err)
			}
			f.Close()
		})
		c.turn(b, 1, 10, func() {
			fd, err := connect(own).(Detacher).Detach()
			if err != nil {
				b.Fatal(err)
			}
			unix.Close(fd)
		})
	}
	c.report(b)
}
