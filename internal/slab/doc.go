// Package slab keeps very many small values outside of Go's heap.
//
//	var conns slab.Slab[conn]        // conn has no pointers
//	i, c, err := conns.Alloc()       // zeroed; i is what others hold instead of a pointer
//	c = conns.At(i)                  // two loads
//	conns.Free(i)                    // zeroed again, and forgotten
//	conns.Close()                    // everything goes back to the system
//
// # Invariants
//
//  1. What Alloc returns is zero, and its address and index do not change until Free.
//  2. Index 0 is never given: it means none.
//  3. A page none of whose values was ever in use has never been written to, and costs nothing.
//  4. Of the chunks without a value at most one stays mapped.
//  5. The collector neither scans nor moves any of it: values have no pointers.
//
// # Why
//
// A garbage collector pays for every object that it has to look at: a million connections as Go objects with pointers cost
// it 0.7 to 1.5 seconds of CPU for each cycle, and let the heap grow to twice what lives before the next. Values without
// pointers in anonymous mappings cost it nothing, are as large as they are declared, and go back to the system when
// a wave of connections is over. Indexes of four bytes instead of pointers of eight make the lists that
// run through the values half as large, and could be written to another process.
//
// Chunks of 4,096 values are the size at which one word of 64 bits says which of 64 words have room, so that the lowest
// free place of a chunk is found by two bit scans. Places are given lowest first, and so the last chunks are
// those that empty. Free zeroes, and not Alloc, because a fresh mapping is zero already and its pages
// should not be touched before they are needed.
package slab
