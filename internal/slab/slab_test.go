package slab

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"
)

type value struct {
	a    uint64
	b    [5]uint32
	flag bool
}

// mapped returns how many chunks are mapped.
func (s *Slab[T]) mapped() int {
	n := 0
	for _, chunk := range s.chunks {
		if chunk != nil {
			n++
		}
	}
	return n
}

func alloc[T any](t testing.TB, s *Slab[T]) uint32 {
	t.Helper()
	i, v, err := s.Alloc()
	if err != nil {
		t.Fatal(err)
	}
	if i == 0 || v != s.At(i) || !s.Has(i) {
		t.Fatalf("index %d, value at %p, found at %p, in use: %t", i, v, s.At(i), s.Has(i))
	}
	return i
}

// TestAgainstMap does the same random steps with a Slab and a map, growing and shrinking over several chunks.
func TestAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s Slab[value]
	defer s.Close()
	model := make(map[uint32]value)
	where := make(map[uint32]*value)
	for phase, odds := range []int{80, 20, 70, 5, 60, 0} { // of 100 that a value comes; the rest go
		for range 20_000 {
			if r.IntN(100) < odds {
				i := alloc(t, &s)
				if _, used := model[i]; used || *s.At(i) != (value{}) {
					t.Fatalf("index %d is in use: %t; value %+v", i, used, *s.At(i))
				}
				where[i] = s.At(i)
				*s.At(i) = value{a: r.Uint64(), b: [5]uint32{i, i}, flag: true}
				model[i] = *s.At(i)
				continue
			}
			for i, v := range model { // any one
				if *s.At(i) != v || s.At(i) != where[i] {
					t.Fatalf("index %d: %+v at %p, want %+v at %p", i, *s.At(i), s.At(i), v, where[i])
				}
				s.Free(i)
				delete(model, i)
				break
			}
		}
		if s.Len() != len(model) {
			t.Fatalf("phase %d: Len is %d, want %d", phase, s.Len(), len(model))
		}
		for i := range uint32(len(s.chunks) * chunkLen) {
			if _, used := model[i]; s.Has(i) != used {
				t.Fatalf("phase %d: Has(%d) is %t", phase, i, s.Has(i))
			}
		}
	}
	if s.Len() != 0 || s.mapped() != 1 {
		t.Errorf("%d values and %d chunks are left of none; want the spare only", s.Len(), s.mapped())
	}
}

// TestLowestFirst: places come back lowest first, so that the last chunk is the one that empties.
func TestLowestFirst(t *testing.T) {
	var s Slab[uint64]
	defer s.Close()
	for want := uint32(1); want < 3*chunkLen; want++ {
		if i := alloc(t, &s); i != want {
			t.Fatalf("index %d, want %d", i, want)
		}
	}
	for _, i := range []uint32{2*chunkLen + 5, 4000, 64, chunkLen, 3*chunkLen - 1} {
		s.Free(i)
	}
	for _, want := range []uint32{64, 4000, chunkLen, 2*chunkLen + 5, 3*chunkLen - 1, 3 * chunkLen} {
		if i := alloc(t, &s); i != want {
			t.Errorf("index %d, want %d", i, want)
		}
	}
	if i, ok := uint32(4*chunkLen), s.Has(4*chunkLen); ok {
		t.Errorf("index %d, beyond everything, is in use", i)
	}
}

