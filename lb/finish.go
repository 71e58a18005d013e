package lb

import (
	"context"
	"log/slog"
	"time"

	"github.com/mqttlb/mqttlb/lb/config"
	"github.com/mqttlb/mqttlb/lb/relay"
)

// endReasons are the reasons of what the relay reports; the end Closed has its cause in the conn.
var endReasons = map[relay.End]Reason{
	relay.ClientClosed: ClientClose, relay.ClientReset: ClientReset, relay.ClientTimeout: ClientTimeout,
	relay.ServerClosed: ServerClose, relay.ServerReset: ServerReset, relay.ServerTimeout: ServerTimeout,
	relay.Closed: Stopped,
}

// relayed is called by the relay, once, when both sockets are closed.
func (c *conn) relayed(r relay.Result) {
	reason := endReasons[r.End]
	if cause, closed := c.closedFor(); closed && r.End == relay.Closed {
		reason = cause
	}
	c.finish(reason, r)
}

// refused ends a connection that no server has: err is a refusal.
func (c *conn) refused(err error) {
	r := err.(*refusal)
	reason := r.reason
	if cause, closed := c.closedFor(); closed {
		reason = cause
	}
	c.client.Close()
	c.finish(reason, relay.Result{Err: r.err})
}

// finish counts, logs and releases: the one end of every connection.
func (c *conn) finish(reason Reason, r relay.Result) {
	c.f.door.ended[reason].Add(1)
	c.f.door.connections.Add(-1)
	c.logEnd(reason, r)
	c.leave()
	c.slot.release()
	c.s.descriptors.release()
	c.s.live.remove(c)
}

// logEnd writes the connection's line, when log.connections wants it.
func (c *conn) logEnd(reason Reason, r relay.Result) {
	mode := c.s.generation().cfg.Log.Connections
	if mode == config.ConnectionsNone || mode == config.ConnectionsErrors && reason.clean() {
		return
	}
	if reason.clean() || c.s.lines.allow(c.s.log, time.Now()) {
		c.s.log.LogAttrs(context.Background(), slog.LevelInfo, "connection ended", c.attributes(reason, r)...)
	}
}

func (c *conn) attributes(reason Reason, r relay.Result) []slog.Attr {
	list := []slog.Attr{
		slog.String("reason", reason.String()),
		slog.String("listener", c.f.door.name),
		slog.String("client", c.source.String()),
	}
	if c.peer != c.source {
		list = append(list, slog.String("proxy", c.peer.String()))
	}
	if c.mqtt.id != "" {
		list = append(list, slog.String("client_id", c.mqtt.id))
	}
	if m := c.member.Load(); m != nil {
		list = append(list, slog.String("server", m.key()))
	}
	list = append(list,
		slog.Duration("after", time.Since(c.since).Round(time.Millisecond)),
		slog.Uint64("bytes_in", r.In+c.sent), slog.Uint64("bytes_out", r.Out),
		slog.String("id", c.name()))
	if r.Err != nil {
		list = append(list, slog.String("error", r.Err.Error()))
	}
	return list
}
