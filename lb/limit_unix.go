//go:build unix

package lb

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/mqttlb/mqttlb/lb/config"
)

// reserve is how many descriptors are kept for what is not a connection: files, the admin API's clients,
// resolvers, the runtime.
const reserve = 100

// sessionLimit is how many connections the process has descriptors for: two each (HAProxy
// derives its maxconn from ulimit -n the same way: configuration manual, section 3.2, maxconn).
func sessionLimit(cfg *config.Config) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return 0 // no limit that could be reached
	}
	others := reserve + len(cfg.Listeners)
	for _, b := range cfg.Backends {
		others += len(b.Servers) // a probe each
	}
	return max(1, (int(limit.Cur)-others)/2)
}
