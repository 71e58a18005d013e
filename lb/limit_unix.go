//go:build unix

package lb

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/lb/config"
)

// spareDescriptors is how many descriptors are kept for what is not a connection: files, the admin API's clients,
// resolvers, the runtime. Of a small limit it is a quarter.
const spareDescriptors = 100

// sessionLimit is how many connections the process has descriptors for, two each; 0 = more than could come (HAProxy
// derives its maxconn from ulimit -n the same way: configuration manual, section 3.2, maxconn). It is negative when there
// are none.
func (s *Server) sessionLimit(cfg *config.Config) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return 0
	}
	others := min(spareDescriptors, int(limit.Cur)/4) + len(cfg.Listeners) + 2*s.loops // of each, an epoll and an eventfd
	for _, b := range cfg.Backends {
		others += len(b.Servers) // a probe each
	}
	if n := (int(limit.Cur) - others) / 2; n > 0 {
		return n
	}
	return -1
}
