package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/mqttlb/mqttlb/broker"
)

// Options say what is served where.
type Options struct {
	Listen  string // host:port
	Broker  *broker.Broker
	Version string       // of the program, for mqttbroker_build_info and the status
	Token   string       // what requests have to bear, but those for /healthz and /readyz; "" = see the package comment
	Log     *slog.Logger // nil = nothing is logged

	// LastReload returns whether the configuration was applied when it was last read again, and when one was last applied, the start
	// included; it is called by each scrape, from any goroutine. nil = there are no metrics of it.
	LastReload func() (ok bool, succeeded time.Time)
}

// Server is an open port. New makes it, Run runs it, once.
type Server struct {
	broker  *broker.Broker
	version string
	token   string
	log     *slog.Logger
	reload  func() (ok bool, succeeded time.Time) // nil where nothing is reloaded
	began   time.Time
	local   bool // only this machine can reach the address
	ln      net.Listener
	http    http.Server
}

// Limits of the HTTP side. Requests are small but for a publication, answers but for a full page of retained messages,
// which is up to 6 MB: who takes longer than these is not talking to us.
const (
	maxConnections = 50 // well within the descriptors that clients leave
	headerTimeout  = 2 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 20 * time.Second // from the end of the header on
	idleTimeout    = 2 * time.Minute
	maxHeader      = 16 << 10

	// maxBody bounds a request, in bytes: 3 MB of payload in base64. Longer messages are for MQTT itself.
	maxBody = 4 << 20
)

// New opens the port. Whoever does not call Run calls Close.
func New(o Options) (*Server, error) {
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("open the API: %w", err)
	}
	s := &Server{broker: o.Broker, version: o.Version, token: o.Token, log: o.Log, reload: o.LastReload, began: time.Now(), ln: ln}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		s.local = a.IP.IsLoopback()
	}
	s.http = http.Server{
		Handler:           http.MaxBytesHandler(explained(s.routes()), maxBody),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Addr returns the address of the port.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close closes the port of a server that was never run.
func (s *Server) Close() error { return s.ln.Close() }

// Run serves until ctx is done, then lets requests end and returns nil when all goroutines are gone. Any other
// error is that of accepting connections.
func (s *Server) Run(ctx context.Context) error {
	var served error
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		defer cancel()
		served = s.http.Serve(netutil.LimitListener(s.ln, maxConnections))
	})
	<-ctx.Done()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer done()
	if err := s.http.Shutdown(grace); err != nil {
		s.http.Close()
	}
	wg.Wait()
	if errors.Is(served, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the API: %w", served)
}

func (s *Server) routes() *http.ServeMux {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newCollector(s.broker, s.version, s.reload),
	)
	metrics := promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.reading(metrics.ServeHTTP))
	mux.Handle("GET /api/v1/status", s.reading(s.status))
	mux.Handle("GET /api/v1/clients", s.sensitive(s.listClients))
	mux.Handle("GET "+clientsPath+"{path...}", s.sensitive(s.aboutClient))
	mux.Handle("DELETE "+clientsPath+"{path...}", s.sensitive(s.disconnect))
	mux.Handle("GET /api/v1/subscriptions", s.sensitive(s.listSubscriptions))
	mux.Handle("GET /api/v1/retained", s.sensitive(s.listRetained))
	mux.Handle("DELETE /api/v1/retained", s.sensitive(s.deleteRetained))
	mux.Handle("POST /api/v1/publish", s.sensitive(s.publish))
	return mux
}
