package record

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		for _, n := range []int{0, 1, 15, 16, 17, 1000, MaxPlaintext - 1, MaxPlaintext, 0, 3} {
			text := strings.Repeat("d", n)
			sv.wants(t, text, cl.data(text))
			cl.wants(t, text, sv.data(text))
		}
	})
}

// Data is a part of the buffer, and what records carry can be moved together in it.
func TestDataIsInPlace(t *testing.T) {
	cl, sv := connect(t, flavors[0], source(1))
	buf := slices.Concat(cl.data("one"), cl.data("two"))
	one, err := sv.Open(sv.c, buf)
	if err != nil || &one.Data[0] != &buf[HeaderSize] {
		t.Fatalf("%v, %v", one, err)
	}
	two, err := sv.Open(sv.c, buf[one.Used:])
	if all := append(one.Data, two.Data...); err != nil || string(all) != "onetwo" || &all[0] != &buf[HeaderSize] {
		t.Fatalf("%q, %v", all, err)
	}
}

// A record that is not complete is left alone, wherever it is cut.
func TestPartial(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		record := cl.data("hello")
		before := bytes.Clone(record)
		for n := range record {
			if o, err := sv.Open(sv.c, record[:n:n]); o.Used != 0 || o.Data != nil || o.Close || err != nil {
				t.Fatalf("%d of %d bytes: %v, %v", n, len(record), o, err)
			}
		}
		if !bytes.Equal(record, before) {
			t.Error("a partial record was changed")
		}
		sv.wants(t, "hello", record)
	})
}

func TestHeaders(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, _ := connect(t, f, source(1))
		most := MaxPlaintext + cl.Overhead() - HeaderSize
		least := cl.Prefix() - HeaderSize + tagSize
		ccs, alert, handshake := UnexpectedMessage, UnexpectedMessage, UnexpectedMessage
		if !f.is13() { // not before they are authenticated
			alert, handshake = 0, 0
		}
		for _, h := range []struct {
			what    string
			typ     byte
			version uint16
			length  int
			want    AlertCode // 0: more is waited for
		}{
			{"largest", 23, wireVersion, most, 0},
			{"one more", 23, wireVersion, most + 1, RecordOverflow},
			{"as long as can be said", 23, wireVersion, math.MaxUint16, RecordOverflow},
			{"smallest", 23, wireVersion, least, 0},
			{"one less", 23, wireVersion, least - 1, BadRecordMAC},
			{"nothing", 23, wireVersion, 0, BadRecordMAC},
			{"change_cipher_spec", 20, wireVersion, 1, ccs},
			{"alert", 21, wireVersion, least, alert},
			{"handshake", 22, wireVersion, least, handshake},
			{"heartbeat", 24, wireVersion, least, UnexpectedMessage},
			{"type 0", 0, wireVersion, least, UnexpectedMessage},
			{"TLS 1.0", 23, 0x0301, least, ProtocolVersion},
			{"TLS 1.3", 23, 0x0304, least, ProtocolVersion},
			{"MQTT", 0x10, 0x0f00, least, UnexpectedMessage},
		} {
			t.Run(h.what, func(t *testing.T) {
				_, sv := connect(t, f, source(1))
				header := []byte{h.typ, byte(h.version >> 8), byte(h.version), byte(h.length >> 8), byte(h.length)}
				o, err := sv.Open(sv.c, header)
				if h.want != 0 {
					refused(t, err, h.want)
				} else if o.Used != 0 || err != nil {
					t.Errorf("%v, %v; want more to be waited for", o, err)
				}
			})
		}
	})
}

// A record of 16,385 bytes, right otherwise, is refused.
func TestTooMuchData(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		_, _, err := sv.open(cl.raw(typeData, make([]byte, MaxPlaintext+1)...))
		refused(t, err, RecordOverflow)
	})
}

