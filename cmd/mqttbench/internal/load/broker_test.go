//go:build linux

package load

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/link"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
)

// TestMosquitto runs what is published with either QoS, and subscriptions alone, against a broker that is not ours.
func TestMosquitto(t *testing.T) {
	m := peertest.StartMosquitto(t, true)
	leaktest.Check(t)
	tests := map[string]Plan{
		"idle, subscribed":             {Scenario: Idle, Subscribe: true, Traffic: 100},
		"fanout":                       {Scenario: Fanout},
		"fanout, QoS 1, ten in flight": {Scenario: Fanout, QoS: 1, InFlight: 10},
		"pairs":                        {Scenario: Pairs},
		"pairs, QoS 1":                 {Scenario: Pairs, QoS: 1},
		"pairs, QoS 1, paced":          {Scenario: Pairs, QoS: 1, Rate: 500},
	}
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			p.TLS, p.Target, p.Connections, p.Duration, p.KeepAlive = Plain, m.Address, 9, 300*time.Millisecond, 600
			want := "start begin end"
			if p.Scenario == Idle {
				want = "start connected traffic begin end"
			}
			scenario(t, p, want)
		})
	}
}

// publication is what a broker makes of message n of a form.
func publication(m form, n uint64, change func(p *packet.Publish)) []byte {
	p := packet.Publish{Topic: []byte("t"), QoS: m.whole[0] & qosBits >> 1, PacketID: 1}
	p.Payload = append(p.Payload, m.set(n, 0)[m.payload:]...)
	if change != nil {
		change(&p)
	}
	return p.Append(nil, packet.V311)
}

func puback(id uint16) []byte {
	return (&packet.Ack{Type: packet.PUBACK, PacketID: id}).Append(nil, packet.V311)
}

func suback(code byte) []byte {
	return (&packet.Suback{PacketID: 1, Codes: []byte{code}}).Append(nil, packet.V311)
}

// TestUnexpected gives behaviours what no broker should send. Every step but the last of a test is as it should be.
func TestUnexpected(t *testing.T) {
	m := newForm([]byte("t"), 1, 20)
	drop := func(p *packet.Publish) { p.QoS, p.PacketID = 0, 0 }
	longer := func(p *packet.Publish) { p.Payload = append(p.Payload, 0) }
	fan := func(f *fleet) behaviour { return &fan{f: f, form: m, last: 3, came: []uint64{0}, left: []int{9, 9, 9}} }
	refused := func(f *fleet) behaviour { return &joining{qos: 1, left: 9} }
	couples := func(f *fleet) behaviour { return &couples{f: f, list: []couple{{form: m, sent: 3, acked: 1}}} }
	const publisher = 1 // of the one couple
	tests := []struct {
		name  string
		what  func(*fleet) behaviour
		key   uint32
		steps [][]byte
		want  string
	}{
		{"fan: with less QoS", fan, 0, [][]byte{publication(m, 1, nil), publication(m, 2, drop)}, "with QoS 0 has come"},
		{"fan: longer", fan, 0, [][]byte{publication(m, 2, longer)}, "has come, of"},
		{"fan: one is missing", fan, 0, [][]byte{publication(m, 1, nil), publication(m, 3, nil)}, "publication 3 has come where 2 was due"},
		{"fan: twice", fan, 0, [][]byte{publication(m, 1, nil), publication(m, 1, nil)}, "publication 1 has come where 2 was due"},
		{"fan: never sent", fan, 0, [][]byte{publication(m, 1, nil), publication(m, 2, nil), publication(m, 3, nil), publication(m, 4, nil)}, "publication 4"},
		{"fan: to the publisher", fan, publisher, [][]byte{publication(m, 1, nil)}, "PUBLISH came"},
		{"fan: acknowledged to a subscriber", fan, 0, [][]byte{puback(1)}, "PUBACK came"},
		{"fan: another's acknowledgement", fan, publisher, [][]byte{puback(2)}, "for message 2 has come, that for 1"},
		{"fan: not asked for", fan, 0, [][]byte{suback(0)}, "SUBACK came"},
		{"couples: one is missing", couples, 0, [][]byte{publication(m, 1, nil), publication(m, 3, nil)}, "message 3 has come where 2 was due"},
		{"couples: never sent", couples, 0, [][]byte{publication(m, 1, nil), publication(m, 2, nil), publication(m, 4, nil)}, "message 4"},
		{"couples: with less QoS", couples, 0, [][]byte{publication(m, 1, drop)}, "with QoS 0 has come"},
		{"couples: another's acknowledgement", couples, publisher, [][]byte{puback(2), puback(2)}, "for message 2 has come, that for 3"},
		{"couples: once too often", couples, publisher, [][]byte{puback(2), puback(3), puback(4)}, "for nothing"},
		{"couples: to the publisher", couples, publisher, [][]byte{publication(m, 1, nil)}, "PUBLISH came"},
		{"joining: refused", refused, 0, [][]byte{suback(1), suback(0x80)}, "answered by code 0x80"},
		{"joining: with less QoS", refused, 0, [][]byte{suback(0)}, "answered by code 0x0"},
		{"joining: something else", refused, 0, [][]byte{puback(1)}, "PUBACK came"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fleet{plan: Plan{Connections: 1, QoS: 1}, progress: &Progress{}, tally: NewTally(), ticker: &ticker{}}
			b, c := tt.what(f), &conn{Link: &link.Link{}, key: tt.key}
			for i, whole := range tt.steps {
				h, _, err := packet.ParseHeader(whole)
				if err != nil {
					t.Fatal(err)
				}
				err = b.packet(c, h, whole)
				if last := i == len(tt.steps)-1; !last && err != nil {
					t.Fatalf("step %d: %v", i, err)
				} else if last && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("%v, want %q", err, tt.want)
				}
			}
		})
	}
}

