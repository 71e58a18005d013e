//go:build linux

package relay

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/lb/record"
)

// An attack is what a client does that has done a handshake.
type attack struct {
	name    string
	version uint16
	says    func(f *forger) []byte // in one piece
	end     End
	code    record.AlertCode
	remote  bool // the alert is the client's
}

// times joins n records.
func times(n int, say func() []byte) (all []byte) {
	for range n {
		all = append(all, say()...)
	}
	return all
}

var attacks = []attack{
	{name: "renegotiation", version: tls.VersionTLS12, end: ClientReset, code: record.NoRenegotiation,
		says: func(f *forger) []byte { return f.record(typeHandshake, helloAgain...) }},
	{name: "a ClientHello in TLS 1.3", version: tls.VersionTLS13, end: ClientReset, code: record.UnexpectedMessage,
		says: func(f *forger) []byte { return f.record(typeHandshake, helloAgain...) }},
	{name: "KeyUpdates without data", version: tls.VersionTLS13, end: ClientReset, code: record.UnexpectedMessage,
		says: func(f *forger) []byte {
			return times(1000, func() []byte { r := f.record(typeHandshake, updateAsking...); f.update(); return r })
		}},
	{name: "a KeyUpdate of a wrong length", version: tls.VersionTLS13, end: ClientReset, code: record.DecodeError,
		says: func(f *forger) []byte { return f.record(typeHandshake, 24, 0, 0, 2, 0, 0) }},
	{name: "endless empty records", version: tls.VersionTLS13, end: ClientReset, code: record.UnexpectedMessage,
		says: func(f *forger) []byte { return times(1000, func() []byte { return f.record(typeData) }) }},
	{name: "endless empty records in TLS 1.2", version: tls.VersionTLS12, end: ClientReset, code: record.UnexpectedMessage,
		says: func(f *forger) []byte { return times(1000, func() []byte { return f.record(typeData) }) }},
	{name: "endless warnings", version: tls.VersionTLS12, end: ClientReset, code: record.UnexpectedMessage,
		says: func(f *forger) []byte { return times(1000, func() []byte { return f.record(typeAlert, 1, 90) }) }},
	{name: "plain text", version: tls.VersionTLS13, end: ClientReset, code: record.UnexpectedMessage,
		says: func(*forger) []byte { return []byte("GET / HTTP/1.1\r\n\r\n") }},
	{name: "a record that is too long", version: tls.VersionTLS13, end: ClientReset, code: record.RecordOverflow,
		says: func(*forger) []byte { return []byte{23, 3, 3, 255, 255} }},
	{name: "another version", version: tls.VersionTLS12, end: ClientReset, code: record.ProtocolVersion,
		says: func(*forger) []byte { return []byte{23, 9, 9, 0, 30} }},
	{name: "noise", version: tls.VersionTLS13, end: ClientReset, code: record.BadRecordMAC,
		says: func(*forger) []byte { return append([]byte{23, 3, 3, 0, 100}, random(5, 100)...) }},
	{name: "a record twice", version: tls.VersionTLS13, end: ClientReset, code: record.BadRecordMAC,
		says: func(f *forger) []byte { r := f.record(typeData, 'x'); return slices.Concat(r, r) }},
	{name: "an alert", version: tls.VersionTLS13, end: ClientReset, code: record.BadRecordMAC, remote: true,
		says: func(f *forger) []byte { return f.record(typeAlert, 2, byte(record.BadRecordMAC)) }},
	{name: "an alert in TLS 1.2", version: tls.VersionTLS12, end: ClientReset, code: record.InternalError, remote: true,
		says: func(f *forger) []byte { return f.record(typeAlert, 2, byte(record.InternalError)) }},
}

// What no client may do ends its connection, for the reason that it is, and nobody else's.
func TestHostileClientsEnd(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			_, ss := states(t, a.version, 0)
			f := p.secured(t, ss, nil, nil)
			neighbour := p.start(t, false, nil)
			client := newForger(a.version)
			f.client.Write(client.record(typeData, 'o', 'k')) // so that it has begun well
			expect(t, f.server, "ok")
			f.client.Write(a.says(client)) // the relay may end it in the middle
			wantAlert(t, f.wait(t), a.end, a.code, a.remote)
			io.Copy(io.Discard, f.server)
			send(t, neighbour.client, "still here")
			expect(t, neighbour.server, "still here")
		})
	}
}

