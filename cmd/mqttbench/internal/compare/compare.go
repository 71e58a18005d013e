//go:build linux

package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mqttlb/mqttlb/certs/devca"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/load"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/peer"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/proc"
	"github.com/mqttlb/mqttlb/cmd/mqttbench/internal/report"
)

// Options say what is compared.
type Options struct {
	Peers     []peer.Peer // the first is what others are compared with
	Missing   []string    // of the peers that were asked for, those that are not installed: the table says so
	Direct    bool        // the peers are brokers, and load goes straight to them; else they are load balancers
	Broker    peer.Peer   // the node behind load balancers
	Rounds    int
	Only      []string // names of cases or scenarios; none: all
	Quick     bool     // small and short: whether it works, not what it costs
	SendProxy bool
	Command   string    // that it was called with, for the table
	Log       io.Writer // gets a line for each run; nil: none

	// Load runs a plan, and measures a process and its children meanwhile.
	Load func(ctx context.Context, p load.Plan, pid int) (report.Result, error)
}

// A Comparison is what was found.
type Comparison struct {
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Machine proc.Machine  `json:"machine"`
	Command string        `json:"command"`
	Peers   []string      `json:"peers"` // with versions
	Missing []string      `json:"missing,omitempty"`
	Direct  bool          `json:"direct,omitempty"` // as in Options
	Broker  string        `json:"broker,omitempty"`
	Rounds  int           `json:"rounds"`
	Quick   bool          `json:"quick,omitempty"`   // small and short: no figure means anything
	Partial bool          `json:"partial,omitempty"` // it was ended before its time
	Rows    []Row         `json:"rows"`
	Curves  []Curve       `json:"curves,omitempty"`
	Errors  []string      `json:"errors,omitempty"` // of runs that have failed
}

// A Row is a figure of every peer.
type Row struct {
	Case  string `json:"case"`
	Title string `json:"title"`
	Unit  string `json:"unit"`
	Cells []Cell `json:"cells"` // as Comparison.Peers

	AtMost *Bound `json:"at_most,omitempty"` // what is wanted; nil: nothing
}

// A Bound is what a figure is wanted to be at most, of every peer but the first. What is 0 is not bounded.
type Bound struct {
	Ratio float64 `json:"ratio,omitempty"` // to that of the first peer
	Value float64 `json:"value,omitempty"` // in the row's unit
}

// A Cell is one peer's figure.
type Cell struct {
	Values []float64       `json:"values"` // round by round, those that have succeeded
	Failed int             `json:"failed,omitempty"`
	Sum    *report.Summary `json:"summary,omitempty"` // nil without values
}

// A Curve is one peer's way from few to many idle connections, in the first round that has succeeded.
type Curve struct {
	Peer   string         `json:"peer"`
	Points []report.Point `json:"points"`
}

// A field is where the runs take place.
type field struct {
	options Options
	dir     string // for files that go with it
	ca      []byte
	server  string // file with chain and key
	listen  string // of every peer
	admin   string // of mqttlb
	node    string
	broker  *peer.Running
	found   *Comparison
}

// Run compares. A run that fails is noted in the Comparison; the error is about what concerns all. When ctx is done it returns what was found
// until then, and the error.
func Run(ctx context.Context, o Options) (_ *Comparison, err error) {
	list, err := choose(o.cases(), o.Only)
	if err != nil {
		return nil, err
	}
	f := &field{options: o, found: &Comparison{
		Started: time.Now(), Machine: proc.ThisMachine(), Command: o.Command, Missing: o.Missing, Direct: o.Direct, Broker: o.Broker.String(), Rounds: max(1, o.Rounds),
		Quick: o.Quick,
	}}
	for _, p := range o.Peers {
		f.found.Peers = append(f.found.Peers, p.String())
	}
	if err := f.prepare(ctx); err != nil {
		return nil, errors.Join(err, f.clear())
	}
	err = f.rounds(ctx, list)
	f.found.Partial = err != nil
	f.found.Took = time.Since(f.found.Started)
	return f.found, errors.Join(err, f.clear())
}

// cases are all of those that the options leave.
func (o Options) cases() []benchCase {
	switch {
	case o.Direct && o.Quick:
		return brokerCases(quickBrokers())
	case o.Direct:
		return brokerCases(fullBrokers())
	case o.Quick:
		return cases(quick())
	}
	return cases(full())
}

// prepare finds ports and, for load balancers, makes certificates and starts the node.
func (f *field) prepare(ctx context.Context) (err error) {
	if f.dir, err = os.MkdirTemp("", "mqttbench-"); err != nil {
		return fmt.Errorf("make a folder for configurations: %w", err)
	}
	for _, address := range []*string{&f.listen, &f.admin, &f.node} {
		if *address, err = freePort(); err != nil {
			return err
		}
	}
	if f.options.Direct {
		return nil
	}
	if err := f.certify(); err != nil {
		return err
	}
	f.broker, err = f.options.Broker.Start(ctx, peer.Setup{Dir: f.dir, Listen: f.node, SendProxy: f.options.SendProxy})
	return err
}

