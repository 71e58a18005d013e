package main

import (
	"net"
	"testing"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/internal/leaktest"
)

// TestServeEnds: when a page of the node, or the node, fails, everything ends, with the reason.
func TestServeEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(*broker.Broker, []page)
	}{
		{"API", func(_ *broker.Broker, p []page) { p[0].Close() }},
		{"dashboard", func(_ *broker.Broker, p []page) { p[1].Close() }},
		{"node", func(b *broker.Broker, _ []page) { b.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leaktest.Check(t)
			r, _, err := newReloader("", testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			c := config.Default()
			c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
			c.API.Listen, c.Dashboard.Listen = "127.0.0.1:0", "127.0.0.1:0"
			node, err := broker.New(broker.Options{Config: c, Log: r.log})
			if err != nil {
				t.Fatal(err)
			}
			r.start(node, tokens{})
			pages, err := openPages(&c, tokens{}, node, r)
			if err != nil {
				t.Fatal(err)
			}
			tt.fail(node, pages)
			ended := make(chan error, 1)
			go func() { ended <- serve(t.Context(), node, pages, r) }()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("no error")
				}
			case <-time.After(patience):
				t.Fatal("serve does not end")
			}
		})
	}
}

// TestOpenPages: when one cannot be opened, those before it are closed again.
func TestOpenPages(t *testing.T) {
	leaktest.Check(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := config.Default()
	c.Listeners = []config.Listener{{Name: "mqtt", Listen: "127.0.0.1:0"}}
	c.API.Listen = "127.0.0.1:0"
	c.Dashboard = config.HTTP{Listen: taken.Addr().String(), Given: true}
	r, _, err := newReloader("", testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	node, err := broker.New(broker.Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	if pages, err := openPages(&c, tokens{}, node, r); err == nil {
		t.Errorf("%d pages are open", len(pages))
	}
	c.Dashboard.Given = false
	pages, err := openPages(&c, tokens{}, node, r)
	if err != nil || len(pages) != 1 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	pages[0].Close()
}

// TestWork: a connection counts as much as some messages.
func TestWork(t *testing.T) {
	s := broker.Stats{Accepted: 3, MessagesReceived: [3]uint64{messagesPerWork, 1, 0}, MessagesSent: [3]uint64{0, messagesPerWork - 1, 5}}
	if got := work(s); got != 5 {
		t.Errorf("the work is %d", got)
	}
}
