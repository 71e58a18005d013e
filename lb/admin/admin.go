package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/net/netutil"

	"github.com/mqttlb/mqttlb/internal/listen"
	"github.com/mqttlb/mqttlb/lb"
	"github.com/mqttlb/mqttlb/lb/config"
)

// Options are what a Server needs.
type Options struct {
	LB      *lb.Server
	Log     *slog.Logger
	Version string // of the program
	Commit  string // that it was built from
}

// A Server serves the admin API of one load balancer.
type Server struct {
	lb       *lb.Server
	log      *slog.Logger
	version  string
	registry *prometheus.Registry
	local    bool // only this machine can reach the address; set by Listen
	socket   net.Listener
}

// New makes a Server. It opens nothing.
func New(o Options) *Server {
	s := &Server{lb: o.LB, log: o.Log, version: o.Version, registry: prometheus.NewRegistry()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mqttlb_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": o.Version, "commit": o.Commit, "goversion": runtime.Version()},
	})
	build.Set(1)
	s.registry.MustRegister(build, o.LB.Histograms(), &collector{o.LB},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// Limits of the HTTP side.
const (
	// maxConnections bounds the clients at once: well within the descriptors that lb leaves to others.
	maxConnections = 50
	headerTimeout  = 2 * time.Second
	requestTimeout = 30 * time.Second
	maxHeader      = 16 << 10
	stopTimeout    = 3 * time.Second
	// responseTimeout bounds how long a client may take to read its answer; package pprof extends it for its own.
	responseTimeout = 10 * time.Second
)

// Listen opens the address of admin.listen. It does nothing when that is "". The error is a config.Problems.
func (s *Server) Listen(ctx context.Context) error {
	address := s.lb.Config().Admin.Listen
	if address == "" {
		return nil
	}
	var err error
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		s.local = true
		s.socket, err = listenUnix(ctx, path)
	} else {
		s.local = isLoopback(address)
		s.socket, err = listen.TCP(ctx, address, listen.Options{})
	}
	if err != nil {
		return config.Problems{s.lb.Config().Problem("admin.listen", err.Error()+"; \"\" turns the API off")}
	}
	return nil
}

// Addr is where the API is served: an address, "unix:" and a path, or "" for nowhere. It is known after Listen.
func (s *Server) Addr() string {
	if s.socket == nil {
		return ""
	}
	if a, unix := s.socket.Addr().(*net.UnixAddr); unix {
		return "unix:" + a.Name
	}
	return s.socket.Addr().String()
}

// Run serves until ctx is done; Listen comes first. Without an address it only waits. It is called once.
func (s *Server) Run(ctx context.Context) error {
	if s.socket == nil {
		<-ctx.Done()
		return nil
	}
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout + responseTimeout, // a reload may wait for requestTimeout
		IdleTimeout:       requestTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.log.Info("admin API", "address", s.Addr())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(netutil.LimitListener(s.socket, maxConnections)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the admin API: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if srv.Shutdown(stop) != nil {
		srv.Close() // a profile may be running
	}
	<-served
	return nil
}

// isLoopback reports whether only this machine can reach a listening address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && isLoopbackHost(host)
}

func isLoopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// listenUnix opens a Unix socket for this user and group. A socket that a killed process left behind is
// replaced, one that answers is not.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket: remove it", path)
		}
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return nil, fmt.Errorf("another process serves %s", path)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove the stale socket: %w", err)
		}
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		return nil, fmt.Errorf("set the permissions of the socket: %w", err)
	}
	return ln, nil
}
