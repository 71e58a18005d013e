//go:build linux

package relay

import (
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// A side that vanishes says nothing, not even that it has gone: no FIN, no reset. In every state that this can happen in a timer
// runs for it.
func TestVanished(t *testing.T) {
	leaktest.Check(t)
	const soon = 200 * time.Millisecond
	client, server := func(p *Pair) { p.ClientTimeout = soon }, func(p *Pair) { p.ServerTimeout = soon }
	tests := []struct {
		name   string
		change func(*Pair)
		before func(t *testing.T, p *plane, f *fixture)
		want   End
	}{
		{"client", client, func(t *testing.T, p *plane, f *fixture) {
			send(t, f.client, "x")
			expect(t, f.server, "x")
		}, ClientTimeout},
		{"server", server, func(t *testing.T, p *plane, f *fixture) {
			send(t, f.server, "x")
			expect(t, f.client, "x")
		}, ServerTimeout},
		{"client that bytes are on their way to", client, func(t *testing.T, p *plane, f *fixture) {
			go f.server.Write(random(1, 16<<20)) // ends with the pair
		}, ClientTimeout},
		{"server that bytes are on their way to", server, func(t *testing.T, p *plane, f *fixture) {
			go f.client.Write(random(1, 16<<20))
		}, ServerTimeout},
		{"client whose server has ended", client, func(t *testing.T, p *plane, f *fixture) {
			closeWrite(t, f.server)
			expectEOF(t, f.client)
		}, ServerClosed},
		{"server whose client has ended", server, func(t *testing.T, p *plane, f *fixture) {
			closeWrite(t, f.client)
			expectEOF(t, f.server)
		}, ClientClosed},
	}
	for _, tt := range tests {
		for _, withTLS := range []bool{false, true} {
			name := tt.name
			if withTLS {
				name += " over TLS"
			}
			t.Run(name, func(t *testing.T) {
				p := newPlane(t, 1)
				f := p.start(t, withTLS, tt.change)
				tt.before(t, p, f)
				if r := f.wait(t); r.End != tt.want || r.Err != nil {
					t.Errorf("result %+v, want %v", r, tt.want)
				}
			})
		}
	}
}

// Where a side has no timeout of its own, one runs all the same: linger for the half-closed, stall for the stalled.
func TestNoWaitIsEndless(t *testing.T) {
	leaktest.Check(t)
	tests := []struct {
		name   string
		before func(f *fixture)
		seen   func(o *pair) *side // whose time runs; nil: not so far
		want   time.Duration
	}{
		{"client half-closes", func(f *fixture) { closeWrite(t, f.client) },
			func(o *pair) *side { return having(&o.server, o.server.flags.has(shut)) }, linger},
		{"server half-closes", func(f *fixture) { closeWrite(t, f.server) },
			func(o *pair) *side { return having(&o.client, o.client.flags.has(shut)) }, linger},
		{"client takes nothing", func(f *fixture) { go f.server.Write(random(1, 16<<20)) },
			func(o *pair) *side { return having(&o.client, o.client.unsent != 0) }, stall},
		{"server takes nothing", func(f *fixture) { go f.client.Write(random(1, 16<<20)) },
			func(o *pair) *side { return having(&o.server, o.server.unsent != 0) }, stall},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlane(t, 1)
			f := p.start(t, false, nil)
			tt.before(f)
			p.until(t, "it waits", func(l *loop) bool {
				o := l.only()
				if o == nil || tt.seen(o) == nil {
					return false
				}
				turn := l.turn(l.session(o).slot)
				left, limited := turn.remaining(tt.seen(o))
				if !limited || left > tt.want+2*tick || left < tt.want-patience/2 {
					t.Errorf("limited: %v, %v are left; want nearly %v", limited, left, tt.want)
				}
				return true
			})
			f.session.Close()
			f.wait(t)
		})
	}
}

func having(s *side, so bool) *side {
	if so {
		return s
	}
	return nil
}
