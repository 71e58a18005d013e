package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/mqttlb/mqttlb/lb/config"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// endReasons are the reasons of what the relay reports; the end Closed has its cause in the conn.
var endReasons = [...]Reason{
	relay.ClientClosed: ClientClose, relay.ClientReset: ClientReset, relay.ClientTimeout: ClientTimeout,
	relay.ServerClosed: ServerClose, relay.ServerReset: ServerReset, relay.ServerTimeout: ServerTimeout,
	relay.Closed: Stopped, relay.NoRoom: NoDescriptors,
}

// Relayed implements relay.Owner: it is called by the relay, once, when both sockets are closed. A close just before hand-off shuts
// the socket under the relay, which takes it for a reset.
func (c *conn) Relayed(r relay.Result) {
	reason := endReasons[r.End]
	if cause, closed := c.closedFor(); closed && (r.End == relay.Closed || errors.Is(r.Err, net.ErrClosed)) {
		reason, r.Err = cause, nil
	}
	if (reason == ServerClose || reason == ServerReset) && r.Out == 0 && c.f.cfg.Protocol == config.ProtocolMQTT {
		reason, r.Err = ServerRejected, c.whyRejected()
	}
	c.finish(reason, r)
}

// whyRejected guesses why a server ended a connection instead of answering its CONNECT, from the backend as it is now.
func (c *conn) whyRejected() error {
	spec := c.currentPool().cfg
	if spec.SendProxy == config.SendProxyNone {
		return fmt.Errorf("the server ended it before CONNACK: does it expect a PROXY header? send_proxy of backend %s is none", spec.Name)
	}
	return fmt.Errorf("the server ended it before CONNACK: does it expect no PROXY header? send_proxy of backend %s is %s (EMQX: proxy_protocol = true on its listener)", spec.Name, spec.SendProxy)
}

// refused ends a connection that no server has: err is a refusal.
func (c *conn) refused(err error) {
	r := err.(*refusal)
	reason := r.reason
	if cause, closed := c.closedFor(); closed {
		reason = cause
	}
	c.stream.Close()
	c.finish(reason, relay.Result{Err: r.err})
}

// finish counts, logs and releases: the one end of every connection.
func (c *conn) finish(reason Reason, r relay.Result) {
	c.f.door.ended[reason].Add(1)
	c.f.door.connections.Add(-1)
	c.logEnd(reason, r)
	c.leave()
	c.slot.Release()
	s := c.s
	s.descriptors.Release()
	c.reset()
	s.live.remove(c)
}

// logEnd writes the connection's line, when log.connections wants it.
func (c *conn) logEnd(reason Reason, r relay.Result) {
	mode := c.s.generation().cfg.Log.Connections
	if mode == config.ConnectionsNone || mode == config.ConnectionsErrors && reason.clean() {
		return
	}
	if !reason.clean() && !c.s.mayLog() {
		return
	}
	c.s.log.LogAttrs(context.Background(), slog.LevelInfo, "connection ended", c.attributes(reason, r)...)
}

// maxLines bounds the lines about connections that did not end well, each second: an attack must not fill the disk.
const maxLines = 100

func (s *Server) mayLog() bool {
	ok, dropped := s.lines.Allow(time.Now())
	if dropped > 0 {
		s.log.Warn("lines about ended connections left out: too many a second", "lines", dropped)
	}
	return ok
}

func (c *conn) attributes(reason Reason, r relay.Result) []slog.Attr {
	list := []slog.Attr{
		slog.String("reason", reason.String()),
		slog.String("listener", c.f.door.name),
		slog.String("client", c.source.String()),
	}
	if c.proxy != nil {
		list = append(list, slog.String("proxy", c.proxy.String()))
	}
	if c.client != "" {
		list = append(list, slog.String("client_id", c.client))
	}
	if m := c.member.Load(); m != nil {
		list = append(list, slog.String("server", m.key()))
	}
	list = append(list,
		slog.Duration("after", time.Since(c.since()).Round(time.Millisecond)),
		slog.Uint64("bytes_in", r.In+c.sent), slog.Uint64("bytes_out", r.Out),
		slog.String("id", c.name()))
	if r.Err != nil {
		list = append(list, slog.String("error", r.Err.Error()))
	}
	return list
}
