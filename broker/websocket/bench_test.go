package websocket

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

// BenchmarkDecode takes masked frames apart, as an event loop does: alone, as many as a read of 64 KiB has, and one large.
func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name        string
		size, count int
	}{{"2B", 2, 1}, {"130B", 130, 1}, {"130B×470", 130, 470}, {"64KiB", 64 << 10, 1}} {
		b.Run(c.name, func(b *testing.B) {
			var frames []byte
			for range c.count {
				frames = append(frames, frame(binaryFrame, string(make([]byte, c.size)))...)
			}
			var d Decoder
			buf, reply := make([]byte, len(frames)), make([]byte, 0, 256)
			b.ReportAllocs()
			b.SetBytes(int64(c.size * c.count))
			for b.Loop() {
				copy(buf, frames) // decoding changes them
				if payload, _, err := d.Decode(buf, reply); err != nil || len(payload) != c.size*c.count {
					b.Fatal(len(payload), err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.count), "ns/frame")
		})
	}
}

// BenchmarkUnmask compares with doing it by gobwas/ws, which has assembly for it, and moving the bytes afterwards.
func BenchmarkUnmask(b *testing.B) {
	for _, n := range []int{10, 130, 64 << 10} {
		buf := make([]byte, 6+n)
		b.Run(fmt.Sprintf("here/%dB", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				unmask(buf, buf[6:], 0x01020304)
			}
		})
		b.Run(fmt.Sprintf("gobwas/%dB", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				ws.Cipher(buf[6:], [4]byte{1, 2, 3, 4}, 0)
				copy(buf, buf[6:])
			}
		})
	}
}

// BenchmarkAppendHeader is what one frame to a client costs beyond its packet.
func BenchmarkAppendHeader(b *testing.B) {
	buf := make([]byte, 0, MaxHeader)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendHeader(buf[:0], 130)
	}
}

// BenchmarkRequest compares upgrading with doing it by the Upgrader of github.com/gobwas/ws, both without a network.
func BenchmarkRequest(b *testing.B) {
	sent := []byte(request())
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := upgrade(&stream{Reader: bytes.NewReader(sent)}, Options{Path: "/mqtt"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gobwas", func(b *testing.B) {
		u := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == "mqtt" }}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := u.Upgrade(&stream{Reader: bytes.NewReader(sent)}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A stream is a connection without a network: what a client sends, and what it is answered.
type stream struct {
	io.Reader
	bytes.Buffer
}

func (s *stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }
