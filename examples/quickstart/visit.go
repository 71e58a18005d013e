package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
)

// A visit is a device on a node.
type visit struct {
	Device string
	From   netip.AddrPort // the device's end of its connection
	Node   string
	Saw    netip.AddrPort // where the node believes it to come from
}

// connect starts a device that comes from an address of its own, where the system lets it.
func (l *lab) connect(ctx context.Context, name string, own netip.Addr) (*device, error) {
	if l.oneAddress {
		own = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return newDevice(ctx, name, own, l.lb.mqtt(), l.roots)
}

// visits waits until each of the devices is on a node, subscribed there and seen at its own address, and tells
// who is where.
func (l *lab) visits(ctx context.Context, devices []*device) ([]visit, error) {
	list := make([]visit, len(devices))
	var missing int
	err := l.until(ctx, "every device to be on a node", `Lines with "connection ended" say what became of its connections.`, func() bool {
		for i, d := range devices {
			list[i], missing = l.find(d), i
			if v := list[i]; v.Node == "" || v.Saw != v.From {
				return false
			}
		}
		return true
	})
	if err == nil {
		return list, nil
	}
	if v := list[missing]; v.Node != "" && v.Saw != v.From {
		return nil, fmt.Errorf("%s connects from %s, and %s sees %s: send_proxy of %s should tell it\n%w", v.Device, v.From, v.Node, v.Saw, l.path(), err)
	}
	d := devices[missing]
	return nil, fmt.Errorf("%s is nowhere; what it met with last: %v\n%w", d.name, d.lastTrouble(), err)
}

// find finds a device; Node is "" while it is nowhere, or not subscribed.
func (l *lab) find(d *device) visit {
	from, ready := d.ready()
	if !ready {
		return visit{}
	}
	for _, n := range l.nodes {
		if saw, there := n.sees(d.name); there {
			return visit{d.name, from, n.name, saw}
		}
	}
	return visit{}
}

// invite connects n devices for a while, and tells which nodes they have reached. At least one has to reach want.
func (l *lab) invite(ctx context.Context, want *node, name string, n int, address func(i int) netip.Addr) (list []visit, err error) {
	var devices []*device
	defer func() {
		for _, d := range devices {
			err = errors.Join(err, d.close())
		}
	}()
	for i := range n {
		d, err := l.connect(ctx, name+"-"+strconv.Itoa(i+1), address(i))
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	if list, err = l.visits(ctx, devices); err != nil {
		return nil, err
	}
	if countByNode(list)[want.name] == 0 {
		return list, fmt.Errorf("%s is up, and none of %d newcomers has reached it", want.name, n)
	}
	return list, nil
}

// losses adds up the connections that devices have lost.
func losses(devices []*device) (n int) {
	for _, d := range devices {
		n += d.losses()
	}
	return n
}

// countByNode counts visits by node.
func countByNode(list []visit) map[string]int {
	counts := make(map[string]int)
	for _, v := range list {
		counts[v.Node]++
	}
	return counts
}

// busiest is the node with the most visits.
func busiest(list []visit) string {
	counts := countByNode(list)
	return slices.MaxFunc(slices.Sorted(maps.Keys(counts)), func(a, b string) int { return counts[a] - counts[b] })
}

// seen makes a table of visits, whose rows can be read as sentences.
func seen(list []visit) [][]string {
	rows := [][]string{{"device", "connects from", "is on", "which sees"}}
	for _, v := range list {
		rows = append(rows, []string{v.Device, v.From.String(), v.Node, v.Saw.String()})
	}
	return rows
}
