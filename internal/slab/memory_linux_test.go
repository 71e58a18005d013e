package slab

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resident returns how many bytes of a chunk are in memory, by mincore(2).
func resident(t *testing.T, chunk *[chunkLen][320]byte) int {
	t.Helper()
	page := os.Getpagesize()
	pages := make([]byte, (unsafe.Sizeof(*chunk)+uintptr(page)-1)/uintptr(page))
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(chunk)), unsafe.Sizeof(*chunk), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	n := 0
	for _, p := range pages {
		n += int(p&1) * page
	}
	return n
}

// TestUntouchedPages is invariant 3: a chunk costs the pages of the values that were in use.
func TestUntouchedPages(t *testing.T) {
	var s Slab[[320]byte]
	defer s.Close()
	for i := range 1000 {
		s.At(alloc(t, &s))[0] = byte(i)
	}
	if n, want := resident(t, s.chunks[0]), 1001*320+os.Getpagesize(); n > want {
		t.Errorf("1,000 values of 320 bytes take %d bytes, want at most %d", n, want)
	}
	for range chunkLen {
		alloc(t, &s) // and nothing is written
	}
	// The compiler's check for nil reads a chunk's first byte, which maps the system's one page of zeros there.
	if n := resident(t, s.chunks[1]); n > os.Getpagesize() {
		t.Errorf("a chunk to which nothing was written takes %d bytes", n)
	}
}
