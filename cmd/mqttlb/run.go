package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/lb"
	"github.com/mqttlb/mqttlb/lb/admin"
	"github.com/mqttlb/mqttlb/lb/config"
)

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run in the foreground; SIGHUP reloads, SIGTERM and SIGINT stop gracefully, the second at once",
		Args:  cobra.NoArgs,
	}
	path := addConfig(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), *path) }
	return cmd
}

// run serves until a signal says stop.
func run(ctx context.Context, path string) error {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	log := newLog(cfg.Log.Format, level)
	if cfg.Workers > 0 {
		runtime.GOMAXPROCS(cfg.Workers)
	}
	srv, err := lb.New(lb.Options{Path: path, Log: log, Level: level, OnState: notify(log)})
	if err != nil {
		return err
	}
	version, commit := build()
	api := admin.New(admin.Options{LB: srv, Log: log, Version: version, Commit: commit})
	if err := api.Listen(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	arrived := make(chan os.Signal, 4)
	signal.Notify(arrived, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt) // before READY: none may be lost after it
	go signals(ctx, arrived, stop, srv)
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

func newLog(format string, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// signals turns signals into calls, for as long as the process lives.
func signals(ctx context.Context, arrived <-chan os.Signal, stop context.CancelFunc, srv *lb.Server) {
	for sig := range arrived {
		switch {
		case sig == syscall.SIGHUP:
			go hup(ctx, srv)
		case ctx.Err() != nil:
			fmt.Fprintf(os.Stderr, "stopped at once by a second signal: %v\n", sig)
			os.Exit(1)
		default:
			stop()
		}
	}
}

// hup reloads; the load balancer logs what came of it.
func hup(ctx context.Context, srv *lb.Server) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := srv.Reload(ctx, lb.Signal); errors.Is(err, context.DeadlineExceeded) {
		fmt.Fprintln(os.Stderr, err)
	}
}

// notify tells systemd, when it asked (sd_notify(3)): Type=notify and Type=notify-reload work.
func notify(log *slog.Logger) func(lb.State) {
	return func(s lb.State) {
		state := daemon.SdNotifyReady
		switch s {
		case lb.Reloading:
			state = fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, monotonicMicroseconds())
		case lb.Stopping:
			state = daemon.SdNotifyStopping
		}
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.Warn("cannot tell the service manager", "state", state, "error", err)
		}
	}
}
