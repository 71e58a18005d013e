package packet_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/mqttlb/mqttlb/broker/packet"
)

// TestSize: Size is the length of what Append adds.
func TestSize(t *testing.T) {
	for _, v := range versions {
		g := newGenerator(3, v)
		for range 300 {
			p := g.publish()
			if got, want := p.Size(v), len(p.Append(nil, v)); got != want || got == 0 {
				t.Fatalf("%v: %d, want %d", v, got, want)
			}
		}
	}
}

// TestEncoded: each receiver's copy is what Append would have written for it.
func TestEncoded(t *testing.T) {
	for _, v := range versions {
		g := newGenerator(4, v)
		buf := make([]byte, 0, 64)
		for range 300 {
			p := g.publish()
			p.Dup = false
			e := p.Encode(buf, v)
			for _, dup := range []bool{false, true} {
				q := *p
				if q.QoS > 0 {
					q.Dup, q.PacketID = dup, g.id()
				}
				want := q.Append([]byte("before"), v)
				if got := e.Append([]byte("before"), q.PacketID, dup); !bytes.Equal(got, want) || e.Len() != len(want)-6 {
					t.Fatalf("%v: % .200x\nwant % .200x", v, got, want)
				}
			}
		}
	}
}

// TestEncodedResets: a template that was itself a repetition does not repeat for the first receiver.
func TestEncodedResets(t *testing.T) {
	p := device(1)
	p.Dup = true
	got := p.Encode(nil, packet.V5).Append(nil, 9, false)
	if q := mustDecode(t, packet.V5, got).(*packet.Publish); q.Dup || q.PacketID != 9 {
		t.Error(describe(q))
	}
}

// TestEncodedShared: any number of goroutines append from one Encoded; the race detector watches.
func TestEncodedShared(t *testing.T) {
	e := device(1).Encode(nil, packet.V5)
	var wg sync.WaitGroup
	for id := range uint16(8) {
		wg.Go(func() {
			for range 100 {
				p, _, err := decode(packet.V5, e.Append(nil, id+1, id%2 == 0))
				if err != nil || p.(*packet.Publish).PacketID != id+1 {
					t.Errorf("id %d: %v", id+1, err)
				}
			}
		})
	}
	wg.Wait()
	if got := (packet.Encoded{}).Append([]byte("x"), 1, true); string(got) != "x" {
		t.Errorf("zero value appended %q", got)
	}
}

// TestNotWritten: packets that have no form add nothing to what is there.
func TestNotWritten(t *testing.T) {
	long := make([]byte, 65_536)
	topic, id := []byte("t"), uint16(1)
	shared := subscriptions("$share/g/t", packet.Options{NoLocal: true})
	for name, c := range map[string]struct {
		v packet.Version
		p codec
	}{
		"CONNECT of no version":        {4, &connect{packet.Connect{}}},
		"CONNECT of version 6":         {4, &connect{packet.Connect{Version: 6}}},
		"client identifier too long":   {4, &connect{packet.Connect{Version: 4, ClientID: long}}},
		"user name too long":           {4, &connect{packet.Connect{Version: 4, Username: long}}},
		"password without user name":   {4, &connect{packet.Connect{Version: 4, Password: topic}}},
		"password too long":            {5, &connect{packet.Connect{Version: 5, Password: long}}},
		"will QoS 3":                   {4, &connect{packet.Connect{Version: 4, Will: &packet.Will{QoS: 3, Topic: topic}}}},
		"will without topic":           {4, &connect{packet.Connect{Version: 4, Will: &packet.Will{}}}},
		"will payload too long":        {4, &connect{packet.Connect{Version: 4, Will: &packet.Will{Topic: topic, Payload: long}}}},
		"CONNACK: no such return code": {4, &packet.Connack{Code: packet.MalformedPacket}},
		"CONNACK: no such reason code": {5, &packet.Connack{Code: packet.SessionTakenOver}},
		"CONNACK: refused session":     {5, &packet.Connack{Code: packet.Banned, SessionPresent: true}},
		"topic too long":               {4, &packet.Publish{Topic: long}},
		"topic empty":                  {4, &packet.Publish{}},
		"PUBLISH without identifier":   {4, &packet.Publish{QoS: 1, Topic: topic}},
		"PUBLISH of QoS 3":             {4, &packet.Publish{QoS: 3, Topic: topic, PacketID: id}},
		"DUP with QoS 0":               {4, &packet.Publish{Dup: true, Topic: topic}},
		"PUBLISH too long":             {4, &packet.Publish{Topic: topic, Payload: make([]byte, packet.MaxRemaining-2)}},
		"Ack of no type":               {4, &packet.Ack{PacketID: id}},
		"Ack without identifier":       {4, &packet.Ack{Type: packet.PUBACK}},
		"Ack with a wrong code":        {5, &packet.Ack{Type: packet.PUBREL, PacketID: id, Code: packet.NotAuthorized}},
		"SUBSCRIBE without filter":     {4, &packet.Subscribe{PacketID: id}},
		"SUBSCRIBE without identifier": {4, &packet.Subscribe{Subscriptions: subscriptions("t", packet.Options{})}},
		"SUBSCRIBE, empty filter":      {4, &packet.Subscribe{PacketID: id, Subscriptions: subscriptions("t", packet.Options{}, "")}},
		"SUBSCRIBE, long filter":       {4, &packet.Subscribe{PacketID: id, Subscriptions: subscriptions(string(long), packet.Options{})}},
		"SUBSCRIBE, QoS 3":             {5, &packet.Subscribe{PacketID: id, Subscriptions: subscriptions("t", packet.Options{QoS: 3})}},
		"SUBSCRIBE, retain handling 3": {5, &packet.Subscribe{PacketID: id, Subscriptions: subscriptions("t", packet.Options{RetainHandling: 3})}},
		"SUBSCRIBE 3.1.1, no local":    {4, &packet.Subscribe{PacketID: id, Subscriptions: subscriptions("t", packet.Options{NoLocal: true})}},
		"SUBSCRIBE, no local, shared":  {5, &packet.Subscribe{PacketID: id, Subscriptions: shared}},
		"SUBACK without code":          {5, &packet.Suback{PacketID: id}},
		"SUBACK with a wrong code":     {4, &packet.Suback{PacketID: id, Codes: []byte{3}}},
		"SUBACK without identifier":    {4, &packet.Suback{Codes: []byte{0}}},
		"UNSUBSCRIBE without filter":   {4, &packet.Unsubscribe{PacketID: id}},
		"UNSUBSCRIBE, empty filter":    {4, &packet.Unsubscribe{PacketID: id, Filters: filters("t", "")}},
		"UNSUBSCRIBE, no identifier":   {4, &packet.Unsubscribe{Filters: filters("t")}},
		"UNSUBACK without code":        {5, &packet.Unsuback{PacketID: id}},
		"UNSUBACK without identifier":  {4, &packet.Unsuback{}},
		"DISCONNECT 3.1.1 with a code": {4, &packet.Disconnect{Code: packet.SessionTakenOver}},
		"DISCONNECT with a wrong code": {5, &packet.Disconnect{Code: packet.Banned}},
		"AUTH in 3.1.1":                {4, &packet.Auth{}},
		"AUTH without method":          {5, &packet.Auth{Code: packet.ContinueAuthentication}},
	} {
		if got := c.p.Append([]byte("before"), c.v); string(got) != "before" {
			t.Errorf("%s: % .100x", name, got)
		}
	}
}

