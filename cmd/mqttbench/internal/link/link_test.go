//go:build linux

package link

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
	"github.com/mqttlb/mqttlb/internal/reactor"
)

const patience = 30 * time.Second

// An end is one Link on a loop of its own, which sends what it has and collects what comes.
type end struct {
	shared  *Shared
	link    *Link
	packets bytes.Buffer
	want    int // bytes of packets, after which it is done
	err     error
	done    context.CancelFunc
}

func (e *end) Ready(key uint32, ev reactor.Events) {
	err := e.shared.Receive(e.link, key, ev, e)
	if err == nil {
		err = e.shared.Flush(e.link)
	}
	if err != nil && e.err == nil {
		e.err = err
	}
	if e.err != nil || e.want > 0 && e.packets.Len() >= e.want {
		e.done()
	}
}

func (e *end) Expired(uint32) {}

func (e *end) Packet(_ uint32, h packet.Header, whole []byte) error {
	e.packets.Write(whole)
	return nil
}

// pair makes two connected sockets; the test closes the second.
func pair(t *testing.T) (int, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// start runs a Link until it is done, or the test is at the end of its patience.
func start(t *testing.T, k *Link, want int) (e *end, wait func()) {
	t.Helper()
	loop, err := reactor.New()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	e = &end{shared: New(loop), link: k, want: want, done: cancel}
	if err := e.shared.Add(k, 1); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- loop.Run(ctx, e) }()
	return e, func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error("it is not done")
		}
		cancel()
		e.shared.Close(k)
	}
}

// TestPackets writes packets in pieces of all sizes.
func TestPackets(t *testing.T) {
	leaktest.Check(t)
	all := packet.AppendPingreq(nil)
	all = (&packet.Publish{Topic: []byte("a/b"), Payload: make([]byte, 300)}).Append(all, packet.V311)
	all = packet.AppendPingresp(all)
	for _, piece := range []int{1, 2, 3, 7, 150, len(all)} {
		ours, theirs := pair(t)
		preamble := []byte("preamble")
		k := &Link{FD: ours, Preamble: func(b []byte) (int, bool, error) { return len(preamble), len(b) >= len(preamble), nil }}
		e, wait := start(t, k, len(all))
		for b := append(preamble, all...); len(b) > 0; {
			n, err := unix.Write(theirs, b[:min(piece, len(b))])
			if err == unix.EAGAIN { // a Unix socket has room for some hundred writes, however small
				_, err = unix.Poll([]unix.PollFd{{Fd: int32(theirs), Events: unix.POLLOUT}}, 10_000)
				n = 0
			}
			if err != nil && err != unix.EINTR {
				t.Fatal(err)
			}
			b = b[n:]
		}
		wait()
		if !bytes.Equal(e.packets.Bytes(), all) || e.err != nil {
			t.Errorf("pieces of %d: %x, %v", piece, e.packets.Bytes(), e.err)
		}
		unix.Close(theirs)
	}
}

// TestFull queues more than a socket has room for.
func TestFull(t *testing.T) {
	leaktest.Check(t)
	ours, theirs := pair(t)
	m := (&packet.Publish{Topic: []byte("a"), Payload: make([]byte, 100_000)}).Append(nil, packet.V311)
	sender := &Link{FD: ours}
	const messages = 50
	for range messages {
		sender.Queue(m)
	}
	if sender.Backlog() != messages*len(m) {
		t.Errorf("the backlog is %d", sender.Backlog())
	}
	s, sent := start(t, sender, 0)
	r, received := start(t, &Link{FD: theirs}, messages*len(m))
	received()
	s.done()
	sent()
	if !bytes.Equal(r.packets.Bytes(), bytes.Repeat(m, messages)) || sender.Backlog() != 0 {
		t.Errorf("%d bytes came, %d remain", r.packets.Len(), sender.Backlog())
	}
}

// TestEnds: how a connection ends is told, whatever it is.
func TestEnds(t *testing.T) {
	leaktest.Check(t)
	tests := []struct {
		name string
		send []byte
		is   error
	}{
		{"closed", nil, ErrClosed},
		{"not MQTT", []byte("\x00\x00"), nil},
		{"too large", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, theirs := pair(t)
			e, wait := start(t, &Link{FD: ours}, 0)
			if _, err := unix.Write(theirs, tt.send); err != nil {
				t.Fatal(err)
			}
			if tt.send == nil {
				unix.Shutdown(theirs, unix.SHUT_WR)
			}
			wait()
			unix.Close(theirs)
			if e.err == nil || tt.is != nil && !errors.Is(e.err, tt.is) {
				t.Errorf("%v", e.err)
			}
		})
	}
}
