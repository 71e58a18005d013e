package dashboard

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// TestSampler counts what is added between two looks, by the second.
func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[broker.Stats]
		count := func(received, sent [3]uint64) {
			now.Store(&broker.Stats{MessagesReceived: received, MessagesSent: sent})
		}
		s := sampler{stats: func() broker.Stats { return *now.Load() }, every: sampleEvery}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		count([3]uint64{1000, 0, 0}, [3]uint64{}) // before anybody looked
		go func() { defer close(done); s.run(ctx) }()
		synctest.Wait()
		if s.list() != nil {
			t.Error("a sample of no time")
		}
		received := [3]uint64{1010, 20, 30}
		count(received, [3]uint64{5, 0, 0})
		time.Sleep(sampleEvery)
		synctest.Wait()
		if list := s.list(); len(list) != 1 || list[0] != (sample{in: 12, out: 1}) {
			t.Errorf("%+v", list)
		}
		kept := s.list()
		for i := range uint64(2 * samples) {
			count(received, [3]uint64{5, 0, 10 * (i + 1)})
			time.Sleep(sampleEvery)
			synctest.Wait()
		}
		if list := s.list(); len(list) != samples || list[0] != (sample{out: 2}) || list[samples-1] != (sample{out: 2}) {
			t.Errorf("%d samples: %+v", len(list), list)
		}
		if len(kept) != 1 || kept[0].in != 12 {
			t.Error("a list changed that a reader has")
		}
		cancel()
		<-done
	})
}

func TestDraw(t *testing.T) {
	if c := draw(nil, sampleEvery); c.Line != "" || c.Now != "0" || c.Most != "0" || c.Span != "5 min" {
		t.Errorf("nothing: %+v", c)
	}
	if c := draw([]float64{0, 0}, sampleEvery); c.Line != "580,98.0 590,98.0" || c.Area != "580,100 580,98.0 590,98.0 590,100" {
		t.Errorf("zeros: %+v", c)
	}
	c := draw([]float64{10, 2.5, 5}, time.Second)
	if c.Line != "570,2.0 580,74.0 590,50.0" || c.Now != "5.0" || c.Most != "10" || c.Span != "1 min" {
		t.Errorf("%+v", c)
	}
	full := make([]float64, samples)
	if c := draw(full, time.Second); !strings.HasPrefix(c.Line, "0,98.0 10,98.0 ") || !strings.HasSuffix(c.Line, " 590,98.0") {
		t.Errorf("%s", c.Line)
	}
}

// node makes a broker that nobody runs.
func node(t *testing.T) *broker.Broker {
	t.Helper()
	c := config.Default()
	c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
	b, err := broker.New(broker.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestTakenPort(t *testing.T) {
	leaktest.Check(t)
	b := node(t)
	s, err := New(Options{Listen: "127.0.0.1:0", Broker: b})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := New(Options{Listen: s.Addr().String(), Broker: b}); err == nil || !strings.Contains(err.Error(), "open the dashboard") {
		t.Errorf("a taken port: %v", err)
	}
}

// TestEnd: Run ends though somebody holds a connection and does not go on.
func TestEnd(t *testing.T) {
	leaktest.Check(t)
	s, err := New(Options{Listen: "127.0.0.1:0", Broker: node(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	silent, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := silent.Write([]byte("GET /page.css HTTP/1.1\r\nHost: x\r\n")); err != nil { // an end is missing
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not return")
	}
}
