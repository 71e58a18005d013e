package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// An outcome is what happened, for those who do not read.
type outcome struct {
	Home      []visit // of the devices, with two nodes
	Stopped   string  // a node
	Moved     []visit // of its devices, while it is stopped
	Returned  []visit // of newcomers from their addresses, once it is up again
	Added     string  // a third node
	Newcomers []visit // after that
	Messages  int     // that went out and came back while it was added
	Dropped   int     // connections lost by devices that had no reason to: all but those of Moved
}

// run tells the story. What it started is gone when it returns; the error says which step failed, why, and where to look.
func run(ctx context.Context, o options) (out outcome, err error) {
	began := time.Now()
	l, err := newLab(o)
	if err != nil {
		return outcome{}, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	fmt.Fprintln(o.out, "mqttlb: a load balancer that takes the TLS off, two MQTT nodes behind it, six devices.")
	for _, step := range []func(context.Context) error{
		l.makeCertificates, l.startNodes, l.startBalancer, l.connectDevices, l.stopNode, l.restartNode, l.addNode,
	} {
		if err := step(ctx); err != nil {
			return l.result, l.explain(ctx, err)
		}
	}
	fmt.Fprintf(o.out, "\nThat is all, in %s. ", rounded(time.Since(began)))
	if o.stay {
		return l.result, l.stayUp(ctx)
	}
	fmt.Fprintln(o.out, "Everything is stopped and removed now.\nWith -stay it stays up to play with.")
	return l.result, nil
}

// explain tells what to look at when a step has failed.
func (l *lab) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("stopped at step %d: %w", l.tell.step, context.Cause(ctx))
	}
	return fmt.Errorf("step %d (%s) failed: %w\n\nThe end of the log:\n%s", l.tell.step, l.tell.name, err, l.logTail())
}

// stayUp keeps everything up until ctx is done.
func (l *lab) stayUp(ctx context.Context) error {
	host, port, err := net.SplitHostPort(l.lb.mqtt())
	if err != nil {
		return fmt.Errorf("take the address of the load balancer apart: %w", err)
	}
	t, api := l.tell, l.lb.api.Addr()
	client := fmt.Sprintf("-h %s -p %s --cafile %s -V mqttv5", host, port, l.certs.CA)
	fmt.Fprintln(t.w, "Everything stays up until Ctrl-C. Some things to try in another terminal:")
	fmt.Fprintln(t.w, "\nListen and speak. Both commands come from 127.0.0.1, and so reach the same node:")
	if l.oneAddress {
		fmt.Fprintln(t.w, "(Here the nodes take turns: repeat the second until it meets the first.)")
	}
	t.show(fmt.Sprintf("mosquitto_sub %s -t 'hello/#' -v\nmosquitto_pub %s -t hello/world -m 'Good morning'", client, client))
	fmt.Fprintln(t.w, "Look at it:")
	t.show(fmt.Sprintf("go run ./cmd/mqttlb status --admin %[1]s\ncurl http://%[1]s/api/v1/status\ncurl http://%[1]s/metrics\ntail -f %[2]s", api, l.logFile.Name()))
	fmt.Fprintln(t.w, "Edit its configuration. What you save applies at once. A mistake changes nothing, and the log says which line it is in:")
	t.show(l.path())
	select {
	case <-ctx.Done():
		fmt.Fprintln(t.w, "\nStopping, and removing the folder.")
		return nil
	case <-l.lb.done:
		return l.lb.ended()
	}
}

// rounded is a duration as one tells it.
func rounded(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}
