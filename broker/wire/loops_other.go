//go:build !linux

package wire

import (
	"context"
	"errors"
	"net"

	"github.com/mqttlb/mqttlb/internal/overflow"
)

// Loops are the event loops of a node: Linux alone has them.
type Loops struct{}

type secure struct{}

type loop struct {
	held    overflow.Buffers
	options *Options
	left    int
}

var errLinux = errors.New("the event loops of a node need epoll: run it on Linux")

// Open says that there are no event loops on this system.
func Open(n int, o Options) (*Loops, error) { return nil, errLinux }

// Close does nothing.
func (ls *Loops) Close() {}

// Run says that there are no event loops on this system.
func (ls *Loops) Run(ctx context.Context) error { return errLinux }

// Bytes returns zeros.
func (ls *Loops) Bytes() (in, out uint64) { return 0, 0 }

// Adopt closes nc and says that there are no event loops on this system.
func (ls *Loops) Adopt(c *Conn, nc net.Conn, s Start) error {
	nc.Close()
	return errLinux
}

func (l *loop) notice(c *Conn)     {}
func (l *loop) post(f func()) bool { return false }
func (l *loop) tick() tick         { return 0 }
func (l *loop) arm(c *Conn)        {}
