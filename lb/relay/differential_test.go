//go:build linux

package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// An act is one step of a script; it is played on the far ends of a pair.
type act struct {
	name string
	play func(f *fixture, rng *rand.Rand) error
}

// acts are the steps that leave the pair alive. Each knows what must arrive, and waits for it, so that the next begins from
// the same state with every relay.
var acts = []act{
	{"up", func(f *fixture, rng *rand.Rand) error { return carry(f.client, f.server, pieces(rng)) }},
	{"down", func(f *fixture, rng *rand.Rand) error { return carry(f.server, f.client, pieces(rng)) }},
	{"both ways", func(f *fixture, rng *rand.Rand) error {
		up, down := pieces(rng), pieces(rng)
		var both sync.WaitGroup
		var a, b error
		both.Go(func() { a = carry(f.client, f.server, up) })
		both.Go(func() { b = carry(f.server, f.client, down) })
		both.Wait()
		return errors.Join(a, b)
	}},
	{"stalled reader above", func(f *fixture, rng *rand.Rand) error { return stallThenCarry(f.client, f.server, rng) }},
	{"stalled reader below", func(f *fixture, rng *rand.Rand) error { return stallThenCarry(f.server, f.client, rng) }},
}

// ends are the last steps of scripts.
var ends = []act{
	{"client half-closes, then server", func(f *fixture, rng *rand.Rand) error { return halfClose(f.client, f.server, rng) }},
	{"server half-closes, then client", func(f *fixture, rng *rand.Rand) error { return halfClose(f.server, f.client, rng) }},
	{"client closes", func(f *fixture, _ *rand.Rand) error { return closeBoth(f.client, f.server) }},
	{"server closes", func(f *fixture, _ *rand.Rand) error { return closeBoth(f.server, f.client) }},
	{"client resets", func(f *fixture, _ *rand.Rand) error { return reset(f.client) }},
	{"server resets", func(f *fixture, _ *rand.Rand) error { return reset(f.server) }},
	{"client cuts TCP", func(f *fixture, _ *rand.Rand) error { return closeBoth(socketOf(f.client), f.server) }},
	{"closed from outside", func(f *fixture, _ *rand.Rand) error { f.session.Close(); return nil }},
	{"bytes, then close", func(f *fixture, rng *rand.Rand) error {
		sent := bytesOf(rng, 1+rng.IntN(40_000))
		if _, err := f.client.Write(sent); err != nil {
			return err
		}
		f.client.Close()
		got, err := io.ReadAll(f.server)
		f.server.Close()
		if err != nil || !bytes.Equal(got, sent) {
			return fmt.Errorf("%d bytes arrived before the end, %v; want %d", len(got), err, len(sent))
		}
		return nil
	}},
}

// TestAsCopyDoes plays the same random scripts with Copy over crypto/tls, and with Loops over the record layer: the same bytes must
// arrive, and the pair must end the same way.
func TestAsCopyDoes(t *testing.T) {
	first := uint64(time.Now().UnixNano())
	for i := range uint64(24) {
		for _, withTLS := range []bool{false, true} {
			seed := first + i
			t.Run(fmt.Sprintf("seed %d, tls %v", seed, withTLS), func(t *testing.T) {
				want := playScript(t, startCopy, withTLS, seed, int(i))
				got := playScript(t, startLoops, withTLS, seed, int(i))
				if got.Err == errTruncated {
					got.Err = nil // crypto/tls cannot tell, where a record is complete
				}
				if got.End != want.End || got.In != want.In || got.Out != want.Out || (got.Err == nil) != (want.Err == nil) {
					t.Errorf("loops end with %+v, copy with %+v", got, want)
				}
			})
		}
	}
}

// playScript plays the script of seed; its last step is number last of ends.
func playScript(t *testing.T, start starter, withTLS bool, seed uint64, last int) (r Result) {
	t.Run("", func(t *testing.T) { // so that what start opens is closed before the other relay's turn
		rng := rand.New(rand.NewPCG(seed, 0))
		f := start(t, withTLS, nil)
		script := make([]act, 0, 8)
		for range rng.IntN(6) {
			script = append(script, acts[rng.IntN(len(acts))])
		}
		script = append(script, ends[last%len(ends)])
		for _, a := range script {
			if err := a.play(f, rng); err != nil {
				t.Errorf("%s: %v", a.name, err)
			}
		}
		r = f.wait(t)
	})
	return r
}

func bytesOf(rng *rand.Rand, n int) []byte { return random(rng.Uint64(), n) }

// pieces is what one act sends: small or large, in one write or in many.
func pieces(rng *rand.Rand) [][]byte {
	list := make([][]byte, 1+rng.IntN(20))
	for i := range list {
		list[i] = bytesOf(rng, 1+rng.IntN(1<<(1+rng.IntN(16))))
	}
	return list
}

// carry writes at one end and reads the same at the other.
func carry(from, to net.Conn, list [][]byte) error {
	written := make(chan error, 1)
	go func() {
		for _, b := range list {
			if _, err := from.Write(b); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	want := bytes.Join(list, nil)
	got := make([]byte, len(want))
	_, err := io.ReadFull(to, got)
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("other bytes arrived than were sent")
	}
	return errors.Join(err, <-written)
}

// stallThenCarry writes until nothing more goes into the way to the other end, and only then reads there.
func stallThenCarry(from, to net.Conn, rng *rand.Rand) error {
	sent := bytesOf(rng, 8<<20) // more than socket buffers and the relay take (net.ipv4.tcp_wmem, tcp_rmem)
	progress := make(chan int, 1<<12)
	written := make(chan error, 1)
	go func() {
		defer close(progress)
		for at := 0; at < len(sent); at += 4 << 10 {
			if _, err := from.Write(sent[at : at+4<<10]); err != nil {
				written <- err
				return
			}
			progress <- at
		}
		written <- nil
	}()
	for stuck := false; !stuck; {
		select {
		case _, more := <-progress:
			stuck = !more // everything fitted
		case <-time.After(50 * time.Millisecond): // nothing tells that a writer waits
			stuck = true
		}
	}
	got := make([]byte, len(sent))
	_, err := io.ReadFull(to, got)
	if err == nil && !bytes.Equal(got, sent) {
		err = errors.New("other bytes arrived than were sent")
	}
	return errors.Join(err, <-written)
}

// halfClose ends one direction, uses the other, and ends that.
func halfClose(from, to net.Conn, rng *rand.Rand) error {
	if err := from.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	if err := drain(to); err != nil {
		return err
	}
	if err := carry(to, from, pieces(rng)); err != nil {
		return err
	}
	if err := to.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	return drain(from)
}

// closeBoth closes one end, and the other when it has seen that.
func closeBoth(first, second net.Conn) error {
	first.Close()
	defer second.Close()
	return drain(second)
}

// drain reads to the end of file, and wants no byte before it.
func drain(c net.Conn) error {
	if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
		return fmt.Errorf("%d bytes, %w; want the end of the stream", n, err)
	}
	return nil
}

// socketOf is the TCP socket under a far end.
func socketOf(c net.Conn) *net.TCPConn {
	if secured, ok := c.(*tls.Conn); ok {
		return secured.NetConn().(*net.TCPConn)
	}
	return c.(*net.TCPConn)
}

func reset(c net.Conn) error {
	s := socketOf(c)
	if err := s.SetLinger(0); err != nil {
		return err
	}
	return s.Close()
}
