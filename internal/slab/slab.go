package slab

import (
	"fmt"
	"math/bits"
	"reflect"
	"unsafe"
)

const (
	wordBits  = 64
	words     = 64               // as many as one word has bits
	chunkLen  = words * wordBits // values of a chunk
	chunkBits = 12               // chunkLen as a shift
	maxChunks = 1 << (32 - chunkBits)
)

// A Slab holds values of a type without pointers, found by index. The zero value is empty and ready for use.
// It is not for concurrent use: whoever owns it calls all its methods from one goroutine at a time.
type Slab[T any] struct {
	chunks []*[chunkLen]T // outside of Go's heap; nil where nothing is mapped
	uses   []occupancy    // of the chunk of the same index
	room   []uint64       // one bit for each chunk: it is mapped and has a free place
	live   int            // values in use
	spare  int            // 1 + the index of the mapped chunk that has no value; 0 when there is none
}

// An occupancy says which places of a chunk are taken.
type occupancy struct {
	taken [words]uint64
	full  uint64 // one bit for each word of taken: all its bits are set
	live  uint32 // values in use; the place 0 of the first chunk, which is nobody's, does not count
}

// Alloc returns a zeroed value and its index, which is never 0. The pointer is good until Free. The lowest free index of
// the chunks that are mapped comes first. The error is the system's refusal of more memory.
//
// It panics for a T that has pointers: the collector would not see them.
func (s *Slab[T]) Alloc() (uint32, *T, error) {
	c := s.roomy()
	if c < 0 {
		var err error
		if c, err = s.grow(); err != nil {
			return 0, nil, err
		}
	}
	if s.spare == c+1 {
		s.spare = 0
	}
	u := &s.uses[c]
	place := u.take()
	u.live++
	s.live++
	if u.full == ^uint64(0) {
		s.room[c/wordBits] &^= 1 << (c % wordBits)
	}
	return uint32(c)<<chunkBits | place, &s.chunks[c][place], nil
}

// At returns the value of an index that is in use. For any other index it panics or returns a value that nobody may write.
func (s *Slab[T]) At(i uint32) *T {
	return &s.chunks[i>>chunkBits][i%chunkLen]
}

// Has reports whether an index is in use.
func (s *Slab[T]) Has(i uint32) bool {
	c, place := int(i>>chunkBits), i%chunkLen
	return i != 0 && c < len(s.chunks) && s.chunks[c] != nil && s.uses[c].taken[place/wordBits]>>(place%wordBits)&1 != 0
}

// Free zeroes a value and takes back its index. It panics for an index that is not in use. When the value was the last one of
// its chunk, the memory goes back to the system; but one chunk is kept, so that a value that comes and goes
// does not map and unmap each time.
func (s *Slab[T]) Free(i uint32) {
	if !s.Has(i) {
		panic(fmt.Sprintf("slab: free of index %d, which is not in use", i))
	}
	c, place := int(i>>chunkBits), i%chunkLen
	var zero T
	s.chunks[c][place] = zero
	u := &s.uses[c]
	u.taken[place/wordBits] &^= 1 << (place % wordBits)
	u.full &^= 1 << (place / wordBits)
	u.live--
	s.live--
	s.room[c/wordBits] |= 1 << (c % wordBits)
	if u.live == 0 {
		s.emptied(c)
	}
}

// Len returns how many values are in use.
func (s *Slab[T]) Len() int { return s.live }

// Close gives all memory back to the system; pointers to values become invalid. The Slab is then empty, and ready for use.
func (s *Slab[T]) Close() {
	for c := range s.chunks {
		if s.chunks[c] != nil {
			s.release(c)
		}
	}
	*s = Slab[T]{}
}

// take marks the lowest free place of a chunk that has one.
func (u *occupancy) take() uint32 {
	w := bits.TrailingZeros64(^u.full)
	b := bits.TrailingZeros64(^u.taken[w])
	u.taken[w] |= 1 << b
	if u.taken[w] == ^uint64(0) {
		u.full |= 1 << w
	}
	return uint32(w*wordBits + b)
}

// roomy returns the first mapped chunk with a free place, -1 when there is none.
func (s *Slab[T]) roomy() int {
	for w, chunks := range s.room {
		if chunks != 0 {
			return w*wordBits + bits.TrailingZeros64(chunks)
		}
	}
	return -1
}

// grow maps a chunk and returns its index, the lowest that has none.
func (s *Slab[T]) grow() (int, error) {
	if pointers(reflect.TypeFor[T]()) {
		panic(fmt.Sprintf("slab: %v has pointers, which the collector would not see", reflect.TypeFor[T]()))
	}
	c := 0
	for c < len(s.chunks) && s.chunks[c] != nil {
		c++
	}
	if c == maxChunks {
		return 0, fmt.Errorf("get memory for %d more values: all indexes are in use", chunkLen)
	}
	memory, err := mapMemory(chunkSize[T]())
	if err != nil {
		return 0, fmt.Errorf("get memory for %d more values of %d bytes (is there enough, and vm.max_map_count large enough?): %w",
			chunkLen, unsafe.Sizeof(*new(T)), err)
	}
	if c == len(s.chunks) {
		s.chunks = append(s.chunks, nil)
		s.uses = append(s.uses, occupancy{})
		if c%wordBits == 0 {
			s.room = append(s.room, 0)
		}
	}
	// Sound: the mapping is zeroed, has the size of the array, is aligned to a page, and stays until release. The collector
	// takes no notice of pointers that lead outside of its heap.
	s.chunks[c] = (*[chunkLen]T)(unsafe.Pointer(unsafe.SliceData(memory)))
	s.uses[c] = occupancy{}
	s.room[c/wordBits] |= 1 << (c % wordBits)
	if c == 0 {
		s.uses[0].taken[0] = 1 // index 0 means none
	}
	return c, nil
}

// emptied decides what becomes of a chunk whose last value was freed: of two empty ones the higher is unmapped.
func (s *Slab[T]) emptied(c int) {
	if s.spare == 0 {
		s.spare = c + 1
		return
	}
	keep, drop := min(c, s.spare-1), max(c, s.spare-1)
	s.spare = keep + 1
	s.release(drop)
}

func (s *Slab[T]) release(c int) {
	memory := unsafe.Slice((*byte)(unsafe.Pointer(s.chunks[c])), chunkSize[T]())
	s.chunks[c] = nil
	s.room[c/wordBits] &^= 1 << (c % wordBits)
	unmapMemory(memory)
}

// chunkSize is in bytes, at least one: an empty mapping is refused.
func chunkSize[T any]() int { return max(1, int(unsafe.Sizeof([chunkLen]T{}))) }

// pointers reports whether values of a type hold anything that the collector follows.
func pointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() > 0 && pointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if pointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Chan, reflect.Func, reflect.Interface, reflect.Map, reflect.Pointer, reflect.Slice, reflect.String, reflect.UnsafePointer:
		return true
	default:
		return false
	}
}
