//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/link"
	"github.com/mqttlb/mqttlb/internal/reactor"
	"github.com/mqttlb/mqttlb/internal/socket"
)

// maxBacklog is how many bytes may wait for one connection: beyond it messages for it are dropped. It is more than any
// scenario has in flight.
const maxBacklog = 4 << 20

// Node is the stand-in. Listen makes it.
type Node struct {
	accept net.Listener
	poller *socket.Poller
	proxy  ProxyProtocol

	// Of the loop's goroutine.
	loop   *reactor.Loop
	shared *link.Shared
	peers  []*peer  // by key; nil: the key is free
	free   []uint32 // keys that are free
	topics map[string][]subscriber
	dirty  []uint32 // whoever has something queued, or is to be closed
	acks   []byte   // scratch
}

// A peer is one connection.
type peer struct {
	link.Link
	version packet.Version // 0 before CONNECT
	topics  []string       // that it subscribes to
	id      uint16         // of the last PUBLISH to it that had one
	dirty   bool
	over    bool // to be closed
}

// A subscriber of a topic.
type subscriber struct {
	key uint32
	qos byte // at most 1
}

// Listen opens the listener, which Run closes.
func Listen(address string, p ProxyProtocol) (*Node, error) {
	if p != None && p != Optional && p != Require {
		return nil, fmt.Errorf("PROXY protocol %q is none of none, optional and require", p)
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the balancer: %w", err)
	}
	n := &Node{accept: ln, proxy: p, topics: make(map[string][]subscriber)}
	if n.poller, err = socket.Open(); err == nil {
		n.accept, err = n.poller.Listener(ln.(*net.TCPListener), net.KeepAliveConfig{Enable: true})
	}
	if err == nil {
		n.loop, err = reactor.New()
	}
	if err != nil {
		_ = ln.Close()
		if n.accept != nil {
			_ = n.accept.Close()
		}
		if n.poller != nil {
			_ = n.poller.Close()
		}
		return nil, fmt.Errorf("open an event loop: %w", err)
	}
	n.shared = link.New(n.loop)
	return n, nil
}

// Addr is where it listens.
func (n *Node) Addr() net.Addr { return n.accept.Addr() }

// Run serves until ctx is done. It returns when all connections are closed.
func (n *Node) Run(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var loop sync.WaitGroup
	var failed error
	loop.Go(func() {
		failed = n.loop.Run(running, n)
		_ = n.accept.Close() // a loop that has failed serves nobody
	})
	unhook := context.AfterFunc(ctx, func() { _ = n.accept.Close() })
	err := n.acceptAll(ctx)
	unhook()
	n.loop.Post(n.closeAll)
	stop()
	loop.Wait()
	return errors.Join(err, failed, n.poller.Close())
}

// acceptAll hands connections to the loop until the listener is closed.
func (n *Node) acceptAll(ctx context.Context) error {
	for {
		c, err := n.accept.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			select { // until somebody leaves
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		case err != nil:
			return fmt.Errorf("accept a connection: %w", err)
		}
		fd, err := c.(*socket.Conn).Detach()
		if err != nil {
			return fmt.Errorf("take a connection over: %w", err)
		}
		if !n.loop.Post(func() { n.add(fd) }) {
			_ = unix.Close(fd)
		}
	}
}

func (n *Node) add(fd int) {
	p := &peer{Link: link.Link{FD: fd}}
	switch n.proxy {
	case Optional:
		p.Preamble = optionalHeader
	case Require:
		p.Preamble = requiredHeader
	}
	key := uint32(len(n.peers))
	if last := len(n.free) - 1; last >= 0 {
		key, n.free = n.free[last], n.free[:last]
		n.peers[key] = p
	} else {
		n.peers = append(n.peers, p)
	}
	if err := n.shared.Add(&p.Link, key); err != nil {
		n.remove(key)
	}
}

func (n *Node) remove(key uint32) {
	p := n.peers[key]
	for _, t := range p.topics {
		n.unsubscribe(key, t)
	}
	n.shared.Close(&p.Link)
	n.peers[key] = nil
	n.free = append(n.free, key)
}

func (n *Node) closeAll() {
	for key, p := range n.peers {
		if p != nil {
			n.remove(uint32(key))
		}
	}
	n.dirty = nil
}

// Ready is the loop's.
func (n *Node) Ready(key uint32, e reactor.Events) {
	p := n.peers[key]
	if p.over {
		return // the end of this round closes it
	}
	if err := n.shared.Receive(&p.Link, key, e, n); err != nil {
		p.over = true
	}
	if p.over || p.Backlog() > 0 {
		n.mark(key, p)
	}
}

// Expired is the loop's: there are no timers.
func (n *Node) Expired(uint32) {}

// mark has the connection flushed, or closed, at the end of the round.
func (n *Node) mark(key uint32, p *peer) {
	if p.dirty {
		return
	}
	p.dirty = true
	if n.dirty = append(n.dirty, key); len(n.dirty) == 1 {
		n.loop.Post(n.finishRound)
	}
}

func (n *Node) finishRound() {
	for _, key := range n.dirty {
		p := n.peers[key]
		p.dirty = false
		if err := n.shared.Flush(&p.Link); err != nil || p.over {
			n.remove(key)
		}
	}
	n.dirty = n.dirty[:0]
}

func (n *Node) unsubscribe(key uint32, topic string) bool {
	list := n.topics[topic]
	i := slices.IndexFunc(list, func(s subscriber) bool { return s.key == key })
	if i < 0 {
		return false
	}
	list[i] = list[len(list)-1]
	if list = list[:len(list)-1]; len(list) > 0 {
		n.topics[topic] = list
	} else {
		delete(n.topics, topic)
	}
	return true
}
