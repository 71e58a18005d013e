package listen

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// headers begin a connection: whole ones, with what they say, and what is none.
var headers = []struct {
	name, bytes string
	source      string
	err         error // nil: a header
}{
	{"version 1", "PROXY TCP4 192.0.2.7 192.0.2.8 4711 1883\r\n", "192.0.2.7:4711", nil},
	{"version 1, unknown", "PROXY UNKNOWN\r\n", "", nil},
	{"version 2", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x08\x12\x67\x07\x5b", "192.0.2.7:4711", nil},
	{"version 2, LOCAL", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "", nil},
	{"MQTT", "\x10\x0c\x00\x04MQTT\x04", "", ErrNoProxy},
	{"another word", "PROXIMA", "", ErrNoProxy},
	{"another signature", "\r\n\r\n\x00\r\nQUIZ", "", ErrNoProxy},
}

// TestParseProxy: whatever has come so far, the answer is that there is more to come, or the same as when all is there.
func TestParseProxy(t *testing.T) {
	for _, tt := range headers {
		t.Run(tt.name, func(t *testing.T) {
			whole := tt.bytes + "behind"
			for n := range len(whole) + 1 {
				h, used, err := ParseProxy([]byte(whole[:n]))
				switch {
				case n < len(tt.bytes) && tt.err == nil:
					if !errors.Is(err, ErrShort) {
						t.Fatalf("%d bytes: %v", n, err)
					}
				case tt.err != nil:
					if !errors.Is(err, tt.err) && !errors.Is(err, ErrShort) || n == len(whole) && errors.Is(err, ErrShort) {
						t.Fatalf("%d bytes: %v", n, err)
					}
				case err != nil || used != len(tt.bytes):
					t.Fatalf("%d bytes: %d used, %v", n, used, err)
				case tt.source != "" && h.Source.String() != tt.source || tt.source == "" && h.Source.IsValid():
					t.Fatalf("%d bytes: from %v", n, h.Source)
				}
			}
		})
	}
	for _, broken := range []string{"PROXY TCP4 nobody nowhere 1 2\r\n", "PROXY " + string(bytes.Repeat([]byte("x"), 200)), "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff"} {
		if _, _, err := ParseProxy([]byte(broken)); err == nil || errors.Is(err, ErrShort) || errors.Is(err, ErrNoProxy) {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

// FuzzParseProxy: a header is the same whatever comes behind it, and none when its last byte is missing.
func FuzzParseProxy(f *testing.F) {
	for _, h := range headers {
		f.Add([]byte(h.bytes + "behind"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, used, err := ParseProxy(b)
		if used < 0 || used > len(b) || err == nil && used == 0 {
			t.Fatalf("%d bytes of %d", used, len(b))
		}
		if err != nil {
			return
		}
		again, n, err := ParseProxy(b[:used])
		if err != nil || n != used || !reflect.DeepEqual(h, again) {
			t.Fatalf("%q: %+v, %d, %v; with what is behind %+v, %d", b, again, n, err, h, used)
		}
		if _, _, err := ParseProxy(b[:used-1]); !errors.Is(err, ErrShort) {
			t.Fatalf("%q without its last byte: %v", b[:used], err)
		}
	})
}
