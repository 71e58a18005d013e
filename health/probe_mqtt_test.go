package health

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/peertest"
	"github.com/pires/go-proxyproto"
)

func TestProbeMQTTAnswers(t *testing.T) {
	leaktest.Check(t)
	notConnack := "answered with something that is not MQTT 3.1.1's CONNACK: "
	tests := []struct {
		name    string
		answer  string // sent after CONNECT was read; then the server says nothing more
		outcome Outcome
		reason  string
	}{
		{"accepted", "\x20\x02\x00\x00", Passed, ""},
		{"accepted with a session", "\x20\x02\x01\x00", Passed, ""},
		{"accepted and more", "\x20\x02\x00\x00\x30\x03\x00\x01a", Passed, ""},
		{"unacceptable version", "\x20\x02\x00\x01", Rejected, "CONNACK code 1 (unsupported protocol version)"},
		{"identifier rejected", "\x20\x02\x00\x02", Rejected, "CONNACK code 2 (client identifier not valid)"},
		{"server unavailable", "\x20\x02\x00\x03", Rejected, "CONNACK code 3 (server unavailable)"},
		{"bad user name", "\x20\x02\x00\x04", Rejected, "CONNACK code 4 (bad user name or password)"},
		{"not authorized", "\x20\x02\x00\x05", Rejected, "CONNACK code 5 (not authorized)"},
		{"reserved code", "\x20\x02\x00\x06", NotMQTT, notConnack + "20 02 00 06"},
		{"reserved flags", "\x20\x02\x02\x00", NotMQTT, notConnack + "20 02 02 00"},
		{"CONNACK of MQTT 5", "\x20\x03\x00\x00\x00", NotMQTT, notConnack + "20 03 00 00"},
		{"another packet", "\xd0\x00", NotMQTT, notConnack + "d0 00"},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", NotMQTT, notConnack + "48 54 54 50"},
		{"TLS alert", "\x15\x03\x01\x00\x02\x02\x28", NotMQTT, notConnack + "15 03 01 00"},
		{"one wrong byte", "\x00", NotMQTT, notConnack + "00"},
		{"endless length", "\x20\xff\xff\xff\xff", NotMQTT, notConnack + "20 ff ff ff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := listen(t, "127.0.0.1")
			serve(t, l, func(conn net.Conn) {
				if _, err := packets.ReadPacket(conn); err != nil {
					t.Errorf("read CONNECT: %v", err)
				}
				io.WriteString(conn, tt.answer)
				io.Copy(io.Discard, conn)
			})
			got := probe(Target{Address: l.Addr().String(), Check: Check{Type: MQTT, Timeout: patient}})
			wantResult(t, got, tt.outcome, tt.reason)
		})
	}
}

// TestProbeMQTTBehaviours: servers that have no answer.
func TestProbeMQTTBehaviours(t *testing.T) {
	leaktest.Check(t)
	hold := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	tests := []struct {
		name    string
		timeout time.Duration
		script  func(net.Conn)
		outcome Outcome
		reason  string // a regular expression
	}{
		{"accepts and says nothing", 200 * ms, hold, Timeout, "timeout after 200ms waiting for CONNACK"},
		{"never finishes its answer", 200 * ms, func(conn net.Conn) {
			conn.Write([]byte{0x20, 2, 0})
			hold(conn)
		}, Timeout, "timeout after 200ms waiting for CONNACK"},
		{"closes without a word", patient, func(conn net.Conn) { packets.ReadPacket(conn) },
			Closed, "closed by the server while waiting for CONNACK"},
		{"closes in the middle", patient, func(conn net.Conn) {
			packets.ReadPacket(conn)
			conn.Write([]byte{0x20, 2, 0})
		}, Closed, "closed by the server while waiting for CONNACK"},
		{"resets at once", patient, func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) },
			Closed, "(closed by the server|connection reset by peer|broken pipe) while (connecting|sending CONNECT|waiting for CONNACK)"},
		{"answers byte by byte", patient, func(conn net.Conn) {
			conn.(*net.TCPConn).SetNoDelay(true)
			for _, b := range []byte{0x20, 2, 0, 0} {
				conn.Write([]byte{b})
				time.Sleep(5 * ms) // so that each byte travels alone
			}
			hold(conn)
		}, Passed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := listen(t, "127.0.0.1")
			serve(t, l, tt.script)
			got := probe(Target{Address: l.Addr().String(), Check: Check{Type: MQTT, Timeout: tt.timeout}})
			if !regexp.MustCompile("^(" + tt.reason + ")$").MatchString(got.Reason) {
				t.Errorf("reason is %q, want %s", got.Reason, tt.reason)
			}
			wantResult(t, got, tt.outcome, got.Reason)
		})
	}
	t.Run("is not there", func(t *testing.T) {
		got := probe(Target{Address: peertest.Nobody(t), Check: Check{Type: MQTT, Timeout: patient}})
		wantResult(t, got, Refused, "connection refused")
	})
}

