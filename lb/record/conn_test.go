package record

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// pair returns two Conns that talk to each other.
func pair(t testing.TB, f flavor) (cl, sv *Conn) {
	t.Helper()
	a, b := connect(t, f, source(1))
	x, y := loopback(t)
	return NewConn(x, a.State, nil), NewConn(y, b.State, nil)
}

// push lets data go out under from's keys, without a Conn of its own in the way.
func (c *Conn) push(t testing.TB, make func(e *end) []byte) {
	t.Helper()
	c.mu.Lock()
	e := end{c.state, c.ciphers}
	record := make(&e)
	c.state = e.State
	c.mu.Unlock()
	if _, err := c.under.Write(record); err != nil {
		t.Fatal(err)
	}
}

func TestConverse(t *testing.T) {
	leaktest.Check(t)
	each(t, func(t *testing.T, f flavor) {
		cl, sv := pair(t, f)
		converse(t, cl, sv)
	})
}

// Reading, writing, KeyUpdates and Close from many goroutines at once.
func TestConnIsConcurrent(t *testing.T) {
	leaktest.Check(t)
	cl, sv := pair(t, flavors[0])
	sent := noise(source(2), 1<<16)
	side := func(c *Conn) func() error {
		return func() error {
			wrote := make(chan error, 1)
			go func() {
				for rest := sent; len(rest) > 0; rest = rest[min(len(rest), 500):] {
					c.mu.Lock()
					c.state.flags |= answer
					c.mu.Unlock()
					if _, err := c.Write(rest[:min(len(rest), 500)]); err != nil {
						wrote <- err
						return
					}
				}
				wrote <- nil
			}()
			got := make([]byte, len(sent))
			_, err := io.ReadFull(c, got)
			if err = errors.Join(err, <-wrote); err == nil && !bytes.Equal(got, sent) {
				err = errors.New("other data")
			}
			return err
		}
	}
	both(t, side(cl), side(sv))
	closed := make(chan error, 2)
	go func() { closed <- cl.Close() }()
	go func() { closed <- cl.Close() }()
	one, other := <-closed, <-closed
	if (one == nil) == (other == nil) || !errors.Is(errors.Join(one, other), net.ErrClosed) {
		t.Errorf("two Closes: %v, %v", one, other)
	}
	if _, err := sv.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after Close the peer reads %v", err)
	}
}

func TestClosed(t *testing.T) {
	leaktest.Check(t)
	cl, sv := pair(t, flavors[0])
	if err := cl.Close(); err != nil {
		t.Fatal(err)
	}
	if cl.state != (State{}) || cl.ciphers != nil {
		t.Error("the keys are still there")
	}
	_, err := cl.Read(make([]byte, 1))
	_, werr := cl.Write([]byte("x"))
	for what, err := range map[string]error{"Read": err, "Write": werr, "CloseWrite": cl.CloseWrite(), "Close": cl.Close()} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
	for range 2 {
		if n, err := sv.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d, %v; want the end of the file", n, err)
		}
	}
	for range 2 {
		if err := sv.CloseWrite(); err != nil {
			t.Error(err)
		}
	}
	if _, err := sv.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after CloseWrite: %v", err)
	}
}

// A stream that is cut is told from one that has ended, wherever it is cut.
func TestTruncation(t *testing.T) {
	leaktest.Check(t)
	for what, rest := range map[string]int{"between records": 0, "in a header": 3, "in a record": 12} {
		cl, sv := pair(t, flavors[0])
		if _, err := cl.Write([]byte("data")); err != nil {
			t.Fatal(err)
		}
		cl.push(t, func(e *end) []byte { return e.data("more")[:rest] })
		if err := cl.under.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(sv)
		if _, again := sv.Read(got); string(got) != "data" || err != io.ErrUnexpectedEOF || again != err {
			t.Errorf("%s: %q, %v, then %v", what, got, err, again)
		}
	}
}

