package store

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
)

// rich is a message with everything.
func rich() *delivery.Message {
	m := &delivery.Message{
		Topic: "a/b", Payload: []byte("payload"), QoS: 2, Retain: true,
		Expires: time.UnixMilli(1234567), Publisher: "publisher",
	}
	m.Forwarded.AddInt(packet.PayloadFormat, 1)
	m.Forwarded.AddBytes(packet.ResponseTopic, []byte("answer"))
	m.Forwarded.AddUser([]byte("name"), []byte("value"))
	return m
}

// decoders are those of all records. What they return can be written again.
var decoders = []struct {
	name   string
	again  func(b []byte) ([]byte, error)
	sample [][]byte
}{
	{"entry", func(b []byte) ([]byte, error) {
		e, err := decodeEntry(b)
		return appendEntry(nil, e), err
	}, [][]byte{
		appendEntry(nil, entry{body: 7, id: 9, qos: 2, retain: true, ids: []uint32{1, 300, math.MaxUint32}}),
		appendEntry(nil, entry{id: math.MaxUint16, released: true}),
		appendEntry(nil, entry{body: math.MaxUint64, qos: 1}),
	}},
	{"filter", func(b []byte) ([]byte, error) {
		s, err := decodeFilter(b)
		return appendFilter(nil, s.Filter, s.Want), err
	}, [][]byte{
		appendFilter(nil, "a/+/#", route.Want{ID: 268_435_455, QoS: 2, RetainHandling: 2, NoLocal: true, RetainAsPublished: true}),
		appendFilter(nil, "$share/group/a", route.Want{}),
	}},
	{"session", func(b []byte) ([]byte, error) {
		s, err := decodeSession(b)
		return appendSession(nil, &s), err
	}, [][]byte{
		appendSession(nil, &Session{ClientID: "client", Expiry: time.Hour, Away: time.UnixMilli(1)}),
		appendSession(nil, &Session{Expiry: math.MaxInt64}),
		appendSession(nil, &Session{ClientID: "c", Will: &Will{Message: rich(), Delay: time.Second, Due: time.UnixMilli(99), Expires: true, Lifetime: time.Minute}}),
	}},
	{"message", func(b []byte) ([]byte, error) {
		m, err := decodeMessage(b)
		if err != nil {
			return nil, err
		}
		return appendMessage(nil, m), nil
	}, [][]byte{
		appendMessage(nil, rich()),
		appendMessage(nil, &delivery.Message{Topic: "t", QoS: 1}),
		appendMessage(nil, &delivery.Message{Topic: strings.Repeat("t", math.MaxUint16), Payload: make([]byte, 1000)}),
	}},
}

// TestRecords: what is written is read, and nothing that is cut short or has more.
func TestRecords(t *testing.T) {
	for _, d := range decoders {
		for i, b := range d.sample {
			got, err := d.again(b)
			if err != nil || !bytes.Equal(got, b) {
				t.Errorf("%s %d: %x becomes %x, %v", d.name, i, b, got, err)
			}
			if d.name != "filter" && d.name != "entry" { // whose ends are free
				if _, err := d.again(append(b[:len(b):len(b)], 0)); err == nil {
					t.Errorf("%s %d: a byte more is accepted", d.name, i)
				}
			}
			for _, n := range []int{0, 1, 2} {
				if _, err := d.again(b[:n]); err == nil {
					t.Errorf("%s %d: %d bytes of it are accepted", d.name, i, n)
				}
			}
			if _, err := d.again(append([]byte{0x80}, b[1:]...)); err == nil {
				t.Errorf("%s %d: an unknown flag is accepted", d.name, i)
			}
		}
	}
}

// TestFields: what a session and a message say is what they have said.
func TestFields(t *testing.T) {
	want := Session{
		ClientID: "c", Expiry: time.Hour, Away: time.UnixMilli(5),
		Will: &Will{Message: &delivery.Message{Topic: "w", Payload: []byte{1}}, Delay: 1500 * time.Millisecond, Due: time.UnixMilli(9), Expires: true},
	}
	got, err := decodeSession(appendSession(nil, &want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v becomes %+v, %v", want, got, err)
	}
	m, err := decodeMessage(appendMessage(nil, rich()))
	if err != nil || saidMessage(m) != saidMessage(rich()) || !m.Expires.Equal(rich().Expires) {
		t.Errorf("%s becomes %s, %v", saidMessage(rich()), saidMessage(m), err)
	}
	if v, there := m.Forwarded.Int(packet.PayloadFormat); !there || v != 1 || string(m.Forwarded.Bytes(packet.ResponseTopic)) != "answer" {
		t.Error("properties are lost")
	}
	early, err := decodeSession(appendSession(nil, &Session{Expiry: -1, Away: time.Unix(-5, 0)}))
	if err != nil || early.Expiry != 0 || early.Away.IsZero() { // a clock that is wrong does not make it connected
		t.Errorf("%+v, %v", early, err)
	}
}

// TestRefused: records that no program of ours has written.
func TestRefused(t *testing.T) {
	for name, decode := range map[string]func() error{
		"entry of QoS 3":          func() error { _, err := decodeEntry([]byte{3, 0, 1}); return err },
		"entry without a body":    func() error { _, err := decodeEntry([]byte{1, 0, 0}); return err },
		"identifier of 17 bits":   func() error { _, err := decodeEntry([]byte{1, 0x80, 0x80, 4, 1}); return err },
		"filter that is empty":    func() error { _, err := decodeFilter([]byte{0, 0}); return err },
		"handling 3":              func() error { _, err := decodeFilter([]byte{3 << handlingShift, 0, 'a'}); return err },
		"lifetime without a will": func() error { _, err := decodeSession([]byte{willExpires, 0, 0, 0}); return err },
		"identifier too long":     func() error { _, err := decodeSession([]byte{0, 4, 'a', 0, 0}); return err },
		"message without a topic": func() error {
			_, err := decodeMessage([]byte{withProperties, 0, 0, 0x30, 6, 0, 0, 3, 0x23, 0, 1})
			return err
		},
		"message of QoS 3": func() error { _, err := decodeMessage([]byte{3, 0, 0, 0x30, 3, 0, 1, 'a'}); return err },
		"a CONNACK":        func() error { _, err := decodeMessage([]byte{0, 0, 0, 0x20, 2, 0, 0}); return err },
	} {
		if decode() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzRecords: no bytes harm a decoder, and what it makes of them means the same when it is written and read again.
func FuzzRecords(f *testing.F) {
	for i, d := range decoders {
		for _, b := range d.sample {
			if len(b) < 1<<10 { // the engine takes long to make a long one shorter
				f.Add(byte(i), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		d := decoders[int(which)%len(decoders)]
		once, err := d.again(b)
		if err != nil {
			return
		}
		twice, err := d.again(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%s: %x becomes %x, and that %x, %v", d.name, b, once, twice, err)
		}
	})
}