// A client that goes away in the middle of a record has ended, and what is missing is said.
func TestTruncated(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	for name, cut := range map[string]int{"in a record": 9, "in a header": 3, "between records": 0} {
		t.Run(name, func(t *testing.T) {
			_, ss := states(t, tls.VersionTLS13, 0)
			f := p.secured(t, ss, nil, nil)
			client := newForger(tls.VersionTLS13)
			f.client.Write(append(client.record(typeData, 'o', 'k'), client.record(typeData, 'x')[:cut]...))
			f.client.(*net.TCPConn).CloseWrite()
			expect(t, f.server, "ok")
			expectEOF(t, f.server)
			f.server.Close()
			if r := f.wait(t); r.End != ClientClosed || r.Err != errTruncated || r.In != 2 {
				t.Errorf("result %+v; want %v, %v, 2 bytes", r, ClientClosed, errTruncated)
			}
		})
	}
}

// What a client may do as fast as it can, its neighbours do not feel more than as turns.
func TestBusyClientsTakeTurns(t *testing.T) {
	leaktest.Check(t)
	tests := []struct {
		name string
		says func(f *forger) []byte // again and again, with data of 1 byte
	}{
		{"one byte a record", func(f *forger) []byte { return f.record(typeData, 'x') }},
		{"empty records between", func(f *forger) []byte {
			return append(times(10, func() []byte { return f.record(typeData) }), f.record(typeData, 'x')...)
		}},
		{"KeyUpdates that nobody reads the answers of", func(f *forger) []byte {
			r := times(5, func() []byte { r := f.record(typeHandshake, updateAsking...); f.update(); return r })
			return append(r, f.record(typeData, 'x')...)
		}},
		{"silent KeyUpdates", func(f *forger) []byte {
			r := f.record(typeHandshake, updateSilent...)
			f.update()
			return append(r, f.record(typeData, 'x')...)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlane(t, 1)
			_, ss := states(t, tls.VersionTLS13, 0)
			f := p.secured(t, ss, nil, nil)
			stop, sent, got := make(chan struct{}), make(chan int64, 1), make(chan int64, 1)
			go func() { sent <- attackUntil(t, stop, f.client, tt.says) }()
			go func() { n, _ := io.Copy(io.Discard, f.server); got <- n }()
			slowest := p.roundTrips(t, 40)
			close(stop)
			if slowest > patience/2 {
				t.Errorf("a neighbour's round trip took %v", slowest)
			}
			if a, b := <-sent, <-got; a != b || a == 0 {
				t.Errorf("%d bytes were sent, %d arrived", a, b)
			}
			f.server.Close()
			f.client.Close()
			if r := f.wait(t); r.End != ClientClosed {
				t.Errorf("end %+v", r)
			}
		})
	}
}

// A client that asks for KeyUpdates and reads none of the answers is owed one at most: its socket fills, and no memory.
func TestKeyUpdatesDoNotPileUp(t *testing.T) {
	leaktest.Check(t)
	p := newPlane(t, 1)
	_, a := p.connect(t)
	server, b := p.connect(t)
	_, ss := states(t, tls.VersionTLS13, 0)
	client, put := newForger(tls.VersionTLS13), 0
	var raw []byte
	for range 100 {
		raw = append(raw, times(5, func() []byte { r := client.record(typeHandshake, updateAsking...); client.update(); return r })...)
		raw = append(raw, client.record(typeData, 'x')...)
	}
	f := &fixture{client: a, server: server}
	f.begin(t, p.loops.Start, Pair{Client: record.NewConn(full{a, stuffing(), &put}, ss, raw), Server: b}, nil)
	expect(t, server, string(slices.Repeat([]byte{'x'}, 100)))
	p.look(t, func(l *loop) {
		if n := len(l.overflow.Bytes(l.only().client.unsent)); n == 0 || n > 32 {
			t.Errorf("%d bytes are unsent; want one answer", n)
		}
	})
}

// attackUntil says something again and again, close_notify at the end, and returns how often.
func attackUntil(t *testing.T, stop <-chan struct{}, c net.Conn, says func(f *forger) []byte) (n int64) {
	client := newForger(tls.VersionTLS13)
	for {
		select {
		case <-stop:
			c.Write(client.record(typeAlert, 1, byte(record.CloseNotify)))
			return n
		default:
		}
		if _, err := c.Write(times(50, func() []byte { return says(client) })); err != nil { // at the latest by the socket's deadline
			t.Errorf("after %d: %v", n, err)
			return n
		}
		n += 50
	}
}
