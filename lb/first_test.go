package lb

import (
	"strings"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/lb/config"
)

// One and a thirty times the keep alive [MQTT-3.1.2-22] and 10 s.
func TestKeepAliveTimeout(t *testing.T) {
	tests := []struct{ keepAlive, want time.Duration }{
		{0, 0},
		{time.Second, 11500 * time.Millisecond},
		{60 * time.Second, 100 * time.Second},
		{65_535 * time.Second, 98_312*time.Second + 500*time.Millisecond},
	}
	for _, tt := range tests {
		if got := keepAliveTimeout(tt.keepAlive); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.keepAlive, got, tt.want)
		}
	}
}

func TestClientTimeoutOfConn(t *testing.T) {
	auto := config.ClientTimeout{Auto: true}
	tests := []struct {
		set       config.ClientTimeout
		keepAlive time.Duration
		want      time.Duration
	}{
		{auto, 0, 0},
		{auto, time.Second, 11500 * time.Millisecond},
		{auto, 60 * time.Second, 100 * time.Second},
		{auto, 65_535 * time.Second, 98_312*time.Second + 500*time.Millisecond},
		{config.ClientTimeout{}, 60 * time.Second, 0}, // off
		{config.ClientTimeout{Duration: time.Hour}, 0, time.Hour},
		{config.ClientTimeout{Duration: time.Hour}, time.Second, time.Hour},
		{config.ClientTimeout{Duration: time.Second}, 65_535 * time.Second, time.Second},
	}
	for _, tt := range tests {
		c := &conn{f: &frontend{cfg: config.Listener{ClientTimeout: tt.set}}, arrival: &arrival{mqtt: mqttClient{keepAlive: tt.keepAlive}}}
		if got := c.clientTimeout(); got != tt.want {
			t.Errorf("client_timeout %+v, keep alive %v: got %v, want %v", tt.set, tt.keepAlive, got, tt.want)
		}
	}
}

// Texts of MQTT 5 that a server begins with.
const (
	noProperty = "\x20\x03\x00\x00\x00"
	endless    = "\x20\x06\x00\x00\x03\x13\x00\x00" // Server Keep Alive 0
	thirty     = "\x20\x06\x00\x00\x03\x13\x00\x1e" // 30 s
	challenge  = "\xf0\x0a\x18\x08\x15\x00\x01m\x16\x00\x01c"
)

func TestConnackWatch(t *testing.T) {
	tests := []struct {
		name, sent string
		want       time.Duration
	}{
		{"no property", noProperty, 0},
		{"server keep alive 0", endless, -1},
		{"server keep alive 30 s", thirty, 55 * time.Second},
		{"followed by a PUBLISH", thirty + "\x30\x03\x00\x01a", 55 * time.Second},
		{"a refusal", "\x20\x03\x00\x87\x00", 0},
		{"AUTH before it", challenge + thirty, 55 * time.Second},
		{"AUTH twice before it", challenge + challenge + endless, -1},
		{"AUTH without a body before it", "\xf0\x00" + thirty, 55 * time.Second},
		{"PUBLISH instead", "\x30\x03\x00\x01a" + thirty, 0},
		{"a type that is none", "\x00\x00" + thirty, 0},
		{"reserved flags", "\x21\x06\x00\x00\x03\x13\x00\x1e", 0},
		{"a length without end", "\x20\xff\xff\xff\xff\x01", 0},
		{"properties that end too late", "\x20\x06\x00\x00\x09\x13\x00\x1e", 0},
		{"server keep alive twice", "\x20\x09\x00\x00\x06\x13\x00\x1e\x13\x00\x1e", 0},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", 0},
		{"too large", "\x20\x80\x80\x01\x00\x00", 0}, // 16 KiB
		{"AUTH too large", "\xf0\x80\x80\x01" + strings.Repeat("x", 16<<10) + thirty, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := new(connackWatch)
			got, more := w.watch([]byte(tt.sent))
			if got != tt.want || more {
				t.Errorf("at once: got %v, %v; want %v, and no more", got, more, tt.want)
			}
			if got := inBytes(t, tt.sent); got != tt.want {
				t.Errorf("in single bytes: got %v, want %v", got, tt.want)
			}
		})
	}
}

// inBytes shows a watch the text byte by byte, and returns the timeout that comes of it.
func inBytes(t *testing.T, text string) time.Duration {
	t.Helper()
	w := new(connackWatch)
	for i := range len(text) {
		timeout, more := w.watch([]byte(text[i : i+1]))
		if !more {
			return timeout
		}
		if timeout != 0 {
			t.Fatalf("a timeout of %v after %d bytes, of more to come", timeout, i+1)
		}
	}
	t.Fatal("it wants more than there is")
	return 0
}

// A CONNACK with everything that fits is understood however it is cut in two.
func TestConnackWatchInTwoParts(t *testing.T) {
	for i := range len(challenge + thirty) {
		w := new(connackWatch)
		text := []byte(challenge + thirty)
		if timeout, more := w.watch(text[:i]); timeout != 0 || !more {
			t.Fatalf("after %d bytes: %v, %v", i, timeout, more)
		}
		if timeout, more := w.watch(text[i:]); timeout != 55*time.Second || more {
			t.Errorf("cut after %d bytes: %v, %v", i, timeout, more)
		}
	}
}

func TestHostNames(t *testing.T) {
	for name, want := range map[string]bool{
		"": false, "localhost": true, "mqtt-1.example.com": true, "a_b.example": true, "a\nb": false, "ä.example": false,
		string(make([]byte, 300)): false,
	} {
		if got := isHostName(name); got != want {
			t.Errorf("isHostName(%q) = %v", name, got)
		}
	}
}
