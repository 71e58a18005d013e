package balance

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// mapped is HAProxy's "balance source" without "hash-type": a table with as many slots as the
// usable members weigh together, and the slot is the address modulo that.
type mapped struct {
	candidates []candidate                 // in declared order
	tables     atomic.Pointer[[]hashTable] // newest first; what it points to never changes

	building sync.Mutex // held by whoever makes a table, so that each is made once
}

// hashTable is the table for one set of usable members. It is immutable.
type hashTable struct {
	usable set
	slots  []int32 // indexes into Options.Members
}

// The bounds of what mapped remembers, beyond the newest table, which is kept whatever its size.
// A forgotten table costs one rebuild, so they are a matter of comfort: 64 is more than the 37 states of
// eight servers with up to two of them down or already tried, and 1 Mi slots, 4 MiB, are
// the largest table of 4,096 servers of weights up to 256.
const (
	maxTables = 64
	maxSlots  = 1 << 20
)

func newMapped(candidates []candidate) *mapped {
	m := &mapped{candidates: candidates}
	m.tables.Store(&[]hashTable{})
	return m
}

func (m *mapped) pick(client netip.Addr, usable func(int) bool) int {
	var buf scratch
	s, count := usableSet(&buf, m.candidates, usable)
	switch count {
	case 0:
		return none
	case 1:
		return m.candidates[s.lowest()].index
	}
	slots := find(*m.tables.Load(), s)
	if slots == nil {
		slots = m.build(s)
	}
	return int(slots[addressNumber(client)%uint32(len(slots))])
}

// find returns the slots for exactly the set s, or nil.
func find(tables []hashTable, s set) []int32 {
	for i := range tables {
		if slices.Equal(tables[i].usable, s) {
			return tables[i].slots
		}
	}
	return nil
}

// build makes and remembers the table for s, which has at least two members.
func (m *mapped) build(s set) []int32 {
	m.building.Lock()
	defer m.building.Unlock()
	old := *m.tables.Load()
	if slots := find(old, s); slots != nil {
		return slots // made by another goroutine meanwhile
	}
	var used []candidate
	for k, c := range m.candidates {
		if s[k/64]&(1<<(k%64)) != 0 {
			used = append(used, c)
		}
	}
	made := hashTable{usable: slices.Clone(s), slots: fillSlots(used)}
	kept := []hashTable{made}
	total := len(made.slots)
	for _, t := range old {
		if total += len(t.slots); total > maxSlots || len(kept) == maxTables {
			break
		}
		kept = append(kept, t)
	}
	m.tables.Store(&kept)
	return made.slots
}

// addressNumber is what HAProxy divides by the total weight: an IPv4 address as a number, an
// IPv6 address as the exclusive or of its four 32-bit words (get_server_sh in src/backend.c).
func addressNumber(client netip.Addr) uint32 {
	client = client.Unmap()
	if client.Is4() {
		b := client.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	b := client.As16()
	return binary.BigEndian.Uint32(b[0:]) ^ binary.BigEndian.Uint32(b[4:]) ^
		binary.BigEndian.Uint32(b[8:]) ^ binary.BigEndian.Uint32(b[12:])
}
