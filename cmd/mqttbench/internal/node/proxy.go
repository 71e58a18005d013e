//go:build linux

package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A ProxyProtocol says whether connections begin with a PROXY header.
type ProxyProtocol string

// The ways to treat PROXY headers.
const (
	None     ProxyProtocol = "none"     // there are none
	Optional ProxyProtocol = "optional" // one is skipped where there is one
	Require  ProxyProtocol = "require"  // whoever sends none is closed
)

// Signatures and sizes of the PROXY protocol, sections 2.1 and 2.2.
const (
	v1Signature = "PROXY "
	v1Longest   = 107
	v2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	v2Header    = 16
)

var errNoHeader = errors.New("no PROXY header, where one is required")

// optionalHeader finds how long the header at the front of b is; 0 where there is none. It is not done when b is too short to tell.
// What the header says is not looked at.
func optionalHeader(b []byte) (n int, done bool, err error) {
	switch {
	case begins(b, v2Signature):
		if len(b) < v2Header {
			return 0, false, nil
		}
		n = v2Header + int(binary.BigEndian.Uint16(b[v2Header-2:]))
		return n, len(b) >= n, nil
	case begins(b, v1Signature):
		if n = bytes.IndexByte(b[:min(len(b), v1Longest)], '\n') + 1; n > 0 {
			return n, true, nil
		}
		if len(b) >= v1Longest {
			return 0, false, fmt.Errorf("a PROXY header of more than %d bytes", v1Longest)
		}
		return 0, false, nil
	}
	return 0, true, nil
}

// requiredHeader is optionalHeader for connections that must have one.
func requiredHeader(b []byte) (n int, done bool, err error) {
	n, done, err = optionalHeader(b)
	if done && n == 0 && err == nil {
		return 0, false, errNoHeader
	}
	return n, done, err
}

// begins reports whether b has the signature, or as much of it as b can hold.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}
