package lb_test

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// visitors is how many connections come and go.
const visitors = 20000

// After 20,000 connections have come and gone, a fifth of them over TLS and some without a goodbye, the process
// holds what it held before.
func TestNothingIsLeftBehind(t *testing.T) {
	leaktest.Check(t)
	n := newNode(t, "", false)
	r := newRig(t)
	r.run(strings.Replace(config(servers(n)), "connections: all", "connections: none", 1))
	r.visit(visitors / 20) // caches, pools and histograms fill
	fds, goroutines, heap := r.idle()
	r.visit(visitors)
	n.forget()
	fdsAfter, goroutinesAfter, heapAfter := r.idle()
	t.Logf("descriptors %d → %d, goroutines %d → %d, heap %d → %d KiB", fds, fdsAfter, goroutines, goroutinesAfter, heap>>10, heapAfter>>10)
	if fdsAfter > fds || goroutinesAfter > goroutines {
		t.Errorf("descriptors %d → %d, goroutines %d → %d", fds, fdsAfter, goroutines, goroutinesAfter)
	}
	// 20,000 connections that left 100 bytes each would be twice this.
	if allowed := uint64(1 << 20); heapAfter > heap+allowed {
		t.Errorf("heap %d → %d KiB", heap>>10, heapAfter>>10)
	}
}

// visit lets n clients come, say CONNECT and go, some at a time.
func (r *rig) visit(n int) {
	r.t.Helper()
	cfg := &tls.Config{RootCAs: r.ca.Pool(), ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	var all sync.WaitGroup
	turns := make(chan struct{}, 32)
	for i := range n {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			listener := "mqtt"
			overTLS := i%5 == 0
			if overTLS {
				listener = "mqtts"
			}
			raw, err := net.DialTimeout("tcp", r.Addr(listener), patience)
			if err != nil {
				r.t.Error(err)
				return
			}
			defer raw.Close()
			raw.SetDeadline(time.Now().Add(patience))
			c := raw
			if overTLS {
				c = tls.Client(raw, cfg)
			}
			answer := make([]byte, len(connack))
			if _, err := c.Write([]byte(connectPacket)); err != nil {
				r.t.Error(err)
			} else if _, err := io.ReadFull(c, answer); err != nil {
				r.t.Error(err)
			}
			if i%7 != 0 {
				c.Close()
			} else {
				raw.(*net.TCPConn).SetLinger(0)
			}
		})
	}
	all.Wait()
}

// idle waits until nobody is connected, and returns what the process holds then.
func (r *rig) idle() (fds, goroutines int, heap uint64) {
	r.t.Helper()
	eventually(r.t, "every connection ended", func() bool {
		return r.listener("mqtt").Connections == 0 && r.listener("mqtts").Connections == 0 && r.server("n1").Active == 0
	})
	settled := 0
	eventually(r.t, "goroutines and descriptors at rest", func() bool {
		f, g := descriptors(), runtime.NumGoroutine()
		if f == fds && g == goroutines {
			settled++
		} else {
			settled = 0
		}
		fds, goroutines = f, g
		return settled == 50
	})
	runtime.GC()
	runtime.GC() // what finalizers and pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fds, goroutines, m.HeapAlloc
}

func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd") // none where there is no /proc: then goroutines alone tell
	return len(entries)
}

// forget drops what the node remembers of its sessions.
func (n *node) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions = nil
}
