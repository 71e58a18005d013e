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

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/cmd/internal/program"
)

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [-c FILE]",
		Short: "Run in the foreground; SIGHUP reloads, SIGTERM and SIGINT stop gracefully, the second at once",
		Long: "Run in the foreground; SIGTERM and SIGINT stop gracefully, the second at once. SIGHUP, and saving them, reads the configuration,\n" +
			"users file and ACL file again.\nWithout a file: MQTT on port 1883 of every address, a PROXY header is understood when there is one.",
		Args: cobra.NoArgs,
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
	runtime.MemProfileRate = profileRate
	reload, c, err := newReloader(path, log)
	if err != nil {
		return err
	}
	tokens, err := readTokens(&c)
	if err != nil {
		return errors.Join(broker.Check(c), err) // every problem at once
	}
	version, _ := program.Build()
	node, err := broker.New(broker.Options{Config: c, Log: log, Version: version})
	if err != nil {
		return err
	}
	reload.start(node, tokens)
	pages, err := openPages(&c, tokens, node, reload)
	if err != nil {
		node.Close()
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	arrived := make(chan os.Signal, 4)
	signal.Notify(arrived, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP) // before READY: none may be lost after it
	go func() {                                                           // for as long as the process lives
		program.Signals(arrived, program.Handlers{
			Log: log,
			Stop: func(sig os.Signal) {
				log.Info("signal", "signal", sig.String())
				stop()
			},
			Reload: func() { reload.ask(bySignal) },
		})
		os.Exit(1)
	}()
	program.Notify(log, program.Ready)
	return serve(ctx, node, pages, reload)
}

// serve runs the node, and its pages for as long.
func serve(ctx context.Context, node *broker.Broker, pages []page, reload *reloader) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	var g errgroup.Group
	g.Go(func() error {
		defer stop() // when it ends by itself, because its disk or an event loop has failed
		defer done() // the pages tell about the end until it is there
		return node.Run(ctx)
	})
	for _, p := range pages {
		g.Go(func() error {
			defer stop() // without it the node is blind: end it, the service manager starts a new one
			return p.Run(served)
		})
	}
	g.Go(func() error { frugal(served, node); return nil })
	reload.run(ctx) // until ctx is done
	program.Notify(reload.log, program.Stopping)
	return g.Wait()
}
