package broker

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttlb/mqttlb/broker/access"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/delivery"
	"github.com/mqttlb/mqttlb/broker/packet"
	"github.com/mqttlb/mqttlb/broker/route"
	"github.com/mqttlb/mqttlb/broker/store"
	"github.com/mqttlb/mqttlb/broker/wire"
	"github.com/mqttlb/mqttlb/internal/socket"
	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/limit"
)

// Options say what a node is to be.
type Options struct {
	Config config.Config // as Load returned it, or made from config.Default
	Log    *slog.Logger  // nil = nothing is logged

	Version string // of the program, for $SYS/broker/version; "" = that is not told

	// ConnectTimeout is the time from accept to the end of the CONNECT, with PROXY header and TLS
	// handshake; 0 = 15 s, which is also the load balancer's.
	ConnectTimeout time.Duration
	// WriteTimeout is how long one write to a client may take before the client counts as lost; 0 = 20 s.
	WriteTimeout time.Duration

	systemEvery time.Duration // for tests; 0 = systemEvery
}

// Broker is one node. New makes it, Run runs it, once.
type Broker struct {
	config         config.Config
	log            *slog.Logger
	connectTimeout time.Duration
	writeTimeout   time.Duration
	listeners      []*listener
	table          *route.Table[*session]
	sockets        *socket.Poller
	loops          *wire.Loops
	computing      limit.Gate   // of TLS handshakes
	store          *store.Store // nil without a data_dir
	ended          []store.Session
	access         atomic.Pointer[access.Snapshot]
	verifier       *access.Verifier
	queued         delivery.Limits
	batches        delivery.Pool
	stats          stats
	system         system
	accepting      atomic.Bool

	running sync.WaitGroup // connections, timers at work

	mu            sync.Mutex
	connections   int
	silent        list.List // of *conn: those that have not opened a session, the oldest first
	sessions      map[string]*session
	sessionNumber uint64
	online        int  // sessions with a connection
	most          int  // that online has been
	stopping      bool // no connection, session or timer begins any more
}

// New checks the configuration, loads the certificates and opens the ports, so that Addr tells where the node
// will be; connections that arrive wait in the kernel until Run. Whoever does not call Run calls Close. The
// error is config.Problems, or that of opening a port.
func New(o Options) (*Broker, error) {
	contexts, snapshot, err := prepare(&o.Config)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		config:         o.Config,
		log:            o.Log,
		connectTimeout: o.ConnectTimeout,
		writeTimeout:   o.WriteTimeout,
		table:          route.New[*session](),
		verifier:       access.NewVerifier(access.Limits{}),
		sessions:       make(map[string]*session),
	}
	b.access.Store(snapshot)
	b.system.version, b.system.every = o.Version, o.systemEvery
	b.queued = delivery.Limits{Messages: o.Config.Limits.MaxQueued, Bytes: b.queuedBytes()}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.connectTimeout == 0 {
		b.connectTimeout = 15 * time.Second
	}
	if b.writeTimeout == 0 {
		b.writeTimeout = 20 * time.Second
	}
	if err := b.openPlane(); err != nil {
		return nil, err
	}
	if err := b.restore(time.Now()); err != nil {
		b.Close()
		return nil, err
	}
	for i, l := range o.Config.Listeners {
		opened, err := b.open(l, contexts[i])
		if err != nil {
			b.Close()
			return nil, err
		}
		b.listeners = append(b.listeners, opened)
	}
	return b, nil
}

// Check reports what New would find wrong with a configuration, without opening a port: config.Problems, or nil.
func Check(c config.Config) error {
	_, _, err := prepare(&c)
	return err
}

// prepare checks a configuration and returns what TLS needs for each of its listeners, nil where there is none, and who may do what.
func prepare(c *config.Config) ([]*tls.Config, *access.Snapshot, error) {
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	snapshot, problems := loadAccess(c)
	contexts := make([]*tls.Config, len(c.Listeners))
	for i, l := range c.Listeners {
		if l.TLS == nil {
			continue
		}
		t, err := tlsConfig(l.TLS)
		for _, e := range split(err) {
			problems = append(problems, c.Problem(fmt.Sprintf("listeners[%d].tls", i), e))
		}
		contexts[i] = t
	}
	if len(problems) > 0 {
		return nil, nil, problems
	}
	return contexts, snapshot, nil
}

// split takes a joined error apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// queuedBytes is how many bytes may wait for one client, beside how many messages: max_queued of those that devices
// send, and a few of the largest that may come.
func (b *Broker) queuedBytes() int {
	return max(b.config.Limits.MaxQueued*4<<10, b.config.Limits.MaxPacketSize*8)
}

