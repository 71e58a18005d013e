package broker

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// keeping has the node keep what it has in a folder.
func keeping(dir string) func(*Options) {
	return func(o *Options) { o.Config.DataDir = dir }
}

// TestRestart: sessions, subscriptions, queues, identifiers of QoS 2 on both sides and retained messages are there when the node is again.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	leaktest.Check(t)
	n := launch(t, keeping(dir))
	s := n.stay(t, packet.V5, "s")
	s.subscribe(packet.Options{QoS: 2}, "a/#", "$share/g/b")
	p := n.stay(t, packet.V311, "p")
	p.retain("r/1", "kept", 1)
	p.retain("r/2", "gone", 0)
	p.retain("r/2", "", 0)
	p.say("a/sent", "first", 2)
	first := s.message() // not acknowledged
	p.write((&packet.Publish{Topic: []byte("a/half"), Payload: []byte("half"), QoS: 2, PacketID: 77}).Append(nil, p.v))
	p.ack(packet.PUBREC, 77) // and no PUBREL
	half := s.message()
	s.send(packet.PUBREC, half.PacketID)
	s.ack(packet.PUBREL, half.PacketID)
	s.drop(n, "s")
	for i := range 20 {
		p.say("a/queue", fmt.Sprint(i), 1)
	}
	p.say("a/never", "QoS 0", 0)
	n.join(t, packet.V5, "clean").subscribe(packet.Options{QoS: 1}, "c")
	n.stop()

	n = launch(t, keeping(dir))
	if st := n.Stats(); st.Sessions != 2 || st.Subscriptions != 2 || st.Retained != 1 {
		t.Fatalf("%d sessions, %d subscriptions, %d retained messages", st.Sessions, st.Subscriptions, st.Retained)
	}
	c := packet.Connect{Version: packet.V5, ClientID: []byte("s"), KeepAlive: 60}
	c.Properties.AddInt(packet.SessionExpiry, 3600)
	s, ack := n.connect(t, c)
	if !ack.SessionPresent {
		t.Fatal("the session is not present")
	}
	again := s.message()
	if again.PacketID != first.PacketID || !again.Dup || string(again.Payload) != "first" {
		t.Errorf("%d, DUP %v, %q; want %d again", again.PacketID, again.Dup, again.Payload, first.PacketID)
	}
	s.ack(packet.PUBREL, half.PacketID)
	s.send(packet.PUBCOMP, half.PacketID)
	for i := range 20 {
		s.hears("a/queue", fmt.Sprint(i))
	}
	s.send(packet.PUBREC, again.PacketID)
	s.ack(packet.PUBREL, again.PacketID)
	s.send(packet.PUBCOMP, again.PacketID)
	p = n.stay(t, packet.V311, "p")
	p.write((&packet.Publish{Topic: []byte("a/half"), Payload: []byte("half"), QoS: 2, PacketID: 77, Dup: true}).Append(nil, p.v))
	p.ack(packet.PUBREC, 77)
	p.send(packet.PUBREL, 77)
	p.ack(packet.PUBCOMP, 77)
	s.silent() // it was passed on before
	p.say("b", "shared", 1)
	s.hears("b", "shared")
	p.subscribe(packet.Options{QoS: 1}, "r/+")
	p.hears("r/1", "kept")
}

// TestDelayedWillAfterRestart: a will whose delay ends while the node is away is published when it is there again.
func TestDelayedWillAfterRestart(t *testing.T) {
	dir := t.TempDir()
	leaktest.Check(t)
	n := launch(t, keeping(dir))
	n.stay(t, packet.V5, "w").subscribe(packet.Options{QoS: 1}, "will")
	c := packet.Connect{Version: packet.V5, ClientID: []byte("c"), Will: &packet.Will{Topic: []byte("will"), Payload: []byte("gone"), QoS: 1}}
	c.Properties.AddInt(packet.SessionExpiry, 3600)
	c.Will.Properties.AddInt(packet.WillDelay, 1)
	n.open(t, c).drop(n, "c")
	n.stop()
	n = launch(t, keeping(dir))
	n.stay(t, packet.V5, "w").hears("will", "gone")
}