// TestProbeMQTTConversation: every byte of a good check, by an independent reader, with each PROXY header.
func TestProbeMQTTConversation(t *testing.T) {
	leaktest.Check(t)
	headers := []string{"", "PROXY UNKNOWN\r\n", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"}
	for version, header := range headers {
		for _, host := range []string{"127.0.0.1", "::1"} {
			t.Run(fmt.Sprintf("PROXY %d over %s", version, host), func(t *testing.T) {
				l := listen(t, host)
				heard := make(chan error, 1)
				serve(t, l, func(conn net.Conn) { heard <- converse(conn, header) })
				target := Target{Key: "b/s", Address: l.Addr().String(), ProxyHeader: version, Check: Check{Type: MQTT, Timeout: patient}}
				wantResult(t, probe(target), Passed, "")
				if err := <-heard; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// converse plays the server of a good check and returns what was wrong with the client.
func converse(conn net.Conn, header string) error {
	raw := make([]byte, len(header))
	if _, err := io.ReadFull(conn, raw); err != nil || string(raw) != header {
		return fmt.Errorf("PROXY header is %q (%v), want %q", raw, err, header)
	}
	first, err := packets.ReadPacket(conn)
	if err != nil {
		return err
	}
	c, ok := first.(*packets.ConnectPacket)
	switch {
	case !ok || c.ProtocolName != "MQTT" || c.ProtocolVersion != 4 || !c.CleanSession || c.WillFlag || c.UsernameFlag:
		return fmt.Errorf("first packet is %s, want a plain CONNECT of 3.1.1 with a clean session", first)
	case !regexp.MustCompile(`^mqttlb-check-[0-9a-z]{10}$`).MatchString(c.ClientIdentifier):
		return fmt.Errorf("client id is %q", c.ClientIdentifier)
	}
	conn.Write([]byte{0x20, 2, 0, 0})
	last, err := packets.ReadPacket(conn)
	if _, ok := last.(*packets.DisconnectPacket); !ok {
		return fmt.Errorf("last packet is %v (%v), want DISCONNECT", last, err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return fmt.Errorf("after DISCONNECT: %d bytes, %v; want a clean close", n, err)
	}
	return nil
}

// TestGreetingHeaderIsValid has the library's reader confirm that both headers proxy nobody.
func TestGreetingHeaderIsValid(t *testing.T) {
	for _, version := range []int{1, 2} {
		hello, err := greeting(version, "id")
		if err != nil {
			t.Fatal(err)
		}
		h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(hello)))
		if err != nil || int(h.Version) != version || h.SourceAddr != nil || version == 2 && !h.Command.IsLocal() {
			t.Errorf("PROXY %d: header %+v, %v", version, h, err)
		}
	}
	if _, err := greeting(3, "id"); err == nil {
		t.Error("a header of version 3 is no error")
	}
}

// TestClientID: the same for every check of a server, another for every server and process.
func TestClientID(t *testing.T) {
	m, other := New(Options{}), New(Options{})
	id := m.clientID("emqx/emqx1")
	if len(id) > 23 || !strings.HasPrefix(id, "mqttlb-check-") {
		t.Errorf("client id is %q; [MQTT-3.1.3-5] of 3.1.1 lets servers refuse more than 23 characters", id)
	}
	if m.clientID("emqx/emqx1") != id || m.clientID("emqx/emqx2") == id || other.clientID("emqx/emqx1") == id {
		t.Error("client ids do not follow server and process")
	}
}

// TestProbeMQTTIsCancelled: a check that is no longer wanted does not wait for its timeout.
func TestProbeMQTTIsCancelled(t *testing.T) {
	leaktest.Check(t)
	l := listen(t, "127.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	serve(t, l, func(conn net.Conn) {
		packets.ReadPacket(conn)
		cancel()
		io.Copy(io.Discard, conn)
	})
	target := Target{Address: l.Addr().String(), Check: Check{Type: MQTT, Timeout: time.Hour}}
	if err := New(Options{}).probeServer(ctx, target); err == nil {
		t.Error("a cancelled check passed")
	}
}

// FuzzReadConnack: whatever the answer and however it is cut up, reading it takes at most its four bytes, and
// it passes only if these are a CONNACK with code 0.
func FuzzReadConnack(f *testing.F) {
	for _, seed := range []string{"\x20\x02\x00\x00", "\x20\x02\x01\x00", "\x20\x02\x00\x05", "\x20\x03\x00\x00\x00",
		"\x20\x82\x00\x00\x00", "\x20\xff\xff\xff\xff", "HTTP/1.1", "\x15\x03\x01", "", "\x20", "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		whole, pieces := bytes.NewReader(answer), bytes.NewReader(answer)
		err := readConnack(whole)
		good := len(answer) >= 4 && answer[0] == 0x20 && answer[1] == 2 && answer[2] <= 1 && answer[3] == 0
		if good != (err == nil) {
			t.Fatalf("answer % x: %v", answer, err)
		}
		if read := len(answer) - whole.Len(); read > connackSize {
			t.Fatalf("%d bytes were read", read)
		}
		again := readConnack(iotest.OneByteReader(pieces))
		if outcome(err) != outcome(again) {
			t.Fatalf("answer % x: %v in one piece, %v byte by byte", answer, err, again)
		}
	})
}

// outcome returns what a probe's error means.
func outcome(err error) Outcome {
	if err == nil {
		return Passed
	}
	return classify(err).outcome
}
