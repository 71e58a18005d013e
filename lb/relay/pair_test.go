//go:build linux

package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb/record"
)

// mostHeld is what the package's comment allows a pair to hold for a side that takes nothing.
const mostHeld = 70 << 10

// Rule 1: a side's unsent bytes go first, and while it has some the other side is not read.
func TestUnsentFirstAndBounded(t *testing.T) {
	leaktest.Check(t)
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %v", withTLS), func(t *testing.T) {
			p := newPlane(t, 1)
			f := p.start(t, withTLS, nil)
			sent := random(1, 16<<20)
			written := make(chan error, 1)
			go func() { _, err := f.server.Write(sent); f.server.Close(); written <- err }()
			held := 0
			p.until(t, "something is unsent", func(l *loop) bool {
				held = len(l.overflow.Bytes(l.only().client.unsent))
				return held > 0
			})
			p.roundTrips(t, 50) // a neighbour goes on
			p.look(t, func(l *loop) {
				o := l.only()
				if now := len(l.overflow.Bytes(o.client.unsent)); now > held || now > mostHeld {
					t.Errorf("%d bytes are held, %d before; want no more than that, and %d", now, held, mostHeld)
				}
				if o.out == uint64(len(sent)) {
					t.Error("all was taken from the server for a client that reads nothing: the test shows nothing")
				}
			})
			got, err := io.ReadAll(f.client)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes, %v; want the %d that were sent", len(got), err, len(sent))
			}
			if err := <-written; err != nil {
				t.Error(err)
			}
		})
	}
}

// Rule 1, for what came of the client before the pair began: data that was opened and not passed on goes before what was not even opened.
func TestUnsentFirstAtTheBeginning(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	_, a := p.connect(t)
	server, b := p.connect(t)
	cs, ss := states(t, tls.VersionTLS13, 0)
	x, y := random(1, 8000), random(2, 8000)
	c := record.NewConn(a, ss, slices.Concat(seal(&cs, x), seal(&cs, y), cs.AppendAlert(record.NewCache(1), nil, record.CloseNotify)))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	put := 0
	f := &fixture{client: a, server: server}
	f.begin(t, p.loops.Start, Pair{Client: c, Server: full{b, stuffing(), &put}}, nil)
	p.until(t, "something is unsent", func(l *loop) bool { return l.only() != nil && l.only().server.unsent != 0 })
	if got := tail(t, server, put); !bytes.Equal(got, slices.Concat(x[1:], y)) {
		t.Errorf("%d bytes arrived behind what was in the socket, or others; want %d", len(got), len(x)-1+len(y))
	}
	server.Close()
	if r := f.wait(t); r.End != ClientClosed {
		t.Errorf("end %+v", r)
	}
}

// What was read of the client before the pair began is opened once.
func TestNotOpenedTwice(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	for name, cut := range map[string]int{"whole records": 0, "half a record": 7} {
		t.Run(name, func(t *testing.T) {
			cs, ss := states(t, tls.VersionTLS13, 0)
			raw := slices.Concat(seal(&cs, []byte("CONNECT ")), seal(&cs, []byte("SUBSCRIBE ")))
			at := len(raw) - cut
			f := p.secured(t, ss, bytes.Clone(raw[:at]), nil)
			expect(t, f.server, "CONNECT ")
			f.client.Write(append(raw[at:], seal(&cs, []byte("PUBLISH"))...))
			expect(t, f.server, "SUBSCRIBE PUBLISH")
			p.look(t, func(l *loop) {
				if l.overflow.Used() != 0 {
					t.Errorf("%d buffers are held, and nothing is under way", l.overflow.Used())
				}
			})
			f.client.Close()
			f.server.Close()
			f.wait(t)
		})
	}
}

