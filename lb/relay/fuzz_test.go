//go:build linux

package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/socket"
	"github.com/mqttlb/mqttlb/lb/record"
)

// A script is what both far ends send: its two streams, and how they are cut.
type script struct {
	up, down       []byte   // what must arrive
	client, server [][]byte // what is written, piece by piece; the client's is records
	serverEnds     bool     // first, and the client when it has seen that; else the other way round
}

// scriptOf reads two bytes for each step: what, and how much.
func scriptOf(t *testing.T, b []byte) (s script, cs, ss record.State) {
	version := uint16(tls.VersionTLS13)
	if len(b) > 0 {
		s.serverEnds = b[0]&1 != 0
		if b[0]&2 != 0 {
			version = tls.VersionTLS12
		}
		b = b[1:]
	}
	cs, ss = states(t, version, 0)
	sealing := cs
	var pending []byte // records that are not written yet
	for n := 0; len(b) >= 2 && n < 64; n++ {
		what, size := b[0]%5, int(b[1])*int(b[1])/4
		b = b[2:]
		switch what {
		case 0, 1: // a record of the client
			data := random(uint64(n), size)
			if size == 0 && n%8 != 0 { // a few empty ones are allowed
				data = []byte{byte(n)}
			}
			s.up = append(s.up, data...)
			pending = append(pending, seal(&sealing, data)...)
			if what == 0 {
				s.client, pending = append(s.client, pending), nil
			}
		case 2: // the client writes some of what is pending
			cut := min(len(pending), 1+size)
			s.client, pending = append(s.client, pending[:cut:cut]), pending[cut:]
		default:
			data := random(uint64(n), 1+size)
			s.down = append(s.down, data...)
			s.server = append(s.server, data)
		}
	}
	s.client = append(s.client, sealing.AppendAlert(record.NewCache(1), pending, record.CloseNotify))
	return s, cs, ss
}

// FuzzLoops plays scripts on a plane that lives on: what was sent arrives, up to the end, and every pair ends.
func FuzzLoops(f *testing.F) {
	f.Add([]byte{0, 0, 10, 3, 10})
	f.Add([]byte{1, 1, 255, 1, 255, 2, 100, 0, 5, 3, 255, 4, 255})
	f.Add([]byte{2, 1, 7, 2, 0, 2, 1, 2, 2, 3, 1, 0, 0})
	f.Add(append([]byte{3}, bytes.Repeat([]byte{1, 255, 3, 255, 2, 60}, 20)...))
	p := longLived(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, cs, ss := scriptOf(t, b)
		x := p.secured(t, ss, nil, nil)
		x.server.SetDeadline(time.Now().Add(patience))
		reader := record.NewConn(x.client, cs, nil) // it only reads
		clientDone, serverDone := make(chan []byte, 1), make(chan []byte, 1)
		go func() { got, err := io.ReadAll(reader); report(t, err); clientDone <- got }()
		go func() { got, err := io.ReadAll(x.server); report(t, err); serverDone <- got }()
		last := s.client[len(s.client)-1]
		written := make(chan struct{})
		go func() {
			defer close(written)
			write(t, x.client, s.client[:len(s.client)-1])
		}()
		write(t, x.server, s.server)
		<-written
		var down, up []byte
		if s.serverEnds {
			closeWrite(t, x.server)
			down = <-clientDone
			write(t, x.client, [][]byte{last})
			up = <-serverDone
		} else {
			write(t, x.client, [][]byte{last})
			up = <-serverDone
			closeWrite(t, x.server)
			down = <-clientDone
		}
		if !bytes.Equal(up, s.up) || !bytes.Equal(down, s.down) {
			t.Errorf("%d bytes up, %d down, or others; want %d and %d", len(up), len(down), len(s.up), len(s.down))
		}
		want := Result{End: ClientClosed, In: uint64(len(s.up)), Out: uint64(len(s.down))}
		if s.serverEnds {
			want.End = ServerClosed
		}
		if r := x.wait(t); r != want {
			t.Errorf("result %+v, want %+v", r, want)
		}
	})
}

// longLived is a plane of two loops for all scripts.
func longLived(f *testing.F) *plane {
	sockets, err := socket.Open()
	if err != nil {
		f.Fatal(err)
	}
	loops, err := Open(2)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- loops.Run(ctx) }()
	f.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			f.Error(err)
		}
		sockets.Close()
	})
	return &plane{sockets, loops}
}

func write(t *testing.T, c net.Conn, pieces [][]byte) {
	for _, b := range pieces {
		if _, err := c.Write(b); err != nil {
			t.Errorf("write: %v", err)
			return
		}
	}
}

func report(t *testing.T, err error) {
	if err != nil {
		t.Errorf("read: %v", err)
	}
}
