package program

import (
	"log/slog"
	"os"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Handlers are what signals turn into. None may block: a second signal has to get through.
type Handlers struct {
	Log    *slog.Logger
	Stop   func(os.Signal) // called once, by the first signal that asks for the end
	Reload func()          // called by each SIGHUP; not needed where that signal does not arrive
}

// Signals calls the handlers for the signals that arrive, and returns after the second that asks for the end, which it
// logs: the caller then ends the process at once, with exit code 1. What else has made the
// program stop does not count: then, too, the first signal asks and the second orders.
func Signals(arrived <-chan os.Signal, h Handlers) {
	stopping := false
	for sig := range arrived {
		switch {
		case sig == syscall.SIGHUP:
			h.Reload()
		case stopping:
			h.Log.Warn("stopped at once by a second signal", "signal", sig.String())
			return
		default:
			stopping = true
			h.Stop(sig)
		}
	}
}

// States for Notify (sd_notify(3)).
const (
	Ready     = daemon.SdNotifyReady
	Reloading = daemon.SdNotifyReloading // to be followed by a line MONOTONIC_USEC=…
	Stopping  = daemon.SdNotifyStopping
)

// Notify tells systemd, when it asked, how the program is: lines of NAME=VALUE as in sd_notify(3). That it could not be
// told is logged. Any goroutine may call it.
func Notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot tell the service manager", "state", state, "error", err)
	}
}
