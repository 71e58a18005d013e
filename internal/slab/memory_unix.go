//go:build unix

package slab

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mapMemory returns zeroed memory outside of Go's heap: mmap(2), private and anonymous. Pages that nobody has touched cost nothing.
func mapMemory(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

// unmapMemory gives back what mapMemory returned. munmap(2) fails only for what is not a mapping.
func unmapMemory(memory []byte) {
	if err := unix.Munmap(memory); err != nil {
		panic(fmt.Sprintf("slab: give back %d bytes: %v", len(memory), err))
	}
}
