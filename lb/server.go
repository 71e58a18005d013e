package lb

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/health"
	"github.com/mqttlb/mqttlb/internal/socket"
	"github.com/mqttlb/mqttlb/internal/spare"
	"github.com/mqttlb/mqttlb/lb/config"
	"github.com/mqttlb/mqttlb/lb/handshake"
	"github.com/mqttlb/mqttlb/lb/limit"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// Options are what a Server needs from its surroundings.
type Options struct {
	Path   string         // of the configuration
	Config *config.Config // what was loaded from Path already; nil: New loads it

	Log   *slog.Logger   // nil: none
	Level *slog.LevelVar // follows log.level; nil: nobody cares

	// OnState, when set, is told what the process is doing, for the service manager: one call at a time, and
	// none after Stopping.
	OnState func(State)
}

// A State is what the process is doing.
type State uint8

// The states. After Reloading comes Serving again.
const (
	Serving State = iota
	Reloading
	Stopping
)

// A Server is one load balancer. Its methods may be called from any goroutine.
type Server struct {
	path       string
	log        *slog.Logger
	level      *slog.LevelVar
	onState    func(State)
	sockets    *socket.Poller // until hand-off; set by Run
	relay      *relay.Loops   // after it; set by Run
	loops      int            // how many relay has: a reload leaves them as they are
	monitor    *health.Monitor
	histograms *Histograms
	nonce      string // part of the names of connections
	started    time.Time

	current     atomic.Pointer[generation]
	descriptors limit.Gate     // two for each connection
	arrivals    limit.Arrivals // connections that have a goroutine, and are not slow
	hands       hands
	computing   limit.Gate // handshakes
	tickets     handshake.Tickets
	live        liveSet
	lastID      atomic.Uint64
	lines       limit.Rate

	watcher  *config.Watcher
	requests chan reloadRequest
	ready    chan struct{} // closed when every listener accepts
	stopping chan struct{} // closed when the graceful stop begins
	history  reloadHistory

	telling  sync.Mutex // held while onState is called
	changing sync.Mutex // held while the configuration is changed, and when the stop begins
	healthMu sync.Mutex // makes reading a member's health and storing it one step

	mu    sync.Mutex // guards the fields below
	known registry
	ports map[string]*port // by key; written with changing held as well, so that either is enough to read
}

// New reads and checks the configuration and all that it names. It opens nothing and starts nothing. The error is a
// config.Problems: every problem of the file, or, when it has none, of the certificates and other files that it names.
func New(o Options) (*Server, error) {
	cfg := o.Config
	if cfg == nil {
		var err error
		if cfg, err = config.Load(o.Path); err != nil {
			return nil, err
		}
	}
	s := &Server{
		path:       o.Path,
		log:        o.Log,
		level:      o.Level,
		onState:    o.OnState,
		histograms: newHistograms(),
		nonce:      rand.Text()[:10],
		started:    time.Now(),
		requests:   make(chan reloadRequest),
		ready:      make(chan struct{}),
		stopping:   make(chan struct{}),
		known:      newRegistry(),
		ports:      make(map[string]*port),
		lines:      limit.Rate{Most: maxLines},
	}
	s.history.succeeded = s.started
	if s.log == nil {
		s.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if s.onState == nil {
		s.onState = func(State) {}
	}
	s.computing.Set(handshake.PerCPU * cpus())
	s.arrivals.Limit, s.arrivals.Patience = arrivingPerCPU*cpus(), patience
	s.hands.idle = make(chan func())
	s.monitor = health.New(health.Options{Log: s.log, OnChange: s.healthChanged, OnResult: s.checked})
	g, err := s.prepare(cfg, time.Now())
	if err != nil {
		return nil, err
	}
	s.loops = eventLoops(cfg.Workers)
	s.current.Store(g)
	s.watcher = config.NewWatcher(s.log, cfg)
	return s, nil
}

// Check reads and checks the configuration at path and all that it names, as New does, and
// starts nothing.
func Check(path string) error {
	_, err := New(Options{Path: path})
	return err
}

// generation is the configuration of this moment.
func (s *Server) generation() *generation { return s.current.Load() }

// Config is the configuration of this moment. It is immutable.
func (s *Server) Config() *config.Config { return s.generation().cfg }

// AdminToken is the bearer token of the admin API; nil when it wants none. The caller must not change it.
func (s *Server) AdminToken() []byte { return s.generation().token }

// Histograms are the distributions that the process observes.
func (s *Server) Histograms() *Histograms { return s.histograms }

// Ready is closed when every listener accepts.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx is done. Then it stops gracefully: it accepts nobody, lets sessions end by themselves for half
// of shutdown_timeout, ends those that are left in turn over the other half, so that their
// devices do not come back to the next load balancer all at once, and returns when everything is closed.
// It fails when the self-test of TLS does, when a listener or the event loops cannot be opened, when the process has no
// descriptors to speak of, or when an event loop ends. It raises GOMAXPROCS where the loops need it, and sets the collector's pace
// for the whole process. It is called once.
func (s *Server) Run(ctx context.Context) error {
	if err := handshake.SelfTest(ctx); err != nil {
		return err
	}
	spare.Now() // what the self-test has used
	g := s.generation()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	shut, err := s.openPlane(fail)
	if err != nil {
		return err
	}
	defer shut()
	opened, err := s.openPorts(ctx, g)
	if err != nil {
		return err
	}
	if s.sessionLimit(g.cfg) < 0 {
		closeAll(opened)
		return errors.New("the process may open too few descriptors for anybody to connect: raise LimitNOFILE (ulimit -n)")
	}
	s.commit(g, opened)
	s.warnUncovered(nil, g)

	background, end := context.WithCancel(context.WithoutCancel(ctx)) // checks go on while sessions drain
	defer end()
	var tasks errgroup.Group
	tasks.Go(func() error { return s.monitor.Run(background) })
	tasks.Go(func() error { return s.watcher.Run(background) })
	tasks.Go(func() error { return s.reloads(background) })
	tasks.Go(func() error { s.watchExpiry(background); return nil })
	tasks.Go(func() error { s.rotateTickets(background); return nil })
	tasks.Go(func() error { spare.Return(background, s.lastID.Load); return nil })
	tasks.Go(func() error { spare.Pace(background); return nil })

	s.log.Info("serving", "config", s.path, "listeners", s.addresses(), "most_connections", s.sessionLimit(g.cfg))
	s.tell(Serving)
	close(s.ready)
	<-ctx.Done()
	s.stop()
	s.hands.end()
	end()
	err = tasks.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return errors.Join(cause, err)
	}
	return err
}

// tell calls onState; a reload that ends while the process stops has nothing to say.
func (s *Server) tell(state State) {
	s.telling.Lock()
	defer s.telling.Unlock()
	if state == Stopping || !s.isStopping() {
		s.onState(state)
	}
}

// Addr is the address that a listener is bound to; empty when there is no such listener or Run has not
// opened it yet.
func (s *Server) Addr(listener string) string {
	f := s.generation().frontend(listener)
	if f == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.ports[portKey(f.cfg)]; p != nil {
		return p.socket.Addr().String()
	}
	return ""
}

func (s *Server) addresses() []string {
	var list []string
	for _, f := range s.generation().frontends {
		list = append(list, f.cfg.Name+" "+s.Addr(f.cfg.Name))
	}
	return list
}
