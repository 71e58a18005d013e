package record

import (
	"fmt"
	"testing"
)

var benchSizes = []int{64, 128, 1 << 10, 16 << 10}

// benchmark runs what for each flavor and size, with a record of that size from its other end.
func benchmark(b *testing.B, what func(b *testing.B, e *end, size int, record []byte)) {
	for _, f := range flavors {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", f, size), func(b *testing.B) {
				cl, sv := connect(b, f, source(1))
				record := cl.data(string(make([]byte, size)))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				what(b, sv, size, record)
			})
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	benchmark(b, func(b *testing.B, e *end, size int, _ []byte) {
		buf := make([]byte, size+e.Overhead())
		for b.Loop() {
			e.Seal(e.c, buf, size)
			e.out.seq = 1
		}
	})
}

// With each record comes a copy of it, for it is opened in place.
func BenchmarkOpen(b *testing.B) {
	benchmark(b, func(b *testing.B, e *end, size int, record []byte) {
		buf := make([]byte, len(record))
		seq := e.in.seq
		for b.Loop() {
			copy(buf, record)
			if o, err := e.Open(e.c, buf); err != nil || len(o.Data) != size {
				b.Fatal(err)
			}
			e.in.seq = seq
		}
	})
}

// BenchmarkMiss is Seal when the cipher has to be made.
func BenchmarkMiss(b *testing.B) {
	benchmark(b, func(b *testing.B, e *end, size int, _ []byte) {
		if size > 64 {
			b.SkipNow()
		}
		buf := make([]byte, size+e.Overhead())
		for b.Loop() {
			e.c.drop(&e.out)
			e.Seal(e.c, buf, size)
			e.out.seq = 1
		}
	})
}

// BenchmarkKeyUpdate is what a peer's KeyUpdate costs us, without opening it.
func BenchmarkKeyUpdate(b *testing.B) {
	for _, f := range flavors[:3] {
		b.Run(f.String(), func(b *testing.B) {
			_, sv := connect(b, f, source(1))
			b.ReportAllocs()
			for b.Loop() {
				sv.in.update(sv.c, sv.suite)
				sv.c.cipher(&sv.State, &sv.in)
			}
		})
	}
}

func BenchmarkSelfTest(b *testing.B) {
	for b.Loop() {
		if err := SelfTest(); err != nil {
			b.Fatal(err)
		}
	}
}

// Neither Seal nor Open makes garbage when its cipher is there.
func TestNoAllocation(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		record := cl.data("hello")
		buf, out := make([]byte, len(record)), make([]byte, 5+MaxOverhead)
		seq := sv.in.seq
		if n := testing.AllocsPerRun(100, func() {
			copy(buf, record)
			if _, err := sv.Open(sv.c, buf); err != nil {
				t.Fatal(err)
			}
			sv.in.seq = seq
			sv.Seal(sv.c, out, 5)
		}); n != 0 {
			t.Errorf("%v allocations for each record", n)
		}
	})
}
