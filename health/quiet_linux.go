package health

import (
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a connect is watched closely before Go's network poller takes over. A
// round trip within a data centre takes less than half of it; it is what a probe of a dead server
// costs.
// On loopback the answer is there when connect returns.
const patience = time.Millisecond

// quiet prepares a socket so that connecting and closing it exchanges SYN, SYN/ACK, RST: the server's
// kernel never sees a finished handshake, so the server's accept never returns this connection.
// It is a net.Dialer's Control.
//
//   - TCP_QUICKACK off before connect makes the kernel hold back the ACK that answers SYN/ACK, for
//     data it might carry (tcp_rcv_synsent_state_process); the timer that sends it after all is
//     TCP_DELACK_MAX, 200 ms.
//   - SO_LINGER of 0 makes close send RST. It is set before connect too, because the Dialer itself closes
//     the connections that lose a race between addresses.
//
// The reset has to go out within these 200 ms. A goroutine that the poller wakes queues behind all that
// are ready to run, each of which may keep its processor for 10 ms; so the connect is begun here, and
// the socket is asked directly for a while. The Dialer then calls connect as well and learns
// how the same attempt stands: connected, still in progress, or its error.
func quiet(_, address string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = connectQuietly(int(fd), address)
	})
	if err != nil {
		return err
	}
	return failed
}

func connectQuietly(fd int, address string) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0); err != nil {
		return os.NewSyscallError("setsockopt TCP_QUICKACK", err)
	}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return os.NewSyscallError("setsockopt SO_LINGER", err)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil || to.Addr().Zone() != "" {
		return nil // ":1883", or a link-local address whose interface the Dialer knows: it connects by itself
	}
	switch err := unix.Connect(fd, sockaddr(to)); err {
	case nil:
		return nil
	case unix.EINPROGRESS, unix.EINTR:
		waitBriefly(fd)
		return nil
	default:
		return os.NewSyscallError("connect", err)
	}
}

// waitBriefly returns when the connect has come to an end, or when patience has.
func waitBriefly(fd int) {
	socket := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for began := time.Now(); time.Since(began) < patience; {
		if n, _ := unix.Poll(socket, 0); n > 0 {
			return
		}
	}
}

// sockaddr returns to in the kernel's form, of the family that the Dialer has made the socket for.
func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if ip := to.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}
