package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mqttlb/mqttlb/broker"
)

// Options say what is served where.
type Options struct {
	Listen  string // host:port
	Broker  *broker.Broker
	Version string       // of the program, for mqttbroker_build_info
	Log     *slog.Logger // nil = nothing is logged
}

// Server is an open port. New makes it, Run runs it, once.
type Server struct {
	broker *broker.Broker
	ln     net.Listener
	http   http.Server
}

// Every request is small, and so is every answer but /metrics, which is some kilobytes: who takes
// longer than these is not talking to us.
const (
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	idleTimeout  = 2 * time.Minute
	maxHeader    = 16 << 10
)

// New opens the port. Whoever does not call Run calls Close.
func New(o Options) (*Server, error) {
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("open the API: %w", err)
	}
	s := &Server{broker: o.Broker, ln: ln}
	s.http = http.Server{
		Handler:        s.routes(o.Version),
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
	}
	if o.Log != nil {
		s.http.ErrorLog = slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)
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
		served = s.http.Serve(s.ln)
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

func (s *Server) routes(version string) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newCollector(s.broker, version),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	return mux
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.broker.Accepting() {
		say(w, http.StatusOK, "ok")
		return
	}
	say(w, http.StatusServiceUnavailable, "the node is not accepting connections")
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	io.WriteString(w, text+"\n") // a reader who has gone needs no answer
}
