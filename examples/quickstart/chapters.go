package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
)

// deviceNames are the six devices.
var deviceNames = [...]string{"door", "lamp", "lock", "meter", "pump", "valve"}

// newcomers is how many come after the third node: enough for each to get some, by their addresses or in turn.
const newcomers = 12

// Where devices come from: the six, and the newcomers.
func homeAddress(i int) netip.Addr  { return netip.AddrFrom4([4]byte{127, 0, 0, byte(11 + i)}) }
func laterAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(101 + i)}) }

func (l *lab) makeCertificates(context.Context) error {
	l.tell.begin("Certificates")
	var err error
	if l.certs, err = devca.Write(filepath.Join(l.dir, "certs"), nil, time.Now()); err != nil {
		return err
	}
	ca, err := os.ReadFile(l.certs.CA)
	if err != nil {
		return fmt.Errorf("read the authority: %w", err)
	}
	l.roots = x509.NewCertPool()
	if !l.roots.AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s holds no certificate", l.certs.CA)
	}
	l.tell.say("A throw-away authority has signed a certificate for this machine. The devices will trust this authority and no other.")
	return nil
}

func (l *lab) startNodes(ctx context.Context) error {
	l.tell.begin("Two broker nodes")
	rows := [][]string{{"node", "address"}}
	for range 2 {
		n, err := l.startNode(ctx)
		if err != nil {
			return err
		}
		rows = append(rows, []string{n.name, n.address})
	}
	l.tell.table(rows)
	l.tell.say("They speak plain MQTT, and require a PROXY header in front of it: a few bytes from the load balancer that say where the client " +
		"really comes from. Whoever connects without is sent away.")
	return nil
}

// startNode starts one node more.
func (l *lab) startNode(ctx context.Context) (*node, error) {
	name := "node-" + strconv.Itoa(len(l.nodes)+1)
	n := newNode(name, l.log(name, slog.LevelDebug))
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	l.nodes = append(l.nodes, n)
	return n, nil
}

func (l *lab) startBalancer(ctx context.Context) error {
	l.tell.begin("The load balancer")
	mqttPort, err := freePort(l.mqttPort)
	if err != nil {
		return err
	}
	adminPort, err := freePort(l.adminPort)
	if err != nil {
		return err
	}
	balance := bySource
	if l.oneAddress {
		balance = inTurn
	}
	if err := writeConfiguration(l.path(), balance, mqttPort, adminPort, l.nodes); err != nil {
		return err
	}
	text, err := os.ReadFile(l.path())
	if err != nil {
		return fmt.Errorf("read the configuration back: %w", err)
	}
	l.tell.say("Its whole configuration is %s:", l.path())
	l.tell.show(string(text))
	if l.lb, err = openBalancer(ctx, l.path(), l.log("mqttlb", slog.LevelInfo)); err != nil {
		return err
	}
	for _, p := range []struct{ usual, got int }{{l.mqttPort, mqttPort}, {l.adminPort, adminPort}} {
		if p.usual != p.got {
			l.tell.say("Port %d is taken by another program, so %d is used.", p.usual, p.got)
		}
	}
	l.tell.say("It takes MQTT over TLS on %s. Status and metrics are at http://%s.", l.lb.mqtt(), l.lb.api.Addr())
	return nil
}

func (l *lab) connectDevices(ctx context.Context) error {
	l.tell.begin("Six devices connect over TLS")
	for i, name := range deviceNames {
		d, err := l.connect(ctx, name, homeAddress(i))
		if err != nil {
			return err
		}
		l.devices = append(l.devices, d)
	}
	var err error
	if l.result.Home, err = l.visits(ctx, l.devices); err != nil {
		return err
	}
	if err := l.echo(ctx, "first words"); err != nil {
		return err
	}
	l.tell.table(seen(l.result.Home))
	l.tell.say("Each has subscribed to a topic of its own, published to it and got its message back. The nodes see the devices' addresses and ports, " +
		"not the load balancer's, so that their logs and access rules are about devices.")
	if l.oneAddress {
		l.tell.say("This system lets programs connect from 127.0.0.1 only, so the nodes take turns here. Elsewhere each device has an address " +
			"of its own, and always reaches the same node.")
	} else {
		l.tell.say("With \"balance: source\" an address always reaches the same node: a device that reconnects finds its session where it was.")
	}
	l.tell.say("The nodes are not a cluster. What is published on one does not reach a subscriber on the other, which is why " +
		"every device here talks to itself.")
	return nil
}