// TestForm: what set writes take reads, and identifiers go round without 0.
func TestForm(t *testing.T) {
	for _, qos := range []int{0, 1} {
		m := newForm([]byte("a/b"), qos, 100)
		for _, n := range []uint64{1, 2, 65535, 65536, 131071, 1 << 40} {
			sent := append([]byte{}, m.set(n, int64(n)*7)...)
			m.set(n+1, 0)
			got, at, err := m.take(sent)
			if got != n || at != int64(n)*7 || err != nil {
				t.Errorf("QoS %d: message %d at %d: %d, %d, %v", qos, n, n*7, got, at, err)
			}
			h, size, err := packet.ParseHeader(sent)
			if err != nil {
				t.Fatal(err)
			}
			var p packet.Publish
			if err := p.Decode(packet.V311, h, sent[size:]); err != nil {
				t.Fatal(err)
			}
			if int(p.QoS) != qos || len(p.Payload) != 100 || qos == 1 && p.PacketID != identifier(n) {
				t.Errorf("QoS %d: message %d is %+v", qos, n, p)
			}
		}
	}
	for n, want := range map[uint64]uint16{1: 1, 65535: 65535, 65536: 1, 131070: 65535, 131071: 1} {
		if got := identifier(n); got != want {
			t.Errorf("identifier of %d is %d, want %d", n, got, want)
		}
	}
}

// TestRefusedSubscription: a connection whose subscription is refused is never complete.
func TestRefusedSubscription(t *testing.T) {
	leaktest.Check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for _, answer := range [][]byte{(&packet.Connack{}).Append(nil, packet.V311), suback(0x80)} {
			if _, _, err := packet.NewReader(c, maxAnswer).Next(); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
		leaktest.Copy(io.Discard, c) // until the other side has closed
	})
	p := Plan{Scenario: Idle, Subscribe: true, TLS: Plain, Target: ln.Addr().String(), Connections: 1, Duration: time.Hour}
	var progress Progress
	if _, err := p.Run(t.Context(), &list{}, &progress); err == nil || !strings.Contains(err.Error(), "answered by code 0x80") || progress.Open.Load() != 0 {
		t.Errorf("%v, %d open", err, progress.Open.Load())
	}
}
