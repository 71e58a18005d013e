package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/api"
	"github.com/mqttlb/mqttlb/broker/config"
)

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [-c FILE]",
		Short: "Run in the foreground; SIGTERM and SIGINT stop gracefully, the second at once",
		Long:  "Run in the foreground; SIGTERM and SIGINT stop gracefully, the second at once.\nWithout a file: MQTT on port 1883 of every address, a PROXY header is understood when there is one.",
		Args:  cobra.NoArgs,
	}
	path := cmd.Flags().StringP("config", "c", "", "the configuration file (YAML)")
	level := cmd.Flags().String("log-level", "info", "what is logged: debug (each connection), info, warn or error")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var l slog.Level
		if err := l.UnmarshalText([]byte(*level)); err != nil {
			return fmt.Errorf("--log-level: %q is none of debug, info, warn, error", *level)
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
		return run(cmd.Context(), *path, log)
	}
	return cmd
}

// run serves until a signal says stop.
func run(ctx context.Context, path string, log *slog.Logger) error {
	c := config.Default()
	if path != "" {
		var err error
		if c, err = config.Load(path); err != nil {
			return err
		}
	}
	node, err := broker.New(broker.Options{Config: c, Log: log})
	if err != nil {
		return err
	}
	server, err := openAPI(c.API, node, log)
	if err != nil {
		node.Close()
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGTERM, os.Interrupt)
	go signals(ch, stop, log)
	notify(daemon.SdNotifyReady, log)
	return serve(ctx, node, server, log)
}

// openAPI opens the API's port. When nobody asked for that port, another node on this host may have
// it: this one does without.
func openAPI(c config.HTTP, node *broker.Broker, log *slog.Logger) (*api.Server, error) {
	if c.Listen == "" {
		return nil, nil
	}
	version, _ := build()
	server, err := api.New(api.Options{Listen: c.Listen, Broker: node, Version: version, Log: log})
	switch {
	case err == nil:
		log.Info("listening", "listener", "api", "address", server.Addr())
	case !c.Given && errors.Is(err, syscall.EADDRINUSE):
		log.Warn("running without API and metrics: the default port is taken; set api.listen", "error", err)
		return nil, nil
	}
	return server, err
}

// serve runs the node, and its API for as long.
func serve(ctx context.Context, node *broker.Broker, server *api.Server, log *slog.Logger) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	var g errgroup.Group
	g.Go(func() error {
		defer done() // the API tells about the end until it is there
		return node.Run(ctx)
	})
	if server != nil {
		g.Go(func() error {
			defer stop() // without its API the node is blind: end it, the service manager starts a new one
			return server.Run(served)
		})
	}
	<-ctx.Done()
	notify(daemon.SdNotifyStopping, log)
	return g.Wait()
}

// signals turns signals into calls, for as long as the process lives.
func signals(ch <-chan os.Signal, stop context.CancelFunc, log *slog.Logger) {
	sig := <-ch
	log.Info("signal", "signal", sig.String())
	stop()
	sig = <-ch
	log.Warn("stopped at once by a second signal", "signal", sig.String())
	os.Exit(1)
}

// notify tells systemd, when it asked (sd_notify(3)).
func notify(state string, log *slog.Logger) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot tell the service manager", "state", state, "error", err)
	}
}