// TestStopKeepsWillsAndBacklog: a node that stops keeps what it owes to sessions on disk: the wills of those who do not come back, and
// retained messages that had not been sent.
func TestStopKeepsWillsAndBacklog(t *testing.T) {
	dir := t.TempDir()
	leaktest.Check(t)
	n := launch(t, keeping(dir))
	p := n.join(t, packet.V5, "p")
	const topics = 60
	for i := range topics {
		p.retain(fmt.Sprint("r/", i), "kept", 1)
	}
	n.stay(t, packet.V5, "w").subscribe(packet.Options{QoS: 1}, "will/+")
	slow := lasting("slow", false, 3600)
	slow.Properties.AddInt(packet.ReceiveMaximum, 1)
	c := n.open(t, slow)
	c.subscribe(packet.Options{QoS: 1}, "r/+")
	c.message() // and no PUBACK
	for _, id := range []string{"gone", "back"} {
		will := lasting(id, false, 3600)
		will.Will = &packet.Will{Topic: []byte("will/" + id), Payload: []byte(id), QoS: 1}
		n.open(t, will)
	}
	n.stop()
	n = launch(t, keeping(dir))
	n.open(t, lasting("back", false, 3600))
	heard := map[string]bool{}
	c = n.open(t, slow)
	for range topics {
		m := c.message()
		heard[string(m.Topic)] = true
		c.send(packet.PUBACK, m.PacketID)
	}
	if len(heard) != topics {
		t.Errorf("%d of %d retained messages", len(heard), topics)
	}
	w := n.stay(t, packet.V5, "w")
	w.hears("will/gone", "gone")
	w.silent()
}

// childNode is the environment variable that makes a test binary a node: the folder to keep things in.
const childNode = "MQTTLB_TEST_NODE_DIR"