// TestDownTo311 holds what becomes of codes and properties that 3.1.1 cannot tell.
func TestDownTo311(t *testing.T) {
	reason := set(func(p *packet.Properties) { p.AddBytes(packet.ReasonString, []byte("why")) })
	for want, p := range map[string]codec{
		"20 02 00 03": &packet.Connack{Code: packet.ServerBusy, Properties: reason},
		"20 02 00 05": &packet.Connack{Code: packet.Banned},
		"40 02 0001":  &packet.Ack{Type: packet.PUBACK, PacketID: 1, Code: packet.NoMatchingSubscribers, Properties: reason},
		"90 05 0001 01 80 80": &packet.Suback{PacketID: 1, Properties: reason,
			Codes: []byte{1, byte(packet.TopicFilterInvalid), byte(packet.NotAuthorized)}},
		"b0 02 0001": &packet.Unsuback{PacketID: 1, Codes: []byte{0x11}, Properties: reason},
		"e0 00":      &packet.Disconnect{Properties: reason},
	} {
		if got := p.Append(nil, packet.V311); !bytes.Equal(got, wire(t, want)) {
			t.Errorf("% x, want %s", got, want)
		}
	}
	if got := (&packet.Connack{SessionPresent: true}).Append(nil, packet.V31); !bytes.Equal(got, wire(t, "20 02 00 00")) {
		t.Errorf("session present in 3.1: % x", got)
	}
}

// TestNoAllocation: decoding allocates nothing but a will, appending nothing where there is room.
func TestNoAllocation(t *testing.T) {
	dst := make([]byte, 0, 1<<20)
	for _, v := range versions {
		for _, typ := range types(v) {
			g := newGenerator(uint64(typ), v)
			for range 20 {
				p := g.packet(typ)
				raw := p.Append(nil, v)
				want := 0
				if c, ok := p.(*connect); ok && c.Will != nil {
					want = 1
				}
				if got := decodeAllocs(v, raw); got != want {
					t.Errorf("%v %v: %v allocations to decode, want %v", v, typ, got, want)
				}
				if got := testing.AllocsPerRun(10, func() { dst = p.Append(dst[:0], v) }); got != 0 {
					t.Errorf("%v %v: %v allocations to append", v, typ, got)
				}
				// A broken packet costs a will and an error at most, whatever it claims.
				if got := decodeAllocs(v, mutate(g.Rand, raw)); got > 2 {
					t.Errorf("%v %v: %v allocations to decode, or to refuse", v, typ, got)
				}
			}
		}
	}
	e := device(1).Encode(nil, packet.V5)
	if got := testing.AllocsPerRun(10, func() { dst = e.Append(dst[:0], 7, true) }); got != 0 {
		t.Errorf("%v allocations to append an Encoded", got)
	}
}

// decodeAllocs returns how many allocations reading the packet takes.
func decodeAllocs(v packet.Version, raw []byte) int {
	into := blank(packet.Type(raw[0] >> 4))
	return int(testing.AllocsPerRun(10, func() {
		if h, n, err := packet.ParseHeader(raw); err == nil && n > 0 {
			_ = into.Decode(v, h, raw[n:])
		}
	}))
}
