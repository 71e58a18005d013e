//go:build !unix

package slab

// mapMemory returns zeroed memory. Here it is ordinary memory, which the collector does not scan: bytes have no pointers.
// An allocation of several pages is aligned to a page.
func mapMemory(size int) ([]byte, error) {
	return make([]byte, size), nil
}

// unmapMemory leaves the memory to the collector.
func unmapMemory([]byte) {}
