package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/cmd/internal/program"
	"github.com/mqttlb/mqttlb/lb"
	"github.com/mqttlb/mqttlb/lb/admin"
	"github.com/mqttlb/mqttlb/lb/config"
)

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run in the foreground; SIGHUP reloads, SIGTERM and SIGINT stop gracefully, the second at once",
	}
	path := program.RequireConfig(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), *path) }
	return cmd
}

// profileRate is how many bytes are allocated for each sample of the heap's profile: eight times Go's own, because each place in
// the code that is sampled costs memory for good, as much as a thousand connections in all.
const profileRate = 4 << 20

// run serves until a signal says stop.
func run(ctx context.Context, path string) error {
	runtime.MemProfileRate = profileRate
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	log := newLog(os.Stderr, cfg.Log.Format, level)
	srv, err := lb.New(lb.Options{Path: path, Config: cfg, Log: log, Level: level, OnState: notify(log)})
	if err != nil {
		return err
	}
	announce(log, path, cfg)
	version, commit := program.Build()
	api := admin.New(admin.Options{LB: srv, Log: log, Version: version, Commit: commit})
	if err := api.Listen(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	arrived := make(chan os.Signal, 4)
	signal.Notify(arrived, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt) // before READY: none may be lost after it
	asked := make(chan struct{}, 1)
	go reloads(ctx, asked, srv, log)
	go func() { // for as long as the process lives
		program.Signals(arrived, program.Handlers{Log: log, Stop: func(os.Signal) { stop() }, Reload: func() { ask(asked) }})
		os.Exit(1)
	}()
	return serve(ctx, stop, srv, api)
}

// serve runs the load balancer, and its API for as long.
func serve(ctx context.Context, stop context.CancelFunc, srv *lb.Server, api *admin.Server) error {
	served, done := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error {
		defer done() // the API tells about the drain until it is over
		return srv.Run(ctx)
	})
	g.Go(func() error {
		defer stop() // without its API the process is blind: end it, the service manager starts a new one
		return api.Run(served)
	})
	return g.Wait()
}

// announce logs what an operator who finds a process wants to know of it first.
func announce(log *slog.Logger, path string, cfg *config.Config) {
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	log.Info("configuration read", "file", path)
	if cfg.Admin.Listen == "" {
		log.Info("admin API is off")
	}
}

// newLog writes to w. Durations look the same in both formats, "48ms": of themselves, those of JSON are bare nanoseconds.
func newLog(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	if format != config.FormatJSON {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration {
				a.Value = slog.StringValue(a.Value.Duration().String())
			}
			return a
		},
	}))
}

// ask asks for a reload, unless one is asked for already that has not begun: it will read what there is to read.
func ask(asked chan<- struct{}) {
	select {
	case asked <- struct{}{}:
	default:
	}
}

// reloads reloads when it is asked to, one after the other, until ctx is done.
func reloads(ctx context.Context, asked <-chan struct{}, srv *lb.Server, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			hup(ctx, srv, log)
		}
	}
}

// hup reloads; the load balancer logs what came of it.
func hup(ctx context.Context, srv *lb.Server, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := srv.Reload(ctx, lb.Signal); errors.Is(err, context.DeadlineExceeded) {
		log.Warn("the reload takes long, and is no longer waited for", "error", err)
	}
}

// notify tells systemd, when it asked (sd_notify(3)): Type=notify and Type=notify-reload work.
func notify(log *slog.Logger) func(lb.State) {
	return func(s lb.State) {
		state := program.Ready
		switch s {
		case lb.Reloading:
			state = fmt.Sprintf("%s\nMONOTONIC_USEC=%d", program.Reloading, monotonicMicroseconds())
		case lb.Stopping:
			state = program.Stopping
		}
		program.Notify(log, state)
	}
}
