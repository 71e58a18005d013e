package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
)

// A Failure says why a TLS handshake failed: the label "reason" of
// mqttlb_tls_handshake_failures_total, a closed list.
type Failure uint8

// The failures of a handshake.
const (
	Timeout     Failure = iota // not complete within handshake_timeout
	Closed                     // the client left in the middle
	NotTLS                     // the client speaks something else: plain MQTT, HTTP
	Version                    // the client is older than min_version
	Certificate                // the client's certificate is missing, not trusted or revoked
	Alert                      // the client ended it with an alert: it does not trust our certificate, say
	Protocol                   // no cipher suite or ALPN protocol in common, or a malformed message
	Failures                   // how many there are
)

var failureNames = [Failures]string{
	Timeout: "timeout", Closed: "closed", NotTLS: "not_tls", Version: "version",
	Certificate: "certificate", Alert: "alert", Protocol: "protocol",
}

// String returns the failure as metrics and logs show it.
func (f Failure) String() string { return failureNames[f] }

// An Error is why a handshake failed.
type Error struct {
	Failure Failure
	Heard   bool  // the client had sent something
	Err     error // of crypto/tls
}

// Error returns the failure, what it most often comes from, and the error.
func (e *Error) Error() string {
	hint := ""
	if e.Failure == Alert {
		hint = "the client ended it after our certificate, which most often it does not trust: "
	}
	return e.Failure.String() + ": " + hint + e.Err.Error()
}

// Unwrap returns the error of crypto/tls.
func (e *Error) Unwrap() error { return e.Err }

// An Untrusted is what a tls.Config's VerifyConnection returns for a client whose certificate it refuses.
type Untrusted struct{ Err error }

// Error returns why the certificate is refused.
func (e *Untrusted) Error() string { return e.Err.Error() }

// Unwrap returns it.
func (e *Untrusted) Unwrap() error { return e.Err }

func classify(hello *conn, cfg *tls.Config, err error) Failure {
	var (
		record    tls.RecordHeaderError
		untrusted *Untrusted
		verify    *tls.CertificateVerificationError
		op        *net.OpError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case hello.tooOld:
		return Version
	case errors.As(err, &record):
		return NotTLS
	case errors.As(err, &untrusted), errors.As(err, &verify):
		return Certificate
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error" && hello.answered):
		// The first is how crypto/tls marks an alert of the peer. The second is what comes of one that OpenSSL's clients
		// send in TLS 1.3 before they have changed their keys: it cannot be opened.
		return Alert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &op) && op.Op != "local error":
		return Closed
	case hello.answered && cfg.ClientAuth == tls.RequireAndVerifyClientCert:
		return Certificate // none was sent: the other failures after our answer are the cases above
	}
	return Protocol
}