// Whatever is done to the order of records: it is noticed, and nothing follows.
func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		for what, order := range map[string][]int{
			"replayed": {0, 0}, "late replay": {0, 1, 2, 0}, "reordered": {1, 0}, "dropped": {0, 2}, "first dropped": {1},
		} {
			cl, sv := connect(t, f, source(1))
			records := [][]byte{cl.data("a"), cl.data("b"), cl.data("c")}
			var err error
			for _, i := range order {
				if _, _, err = sv.open(records[i]); err != nil {
					break
				}
			}
			if err == nil {
				t.Errorf("%s: opened", what)
			}
			refused(t, err, BadRecordMAC)
			o, err := sv.Open(sv.c, bytes.Clone(records[1]))
			if err == nil || o.Data != nil {
				t.Errorf("%s: opened after it", what)
			}
			if len(sv.AppendAlert(sv.c, nil, BadRecordMAC)) == 0 {
				t.Errorf("%s: the peer cannot be told", what)
			}
		}
	})
}

// What one end has sent is not opened by itself, nor by another connection.
func TestOtherKeys(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, _ := connect(t, f, source(1))
		_, other := connect(t, f, source(2))
		record := cl.data("a")
		for what, e := range map[string]*end{"itself": cl, "another": other} {
			if _, _, err := e.open(record); err == nil {
				t.Errorf("%s opens it", what)
			}
		}
	})
}

// Of 100,000 records that were changed at random, none is opened.
func TestMutations(t *testing.T) {
	r := source(3)
	total := 100_000
	if testing.Short() {
		total = 6_000
	}
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, r)
		for range total / len(flavors) {
			n := r.IntN(120)
			if r.IntN(200) == 0 {
				n = r.IntN(MaxPlaintext + 1)
			}
			record := cl.data(string(noise(r, n)))
			changed := mutate(bytes.Clone(record), r.IntN)
			victim := end{sv.State, sv.c}
			if o, err := victim.Open(sv.c, changed); !bytes.Equal(changed, record) && (len(o.Data) > 0 || o.Close || o.Used > 0 || err == nil && Size(changed) <= len(changed)) {
				t.Fatalf("%x, changed from %x: opened as %v, %v", changed, record, o, err)
			}
			if data, _, err := sv.open(record); err != nil || len(data) != n {
				t.Fatalf("the record itself: %v", err)
			}
		}
	})
}

// mutate changes a record in one of many ways.
func mutate(b []byte, n func(int) int) []byte {
	at := n(len(b))
	switch n(8) {
	case 0, 1, 2:
		b[at] ^= 1 << n(8)
	case 3:
		b[at] += byte(1 + n(255))
	case 4: // shorter, and it says so
		b = b[:max(at, HeaderSize)]
		binary.BigEndian.PutUint16(b[3:], uint16(len(b)-HeaderSize))
	case 5: // longer
		b = slices.Insert(b, max(at, HeaderSize), make([]byte, 1+n(20))...)
		binary.BigEndian.PutUint16(b[3:], uint16(len(b)-HeaderSize))
	case 6:
		other := n(len(b))
		if b[at] == b[other] {
			b[at]++
		}
		b[at], b[other] = b[other], b[at]
	case 7:
		clear(b[at:])
		b[n(len(b))]++
	}
	return b
}

// Sequence numbers do not wrap: the last but one is used, the last is not.
func TestSequenceDoesNotWrap(t *testing.T) {
	each(t, func(t *testing.T, f flavor) {
		cl, sv := connect(t, f, source(1))
		cl.out.seq, sv.in.seq = math.MaxUint64-1, math.MaxUint64-1
		if f.is13() && cl.suite != chacha20 { // whose limit is far before
			panics(t, "key used up", func() { cl.data("x") })
			return
		}
		record := cl.data("last")
		panics(t, "no number left", func() { cl.data("x") })
		sv.wants(t, "last", record)
		_, err := sv.Open(sv.c, bytes.Clone(record))
		refused(t, err, InternalError)
	})
}