// Who sends a bad record is told what was bad, and reads nothing more.
func TestRefusedRecord(t *testing.T) {
	leaktest.Check(t)
	each(t, func(t *testing.T, f flavor) {
		cl, sv := pair(t, f)
		if _, err := cl.Write([]byte("data")); err != nil {
			t.Fatal(err)
		}
		cl.push(t, func(e *end) []byte { r := e.data("changed"); r[len(r)-1] ^= 1; return r })
		got, err := io.ReadAll(sv)
		if refused(t, err, BadRecordMAC); string(got) != "data" {
			t.Errorf("%q was read", got)
		}
		var alert *Alert
		if _, err := io.ReadAll(cl); !errors.As(err, &alert) || !alert.Remote || alert.Code != BadRecordMAC {
			t.Errorf("the peer is told %v", err)
		}
		if _, err := sv.Write([]byte("x")); !errors.As(err, &alert) {
			t.Errorf("Write after it: %v", err)
		}
		if _, err := cl.Write([]byte("x")); !errors.As(err, &alert) {
			t.Errorf("the peer's Write after it: %v", err)
		}
		if err := sv.CloseWrite(); !errors.As(err, &alert) {
			t.Errorf("CloseWrite after it: %v", err)
		}
	})
}

// A Read that has timed out can be repeated, in the middle of a record too.
func TestReadDeadline(t *testing.T) {
	leaktest.Check(t)
	cl, sv := pair(t, flavors[0])
	var record []byte
	cl.push(t, func(e *end) []byte { record = e.data("late"); return record[:10] })
	if err := sv.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := sv.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err := sv.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.under.Write(record[10:]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if n, err := sv.Read(got); string(got[:n]) != "late" || err != nil {
		t.Errorf("%q, %v", got[:n], err)
	}
}

// After a Write that has timed out nothing is sent any more: part of a record may be on its way.
func TestWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := connect(t, flavors[0], source(1))
		near, far := net.Pipe()
		defer far.Close()
		c := NewConn(near, a.State, nil)
		defer c.Close()
		c.SetWriteDeadline(time.Now().Add(time.Second))
		begun := time.Now()
		if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("%d, %v after %v", n, err, time.Since(begun))
		}
		c.SetWriteDeadline(time.Time{})
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if err := c.CloseWrite(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

// A peer that takes nothing holds neither Close nor a refusal for longer than it may, and a Write not beyond Close.
func TestNobodyIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, sv := connect(t, flavors[0], source(1))
		begun := time.Now()
		near, far := net.Pipe()
		defer far.Close()
		if err := NewConn(near, sv.State, nil).Close(); err != nil || time.Since(begun) != goodbye {
			t.Errorf("Close: %v after %v", err, time.Since(begun))
		}
		begun = time.Now()
		near, far = net.Pipe()
		defer far.Close()
		c := NewConn(near, sv.State, cl.data("twice"))
		c.raw = append(bytes.Clone(c.raw), c.raw...)
		got, err := io.ReadAll(c)
		if refused(t, err, BadRecordMAC); string(got) != "twice" || time.Since(begun) != goodbye {
			t.Errorf("a refusal: %q after %v", got, time.Since(begun))
		}
		near, far = net.Pipe()
		defer far.Close()
		begun = time.Now()
		c = NewConn(near, sv.State, nil)
		wrote := make(chan error)
		go func() { _, err := c.Write([]byte("x")); wrote <- err }()
		synctest.Wait()
		if err := c.Close(); err != nil || time.Since(begun) != 0 {
			t.Errorf("Close in a Write: %v after %v", err, time.Since(begun))
		}
		if err := <-wrote; err == nil {
			t.Error("the Write has gone through")
		}
	})
}

// A KeyUpdate is answered in front of the next data, and by no Read.
func TestReadDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, sv := connect(t, flavors[0], source(1))
		near, far := net.Pipe()
		c := NewConn(near, sv.State, nil)
		go func() { // reads only after it has written
			far.Write(cl.says(asks))
			far.Write(cl.data("hello"))
			buf := make([]byte, 1000)
			n, _ := io.ReadAtLeast(far, buf, 2*sv.Overhead()+5+len("back"))
			cl.wants(t, "back", buf[:n])
			far.Close()
		}()
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
		if _, err := c.Write([]byte("back")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(got); err != io.ErrUnexpectedEOF {
			t.Error(err)
		}
		c.Close()
	})
}

