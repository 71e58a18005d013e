//go:build linux

package reactor

import (
	"io"
	"syscall"
	"unsafe"
)

// Errors as interfaces, made once.
var (
	errAgain     error = syscall.EAGAIN
	errConnReset error = syscall.ECONNRESET
	errPipe      error = syscall.EPIPE
)

// Read reads from a descriptor that is non-blocking: read(2), without telling Go's scheduler, which saves it two
// transitions of 30 to 60 ns together. That is sound only because the call never waits: on a blocking descriptor it would keep
// the collector and every goroutine of the same P waiting with it. The errors are io.EOF at the end, syscall.EAGAIN when there is nothing,
// and other syscall.Errno, never wrapped; none allocates. EINTR is tried again. From any goroutine.
func Read(fd int, p []byte) (int, error) {
	return transfer(syscall.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(p)), len(p), len(p) > 0)
}

// Write writes to a descriptor that is non-blocking: write(2), as Read does. It may write less than there is; syscall.EAGAIN says that
// there is no room at all.
func Write(fd int, p []byte) (int, error) {
	return transfer(syscall.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(p)), len(p), false)
}

// transfer does the system call; a result of 0 is the end where zeroIsEnd. The memory is alive and in place: the caller holds it, and nothing
// between here and the kernel can move a stack.
func transfer(call uintptr, fd int, memory unsafe.Pointer, n int, zeroIsEnd bool) (int, error) {
	for {
		r, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(memory), uintptr(n))
		switch errno {
		case 0:
			if r == 0 && zeroIsEnd {
				return 0, io.EOF
			}
			return int(r), nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, errAgain
		case syscall.ECONNRESET:
			return 0, errConnReset
		case syscall.EPIPE:
			return 0, errPipe
		default:
			return 0, errno
		}
	}
}
