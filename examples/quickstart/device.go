package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

const (
	keepAlive = 20 // seconds

	// reconnectPause is the wait after a connection that could not be made. Real devices wait longer, and not all
	// as long; see autopaho.NewExponentialBackoff.
	reconnectPause = 200 * time.Millisecond
)

// A device is an MQTT 5 client that reconnects by itself and listens to a topic of its own. Its methods may be called
// from any goroutine, echo from one at a time.
type device struct {
	name    string
	source  netip.Addr // that it connects from
	cancel  context.CancelFunc
	manager *autopaho.ConnectionManager
	tasks   sync.WaitGroup // subscribing
	heard   chan string    // payloads that came back

	mu         sync.Mutex     // guards the fields below
	local      netip.AddrPort // its end of the last connection
	connected  int            // connections so far
	subscribed int            // which of them the subscription was made on
	lost       int            // connections that ended without being asked to
	trouble    error          // the last one
}

// newDevice starts a device that connects to address and trusts roots alone. The caller closes it.
func newDevice(ctx context.Context, name string, source netip.Addr, address string, roots *x509.CertPool) (*device, error) {
	d := &device{name: name, source: source, heard: make(chan string, 16)}
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	cfg := autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{{Scheme: "mqtts", Host: address}},
		TlsCfg:                        &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12},
		KeepAlive:                     keepAlive,
		CleanStartOnInitialConnection: true,
		ReconnectBackoff:              autopaho.NewConstantBackoff(reconnectPause),
		ConnectTimeout:                patience,
		AttemptConnection:             d.dial,
		OnConnectionUp:                func(m *autopaho.ConnectionManager, _ *paho.Connack) { d.up(ctx, m) },
		OnConnectionDown:              d.down,
		OnConnectError:                d.note,
		ClientConfig: paho.ClientConfig{
			ClientID:          name,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){d.receive},
		},
	}
	var err error
	if d.manager, err = autopaho.NewConnection(ctx, cfg); err != nil {
		d.cancel()
		return nil, fmt.Errorf("start device %s: %w", name, err)
	}
	return d, nil
}

// dial connects from the device's own address.
func (d *device) dial(ctx context.Context, cfg autopaho.ClientConfig, to *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	t := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: d.source.AsSlice()}},
		Config:    cfg.TlsCfg,
	}
	conn, err := t.DialContext(ctx, "tcp", to.Host)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
	return packets.NewThreadSafeConn(conn), nil
}

func (d *device) topic() string { return "devices/" + d.name }

// up is called for each connection. It must not block; a node knows nothing of subscriptions made on another one.
func (d *device) up(ctx context.Context, m *autopaho.ConnectionManager) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connected++
	nth := d.connected
	d.tasks.Go(func() { d.subscribe(ctx, m, nth) })
}

func (d *device) subscribe(ctx context.Context, m *autopaho.ConnectionManager, nth int) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := m.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: d.topic(), QoS: 1}}})
	if err != nil {
		d.note(fmt.Errorf("subscribe to %s: %w", d.topic(), err))
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscribed = nth
}

// down is called when a connection has ended that the device did not end; true goes on with another one.
func (d *device) down() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost++
	return true
}

func (d *device) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trouble = err
}

func (d *device) receive(m paho.PublishReceived) (bool, error) {
	select {
	case d.heard <- string(m.Packet.Payload):
	default: // echo reads the one that it waits for before it sends the next
	}
	return true, nil
}

// echo publishes text with QoS 1 to the device's own topic, and waits until it is back.
func (d *device) echo(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nothing came for %v", patience))
	defer cancel()
	if _, err := d.manager.Publish(ctx, &paho.Publish{Topic: d.topic(), QoS: 1, Payload: []byte(text)}); err != nil {
		return fmt.Errorf("%s publishes to %s: %w", d.name, d.topic(), err)
	}
	for {
		select {
		case got := <-d.heard:
			if got == text {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%s waits for its own message on %s: %w", d.name, d.topic(), context.Cause(ctx))
		}
	}
}

// ready returns the device's end of the connection that it is subscribed on.
func (d *device) ready() (local netip.AddrPort, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.local, d.connected > d.lost && d.subscribed == d.connected
}

// losses returns how many connections have ended under the device.
func (d *device) losses() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
}

// lastTrouble returns why the device last failed to connect or subscribe; nil when it never did.
func (d *device) lastTrouble() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trouble
}

// close says DISCONNECT and ends the device.
func (d *device) close() error {
	d.cancel()
	select {
	case <-d.manager.Done():
	case <-time.After(patience):
		return errors.New("device " + d.name + " does not end")
	}
	d.tasks.Wait() // its context is done
	return nil
}