// What a Conn gives away is all that it has, whenever it is, and goes on elsewhere.
func TestDetach(t *testing.T) {
	leaktest.Check(t)
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		near, far := loopback(t)
		first, second, third := cl.data("first"), cl.data("second"), cl.data("third")[:9]
		all := bytes.Join([][]byte{first, second, third}, nil)
		c := NewConn(near, sv.State, nil)
		if _, err := far.Write(all); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		r := c.Detach()
		under, s, raw := r.Under, r.State, r.Raw
		if under != near || string(r.Plain) != "rst" || c.buf != nil || c.out != nil || c.raw != nil || c.plain != nil || c.state != (State{}) || c.ciphers != nil {
			t.Errorf("%v, %q", under, r.Plain)
		}
		cache := NewCache(8)
		other := s
		cache.Adopt(&other, nil)
		if other.in.cached != 0 || other.out.cached != 0 || len(cache.entries) != 0 {
			t.Errorf("from no cache, %d ciphers were taken over", len(cache.entries))
		}
		in, out := r.Ciphers.find(&s.in).aead, r.Ciphers.find(&s.out).aead
		cache.Adopt(&s, r.Ciphers)
		if cache.find(&s.in).aead != in || cache.find(&s.out).aead != out {
			t.Error("the ciphers were not taken over")
		}
		if r.Ciphers.entries[0] != (entry{}) || r.Ciphers.entries[1] != (entry{}) || len(r.Ciphers.free) != 2 {
			t.Error("the other Cache has them still, or no use for their places")
		}
		rest := make([]byte, len(second)+len(third))
		if _, err := io.ReadFull(under, rest[copy(rest, raw):]); err != nil {
			t.Fatal(err)
		}
		o, err := s.Open(cache, rest)
		if err != nil || string(o.Data) != "second" || o.Used != len(second) {
			t.Errorf("%q, %v, %d bytes", o.Data, err, o.Used)
		}
		cache.Drop(&s)
		if cache.entries[0] != (entry{}) || cache.entries[1] != (entry{}) || len(cache.free) != 2 {
			t.Error("ciphers that were dropped are still there")
		}
		_, rerr := c.Read(rest)
		_, werr := c.Write(rest)
		for what, err := range map[string]error{"Read": rerr, "Write": werr, "Close": c.Close(), "CloseWrite": c.CloseWrite()} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Detach: %v", what, err)
			}
		}
		if _, err := far.Write([]byte("open")); err != nil {
			t.Errorf("the connection under it was closed: %v", err)
		}
	})
}

// Buffers are small but while a stream is not.
func TestBuffers(t *testing.T) {
	leaktest.Check(t)
	cl, sv := pair(t, flavors[0])
	go io.Copy(sv, sv)
	for _, step := range []struct{ n, size int }{{100, smallBuffer}, {MaxPlaintext, largeBuffer + ownRecord}, {100, smallBuffer}, {100, smallBuffer}} {
		for range 3 {
			echoed(t, cl, string(make([]byte, step.n)))
		}
		if cap(cl.buf) != step.size || cap(cl.out) != step.size {
			t.Errorf("after %d bytes: %d to read, %d to write, want %d", step.n, cap(cl.buf), cap(cl.out), step.size)
		}
	}
	if cl.LocalAddr().String() != sv.RemoteAddr().String() || cl.NetConn() != cl.under {
		t.Error("addresses")
	}
	if n, err := cl.Read(nil); n != 0 || err != nil {
		t.Errorf("a Read of nothing: %d, %v", n, err)
	}
	if n, err := cl.Write(nil); n != 0 || err != nil {
		t.Errorf("a Write of nothing: %d, %v", n, err)
	}
	cl.Close()
}

// segments are a connection that brings records of a size piece by piece, and each with its end.
type segments struct {
	net.Conn
	rest []byte
	size int
}

func (s *segments) Read(p []byte) (int, error) {
	n := copy(p, s.rest[:min(1448, (len(s.rest)-1)%s.size+1)])
	s.rest = s.rest[n:]
	return n, nil
}

// A stream of large records takes no new buffer for each, wherever they are cut.
func TestStreamMakesNoGarbage(t *testing.T) {
	cl, sv := connect(t, flavors[0], source(1))
	var stream []byte
	for range 100 {
		stream = append(stream, cl.data(string(make([]byte, 5000)))...)
	}
	c := NewConn(&segments{rest: stream, size: len(stream) / 100}, sv.State, nil)
	got := make([]byte, 5000)
	if n := testing.AllocsPerRun(50, func() {
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each record", n)
	}
}