// TestSpare is invariant 4: one empty chunk stays mapped, of two the lower.
func TestSpare(t *testing.T) {
	var s Slab[uint64]
	defer s.Close()
	for range 4*chunkLen - 1 {
		alloc(t, &s)
	}
	free := func(chunk, want int) {
		t.Helper()
		for i := chunk * chunkLen; i < (chunk+1)*chunkLen; i++ {
			if i != 0 {
				s.Free(uint32(i))
			}
		}
		if s.mapped() != want {
			t.Errorf("with chunk %d empty %d chunks are mapped, want %d", chunk, s.mapped(), want)
		}
	}
	free(1, 4)
	free(3, 3)
	if s.chunks[3] != nil {
		t.Error("the lower of two empty chunks was unmapped")
	}
	for range 100 { // a value that comes and goes does not map and unmap
		at := s.chunks[1]
		i := alloc(t, &s)
		if s.spare != 0 {
			t.Error("a chunk with a value is the spare one")
		}
		s.Free(i)
		if s.chunks[1] != at || i != chunkLen {
			t.Fatalf("index %d, chunk at %p, was at %p", i, s.chunks[1], at)
		}
	}
	free(0, 2)
	free(2, 1)
	for range 4*chunkLen - 1 { // and the holes are filled again
		alloc(t, &s)
	}
	if len(s.chunks) != 4 || s.mapped() != 4 {
		t.Errorf("%d of %d chunks are mapped, want 4 of 4", s.mapped(), len(s.chunks))
	}
}

func TestClose(t *testing.T) {
	var s Slab[value]
	s.Close()
	for range 2 {
		for range 2 * chunkLen {
			s.At(alloc(t, &s)).a = 1
		}
		s.Close()
		if s.Len() != 0 || s.mapped() != 0 || s.Has(1) {
			t.Errorf("closed, with %d values in %d chunks", s.Len(), s.mapped())
		}
	}
}

func TestMisuse(t *testing.T) {
	panics := func(what string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s does not panic", what)
			}
		}()
		f()
	}
	var s Slab[value]
	defer s.Close()
	i := alloc(t, &s)
	s.Free(i)
	panics("free of what is free", func() { s.Free(i) })
	panics("free of none", func() { s.Free(0) })
	panics("free of what is beyond", func() { s.Free(1 << 31) })
	panics("use of what is beyond", func() { s.At(1 << 31).a = 1 })
	panics("a pointer", func() { _, _, _ = new(Slab[struct{ p *int }]).Alloc() })
}

func TestPointers(t *testing.T) {
	for _, tt := range []struct {
		of   reflect.Type
		want bool
	}{
		{reflect.TypeFor[value](), false},
		{reflect.TypeFor[[4]complex128](), false},
		{reflect.TypeFor[uintptr](), false},
		{reflect.TypeFor[[0]*int](), false},
		{reflect.TypeFor[struct{ a [2]struct{ s string } }](), true},
		{reflect.TypeFor[[]byte](), true},
		{reflect.TypeFor[map[int]int](), true},
		{reflect.TypeFor[chan int](), true},
		{reflect.TypeFor[func()](), true},
		{reflect.TypeFor[any](), true},
		{reflect.TypeFor[unsafe.Pointer](), true},
		{reflect.TypeFor[*int](), true},
	} {
		if got := pointers(tt.of); got != tt.want {
			t.Errorf("%v: %t, want %t", tt.of, got, tt.want)
		}
	}
}

// TestSizes: values smaller and larger than a page, and none at all.
func TestSizes(t *testing.T) {
	check(t, byte(7))
	check(t, [10_000]byte{9999: 7})
	check(t, struct{}{})
}

func check[T comparable](t *testing.T, v T) {
	t.Run(fmt.Sprint(unsafe.Sizeof(v)), func(t *testing.T) {
		var s Slab[T]
		defer s.Close()
		var last uint32
		for range chunkLen {
			last = alloc(t, &s)
		}
		*s.At(last) = v
		if *s.At(last) != v {
			t.Error("what was written is not there")
		}
	})
}

func BenchmarkAllocFree(b *testing.B) {
	var s Slab[[320]byte]
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		i, _, err := s.Alloc()
		if err != nil {
			b.Fatal(err)
		}
		s.Free(i)
	}
}

func BenchmarkAt(b *testing.B) {
	var s Slab[[320]byte]
	defer s.Close()
	i := alloc(b, &s)
	for b.Loop() {
		s.At(i)[5]++
	}
}
