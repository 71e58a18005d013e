package health

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// A Result is how one check ended.
type Result struct {
	OK      bool
	Outcome Outcome
	Reason  string        // why it did not pass, such as "connection refused"; "" when it did
	At      time.Time     // when it ended; zero: there was no check yet
	Latency time.Duration // from resolving the name to the answer, or to giving up
}

// An Outcome is the closed list of what a check can come to. Its String is fit for a metric's label.
type Outcome uint8

// The outcomes.
const (
	NotChecked  Outcome = iota // there was no check yet
	Passed                     // the server answered as it should
	Refused                    // connection refused
	Timeout                    // no answer in time
	Closed                     // closed or reset before the answer
	Unreachable                // no route to the address
	Unresolved                 // the name has no address
	Rejected                   // CONNACK with a code other than 0
	NotMQTT                    // the answer is something else than a CONNACK
	Failed                     // any other error
	Hampered                   // this machine could not check; neither a pass nor a failure
)

// String returns the outcome in lower case, with underscores.
func (o Outcome) String() string {
	names := [...]string{"not_checked", "passed", "refused", "timeout", "closed", "unreachable",
		"unresolved", "rejected", "not_mqtt", "failed", "hampered"}
	if int(o) < len(names) {
		return names[o]
	}
	return "unknown"
}

// A failure is why a check did not pass.
type failure struct {
	outcome Outcome
	reason  string
	err     error // nil when the server's answer was the reason
}

func (f *failure) Error() string { return f.reason }
func (f *failure) Unwrap() error { return f.err }

// result returns the Result of a check that began at start and ended now with err.
func result(err error, start, now time.Time) Result {
	r := Result{OK: err == nil, Outcome: Passed, At: now, Latency: now.Sub(start)}
	if err != nil {
		f := classify(err)
		r.Outcome, r.Reason = f.outcome, f.reason
	}
	return r
}

// classify finds out what an error of a probe or of a connect says about the server. The reason of
// a timeout is only "timeout": what was waited for, and how long, is the caller's to add.
func classify(err error) *failure {
	var (
		known   *failure
		dns     *net.DNSError
		network net.Error
		errno   syscall.Errno
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, io.EOF):
		return &failure{Closed, "closed by the server", err}
	case errors.As(err, &dns):
		return &failure{Unresolved, dns.Error(), err}
	case errors.As(err, &network) && network.Timeout():
		return &failure{Timeout, "timeout", err}
	case errors.As(err, &errno):
		return &failure{outcomeOf(errno), errno.Error(), err}
	default:
		return &failure{Failed, err.Error(), err}
	}
}

// outcomeOf sorts the errors that connect(2), read(2) and write(2) name, with socket(2)'s that are
// this machine's own.
func outcomeOf(errno syscall.Errno) Outcome {
	switch errno {
	case syscall.ECONNREFUSED:
		return Refused
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return Closed
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN:
		return Unreachable
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
		return Hampered // no descriptor, no memory, no source port
	default:
		return Failed
	}
}

// blames reports whether an error of a connect is the server's fault, and not that of the one
// who gave up waiting, nor of this machine.
func blames(err error) bool {
	return !errors.Is(err, context.Canceled) && classify(err).outcome != Hampered
}
