//go:build linux

package socket

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the hot path are made without telling the scheduler (syscall.RawSyscall). That is sound for calls that
// cannot block, and only for those: the descriptors here are non-blocking from birth, and epoll_pwait(2) is told not to wait.
// The memory they are given stays where it is during the call: syscall.RawSyscall keeps what its arguments
// point to alive, and no goroutine's stack moves while it runs one (package unsafe, rule 4).

// receive is read(2). p is not empty; errno 0 means that n bytes are there, none at the end of the stream.
func receive(fd int32, p []byte) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(r), errno
}

// send is send(2) with MSG_NOSIGNAL: Go's runtime would ignore SIGPIPE for a socket, but only after the kernel has
// interrupted a thread for it, and a program that asked for it through os/signal would be told. p is not empty.
func send(fd int32, p []byte) (n int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_NOSIGNAL, 0, 0)
	return int(r), errno
}

// pollNow returns how many of events were there, without waiting.
func pollNow(epoll int, events []unix.EpollEvent) int {
	for {
		r, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
			0, 0, 0)
		switch errno {
		case 0:
			return int(r)
		case syscall.EINTR:
		default: // EBADF, EFAULT, EINVAL (epoll_wait(2)): the instance is open here, the memory ours
			panic("socket: epoll_pwait: " + errno.Error())
		}
	}
}