// Rule 2: what was not read when there was no room comes without another event, when there is.
func TestEdgeStaysReadable(t *testing.T) {
	leaktest.Check(t)
	for _, down := range []bool{true, false} {
		for _, withTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("down %v, tls %v", down, withTLS), func(t *testing.T) {
				p := newPlane(t, 1)
				f := p.start(t, withTLS, nil)
				from, to := f.client, f.server
				stuck := func(o *pair) bool { return o.server.unsent != 0 && o.client.flags.has(readable) }
				if down {
					from, to = to, from
					stuck = func(o *pair) bool { return o.client.unsent != 0 && o.server.flags.has(readable) }
				}
				sent := random(3, 16<<20)
				written := make(chan error, 1)
				go func() { _, err := from.Write(sent); written <- err }()
				p.until(t, "the reader stands, and there is more", func(l *loop) bool { return stuck(l.only()) })
				got := make([]byte, len(sent)) // the sender says nothing behind it, not even its end
				if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, sent) {
					t.Errorf("other bytes, or %v", err)
				}
				if err := <-written; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Rule 3: what was opened goes on before the pair ends for what came after it.
func TestOpenedGoesOn(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	cs, ss := states(t, tls.VersionTLS13, 0)
	f := p.secured(t, ss, nil, nil)
	reader := record.NewConn(f.client, cs, nil)
	segment := slices.Concat(seal(&cs, []byte("one ")), seal(&cs, []byte("two")), seal(&cs, []byte("changed on the way")))
	segment[len(segment)-1] ^= 1
	if _, err := f.client.Write(segment); err != nil {
		t.Fatal(err)
	}
	expect(t, f.server, "one two")
	expectEOF(t, f.server)
	wantAlert(t, f.wait(t), ClientReset, record.BadRecordMAC, false)
	var told *record.Alert
	if _, err := reader.Read(make([]byte, 1)); !errors.As(err, &told) || !told.Remote || told.Code != record.BadRecordMAC {
		t.Errorf("the client was told %v", err)
	}
}

// wantAlert checks how a pair ended.
func wantAlert(t *testing.T, r Result, end End, code record.AlertCode, remote bool) {
	t.Helper()
	var a *record.Alert
	if r.End != end || !errors.As(r.Err, &a) || a.Code != code || a.Remote != remote {
		t.Errorf("end %v, %v; want %v, %v (remote %v)", r.End, r.Err, end, code, remote)
	}
}

// Rule 4: records without data, and half a record, are not heard.
func TestOnlyDataKeepsAlive(t *testing.T) {
	leaktest.Check(t)
	says := map[string]func(f *forger) (b []byte){
		"nothing": func(f *forger) []byte { return nil },
		"empty records": func(f *forger) (b []byte) {
			for range 10 {
				b = append(b, f.record(typeData)...)
			}
			return b
		},
		"KeyUpdates": func(f *forger) (b []byte) {
			for range 10 {
				b = append(b, f.record(typeHandshake, updateAsking...)...)
				f.update()
			}
			return b
		},
		"one byte of data": func(f *forger) []byte { return f.record(typeData, 'x') },
	}
	for name, say := range says {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t, 1)
			_, ss := states(t, tls.VersionTLS13, 0)
			f := p.secured(t, ss, nil, func(p *Pair) { p.ClientTimeout = 2 * patience })
			var before, after ticks
			p.until(t, "some ticks have passed", func(l *loop) bool {
				before = l.only().client.heard
				return l.now() > before+2
			})
			client := newForger(tls.VersionTLS13)
			f.client.Write(append(say(client), client.record(typeData, 'y', 'y')[:10]...)) // and half a record
			p.until(t, "all has come", func(l *loop) bool {
				after = l.only().client.heard
				return len(l.overflow.Bytes(l.only().partial)) == 10
			})
			if heard := after != before; heard != (name == "one byte of data") {
				t.Errorf("heard: %v", heard)
			}
			p.look(t, func(l *loop) { // two ticks are all that it has, from what was heard last
				o := l.only()
				o.client.timeout = 2
				turn := l.turn(l.session(o).slot)
				turn.arm()
			})
			if r := f.wait(t); r.End != ClientTimeout {
				t.Errorf("end %+v, want %v", r, ClientTimeout)
			}
		})
	}
}

// Rule 5: a side that is shut has been sent all, close_notify behind it, also where there is no room for it at that moment.
func TestShutHasBeenSentAll(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	t.Run("a reader that stood", func(t *testing.T) {
		f := p.start(t, true, nil)
		sent := random(4, 16<<20)
		go func() { f.server.Write(sent); f.server.Close() }()
		p.until(t, "something is unsent", func(l *loop) bool { return l.only().client.unsent != 0 })
		got, err := io.ReadAll(f.client) // of crypto/tls: io.EOF is close_notify
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		f.client.Close()
		f.wait(t)
	})
	t.Run("a socket without room", func(t *testing.T) {
		far, a := p.connect(t)
		server, b := p.connect(t)
		_, ss := states(t, tls.VersionTLS13, 64)
		cs, before := states(t, tls.VersionTLS13, 0)
		var list [][]byte
		for range 64 {
			list = append(list, seal(&before, make([]byte, 8<<10)))
		}
		put := 0
		f := &fixture{client: record.NewConn(far, cs, nil), server: server}
		f.begin(t, p.loops.Start, Pair{Client: record.NewConn(full{a, list, &put}, ss, nil), Server: b}, nil)
		server.(*net.TCPConn).CloseWrite()
		p.until(t, "the server's end was seen", func(l *loop) bool { return l.only() != nil && l.only().server.flags.has(ended) })
		if n, err := io.Copy(io.Discard, f.client); n != 64*8<<10 || err != nil {
			t.Errorf("%d bytes, %v; want close_notify behind %d", n, err, 64*8<<10)
		}
		f.client.Close()
		f.wait(t)
	})
}

// Half a record of the client outlives the end of the server: the other direction goes on.
func TestHalfARecordAndTheServersEnd(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	cs, ss := states(t, tls.VersionTLS13, 0)
	f := p.secured(t, ss, nil, nil)
	bye := seal(&cs, []byte("good bye"))
	f.client.Write(bye[:10])
	p.until(t, "half a record is held", func(l *loop) bool { return l.only() != nil && l.only().partial != 0 })
	closeWrite(t, f.server)
	p.until(t, "the server's end was seen", func(l *loop) bool { return l.only().server.flags.has(ended) })
	f.client.Write(bye[10:])
	expect(t, f.server, "good bye")
	f.client.Close()
	if r := f.wait(t); r.End != ServerClosed {
		t.Errorf("end %+v", r)
	}
}

// A KeyUpdate of our own, which is due because the key has protected as many records as it may, is sent whatever comes next:
// nothing, data, or the end.
func TestOwnKeyUpdateArrives(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	const due = 1 << 24 // records: package record's rekeyAt
	for name, says := range map[string]string{"the end": "", "data": "data"} {
		t.Run(name, func(t *testing.T) {
			cs, ss := states(t, tls.VersionTLS13, due)
			f := p.secured(t, ss, nil, nil)
			c := record.NewConn(f.client, cs, nil)
			f.server.Write([]byte(says))
			f.server.Close()
			if got, err := io.ReadAll(c); err != nil || string(got) != says {
				t.Errorf("%q, %v; want %q and close_notify", got, err, says)
			}
			c.Close()
			f.wait(t)
		})
	}
}
