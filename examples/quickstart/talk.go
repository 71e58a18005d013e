package main

import (
	"context"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// talkPause is between two messages of one device.
const talkPause = 20 * time.Millisecond

// echo lets each device send a message to itself.
func (l *lab) echo(ctx context.Context, text string) error {
	var tasks errgroup.Group
	for _, d := range l.devices {
		tasks.Go(func() error { return d.echo(ctx, text) })
	}
	return tasks.Wait()
}

// beginTalk lets every device talk to itself until the returned function is called, which tells how many
// messages came back, and what went wrong.
func (l *lab) beginTalk(ctx context.Context) (end func() (messages int, err error)) {
	stop := make(chan struct{})
	counts := make([]int, len(l.devices))
	var tasks errgroup.Group
	for i, d := range l.devices {
		tasks.Go(func() error {
			pause := time.NewTicker(talkPause)
			defer pause.Stop()
			for {
				if err := d.echo(ctx, "message "+strconv.Itoa(counts[i])); err != nil {
					return err
				}
				counts[i]++
				select {
				case <-pause.C:
				case <-stop:
					return nil
				}
			}
		})
	}
	return func() (int, error) {
		close(stop)
		err := tasks.Wait()
		total := 0
		for _, n := range counts {
			total += n
		}
		return total, err
	}
}