// certify makes a certificate for the load balancers, and an authority that the load trusts.
func (f *field) certify() error {
	ca, err := devca.New(devca.ECDSA, time.Now())
	if err != nil {
		return err
	}
	server, err := ca.Issue(devca.Options{})
	if err != nil {
		return err
	}
	text, err := server.PEM()
	if err != nil {
		return err
	}
	f.ca, f.server = ca.CertPEM(), filepath.Join(f.dir, "server.pem")
	if err := os.WriteFile(f.server, text, 0o600); err != nil {
		return fmt.Errorf("write a certificate: %w", err)
	}
	return nil
}

// clear stops the node and removes the folder.
func (f *field) clear() error {
	var stopped error
	if f.broker != nil {
		stopped = f.broker.Stop()
	}
	return errors.Join(stopped, os.RemoveAll(f.dir))
}

// freePort finds an address that nobody listens on: below those that the system gives to clients, among which a connection
// could take it meanwhile.
func freePort() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+time.Now().UnixNano()/1000%12000)
		ln, err := net.Listen("tcp", address)
		if err == nil {
			return address, ln.Close()
		}
	}
	return "", errors.New("find a free port: a hundred are taken")
}

// rounds runs every case against every peer, over and over.
func (f *field) rounds(ctx context.Context, list []benchCase) error {
	for round := range f.found.Rounds {
		for _, c := range list {
			for i, p := range f.options.Peers {
				f.say("round %d of %d: %s, %s\n", round+1, f.found.Rounds, c.name, p.Kind)
				r, err := f.one(ctx, c, p)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				f.note(c, i, r, err)
			}
		}
	}
	return nil
}

func (f *field) say(format string, args ...any) {
	if f.options.Log != nil {
		fmt.Fprintf(f.options.Log, format, args...)
	}
}

// oneWithin bounds one run: the longest, a curve with a pause at each point, takes about a minute.
const oneWithin = 10 * time.Minute

// one runs one case against one peer.
func (f *field) one(ctx context.Context, c benchCase, p peer.Peer) (r report.Result, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, oneWithin, fmt.Errorf("not complete within %v", oneWithin))
	defer cancel()
	program, err := p.Start(ctx, peer.Setup{
		Dir: f.dir, Listen: f.listen, Node: f.node, Admin: f.admin, Certificate: f.server, CPUs: runtime.NumCPU(), SendProxy: f.options.SendProxy,
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, program.Stop()) }()
	plan := c.plan
	plan.Target, plan.CA, plan.KeepAlive, plan.Source = f.listen, f.ca, 600, "127.0.0.0/8"
	r, err = f.options.Load(ctx, plan, program.PID())
	if err == nil && p.Kind == peer.MQTTLB {
		err = f.pauses(ctx, &r)
	}
	return r, err
}

// note writes down what one run has found.
func (f *field) note(c benchCase, i int, r report.Result, err error) {
	name := f.found.Peers[i]
	if err != nil {
		f.found.Errors = append(f.found.Errors, fmt.Sprintf("%s, %s: %v", c.name, name, err))
		f.say("failed: %v\n", err)
	}
	for _, row := range c.rows {
		f.cell(c.name, row, i).take(r, row.metric, err)
	}
	if err == nil && len(r.Curve) > 0 && !f.hasCurve(name) {
		f.found.Curves = append(f.found.Curves, Curve{Peer: name, Points: r.Curve})
	}
	if f.options.Peers[i].Kind == peer.MQTTLB && err == nil {
		f.cell("", row{pauseTitle, report.GarbagePause, nil}, i).longest(r)
	}
}

func (f *field) hasCurve(name string) bool {
	for _, c := range f.found.Curves {
		if c.Peer == name {
			return true
		}
	}
	return false
}

// pauseTitle is the last row.
const pauseTitle = "longest pause of the garbage collector in any run"

// units of metrics, in the table.
func unit(metric string) string {
	return map[string]string{
		report.Memory: "B", report.MemoryTraffic: "B", report.MemoryUser: "B", report.CPU: "µs", report.CPUByte: "ns", report.CPUIdle: "ms/s", report.P50: "µs", report.P99: "µs",
		report.GarbagePause: "ms",
	}[metric]
}

// cell finds the cell of a row and a peer, and makes the row if need be.
func (f *field) cell(name string, r row, i int) *Cell {
	for at := range f.found.Rows {
		if have := &f.found.Rows[at]; have.Case == name && have.Title == r.title {
			return &have.Cells[i]
		}
	}
	f.found.Rows = append(f.found.Rows, Row{Case: name, Title: r.title, Unit: unit(r.metric), Cells: make([]Cell, len(f.options.Peers)), AtMost: r.atMost})
	return &f.found.Rows[len(f.found.Rows)-1].Cells[i]
}

// take adds the value of one more round, or that it has failed.
func (c *Cell) take(r report.Result, metric string, err error) {
	m, there := r.Metric(metric)
	if err != nil || !there {
		c.Failed++
		return
	}
	c.add(m.Value)
}

func (c *Cell) add(v float64) {
	c.Values = append(c.Values, v)
	sum := report.Summarize(c.Values)
	c.Sum = &sum
}

// longest keeps the longest pause.
func (c *Cell) longest(r report.Result) {
	if m, there := r.Metric(report.GarbagePause); there {
		v := m.Value
		if len(c.Values) > 0 {
			v = max(v, c.Values[0])
		}
		c.Values = nil
		c.add(v)
	}
}