func (l *lab) stopNode(ctx context.Context) error {
	stopped := l.node(busiest(l.result.Home))
	l.result.Stopped = stopped.name
	l.tell.begin(stopped.name + " stops")
	var moving, staying []*device
	for i, v := range l.result.Home {
		if v.Node == stopped.name {
			moving = append(moving, l.devices[i])
		} else {
			staying = append(staying, l.devices[i])
		}
	}
	began := time.Now()
	if err := stopped.stop(); err != nil {
		return err
	}
	var err error
	if l.result.Moved, err = l.visits(ctx, moving); err != nil {
		return err
	}
	took, early := rounded(time.Since(began)), l.lb.state(stopped.name) == "up"
	if err := l.echo(ctx, "still here"); err != nil {
		return err
	}
	l.tell.table(seen(l.result.Moved))
	l.tell.say("All of its devices have a new home %s after it began to stop. They connected again to the same address as before.", took)
	if early {
		l.tell.say("No health check had noticed by then: the load balancer knocked, found the door closed, and took them to the next one.")
	}
	return l.seeItDown(ctx, stopped, staying)
}

// seeItDown waits for the health check of a stopped node, and looks after the devices on the other one.
func (l *lab) seeItDown(ctx context.Context, stopped *node, others []*device) error {
	err := l.until(ctx, stopped.name+" to be marked down", "Its last checks are in the log.", func() bool { return l.lb.state(stopped.name) == "down" })
	if err != nil {
		return err
	}
	status, _ := l.lb.server(stopped.name)
	l.tell.say("Now the check knows as well: %s is down, %q.", stopped.name, status.Check.Last)
	if err := l.countDropped(others, 0); err != nil {
		return err
	}
	l.tell.say("The devices on the other node have noticed nothing.")
	return nil
}

// countDropped counts what the devices have lost beyond what they had lost before.
func (l *lab) countDropped(devices []*device, before int) error {
	dropped := losses(devices) - before
	l.result.Dropped += dropped
	if dropped > 0 {
		return fmt.Errorf(`%d connections were dropped that should have stayed: lines with "connection ended" say why`, dropped)
	}
	return nil
}

func (l *lab) restartNode(ctx context.Context) error {
	n := l.node(l.result.Stopped)
	l.tell.begin(n.name + " returns")
	before := losses(l.devices)
	if err := n.start(ctx); err != nil {
		return err
	}
	err := l.until(ctx, n.name+" to be marked up", "Its last checks are in the log.", func() bool { return l.lb.state(n.name) == "up" })
	if err != nil {
		return err
	}
	l.tell.say("It is up again after three good checks in a row. Newcomers from the addresses that had to move:")
	list, err := l.invite(ctx, n, "guest", len(l.result.Moved), func(i int) netip.Addr { return l.result.Moved[i].From.Addr() })
	if err != nil {
		return err
	}
	l.result.Returned = list
	l.tell.table(seen(list))
	if err := l.countDropped(l.devices, before); err != nil {
		return err
	}
	l.tell.say("Those who have moved stay where they are until they reconnect. Nobody is dragged back.")
	return nil
}

func (l *lab) addNode(ctx context.Context) error {
	l.tell.begin("A third node, with everybody connected")
	before := losses(l.devices)
	talk := l.beginTalk(ctx)
	err := l.addThird(ctx)
	messages, talkErr := talk()
	l.result.Messages = messages
	if err := errors.Join(err, talkErr, l.countDropped(l.devices, before)); err != nil {
		return err
	}
	l.tell.say("The six devices have sent %d messages to themselves meanwhile, and all came back. Connections dropped: 0.", messages)
	return nil
}

// addThird starts a node, adds it to the file and lets newcomers in.
func (l *lab) addThird(ctx context.Context) error {
	n, err := l.startNode(ctx)
	if err != nil {
		return err
	}
	l.result.Added = n.name
	if err := addServer(l.path(), n); err != nil {
		return err
	}
	l.tell.say("One line more at the end of mqttlb.yaml, and no signal, no command:")
	l.tell.show(strings.TrimLeft(serverLine(n), " "))
	err = l.until(ctx, n.name+" to be in use", `A line with "configuration refused" would say why it is not.`, func() bool { return l.lb.state(n.name) == "up" })
	if err != nil {
		return err
	}
	list, err := l.invite(ctx, n, "newcomer", newcomers, laterAddress)
	if err != nil {
		return err
	}
	l.result.Newcomers = list
	counts := countByNode(list)
	rows := [][]string{{"node", "newcomers"}}
	for _, n := range l.nodes {
		rows = append(rows, []string{n.name, strconv.Itoa(counts[n.name])})
	}
	l.tell.say("The load balancer watches the file. Of %d devices that connect now:", newcomers)
	l.tell.table(rows)
	return nil
}
