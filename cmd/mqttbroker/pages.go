package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"github.com/mqttlb/mqttlb/broker"
	"github.com/mqttlb/mqttlb/broker/api"
	"github.com/mqttlb/mqttlb/broker/config"
	"github.com/mqttlb/mqttlb/broker/dashboard"
	"github.com/mqttlb/mqttlb/cmd/internal/program"
)

// A page is an open port over HTTP that shows the node: the API, or the dashboard.
type page interface {
	Addr() net.Addr
	Close() error
	Run(context.Context) error
}

// An opening says how a page comes to be.
type opening struct {
	name   string // of the listener in the log, and of the section of the configuration
	called string // in messages
	config.HTTP
	open func() (page, error)
}

// openPages opens what the configuration asks for. When one cannot be opened, none stays open.
func openPages(c *config.Config, t tokens, node *broker.Broker, r *reloader) ([]page, error) {
	version, _ := program.Build()
	var pages []page
	for _, o := range []opening{
		{"api", "API and metrics", c.API, func() (page, error) {
			return api.New(api.Options{Listen: c.API.Listen, Broker: node, Version: version, Token: t.api, LastReload: r.last, Log: r.log})
		}},
		{"dashboard", "dashboard", c.Dashboard, func() (page, error) {
			return dashboard.New(dashboard.Options{Listen: c.Dashboard.Listen, Broker: node, Version: version, Token: t.dashboard, Log: r.log})
		}},
	} {
		p, err := o.page(r.log)
		if err != nil {
			for _, p := range pages {
				p.Close()
			}
			return nil, err
		}
		if p != nil {
			pages = append(pages, p)
		}
	}
	return pages, nil
}

// page opens the port, nil if there is to be none. When nobody asked for that port, another node on this host may have
// it: this one does without.
func (o *opening) page(log *slog.Logger) (page, error) {
	if o.Listen == "" {
		return nil, nil
	}
	p, err := o.open()
	switch {
	case err == nil:
		log.Info("listening", "listener", o.name, "address", p.Addr())
		return p, nil
	case !o.Given && errors.Is(err, syscall.EADDRINUSE):
		log.Warn(fmt.Sprintf("running without %s: the default port is taken; set %s.listen", o.called, o.name), "error", err)
		return nil, nil
	}
	return nil, err
}
