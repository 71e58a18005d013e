package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/api"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/cmd/internal/program"
)

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [-c FILE]",
		Short: "Run in the foreground; SIGTERM and SIGINT stop gracefully, the second at once",
		Long:  "Run in the foreground; SIGTERM and SIGINT stop gracefully, the second at once.\nWithout a file: MQTT on port 1883 of every address, a PROXY header is understood when there is one.",
		Args:  cobra.NoArgs,
	}
	path := program.AddConfig(cmd)
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
	signal.Notify(ch, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	go func() { // for as long as the process lives
		program.Signals(ch, program.Handlers{
			Log: log,
			Stop: func(sig os.Signal) {
				log.Info("signal", "signal", sig.String())
				stop()
			},
			Reload: func() { // its default is to end the process, which is not what anybody means who sends it
				log.Warn("reloading is not built into this version, nothing has changed; restart instead")
			},
		})
		os.Exit(1)
	}()
	program.Notify(log, program.Ready)
	return serve(ctx, node, server, log)
}

// openAPI opens the API's port. When nobody asked for that port, another node on this host may have
// it: this one does without.
func openAPI(c config.HTTP, node *broker.Broker, log *slog.Logger) (*api.Server, error) {
	if c.Listen == "" {
		return nil, nil
	}
	version, _ := program.Build()
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
	program.Notify(log, program.Stopping)
	return g.Wait()
}
