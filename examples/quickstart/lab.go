package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
)

const (
	// patience bounds every wait. A machine that is busy with other things needs some of it, an idle one a second
	// at most.
	patience = 30 * time.Second

	// lookAgain is the pause between two looks at something that does not tell when it changes.
	lookAgain = 20 * time.Millisecond
)

// A lab is what the story plays with. One goroutine uses it.
type lab struct {
	options
	tell    *teller
	dir     string
	certs   devca.Files
	roots   *x509.CertPool // the authority that devices trust
	logFile *os.File
	nodes   []*node
	lb      *balancer // nil until it runs
	devices []*device
	result  outcome
}

// newLab makes the folder and the log in it. The caller closes the lab.
func newLab(o options) (*lab, error) {
	dir, err := os.MkdirTemp("", "mqttlb-quickstart-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for certificates and configuration: %w", err)
	}
	l := &lab{options: o, dir: dir, tell: &teller{w: o.out}}
	if l.logFile, err = os.Create(filepath.Join(dir, "quickstart.log")); err != nil {
		return nil, errors.Join(fmt.Errorf("begin the log: %w", err), os.RemoveAll(dir))
	}
	return l, nil
}

// log is for one of the programs. At debug nodes tell about each connection, the load balancer about each check.
func (l *lab) log(program string, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l.logFile, &slog.HandlerOptions{Level: level})).With("program", program)
}

// path is where the load balancer's configuration is.
func (l *lab) path() string { return filepath.Join(l.dir, "mqttlb.yaml") }

// close stops everything, clients first, and removes the folder.
func (l *lab) close() error {
	var errs []error
	for _, d := range l.devices {
		errs = append(errs, d.close())
	}
	if l.lb != nil {
		errs = append(errs, l.lb.stop())
	}
	for _, n := range l.nodes {
		errs = append(errs, n.stop())
	}
	return errors.Join(append(errs, l.logFile.Close(), os.RemoveAll(l.dir))...)
}

// until waits for something; what says it in words, and advice is for when it does not come.
func (l *lab) until(ctx context.Context, what, advice string, done func() bool) error {
	var ended error
	err := wait(ctx, func() bool {
		if l.lb != nil {
			ended = l.lb.ended()
		}
		return ended != nil || done()
	})
	if err := errors.Join(ended, err); err != nil {
		return fmt.Errorf("while waiting for %s: %w\n%s", what, err, advice)
	}
	return nil
}

// wait looks until done says yes; it fails after patience, or when ctx is done.
func wait(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not in %v", patience))
	defer cancel()
	t := time.NewTicker(lookAgain)
	defer t.Stop()
	for !done() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// node finds a node by name.
func (l *lab) node(name string) *node {
	return l.nodes[slices.IndexFunc(l.nodes, func(n *node) bool { return n.name == name })]
}

// lastLines is how much of the log is printed after a failure.
const lastLines = 30

// logTail returns the end of the log.
func (l *lab) logTail() string {
	text, err := os.ReadFile(l.logFile.Name())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-lastLines):], "\n")
}
