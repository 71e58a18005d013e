package dashboard

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Who guesses the token gets so many attempts at once, and then one in tryEvery. What is remembered of sources is bounded: the one
// that tried longest ago is forgotten for a new one. A guesser with more addresses than that is up against the length of the
// token alone.
const (
	tryBurst   = 5
	tryEvery   = 10 * time.Second
	trySources = 1024
)

// attempts bounds how often each source may try to sign in. The zero value is ready; any goroutine may call its methods.
type attempts struct {
	mu      sync.Mutex
	sources map[netip.Prefix]time.Time // when the source has all its attempts again
}

// take reports whether one more attempt of a source may be made, and if not, how long it has to wait.
func (a *attempts) take(source netip.Prefix, now time.Time) (wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	full := a.sources[source]
	if full.Before(now) {
		full = now
	}
	full = full.Add(tryEvery)
	if over := full.Sub(now) - tryBurst*tryEvery; over > 0 {
		return over
	}
	if _, known := a.sources[source]; !known && len(a.sources) >= trySources {
		a.forgetOldest()
	}
	if a.sources == nil {
		a.sources = make(map[netip.Prefix]time.Time)
	}
	a.sources[source] = full
	return 0
}

// forgetOldest makes room. a.mu is held.
func (a *attempts) forgetOldest() {
	var oldest netip.Prefix
	var when time.Time
	for source, full := range a.sources {
		if !oldest.IsValid() || full.Before(when) {
			oldest, when = source, full
		}
	}
	delete(a.sources, oldest)
}

// clear gives a source all its attempts back, which has proved that it knows the token.
func (a *attempts) clear(source netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sources, source)
}

// sourceOf is who an address counts as: itself, or its network of 64 bits with IPv6, which is what one host is given.
func sourceOf(remote string) netip.Prefix {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
