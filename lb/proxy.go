package lb

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mqttlb/mqttlb/internal/listen"
)

// readProxy reads the PROXY header that accept_proxy expects: from trusted_proxies only, and from
// them always (PROXY protocol, section 2: a receiver must not guess).
func (c *conn) readProxy(context.Context) error {
	if !c.f.cfg.AcceptProxy {
		return nil
	}
	if !c.f.trusted(c.peer.Addr()) {
		return refuse(Refused, fmt.Errorf("%s is not among trusted_proxies", c.peer.Addr()))
	}
	header, stream, err := listen.ReadProxy(c.raw, c.deadline())
	switch {
	case errors.Is(err, io.EOF):
		return refuse(ClientClose, nil) // the other proxy's health check: connected and left
	case errors.Is(err, listen.ErrNoProxy):
		return refuse(ProxyHeader, errors.New("no PROXY header: let the proxy send one, or turn accept_proxy off"))
	case err != nil:
		return refuse(ProxyHeader, err)
	}
	c.header, c.stream = header, stream
	if header.Source.IsValid() { // else LOCAL or UNKNOWN: the proxy speaks for itself
		c.source, c.arrived = header.Source, header.Destination
		peer := c.peer
		c.proxy = &peer
	}
	return nil
}
