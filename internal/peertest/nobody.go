//go:build unix

package peertest

import (
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Nobody returns an address at which connections are refused until the test ends. Its port is bound by a socket that
// does not listen, so that no other process of the machine can come to listen there meanwhile, as it can at the address
// of a listener that was closed.
func Nobody(t testing.TB) string {
	t.Helper()
	syscall.ForkLock.RLock() // no child must hold the port
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatalf("make a socket to hold a port: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	loopback := [4]byte{127, 0, 0, 1}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback}); err != nil {
		t.Fatalf("bind a socket to hold a port: %v", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatalf("ask for the port that is held: %v", err)
	}
	port := name.(*unix.SockaddrInet4).Port
	return netip.AddrPortFrom(netip.AddrFrom4(loopback), uint16(port)).String()
}