// TestMain runs a node instead of the tests when it is asked to.
func TestMain(m *testing.M) {
	dir := os.Getenv(childNode)
	if dir == "" {
		os.Exit(m.Run())
	}
	o := Options{Config: config.Default(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	o.Config.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
	o.Config.Limits.MaxQueued = 100_000
	o.Config.DataDir = dir
	b, err := New(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(b.Addr("mqtt"))
	if err := b.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A process is a node that can be killed.
type process struct {
	cmd     *exec.Cmd
	address string
}

func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childNode+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.address = strings.TrimSpace(line)
	return p
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// resume connects with a session that lasts.
func (p *process) resume(t *testing.T, id string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := talk(t, conn, packet.V5)
	connect := packet.Connect{Version: packet.V5, ClientID: []byte(id), KeepAlive: 60}
	connect.Properties.AddInt(packet.SessionExpiry, 3600)
	c.write(connect.Append(nil))
	c.connack()
	return c
}

// A sender publishes with QoS 1 or 2 and remembers what the node has taken responsibility for.
type sender struct {
	qos   byte
	taken []string // by PUBACK or PUBREC
	open  map[uint16]string
	next  int
}

// run sends until the connection breaks. What was sent and not acknowledged is sent again after a reconnect, with its identifier.
func (s *sender) run(c *client, killed <-chan struct{}) {
	say := func(id uint16, text string, dup bool) bool {
		p := packet.Publish{Topic: fmt.Appendf(nil, "k/%d", s.qos), Payload: []byte(text), QoS: s.qos, PacketID: id, Dup: dup}
		_, err := c.conn.Write(p.Append(nil, c.v))
		return err == nil
	}
	for id, text := range s.open {
		if text == "" {
			c.conn.Write((&packet.Ack{Type: packet.PUBREL, PacketID: id}).Append(nil, c.v))
		} else {
			say(id, text, true)
		}
	}
	for {
		select {
		case <-killed:
			return
		default:
		}
		for len(s.open) < 20 { // fewer than the receive maximum
			s.next++
			id := uint16(s.next%60_000) + 1
			s.open[id] = fmt.Sprintf("%d-%d", s.qos, s.next)
			if !say(id, s.open[id], false) {
				return
			}
		}
		h, body, err := c.r.Next()
		var ack packet.Ack
		if err != nil || ack.Decode(c.v, h, body) != nil {
			return
		}
		switch h.Type {
		case packet.PUBACK, packet.PUBREC:
			if s.open[ack.PacketID] != "" {
				s.taken = append(s.taken, s.open[ack.PacketID])
			}
			if s.open[ack.PacketID] = ""; h.Type == packet.PUBACK {
				delete(s.open, ack.PacketID)
			} else {
				c.conn.Write((&packet.Ack{Type: packet.PUBREL, PacketID: ack.PacketID}).Append(nil, c.v))
			}
		case packet.PUBCOMP:
			delete(s.open, ack.PacketID)
		}
	}
}

// A receiver takes messages as a client with a memory does: of QoS 2 each identifier once.
type receiver struct {
	got     map[string]int
	pending map[uint16]bool // received, and not released
	news    chan struct{}   // of capacity 1: something has come
	mu      sync.Mutex
}

func (r *receiver) run(c *client) {
	for {
		h, body, err := c.r.Next()
		if err != nil {
			return
		}
		switch h.Type {
		case packet.PUBLISH:
			var p packet.Publish
			if p.Decode(c.v, h, body) != nil {
				return
			}
			r.take(&p)
			typ := packet.PUBACK
			if p.QoS == 2 {
				typ = packet.PUBREC
			}
			c.conn.Write((&packet.Ack{Type: typ, PacketID: p.PacketID}).Append(nil, c.v))
		case packet.PUBREL:
			var a packet.Ack
			if a.Decode(c.v, h, body) != nil {
				return
			}
			r.mu.Lock()
			delete(r.pending, a.PacketID)
			r.mu.Unlock()
			c.conn.Write((&packet.Ack{Type: packet.PUBCOMP, PacketID: a.PacketID}).Append(nil, c.v))
		}
	}
}

func (r *receiver) take(p *packet.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.QoS == 2 {
		if r.pending[p.PacketID] {
			return
		}
		r.pending[p.PacketID] = true
	}
	r.got[string(p.Payload)]++
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *receiver) missing(taken []string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range taken {
		if r.got[text] == 0 {
			list = append(list, text)
		}
	}
	return list
}

// TestKilled: the node is killed in the middle of traffic of QoS 1 and 2, several times. Nothing that it has acknowledged is lost, and nothing of QoS 2
// arrives twice.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	leaktest.Check(t)
	senders := []*sender{{qos: 1, open: map[uint16]string{}}, {qos: 2, open: map[uint16]string{}}}
	r := &receiver{got: map[string]int{}, pending: map[uint16]bool{}, news: make(chan struct{}, 1)}
	for round := range 5 {
		p := startProcess(t, dir)
		killed := make(chan struct{})
		var all sync.WaitGroup
		rc := p.resume(t, "receiver")
		if round == 0 {
			rc.subscribe(packet.Options{QoS: 2}, "k/#")
		}
		all.Go(func() { r.run(rc) })
		for i, s := range senders {
			c := p.resume(t, fmt.Sprint("sender", i))
			all.Go(func() { s.run(c, killed) })
		}
		before := len(r.missing(nil))
		until(t, "messages have come", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.got) > before+(round+1)*300+round*17
		})
		p.kill()
		close(killed)
		all.Wait()
	}
	p := startProcess(t, dir)
	rc := p.resume(t, "receiver")
	var all sync.WaitGroup
	all.Go(func() { r.run(rc) })
	taken := slices.Concat(senders[0].taken, senders[1].taken)
	stopped := make(chan struct{})
	time.AfterFunc(patience/2, func() { close(stopped) })
	for lost := r.missing(taken); len(lost) > 0; lost = r.missing(taken) {
		select {
		case <-r.news: // messages come
			continue
		case <-stopped:
		}
		t.Errorf("%d of %d messages that were acknowledged are lost: %q …", len(lost), len(taken), lost[0])
		break
	}
	p.kill()
	all.Wait()
	for text, times := range r.got {
		if text[0] == '2' && times > 1 {
			t.Errorf("message %s of QoS 2 came %d times", text, times)
		}
	}
	t.Logf("%d messages acknowledged, %d received", len(taken), len(r.got))
}
