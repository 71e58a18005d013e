package balance

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
)

// benchmarkSizes are the numbers of members: a usual cluster, a large one, and the two at which linear work would show.
var benchmarkSizes = []int{3, 16, 256, 4096}

// benchmarkPicker returns a picker of n members of mixed weights, with the sessions that its picks make.
func benchmarkPicker(n int, p Policy, h Hash) (*Picker, []atomic.Int64) {
	sessions := make([]atomic.Int64, n)
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{Name: fmt.Sprintf("emqx%d", i+1), Weight: 1 + i%4}
	}
	active := func(i int) int { return int(sessions[i].Load()) }
	return New(Options{Policy: p, Hash: h, Members: members, Active: active}), sessions
}

func eachPolicy(b *testing.B, run func(b *testing.B, p *Picker, sessions []atomic.Int64, n int)) {
	for _, c := range []struct {
		policy Policy
		hash   Hash
	}{{Source, Consistent}, {Source, Map}, {RoundRobin, ""}, {LeastConn, ""}, {Random, ""}} {
		for _, n := range benchmarkSizes {
			b.Run(fmt.Sprintf("%s%s/%d", c.policy, c.hash, n), func(b *testing.B) {
				p, sessions := benchmarkPicker(n, c.policy, c.hash)
				b.ReportAllocs()
				run(b, p, sessions, n)
			})
		}
	}
}

// BenchmarkPick is one goroutine with one member down.
func BenchmarkPick(b *testing.B) {
	eachPolicy(b, func(b *testing.B, p *Picker, sessions []atomic.Int64, n int) {
		state := make([]atomic.Bool, n)
		state[n/2].Store(true)
		client := uint32(0x0a000000)
		for b.Loop() {
			client++
			i, ok := p.Pick(ipv4(client), func(i int) bool { return !state[i].Load() })
			if !ok {
				b.Fatal("nobody chosen")
			}
			sessions[i].Add(1)
		}
	})
}

// BenchmarkPickParallel is as many goroutines as there are CPUs, all members usable.
func BenchmarkPickParallel(b *testing.B) {
	eachPolicy(b, func(b *testing.B, p *Picker, sessions []atomic.Int64, n int) {
		state := make([]atomic.Bool, n)
		b.RunParallel(func(pb *testing.PB) {
			client := uint32(0x0a000000)
			for pb.Next() {
				client++
				i, _ := p.Pick(ipv4(client), func(i int) bool { return !state[i].Load() })
				sessions[i].Add(1)
			}
		})
	})
}

// BenchmarkMapBuild is a change of state under "map": 4,096 members, of one weight and of many.
func BenchmarkMapBuild(b *testing.B) {
	for _, weights := range []int{1, 256} {
		b.Run(fmt.Sprintf("weights=%d", weights), func(b *testing.B) {
			candidates := make([]candidate, 4096)
			for i := range candidates {
				candidates[i] = candidate{index: i, weight: 1 + i*7%weights}
			}
			b.ReportAllocs()
			for b.Loop() {
				fillSlots(candidates)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, n := range benchmarkSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				benchmarkPicker(n, Source, Consistent)
			}
		})
	}
}

func ipv4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