// openPlane opens what connections live on.
func (b *Broker) openPlane() error {
	cpus := min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	if most := cpus + (cpus+1)/2; runtime.GOMAXPROCS(0) < most {
		runtime.GOMAXPROCS(most) // a loop that waits a moment for its next event keeps its P: handshakes and the API have their own
	}
	b.computing.Set(handshake.PerCPU * cpus)
	var err error
	if b.sockets, err = socket.Open(); err != nil {
		return fmt.Errorf("open the poller of new connections: %w", err)
	}
	b.loops, err = wire.Open(cpus, wire.Options{MaxPacket: b.config.Limits.MaxPacketSize, WriteTimeout: b.writeTimeout})
	if err != nil {
		b.sockets.Close()
		return fmt.Errorf("open %d event loops: %w", cpus, err)
	}
	return nil
}

// Close closes the ports of a node that was never run.
func (b *Broker) Close() error {
	errs := []error{b.closePorts()}
	b.loops.Close()
	if b.store != nil {
		errs = append(errs, b.store.Close())
	}
	return errors.Join(append(errs, b.sockets.Close())...)
}

func (b *Broker) closePorts() error {
	var errs []error
	for _, l := range b.listeners {
		errs = append(errs, l.ln.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx is done. It then closes the ports, tells MQTT 5 clients that it stops (0x8B), and returns
// when every connection, goroutine and descriptor is gone: at once for clients that read, after a
// few seconds for others. Without a data_dir sessions and messages are gone, too; wills are not published. It
// is called once, and returns nil unless an event loop has failed, which a sound system does not let happen.
func (b *Broker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	serving, cease := context.WithCancel(context.Background())
	defer cease()
	var ports sync.WaitGroup
	plane, kept := make(chan error, 1), make(chan error, 1)
	writing, written := context.WithCancel(context.Background())
	defer written()
	go func() { kept <- b.runStore(writing, cancel) }()
	b.startKept(time.Now())
	b.tellSystem(time.Now())
	go func() { plane <- b.loops.Run(serving); cancel() }()
	for _, l := range b.listeners {
		ports.Go(func() { b.accept(ctx, l) })
		b.log.Info("listening", slog.String("listener", l.Name), slog.Any("address", l.ln.Addr()))
	}
	ports.Go(func() { b.sweep(ctx) })
	ports.Go(func() { b.verify(ctx) })
	ports.Go(func() { b.watchSystem(ctx) })
	b.accepting.Store(true)
	<-ctx.Done()
	b.accepting.Store(false)
	b.closePorts()
	ports.Wait()
	b.stop()
	b.running.Wait()
	cease()
	err := <-plane
	written()
	b.sockets.Close()
	return errors.Join(err, <-kept)
}

// stop ends every connection and keeps anything new from beginning.
func (b *Broker) stop() {
	b.mu.Lock()
	b.stopping = true
	ending := &ending{reason: stopped, code: packet.ServerShuttingDown}
	conns := make([]*conn, 0, b.connections)
	for e := b.silent.Front(); e != nil; e = e.Next() {
		conns = append(conns, e.Value.(*conn))
	}
	for _, s := range b.sessions {
		s.mu.Lock()
		s.stopTimer()
		if s.conn != nil {
			conns = append(conns, s.conn)
		}
		s.mu.Unlock()
	}
	b.mu.Unlock()
	b.log.Info("stopping", slog.Int("connections", len(conns)))
	for _, c := range conns {
		c.end(ending)
	}
}

// begin reports whether work may begin that Run waits for; the caller then calls running.Done at its end.
func (b *Broker) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping {
		return false
	}
	b.running.Add(1)
	return true
}

// sweepInterval is how often retained messages are looked through for expired ones. Nobody is sent one in the
// meantime: only its memory waits.
const sweepInterval = time.Minute

func (b *Broker) sweep(ctx context.Context) {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			b.table.Purge(now)
		case <-ctx.Done():
			return
		}
	}
}

// Accepting reports whether Run serves and has not been told to stop.
func (b *Broker) Accepting() bool { return b.accepting.Load() }

// Node returns the node's name.
func (b *Broker) Node() string { return b.config.Node }

// Addr returns the address of a listener, with the port that was chosen for port 0; nil when there is no
// listener of that name.
func (b *Broker) Addr(listener string) net.Addr {
	for _, l := range b.listeners {
		if l.Name == listener {
			return l.ln.Addr()
		}
	}
	return nil
}
