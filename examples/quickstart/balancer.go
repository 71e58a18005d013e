package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/lb"
	"github.com/mqttlb/mqttlb/lb/admin"
)

// A balancer is mqttlb with its admin API, as `mqttlb run` starts it. One goroutine uses it.
type balancer struct {
	path   string // of its configuration
	srv    *lb.Server
	api    *admin.Server
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
	err    error         // why it ended; to be read after done
}

// openBalancer runs mqttlb with the configuration at path, and returns when it accepts clients. The caller stops it.
func openBalancer(ctx context.Context, path string, log *slog.Logger) (*balancer, error) {
	b := &balancer{path: path, done: make(chan struct{})}
	var err error
	if b.srv, err = lb.New(lb.Options{Path: path, Log: log}); err != nil {
		return nil, fmt.Errorf("read the configuration:\n%w", err)
	}
	b.api = admin.New(admin.Options{LB: b.srv, Log: log, Version: "quickstart"})
	if err := b.api.Listen(ctx); err != nil {
		return nil, err
	}
	ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var tasks errgroup.Group
	tasks.Go(func() error {
		defer b.cancel()
		return b.srv.Run(ctx)
	})
	tasks.Go(func() error {
		defer b.cancel()
		return b.api.Run(ctx)
	})
	go func() { // stop waits for it
		b.err = tasks.Wait()
		close(b.done)
	}()
	select {
	case <-b.srv.Ready():
		return b, nil
	case <-b.done:
		return nil, fmt.Errorf("start mqttlb: %w", b.err)
	case <-time.After(patience):
		return nil, errors.Join(fmt.Errorf("mqttlb did not open its port within %v", patience), b.stop())
	}
}

// stop ends it; what is left of connections ends within the shutdown_timeout of its configuration.
func (b *balancer) stop() error {
	b.cancel()
	select {
	case <-b.done:
		return b.err
	case <-time.After(patience):
		return fmt.Errorf("mqttlb is still running %v after it was told to stop", patience)
	}
}

// ended returns why it has ended by itself; nil while it runs.
func (b *balancer) ended() error {
	select {
	case <-b.done:
		return errors.Join(errors.New("mqttlb has ended"), b.err)
	default:
		return nil
	}
}

// mqtt is where clients are served.
func (b *balancer) mqtt() string { return b.srv.Addr("mqtts") }

// server returns what is known of a node; ok is false while it is not in the configuration that is used.
func (b *balancer) server(name string) (s lb.ServerStatus, ok bool) {
	for _, s := range b.srv.Status().Backends[0].Servers {
		if s.Name == name {
			return s, true
		}
	}
	return lb.ServerStatus{}, false
}

// state is how a node stands with the load balancer: "up", "down", or "" when it is not known.
func (b *balancer) state(name string) string {
	s, _ := b.server(name)
	return s.State
}

// configuration is the text of mqttlb.yaml. The check is quicker than the default, 10 s, to keep the story short.
const configuration = `admin:
  listen: %-29s # status, metrics, API
shutdown_timeout: 2s

listeners:
  - name: mqtts
    listen: %s
    backend: nodes
    tls:
      certificates:
        - cert: certs/server.pem        # chain and key; TLS ends here

backends:
  - name: nodes
%s
    send_proxy: v2                      # tell the nodes where clients come from
    check: {interval: 250ms, fall: 2, rise: 3}
    servers:
`

// The lines for balance: by address where devices have different ones, else in turn.
const (
	bySource = "    balance: source                     # the same address, the same node"
	inTurn   = "    balance: roundrobin                 # one after the other"
)

// writeConfiguration writes the first mqttlb.yaml.
func writeConfiguration(path, balance string, mqttPort, adminPort int, nodes []*node) error {
	text := fmt.Sprintf(configuration, loopback(adminPort), loopback(mqttPort), balance)
	for _, n := range nodes {
		text += serverLine(n)
	}
	return replace(path, text)
}

// serverLine is a node's line in mqttlb.yaml.
func serverLine(n *node) string {
	return fmt.Sprintf("      - {name: %s, address: %q}\n", n.name, n.address)
}

// addServer adds a node to the end of mqttlb.yaml, which is the list of servers.
func addServer(path string, n *node) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("add %s: %w", n.name, err)
	}
	return replace(path, strings.TrimRight(string(text), "\n")+"\n"+serverLine(n))
}

// replace puts a text in the place of a file in one step, as good editors do.
func replace(path, text string) error {
	beside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(beside, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(beside, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// portsToTry is how many ports are tried from the usual one on.
const portsToTry = 100

// freePort returns the first port from first on that nobody listens on; 0 for 0, which the kernel then chooses.
func freePort(first int) (int, error) {
	if first == 0 {
		return 0, nil
	}
	var last error
	for port := first; port < first+portsToTry; port++ {
		ln, err := net.Listen("tcp", loopback(port))
		if err != nil {
			last = err
			continue
		}
		return port, ln.Close()
	}
	return 0, fmt.Errorf("find a free port from %d on: %w; `ss -ltn` lists those in use", first, last)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
