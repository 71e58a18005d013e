package topic

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// million fills a tree as a large fleet would: each device listens to two topics of its own and to
// one filter with a wildcard, and some watchers listen to many.
func million(n int) *Tree[*int, uint64] {
	tree := new(Tree[*int, uint64])
	for i := range n / 3 {
		who := new(int)
		tree.Subscribe(fmt.Sprintf("devices/%d/command", i), who, 1)
		tree.Subscribe(fmt.Sprintf("devices/%d/config", i), who, 1)
		tree.Subscribe(fmt.Sprintf("devices/%d/ota/#", i), who, 1)
	}
	for i := range 10 {
		tree.Subscribe(fmt.Sprintf("fleet/%d/+/status", i), new(int), 0)
	}
	tree.Subscribe("devices/+/alarm", new(int), 0)
	return tree
}

func BenchmarkMatchMillion(b *testing.B) {
	const n = 1_000_000
	tree := million(n)
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = fmt.Sprintf("devices/%d/%s", rand.IntN(n/3), []string{"command", "config", "ota/block", "alarm"}[i%4])
	}
	buf := make([]Entry[*int, uint64], 0, 16)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		buf, _ = tree.Match(buf[:0], names[i&(len(names)-1)])
		if len(buf) != 1 {
			b.Fatalf("%d matches", len(buf))
		}
		i++
	}
}

func BenchmarkMatchFanOut(b *testing.B) {
	var tree Tree[*int, uint64]
	for range 1000 {
		tree.Subscribe("all/+", new(int), 0)
	}
	buf := make([]Entry[*int, uint64], 0, 1000)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = tree.Match(buf[:0], "all/x")
	}
}

func BenchmarkSubscribe(b *testing.B) {
	tree := million(300_000)
	who := new(int)
	b.ReportAllocs()
	for b.Loop() {
		tree.Subscribe("devices/77/new/+", who, 1)
		tree.Unsubscribe("devices/77/new/+", who)
	}
}

// BenchmarkMemory reports what a subscription costs besides the filter's own bytes.
func BenchmarkMemory(b *testing.B) {
	const n = 300_000
	for _, kind := range []string{"devices/%d/command", "devices/%d/#", "devices/%d/+/x"} {
		b.Run(kind, func(b *testing.B) {
			filters := make([]string, n)
			for i := range filters {
				filters[i] = fmt.Sprintf(kind, i)
			}
			who := new(int)
			for b.Loop() {
				before := heap()
				tree := new(Tree[*int, uint64])
				for _, f := range filters {
					tree.Subscribe(f, who, 1)
				}
				b.ReportMetric(float64(heap()-before)/n, "B/sub")
				runtime.KeepAlive(tree)
			}
			runtime.KeepAlive(filters)
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
