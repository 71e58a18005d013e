package packet_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// stream returns random packets one behind the other, and each alone.
func stream(seed uint64, v packet.Version, n int) (all []byte, each [][]byte) {
	g := newGenerator(seed, v)
	for range n {
		raw := g.packet(one(g, types(v)...)).Append(nil, v)
		all, each = append(all, raw...), append(each, raw)
	}
	return all, each
}

// TestReaderCuts reads the same stream through sources that return it in different portions.
func TestReaderCuts(t *testing.T) {
	for name, source := range map[string]func(io.Reader) io.Reader{
		"whole":           func(r io.Reader) io.Reader { return r },
		"one byte":        iotest.OneByteReader,
		"half":            iotest.HalfReader,
		"error with data": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			all, each := stream(1, packet.V5, 400)
			r := packet.NewReader(source(bytes.NewReader(all)), 0)
			taken := 0
			for i, want := range each {
				h, body, err := r.Next()
				if err != nil {
					t.Fatalf("packet %d: %v", i, err)
				}
				if !bytes.Equal(r.Packet(), want) || !bytes.HasSuffix(want, body) || h.Remaining != len(body) {
					t.Fatalf("packet %d: %+v and % .100x, want % .100x", i, h, r.Packet(), want)
				}
				taken += len(want)
				if !bytes.HasPrefix(all[taken:], r.Buffered()) {
					t.Fatalf("packet %d: buffered % .100x", i, r.Buffered())
				}
			}
			if _, body, err := r.Next(); err != io.EOF || body != nil || r.Packet() != nil || len(r.Buffered()) != 0 {
				t.Errorf("at the end: body % x, error %v", body, err)
			}
		})
	}
}

// TestReaderGivesBack: what a proxy must pass on is the packet and what was read beyond it.
func TestReaderGivesBack(t *testing.T) {
	hello := wire(t, "10 0e 0004'MQTT' 04 02 003c 0002'id' 'xx'")
	r := packet.NewReader(bytes.NewReader(hello), 100)
	if _, _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Packet(), hello[:16]) || string(r.Buffered()) != "xx" {
		t.Errorf("packet % x, buffered % x", r.Packet(), r.Buffered())
	}
}

func TestReaderLimit(t *testing.T) {
	raw := device(0).Append(nil, packet.V311)
	r := packet.NewReader(bytes.NewReader(append(raw, raw...)), len(raw))
	if _, _, err := r.Next(); err != nil {
		t.Fatalf("packet of exactly the limit: %v", err)
	}
	r.SetLimit(len(raw) - 1)
	for range 2 { // it stays so
		if h, _, err := r.Next(); !errors.Is(err, packet.ErrTooLarge) || h.Type != packet.PUBLISH {
			t.Errorf("packet of one byte more: %+v, %v", h, err)
		}
	}
	r.SetLimit(0)
	if _, body, err := r.Next(); err != nil || len(body) != len(raw)-3 {
		t.Errorf("without a limit: %d bytes, %v", len(body), err)
	}
}

// TestReaderErrors: what ends a stream, and where.
func TestReaderErrors(t *testing.T) {
	for name, c := range map[string]struct {
		src  io.Reader
		want error
	}{
		"between packets":      {bytes.NewReader(nil), io.EOF},
		"in the header":        {bytes.NewReader([]byte{0x10}), io.ErrUnexpectedEOF},
		"in the length":        {bytes.NewReader([]byte{0x10, 0x80}), io.ErrUnexpectedEOF},
		"in the body":          {bytes.NewReader([]byte{0x10, 5, 0, 4}), io.ErrUnexpectedEOF},
		"error of the source":  {iotest.ErrReader(os.ErrDeadlineExceeded), os.ErrDeadlineExceeded},
		"source without bytes": {silent{}, io.ErrNoProgress},
	} {
		if _, _, err := packet.NewReader(c.src, 0).Next(); !errors.Is(err, c.want) || (c.want == io.EOF) != (err == io.EOF) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	r := packet.NewReader(bytes.NewReader([]byte("GET / HTTP/1.1\r\n")), 0)
	var e *packet.Error
	if _, _, err := r.Next(); !errors.As(err, &e) || string(r.Buffered()) != "GET / HTTP/1.1\r\n" {
		t.Errorf("HTTP: %v, buffered %q", err, r.Buffered())
	}
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// TestReaderGoesOn: after a deadline Next may be called again, and nothing is lost.
func TestReaderGoesOn(t *testing.T) {
	raw := device(1).Append(nil, packet.V5)
	src := iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(raw))) // fails at the second read
	r := packet.NewReader(src, 0)
	r.SetLimit(len(raw))
	var failures int
	for {
		_, _, err := r.Next()
		if err == nil {
			break
		}
		if failures++; !errors.Is(err, iotest.ErrTimeout) || failures > 1 {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(r.Packet(), raw) || failures != 1 {
		t.Errorf("% x after %d failures", r.Packet(), failures)
	}
}

// TestReaderMemory: a header that announces 256 MiB costs what has arrived, and no more.
func TestReaderMemory(t *testing.T) {
	header := []byte{0x30, 0xff, 0xff, 0xff, 0x7f}
	for _, c := range []struct{ arrived, most int }{{0, 4 << 10}, {1 << 10, 8 << 10}, {100 << 10, 600 << 10}} {
		src := io.MultiReader(bytes.NewReader(header), bytes.NewReader(make([]byte, c.arrived)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := packet.NewReader(src, 0).Next()
		runtime.ReadMemStats(&after)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", c.arrived, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(c.most) {
			t.Errorf("%d bytes arrived, %d allocated: more than %d", c.arrived, got, c.most)
		}
	}
}

// TestReaderForgets: after a large packet the reader does not keep its buffer.
func TestReaderForgets(t *testing.T) {
	big := (&packet.Publish{Topic: []byte("t"), Payload: make([]byte, 8<<20)}).Append(nil, packet.V311)
	readers := make([]*packet.Reader, 4)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range readers {
		readers[i] = packet.NewReader(io.MultiReader(bytes.NewReader(big), bytes.NewReader([]byte{0xc0, 0})), 0)
		for range 2 {
			if _, _, err := readers[i].Next(); err != nil {
				t.Fatal(err)
			}
		}
		if h, _, err := readers[i].Next(); err != io.EOF {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perReader := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(len(readers))
	if perReader > 64<<10 {
		t.Errorf("%d bytes kept for each reader", perReader)
	}
	runtime.KeepAlive(readers)
	runtime.KeepAlive(big)
}
