package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"syscall"
	"time"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/config"
)

// A node is a broker that can be stopped and started again at its address. One goroutine uses it.
type node struct {
	name    string
	address string // "127.0.0.1:0" until the first start, then with the port that was chosen
	log     *slog.Logger

	broker *broker.Broker // nil while stopped
	cancel context.CancelFunc
	done   chan struct{} // closed when broker has ended
}

func newNode(name string, log *slog.Logger) *node {
	return &node{name: name, address: "127.0.0.1:0", log: log}
}

// start opens the port and serves. Between stop and start another program, or a connection of our own,
// may have got the port for a moment: that is waited out.
func (n *node) start(ctx context.Context) error {
	c := config.Default()
	c.Node = n.name
	c.API.Listen = ""
	c.Listeners = []config.Listener{{Name: "mqtt", Listen: n.address, ProxyProtocol: config.ProxyRequire}}
	var failed error
	err := wait(ctx, func() bool {
		n.broker, failed = broker.New(broker.Options{Config: c, Log: n.log})
		return !errors.Is(failed, syscall.EADDRINUSE)
	})
	if err := errors.Join(failed, err); err != nil {
		n.broker = nil
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.address = n.broker.Addr("mqtt").String()
	ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	n.done = make(chan struct{})
	go func() { // stop waits for it
		defer close(n.done)
		n.broker.Run(ctx) // always nil
	}()
	return nil
}

// stop ends the node, and with it every connection to it. A node that does not run is left alone.
func (n *node) stop() error {
	if n.broker == nil {
		return nil
	}
	n.cancel()
	n.broker = nil
	select {
	case <-n.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s is still running %v after it was told to stop", n.name, patience)
	}
}

// sees returns where a client's connection comes from, as the node understands it.
func (n *node) sees(client string) (from netip.AddrPort, connected bool) {
	if n.broker == nil {
		return netip.AddrPort{}, false
	}
	c, _ := n.broker.Client(client)
	return c.Addr, c.Connected
}
