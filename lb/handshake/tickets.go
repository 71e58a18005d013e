package handshake

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// A ticket is accepted as long as crypto/tls would, seven days, the most that TLS 1.3 allows (RFC 8446, section 4.6.1); the
// key for new ones is a new one each day, as crypto/tls does where it keeps the keys itself.
const (
	ticketKeyAge  = 24 * time.Hour
	ticketKeysMax = 8
)

// Tickets makes the keys that session tickets are encrypted with, shared by all listeners and across reloads, so that neither a
// new certificate nor another listener costs a fleet its sessions. It may be used from any goroutine.
type Tickets struct {
	mu      sync.Mutex // guards the fields below
	secrets [][32]byte // the newest first
	since   time.Time  // when that was made
}

// RotateEvery is how often Keys should be asked again.
const RotateEvery = time.Hour

// Keys returns keys for tls.Config.SetSessionTicketKeys, the first for new tickets. They depend on trust, which says whose
// certificates a listener believes: a ticket stands for a certificate that was verified, and must be worth nothing
// where another authority is asked for.
func (t *Tickets) Keys(trust string, now time.Time) [][32]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.secrets) == 0 || now.Sub(t.since) >= ticketKeyAge {
		var fresh [32]byte
		rand.Read(fresh[:]) // never fails
		t.secrets = append([][32]byte{fresh}, t.secrets[:min(len(t.secrets), ticketKeysMax-1)]...)
		t.since = now
	}
	keys := make([][32]byte, len(t.secrets))
	for i, secret := range t.secrets {
		key, err := hkdf.Key(sha256.New, secret[:], nil, "mqttlb session tickets "+trust, len(keys[i]))
		if err != nil {
			panic(err) // only for a length that SHA-256 cannot give
		}
		copy(keys[i][:], key)
	}
	return keys
}
